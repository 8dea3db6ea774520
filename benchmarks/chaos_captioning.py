"""Chaos: `orchestrator caption` on Ray with processes killed at random moments; prints what each kill cost.

Every round captions the same images with the embedded VLM into a store of its own, while actors, the driver and the
raylet are killed (SIGKILL), at moments drawn uniformly over the time a round takes, and at the moments of commits and
of the compaction. After a kill that ends the command, the same command is started again. A round ends when the command
ends well; then its store must hold exactly what an undisturbed run holds, and the ledger must account for every row
that went through the model.

    python -m benchmarks.chaos_captioning [--kills 50] [--folder runs/chaos-captioning] [--seed 0]

Finished rounds are kept in the folder, so that an interrupted benchmark goes on. The last line is the figure.
"""

import argparse
import random
import shutil
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil

from orchestrator.artifacts.storage import read_json, read_table, write_json
from orchestrator.artifacts.store_checks import verify_store
from orchestrator.artifacts.teacher_store import TeacherStore
from orchestrator.stages.verify import stores_below

PROJECT = Path(__file__).resolve().parents[1]
NUM_ACTORS, BATCH_SIZE = 2, 8
EXPERIMENT = [
    "jobs/experiments/smoke.yaml", "name=chaos", "dataset.max_count=900", "sweep=null",
    "captioner={kind: transformers, model: 'embedded:tiny_vlm', max_new_tokens: 40}",
]  # fmt: skip
EXECUTION = [
    "tracking.kind=none", f"cluster.num_cpus={NUM_ACTORS}", f"captioning.num_actors={NUM_ACTORS}",
    f"captioning.batch_size={BATCH_SIZE}",
]  # fmt: skip
TARGETS = ("actor", "actor at commit", "driver", "raylet", "driver at compaction")
PATIENCE_S = 600


def command(root: Path) -> list[str]:
    """The command whose processes are killed."""
    settings = [part for setting in [*EXECUTION, f"storage_root={root}"] for part in ("--set", setting)]
    return [str(Path(sys.executable).parent / "orchestrator"), "caption", *EXPERIMENT, *settings]


def start(root: Path) -> psutil.Popen:
    """Start it, its output beside its store."""
    log = (root.parent / f"{root.name}.log").open("ab")
    return psutil.Popen(command(root), cwd=PROJECT, stdout=log, stderr=log)


def store_of(root: Path) -> TeacherStore | None:
    """The caption store, once it is there."""
    found = stores_below(str(root / "store")) if (root / "store").is_dir() else []
    return found[0] if found else None


def content(root: Path) -> dict[str, Any]:
    """What must not depend on any kill: digest of the store, and the captions of the view."""
    store = store_of(root)
    assert store is not None
    problems, counts = verify_store(store, repair=False)
    view = read_table(root / "chaos" / "captions" / "captions.parquet")
    captions = view.select(["key", "image_id", "prompt", "caption"]).to_pydict()
    return {"digest": store.digest(), "captions": captions, "problems": problems, "counts": counts}


def find(child: psutil.Popen, target: str) -> psutil.Process | None:
    """A process to kill: the command itself, its raylet, or one of its actors that is at work."""
    if target.startswith("driver"):
        return psutil.Process(child.pid)
    wanted = "raylet" if target == "raylet" else "MapWorker"
    found = []
    try:
        for process in child.children(recursive=True):
            try:
                line = process.cmdline()
            except psutil.Error:
                continue
            if line and (Path(line[0]).name == wanted if target == "raylet" else wanted in line[0]):
                found.append(process)
    except psutil.Error:
        return None
    return random.choice(found) if found else None


def wait_for_sign(child: psutil.Popen, root: Path, target: str, delay_s: float) -> bool:
    """Wait for the moment of a kill: a random time, or a file that a commit or the compaction has just written."""
    begun = time.monotonic()
    folder, seen = root / "store", None
    while child.poll() is None and time.monotonic() - begun < PATIENCE_S:
        if target == "actor at commit" and time.monotonic() - begun >= delay_s:
            names = {path.name for path in folder.glob("*/*/parts/*") if path.name.startswith(".")}
            if names:  # a temporary file: a commit is being written
                return True
        elif target == "driver at compaction":
            now = {*folder.glob("*/*/ledger/*"), *folder.glob("*/*/segments/*")}
            if seen is not None and now - seen:
                return True
            seen = now
        elif not target.endswith("commit") and time.monotonic() - begun >= delay_s:
            return True
        time.sleep(0.0005 if target.endswith(("commit", "compaction")) else 0.01)
    return False


