"""Captioning under failures: ours beside Ray Data alone and Ray Data with its own checkpoint, same model and images.

Two failures, each for itself: the driver is killed (SIGKILL) when the model has seen 60 % of the rows, and then the
same command is started again; or one image has been cut off after it was listed, and a command that fails is started
again (at most three times). Every contender runs the embedded VLM (one actor, micro-batches of 16) over the same JPEG
files, and its model appends to one log what it was given.

Prints for each: rows that reached the model before the kill and were lost, rows paid more than once, good rows missing
at the end, rows there twice, wall time of all commands.

    python -m benchmarks.captioning_peers [--rows 512]
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

PROJECT = Path(__file__).resolve().parents[1]
BATCH_SIZE, MAX_NEW_TOKENS, KILL_AT = 16, 40, 0.6
PROMPT = "Please describe the image in one sentence."
CUT_OFF = 0.9  # where in the data the damaged image stands
LOG = "BENCHMARK_MODEL_LOG"


def write_images(folder: Path, count: int) -> None:
    """JPEG files `000000.jpg` ... of scenes of the embedded world, and their list."""
    from orchestrator.datasets.shapes_grammar import random_attributes, scene_of
    from orchestrator.datasets.shapes_render import render

    folder.mkdir(parents=True)
    for number in range(count):
        pixels = render(scene_of(9, "peers", number, random_attributes(9, number)))
        Image.fromarray(pixels).save(folder / f"{number:06d}.jpg", quality=95)
    (folder / "list.txt").write_text("".join(f"{number:06d}.jpg 0\n" for number in range(count)))


def damage(folder: Path, count: int) -> Path:
    """Cut one image off."""
    path = folder / f"{int(CUT_OFF * count):06d}.jpg"
    path.write_bytes(path.read_bytes()[:200])
    return path


class Model:
    """The captioner behind each contender; logs the names of the images it is given."""

    def __init__(self) -> None:
        from orchestrator.captioners import TransformersCaptionerSettings

        self._captioner = TransformersCaptionerSettings(max_new_tokens=MAX_NEW_TOKENS).build()

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Ray Data's way: columns of a batch in, columns out."""
        from orchestrator.captioners import Visit
        from orchestrator.datasets.index import decode_rgb

        visits = [Visit(decode_rgb(data), (PROMPT,)) for data in batch["bytes"]]
        names = [Path(str(path)).name for path in batch["path"]]
        with Path(os.environ[LOG]).open("a") as log:
            log.write("".join(f"{name}\n" for name in names))
        captions = [str(answers[0]) for answers in self._captioner.caption(visits)]
        return {"name": np.array(names), "caption": np.array(captions)}


