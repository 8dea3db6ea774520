"""`python -m jobs.teachers_extra`: more teachers of the embedded world, for comparisons; about 2 hours on 2 cores.

Writes a folder for each part and QUALITY.md into --output, outside the package. A finished part is kept; an
interrupted command goes on with the next one. `--quick` makes every part with a few steps on a few scenes, to see that
it works: such a folder is marked, and made again without --quick.
"""

import argparse
import json
import shutil
import time
from pathlib import Path

from jobs.teachers import show

QUICK_STEPS, QUICK_SCENES, QUICK_CHECK = 6, 512, 64


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(
        prog="python -m jobs.teachers_extra", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--output", type=Path, default=Path("runs/teachers-extra"), help="folder of the parts (%(default)s)")
    p.add_argument("--work", type=Path, default=Path("runs/teachers"), help="folder of the scene pool (%(default)s)")
    p.add_argument("--part", action="append", help="only this part; may be repeated (default: all)")
    p.add_argument("--num-scenes", type=int, default=40_000, help="training scenes (%(default)s)")
    p.add_argument("--num-check", type=int, default=1000, help="unseen scenes to measure on (%(default)s)")
    p.add_argument("--threads", type=int, default=1, help="torch threads; part of what makes the numbers (%(default)s)")
    p.add_argument("--quick", action="store_true", help="a few steps of each part, to see that it works")
    p.add_argument("--dry-run", action="store_true", help="print the parts and what would be made, and end")
    return p


def main(arguments: list[str] | None = None) -> None:
    """Make every part that --output does not hold yet."""
    from orchestrator.embedded.extra import PARTS, Material

    a = parser().parse_args(arguments)
    if unknown := [name for name in a.part or [] if name not in PARTS]:
        raise SystemExit(f"no part {', '.join(unknown)}; the parts are {', '.join(PARTS)}")
    num_scenes, num_check = (QUICK_SCENES, QUICK_CHECK) if a.quick else (a.num_scenes, a.num_check)
    settings = {"num_scenes": num_scenes, "num_check": num_check, "threads": a.threads, "quick": a.quick}
    wanted = {name: part for name, part in PARTS.items() if not a.part or name in a.part}
    todo = [name for name in wanted if not _is_done(a.output / name, settings)]
    for name, part in wanted.items():
        told = f"about {part.minutes} min on one core" if name in todo else "kept"
        print(f"{name:<14} {told:<26} {part.used_as.replace('FOLDER', str(a.output / name))}")
    if a.dry_run:
        return
    import torch

    torch.set_num_threads(a.threads)
    material = Material(a.work, num_scenes, num_check, show)
    for name in todo:
        part, folder = PARTS[name], a.output / name
        making = a.output / f".{name}.part"
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir(parents=True)
        started = time.monotonic()
        steps = min(part.steps, QUICK_STEPS) if a.quick else part.steps
        part.make(material, making, steps, show(name))
        made_s = time.monotonic() - started
        numbers = part.measure(material, making)
        record = {"settings": settings, "steps": steps, "seconds": round(made_s, 1), "numbers": numbers}
        _told(folder).unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        making.rename(folder)
        _told(folder).write_text(json.dumps(record, indent=2) + "\n")
        (a.output / "QUALITY.md").write_text(quality_table(a.output))
    print((a.output / "QUALITY.md").read_text() if (a.output / "QUALITY.md").exists() else "")


def _told(folder: Path) -> Path:
    """What was made and measured: beside the folder, whose digest is the teacher's identity; written last."""
    return folder.with_name(f"{folder.name}.json")


def _is_done(folder: Path, settings: dict[str, object]) -> bool:
    path = _told(folder)
    return folder.is_dir() and path.is_file() and json.loads(path.read_text())["settings"] == settings


def quality_table(output: Path) -> str:
    """Every part that is there, with its numbers."""
    from orchestrator.embedded.extra import PARTS
    from orchestrator.embedded.quality import folder_mebibytes, table

    lines = ["# The extra teachers\n", "Made by `python -m jobs.teachers_extra` (`make teachers-extra`). Times are wall"
             " times.\nThey know balanced scenes of a seed of their own, as the embedded teachers do.\n"]  # fmt: skip
    for name, part in PARTS.items():
        if not (path := _told(output / name)).is_file():
            continue
        told = json.loads(path.read_text())
        made = told["settings"]
        rows = {key: f"{100 * value:.1f} %" for key, value in told["numbers"].items()}
        rows["size"] = f"{folder_mebibytes(output / name):.1f} MiB"
        rows["made in"] = (
            f"{told['seconds'] / 60:.1f} min: {told['steps']} steps, {made['num_scenes']} scenes, "
            f"{made['threads']} thread(s)"
        )
        mark = " (quick: not for use)" if made["quick"] else ""
        lines += [f"## {name}{mark}\n", f"`{part.used_as}`\n", table(rows)]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