def run_round(root: Path, number: int, generator: random.Random, span_s: float, at_most: int) -> dict[str, Any]:
    """Commands and kills until one command ends well; what it took."""
    kills: list[str] = []
    codes: list[int] = []
    while True:
        child = start(root)
        while child.poll() is None:
            if len(kills) >= at_most:
                child.wait()
                break
            target = TARGETS[generator.randrange(len(TARGETS))]
            if not wait_for_sign(child, root, target, generator.uniform(0, span_s)):
                break
            process = find(child, target)
            if process is not None:
                try:
                    process.send_signal(signal.SIGKILL)
                    kills.append(target)
                except psutil.Error:
                    continue
            if target != "actor" and target != "actor at commit":
                break
        codes.append(child.wait())
        _end_rest(child)
        if codes[-1] == 0:
            return {"round": number, "kills": kills, "codes": codes, **content(root)}
        if len(codes) > 200:
            raise SystemExit(f"round {number}: {codes[-5:]} again and again; see {root}.log")


def _end_rest(child: psutil.Popen) -> None:
    """Ray ends what belongs to a killed driver by itself; give it the time."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and any(_is_ours(process, child.pid) for process in psutil.process_iter()):
        time.sleep(0.2)


def _is_ours(process: psutil.Process, pid: int) -> bool:
    try:
        return process.ppid() == pid
    except psutil.Error:
        return False


def main() -> int:
    """Rounds until the kills are used up."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--folder", type=Path, default=Path("runs/chaos-captioning"))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    folder: Path = arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    reference = folder / "undisturbed.json"
    if not reference.is_file():
        shutil.rmtree(folder / "undisturbed", ignore_errors=True)
        begun = time.monotonic()
        if start(folder / "undisturbed").wait() != 0:
            raise SystemExit(f"the undisturbed run failed; see {folder / 'undisturbed.log'}")
        write_json(reference, {"seconds": time.monotonic() - begun, **content(folder / "undisturbed")})
    wanted = read_json(reference)
    counts = wanted["counts"]
    print(
        f"undisturbed: {counts['rows']:,} captions in {wanted['seconds']:.0f} s, {counts['forwards']:.0f} forwards, "
        f"{len(wanted['problems'])} problems",
        flush=True,
    )
    done: list[dict[str, Any]] = []
    while (killed := sum(len(each["kills"]) for each in done)) < arguments.kills:
        number = len(done)
        path = folder / f"round-{number:02d}.json"
        if not path.is_file():
            root = folder / f"round-{number:02d}"
            shutil.rmtree(root, ignore_errors=True)
            generator = random.Random(f"{arguments.seed}/{number}")
            told = run_round(root, number, generator, 0.8 * wanted["seconds"], arguments.kills - killed)
            told["equal"] = all(told[name] == wanted[name] for name in ("digest", "captions"))
            write_json(path, {name: value for name, value in told.items() if name != "captions"})
            shutil.rmtree(root, ignore_errors=True)
        done.append(read_json(path))
        each = done[-1]
        paid, lost = each["counts"]["model_rows"], each["counts"]["lost_rows"]
        print(
            f"round {number}: {len(each['kills'])} kills ({', '.join(each['kills'])}): "
            f"{'equal' if each['equal'] else 'DIFFERENT'}, {len(each['problems'])} problems, "
            f"{paid:.0f} rows paid and kept, {lost:.0f} paid and lost",
            flush=True,
        )
        bad = not each["equal"] or each["problems"] or paid != counts["model_rows"]
        if bad or each["counts"]["lost_attempts"] > NUM_ACTORS * len(each["kills"]):
            print(f"FAILED in round {number}: see {path}")
            return 1
    kinds = Counter(kind for each in done for kind in each["kills"])
    kills = sum(kinds.values())
    attempts = sum(each["counts"]["lost_attempts"] for each in done)
    rows = sum(each["counts"]["lost_rows"] for each in done)
    print(", ".join(f"{count} x {kind}" for kind, count in kinds.most_common()))
    print(
        f"{kills} kills in {len(done)} rounds: every store and view equal to the undisturbed one; "
        f"{attempts:.0f} micro-batches ({rows:.0f} rows) computed twice, {attempts / kills:.2f} per kill, "
        f"at most one per actor"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