def ray_data(folder: Path, target: Path, checkpoint: Path | None) -> None:
    """Plain Ray Data: read_binary_files -> map_batches -> write_parquet, as its documentation has it."""
    import ray
    from ray.data.checkpoint import CheckpointConfig

    ray.init(address="local", num_cpus=3, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    if checkpoint is not None:
        context.checkpoint_config = CheckpointConfig("path", str(checkpoint), delete_checkpoint_on_success=False)
    data = ray.data.read_binary_files(str(folder), include_paths=True, file_extensions=["jpg"])
    options = {"batch_size": BATCH_SIZE, "num_cpus": 1, "compute": ray.data.ActorPoolStrategy(size=1)}
    if checkpoint is None:
        data.map_batches(Model, **options).write_parquet(str(target), mode="overwrite")
    else:
        data.map_batches(KeepPath, **options).write_parquet(str(target))


class KeepPath(Model):
    """The checkpoint needs its id column in the output."""

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """See `Model`."""
        return {**super().__call__(batch), "path": batch["path"]}


def ours(folder: Path, root: Path) -> list[str]:
    """`orchestrator caption` over the list."""
    captioner = f"{{kind: transformers, model: 'embedded:tiny_vlm', max_new_tokens: {MAX_NEW_TOKENS}}}"
    dataset = f"{{kind: list_file, root: '{folder}', lists: {{train: '{folder / 'list.txt'}'}}}}"
    experiment = [f"dataset={dataset}", "name=peers", "sweep=null", "prompts=[general]", f"captioner={captioner}"]
    experiment += ["texts={general: {kind: caption, prompt: general}}", "text_sources=[general]"]
    settings = ["tracking.kind=none", f"storage_root={root}", f"captioning.batch_size={BATCH_SIZE}"]
    settings += ["cluster.num_cpus=3", "captioning.num_actors=1"]
    flags = [part for setting in settings for part in ("--set", setting)]
    return [
        str(Path(sys.executable).parent / "orchestrator"),
        "caption",
        "jobs/experiments/smoke.yaml",
        *experiment,
        *flags,
    ]


def captions_of(folder: Path) -> list[str]:
    """Names of the images that have a caption in a contender's output."""
    import pyarrow.parquet as pq

    files = [path for path in folder.rglob("*.parquet") if path.stat().st_size]
    return [name for path in files for name in pq.ParquetFile(path).read(columns=["name"])["name"].to_pylist()]


def our_captions(root: Path) -> list[str]:
    """The same for ours: the store's rows by the images' hashes."""
    import pyarrow.parquet as pq

    from orchestrator.stages.verify import stores_below

    rows = stores_below(str(root / "store"))[0].rows()
    kept = {row["content_hash"] for row in rows.to_pylist() if row["caption"]}
    images = pq.read_table(root / "peers" / "index" / "images.parquet")
    hashes = zip(images["image_id"].to_pylist(), images["content_hash"].to_pylist(), strict=True)
    return [Path(name).name for name, content in hashes if content in kept]


def our_log(root: Path) -> list[float]:
    """[rows through the model that were kept, rows that were lost] from the ledger."""
    from orchestrator.stages.verify import stores_below

    totals = stores_below(str(root / "store"))[0].totals()
    return [totals["model_rows"], totals["lost_rows"]]


def run(arguments: list[str], seen: "object", rows: int, log: Path) -> tuple[int, float]:
    """A command, killed when the model has seen enough if `seen` is a counter; (exit code, seconds)."""
    begun = time.monotonic()
    with (log.parent / "output.log").open("ab") as output:
        child = psutil.Popen(arguments, cwd=PROJECT, stdout=output, stderr=output, env={**os.environ, LOG: str(log)})
        while child.poll() is None:
            if callable(seen) and seen() >= KILL_AT * rows:
                family = child.children(recursive=True)
                child.kill()
                child.wait()
                psutil.wait_procs(family, timeout=20)
                break
            time.sleep(0.02)
    return child.returncode, time.monotonic() - begun


def contend(title: str, folder: Path, work: Path, rows: int, *, kill: bool) -> str:
    """Run to the end under one failure; one line of the table."""
    log, target = work / "model.log", work / "out"
    log.touch()
    me = [sys.executable, "-m", "benchmarks.captioning_peers", "--contender", title, "--images", str(folder)]
    arguments = ours(folder, target) if title == "ours" else [*me, "--target", str(target)]

    def lines() -> int:
        return log.read_bytes().count(b"\n")

    def parts() -> int:
        return BATCH_SIZE * len(list((target / "store").glob("captions/*/parts/*.parquet"))) if target.is_dir() else 0

    total_s, lost_rows, good = 0.0, 0, rows if kill else rows - 1
    if kill:
        code, total_s = run(arguments, parts if title == "ours" else lines, rows, log)
        assert code == -9, f"{title}: ended with {code} before it was killed, see {work / 'output.log'}"
    if title == "ours":
        kept = parts()
        reached = kept + BATCH_SIZE * len(list((target / "store").glob("captions/*/intents/*.json")))
    else:
        kept, reached = len(set(captions_of(target))) if target.is_dir() else 0, lines()
    lost_rows = reached - kept if kill else 0
    codes = []
    for _ in range(3):
        code, seconds = run(arguments, None, rows, log)
        codes.append(code)
        total_s += seconds
        if code == 0:
            break
    names = our_captions(target) if title == "ours" else (captions_of(target) if target.is_dir() else [])
    if title == "ours":
        paid, lost = our_log(target)
        twice = int(lost)
        assert paid == good
    else:
        given = Counter(log.read_text().split())
        twice = sum(count - 1 for count in given.values())
    return (
        f"{title:<26} {lost_rows:>9,} {twice:>10,} {good - len(set(names)):>13,} "
        f"{len(names) - len(set(names)):>10,} {total_s:>8.0f} s   {codes}"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--contender", default="")
    parser.add_argument("--images", type=Path, default=None)
    parser.add_argument("--target", type=Path, default=None)
    arguments = parser.parse_args()
    if arguments.contender:
        checkpoint = arguments.target.parent / "checkpoint" if "checkpoint" in arguments.contender else None
        ray_data(arguments.images, arguments.target, checkpoint)
        return
    work = Path(tempfile.mkdtemp(prefix="peers-"))
    images = work / "images"
    write_images(images, arguments.rows)
    heads = ("rows lost", "paid twice", "rows missing", "duplicates", "wall")
    for kill in (True, False):
        failure = f"the driver killed after {KILL_AT:.0%} of the rows" if kill else "one image cut off"
        print(f"{arguments.rows} rows, {failure}")
        print(f"{'':<26} " + " ".join(f"{h:>{width}}" for h, width in zip(heads, (9, 10, 13, 10, 10), strict=True)))
        if not kill:
            damage(images, arguments.rows)
        for title in ("ours", "Ray Data", "Ray Data with checkpoint"):
            folder = work / f"{title.replace(' ', '-')}-{kill}"
            folder.mkdir()
            if title == "ours":  # the index comes first, as it does for a user
                command = ours(images, folder / "out")
                listed = [command[0], "index", *command[2:]]
                subprocess.run(listed, cwd=PROJECT, check=True, stdout=subprocess.DEVNULL)
            print(contend(title, images, folder, arguments.rows, kill=kill), flush=True)
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
