"""Plausible mistakes of a user: each is really made, and what the user then sees is printed as the table of the docs.

No figure is measured here. A mistake is told well when the command ends with 2, says no traceback, names what is wrong
and what to do. `python -m benchmarks.mistakes` ends with 1 where one is not. Makes small files in a temporary folder.
"""

import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from typer.testing import CliRunner

from orchestrator.cli import app

PROJECT = Path(__file__).resolve().parent.parent
SMOKE, IN_PROCESS = str(PROJECT / "jobs/experiments/smoke.yaml"), str(PROJECT / "jobs/executions/in_process.yaml")
MAX_LINES = 5


@dataclass(frozen=True)
class Mistake:
    """A mistake, what it is called in the docs, and what must be said about it.

    Attributes:
        arguments: of the command, given a folder in which files for it may be made.
        says: words of the message: what is wrong, and what is meant or to be done.
        ends: exit code.
    """

    name: str
    arguments: Callable[[Path], Sequence[str]]
    says: tuple[str, ...]
    ends: int = 2


@dataclass(frozen=True)
class Seen:
    """What the user sees: the command without paths of this machine, the lines, the exit code."""

    command: str
    lines: tuple[str, ...]
    exit_code: int
    traceback: bool

    def problems(self, mistake: Mistake) -> list[str]:
        """Why this is not told well; empty where it is."""
        text = "\n".join(self.lines)
        found = [f"does not say {word!r}" for word in mistake.says if word not in text]
        found += ["shows a traceback"] if self.traceback else []
        found += [f"ends with {self.exit_code}"] if self.exit_code != mistake.ends else []
        return found + ([f"{len(self.lines)} lines"] if len(self.lines) > MAX_LINES else [])


def run(*extra: str, command: str = "run") -> Callable[[Path], Sequence[str]]:
    """A command on the smoke experiment with overrides."""
    return lambda folder: [command, SMOKE, "-x", IN_PROCESS, "--set", f"storage_root={folder / 'runs'}", *extra]


def _sheet(text: str) -> Callable[[Path], Sequence[str]]:
    def made(folder: Path) -> Sequence[str]:
        path = folder / "mine.yaml"
        path.write_text(text)
        return ["run", str(path), "-x", IN_PROCESS]

    return made


