"""The captioning line over many small images with the constant back end: rows/s, peak memory, replay.

Writes NUM JPEG images of 64 pixels into one tar, then runs `orchestrator caption` on Ray over a tenth of them and over
all of them, each into a store of its own, and the finished command again. Peak memory is the resident set of the driver
and of the largest actor, sampled ten times a second.

    python -m benchmarks.captioning_engine [--rows 100000] [--folder FOLDER]
"""

import argparse
import io
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

PROJECT = Path(__file__).resolve().parents[1]
SETTINGS = ["tracking.kind=none", "cluster.num_cpus=2", "captioning.num_actors=2", "captioning.batch_size=64"]


def write_images(folder: Path, count: int) -> None:
    """`images.tar` with `count` different JPEG images, and lists of a tenth and of all of them."""
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "all.txt").is_file():
        return
    generator = np.random.default_rng(0)
    names = [f"{number:06d}.jpg" for number in range(count)]
    with tarfile.open(folder / "images.tar", "w") as tar:
        for name in names:
            small = Image.fromarray(generator.integers(0, 256, (8, 8, 3), np.uint8))
            stream = io.BytesIO()
            small.resize((64, 64), Image.Resampling.BICUBIC).save(stream, "JPEG", quality=85)
            member = tarfile.TarInfo(name)
            member.size = stream.tell()
            stream.seek(0)
            tar.addfile(member, stream)
    for title, part in (("tenth", names[: count // 10]), ("all", names)):
        (folder / f"{title}.txt").write_text("".join(f"{name} {n % 10}\n" for n, name in enumerate(part)))


def command(folder: Path, title: str, stage: str = "caption") -> list[str]:
    """A stage of the line over one of the lists."""
    dataset = f"{{kind: list_file, root: '{folder / 'images.tar'}', lists: {{train: '{folder / title}.txt'}}}}"
    experiment = [f"dataset={dataset}", f"name={title}", "sweep=null", "prompts=[general]", "caption_splits=[train]"]
    experiment += ["texts={general: {kind: caption, prompt: general}}", "text_sources=[general]"]
    settings = [part for setting in [*SETTINGS, f"storage_root={folder / 'runs'}"] for part in ("--set", setting)]
    script = str(Path(sys.executable).parent / "orchestrator")
    return [script, stage, "jobs/experiments/smoke.yaml", *experiment, *settings]


def run(arguments: list[str]) -> tuple[float, float, float, bool]:
    """(seconds, driver's and largest actor's peak memory in MiB, whether Ray was started) of a command."""
    begun = time.monotonic()
    child = psutil.Popen(arguments, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    driver = actor = 0.0
    ray_seen = False
    while child.poll() is None:
        try:
            driver = max(driver, child.memory_info().rss / 2**20)
            for process in child.children(recursive=True):
                title = " ".join(process.cmdline()[:1])
                ray_seen |= "raylet" in title
                if "MapWorker" in title:
                    actor = max(actor, process.memory_info().rss / 2**20)
        except psutil.Error:
            pass
        time.sleep(0.1)
    if child.returncode:
        raise SystemExit(child.stdout.read().decode())
    return time.monotonic() - begun, driver, actor, ray_seen


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, default=None)
    arguments = parser.parse_args()
    folder = (arguments.folder or Path(tempfile.mkdtemp(prefix="engine-"))).resolve()
    write_images(folder, arguments.rows)
    peaks = {}
    for title in ("tenth", "all"):
        shutil.rmtree(folder / "runs" / title, ignore_errors=True)
        shutil.rmtree(folder / "runs" / "store", ignore_errors=True)
        run(command(folder, title, "index"))
        seconds, driver, actor, _ = run(command(folder, title))
        manifests = {
            stage: json.loads((folder / "runs" / title / stage / "manifest.json").read_text())
            for stage in ("index", "captions")
        }
        rows = manifests["captions"]["counts"]["done"]
        took = manifests["captions"]["seconds"]
        peaks[title] = (driver, actor)
        print(
            f"{rows:,} rows: {seconds:.1f} s in all; captions {took:.1f} s with the start of Ray and of the actors: "
            f"{rows / took:,.0f} rows/s (index before: {manifests['index']['seconds']:.1f} s); "
            f"peak memory: driver {driver:,.0f} MiB, actor {actor:,.0f} MiB",
            flush=True,
        )
    grown = [large / small for small, large in zip(peaks["tenth"], peaks["all"], strict=True)]
    print(f"ten times the rows: driver x {grown[0]:.2f}, actor x {grown[1]:.2f} of the memory (asked: at most 1.20)")
    seconds, _, _, ray_seen = run(command(folder, "all"))
    print(f"replay of the finished job: {seconds:.1f} s (asked: at most 10), Ray started: {ray_seen}")
    if arguments.folder is None:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
