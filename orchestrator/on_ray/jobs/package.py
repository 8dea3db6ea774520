"""What is sent with a job: a small copy of the working directory, without data, stores and environments.

Reads the working directory; writes a temporary folder that Ray uploads. Knows nothing of clusters.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import ConfigError

SKIPPED_FOLDERS = frozenset(
    {
        ".git", ".venv", "venv", "env", "runs", "mlruns", "mlartifacts", "node_modules", "build", "dist", "site",
        "__pycache__", "tests", "docs", "benchmarks", ".github", ".ci", ".idea", ".vscode",
    }
)  # fmt: skip
SKIPPED_SUFFIXES = frozenset(
    {
        ".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".tar", ".tgz", ".gz", ".zip", ".7z",
        ".parquet", ".arrow", ".npy", ".npz", ".pt", ".pth", ".ckpt", ".bin", ".onnx", ".db", ".sqlite", ".log", ".pyc",
        ".pem", ".key",
    }
)  # fmt: skip
SECRET_FILES = frozenset({".env", ".netrc", "auth_token", "credentials", ".npmrc", ".pypirc"})
MAX_FILE_MIB, MAX_TOTAL_MIB = 16, 64
MIB = 2**20


@dataclass(frozen=True)
class Package:
    """A copy that is ready to be sent.

    Attributes:
        folder: temporary; whoever asked for it removes it.
        num_files, num_bytes: of the copy.
        left_out: files over MAX_FILE_MIB, relative paths.
    """

    folder: Path
    num_files: int
    num_bytes: int
    left_out: tuple[str, ...]


def files_to_send(working_dir: Path) -> Iterator[Path]:
    """The files of a working directory that a job needs, in order: code and sheets.

    Left out are folders of data, stores, environments and caches, files whose names say data or secrets, whatever is
    hidden or a link, and folders that hold an environment or an artifact of ours.
    """
    for path in sorted(working_dir.iterdir()):
        if path.is_symlink() or path.name in SKIPPED_FOLDERS or path.name in SECRET_FILES:
            continue
        if path.is_dir():
            marks = ("pyvenv.cfg", "manifest.json")
            hidden = path.name.startswith(".") or path.name.endswith((".egg-info", "_cache"))
            if not hidden and not any((path / mark).exists() for mark in marks):
                yield from files_to_send(path)
        elif path.is_file() and path.suffix.lower() not in SKIPPED_SUFFIXES:
            yield path


def copy_package(working_dir: Path, target: Path) -> Package:
    """Copy what a job needs to `target`.

    Raises:
        ConfigError: there are no jobs in the working directory, or the copy is larger than MAX_TOTAL_MIB.
    """
    if not (working_dir / "jobs").is_dir():
        raise ConfigError(
            f"{working_dir} has no folder jobs/",
            expected="the project's own directory, whose jobs run as python -m jobs.NAME",
            remedy="run the command there, or name it with --working-dir",
        )
    sizes: dict[str, int] = {}
    left_out: list[str] = []
    for path in files_to_send(working_dir):
        name, size = path.relative_to(working_dir).as_posix(), path.stat().st_size
        if size > MAX_FILE_MIB * MIB:
            left_out.append(name)
            continue
        sizes[name] = size
        copied = target / name
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copied)
    total = sum(sizes.values())
    if total > MAX_TOTAL_MIB * MIB:
        largest = sorted(sizes, key=lambda name: -sizes[name])[:5]
        shown = ", ".join(f"{name} {sizes[name] / MIB:.1f} MiB" for name in largest)
        raise ConfigError(
            f"{working_dir} would send {total / MIB:.0f} MiB with the job (the largest: {shown})",
            expected=f"at most {MAX_TOTAL_MIB} MiB of code and sheets",
            remedy="move data out of the working directory; jobs read it from the storage that all nodes share",
        )
    return Package(target, len(sizes), total, tuple(left_out))