def _images(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(path)
    return folder / "images"


def _folder_of_images(folder: Path, *names: str, empty: str = "") -> Sequence[str]:
    root = _images(folder, *names)
    if empty:
        (root / empty).mkdir()
    dataset = f"dataset={{kind: image_folder, root: '{root}', report_fraction: 0.5}}"
    return run(dataset, command="index")(folder)


def _list_file(folder: Path) -> Sequence[str]:
    root = _images(folder, "a.png", "b.png")
    (root / "classes.tsv").write_text("0\tants\n1\tbees\n")
    (root / "train.txt").write_text("a.png 0\nb.png cat\nc.png 1\n")
    return run(
        f"dataset={{kind: list_file, root: '{root}', lists: {{train: train.txt}}, class_names: classes.tsv}}",
        command="index",
    )(folder)


def _root_is_a_file(folder: Path) -> Sequence[str]:
    (folder / "runs").write_text("")
    return run(command="index")(folder)


MISTAKES = (
    Mistake("misspelt setting", run("trainig.epochs=3"), ("trainig", "did you mean training?")),
    Mistake("misspelt setting of an execution", run("--set", "captioning.num_actor=2"), ("did you mean num_actors?",)),
    Mistake("text where a number belongs", run("training.epochs=many"), ("training.epochs", "integer")),
    Mistake("value out of range", run("losses.text.weight=-1"), ("losses.text.weight", "greater than or equal to 0")),
    Mistake("unknown kind", run("student={kind: resnet}"), ("student.kind: unknown resnet", "resnet_embedding")),
    Mistake("blank instead of =", run("training.epochs", "3"), ("a.b=value",)),
    Mistake("missing sheet", lambda folder: ["run", "jobs/experiments/dmeo.yaml"], ("no such file", "demo.yaml")),
    Mistake("sheet that is no YAML", _sheet("name: x\n\tdataset: {}\n"), ("not YAML", "line 2")),
    Mistake("key given twice", _sheet("name: x\nname: y\n"), ("the key name stands twice",)),
    Mistake("misspelt prompt", run("prompts=[genral, targeted_1]"), ("did you mean general?",)),
    Mistake("no captions for a prompt", run("prompts=[general]"), ("texts.targeted.prompt", "not among prompts")),
    Mistake("loss without its teacher", run("image_teacher=null"), ("losses.image", "set an image teacher")),
    Mistake("arm with another data set", run("arms={small: {dataset.seed: 3}}"), ("arms.small", "all arms share")),
    Mistake("sweep of an arm that is not there", run("sweep.arm=both"), ("sweep.arm", "baseline, distilled")),
    Mistake(
        "missing folder of images",
        run("dataset={kind: image_folder, root: /no/images, report_fraction: 0.5}", command="index"),
        ("is not a folder", "dataset.root"),
    ),
    Mistake("wrong label file", _list_file, ("train.txt", "cat")),
    Mistake(
        "class without an image",
        lambda folder: _folder_of_images(folder, "a/1.png", "a/2.png", empty="b"),
        ("holds no image", "empty_classes: leave_out"),
    ),
    Mistake(
        "images without folders of classes",
        lambda folder: ["init", str(_images(folder, "1.png", "2.png"))],
        ("no folder of a class", "FOLDER/CLASS/image.jpg"),
    ),
    Mistake(
        "weights that are not there",
        run("text_encoder={kind: open_clip, model: /models/none}", "--set", "tracking.kind=none", command="embed"),
        ("/models/none",),
    ),
    Mistake(
        "unreachable MLflow",
        run("--set", "tracking.uri=http://127.0.0.1:9", command="index"),
        ("127.0.0.1:9", "the next command sends them"),
        ends=0,
    ),
    Mistake("storage root that is a file", _root_is_a_file, ("runs", "storage_root")),
    Mistake("unknown stage to rebuild", run("--rebuild", "trains"), ("--rebuild trains", "train")),
    Mistake("unknown command", lambda folder: ["trian", SMOKE], ("train",)),
    Mistake("unknown option", run("--dryrun"), ("--dry-run",)),
    Mistake("misspelt path to explain", lambda folder: ["explain", "losses.text.temprature"], ("temperature",)),
    Mistake("folder that is no artifact", lambda folder: ["show", str(folder)], ("is no artifact", "runs/demo/index")),
    Mistake(
        "student that is not there",
        lambda folder: ["predict", str(folder / "none"), str(_images(folder, "1.png"))],
        ("none",),
    ),
    Mistake("seeds that are no numbers", run("--seeds", "a,b", command="evidence"), ("0,1,2,3",)),
)


def see(mistake: Mistake, folder: Path) -> Seen:
    """Make the mistake, in this process."""
    arguments = [str(argument) for argument in mistake.arguments(folder)]
    ended = CliRunner().invoke(app, arguments)
    unforeseen = ended.exception is not None and not isinstance(ended.exception, SystemExit)
    told = f"{type(ended.exception).__name__}: {ended.exception}" if unforeseen else ended.stderr
    shown = " ".join(f'"{part}"' if " " in part else part for part in arguments)
    for path, name in ((str(folder), "FOLDER"), (str(PROJECT) + "/", "")):
        shown, told = shown.replace(path, name), told.replace(path, name)
    lines = tuple(
        line.strip("│ ").rstrip() for line in told.splitlines() if line.strip("│╭╮╰╯─ ") and "Usage" not in line
    )
    lines = tuple(line for line in lines if not line.startswith(("╭", "╰", "Try ")))
    return Seen(f"orchestrator {shown}", lines, ended.exit_code, unforeseen or "Traceback" in told)


def main() -> None:
    """Make them all, print the table, and tell which are told badly."""
    bad = []
    print("| mistake | what you see |\n|---|---|")
    for mistake in MISTAKES:
        with tempfile.TemporaryDirectory() as folder:
            seen = see(mistake, Path(folder))
        shown = "<br>".join(f"`{line}`" for line in seen.lines).replace("|", "\\|")
        print(f"| {mistake.name} | {shown} |", flush=True)
        if problems := seen.problems(mistake):
            bad.append(f"{mistake.name}: {'; '.join(problems)}\n    {seen.command}")
    print(f"\n{len(MISTAKES) - len(bad)} of {len(MISTAKES)} are told well")
    if bad:
        sys.exit("\n".join(bad))


if __name__ == "__main__":
    main()
