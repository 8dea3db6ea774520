"""`python -m jobs.teachers`: train the embedded teachers and measure them; about an hour on 2 cores.

Writes tiny_clip/, tiny_vlm/ and QUALITY.md into --output. The pool of scenes (1.4 GB) and each finished step are kept
in --work, so that an interrupted run goes on where it stopped. The shipped weights come from these steps with these
defaults, run one by one; that one uninterrupted run gives the same bits has not been checked.
"""

import argparse
import time
from pathlib import Path
from typing import Any

TOWER = "test_byobnet"  # timm; 0.2 M parameters, about 900 images/s in training on one core


def parser() -> argparse.ArgumentParser:
    """The command line; every default is what the shipped weights were made with."""
    p = argparse.ArgumentParser(
        prog="python -m jobs.teachers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument(
        "--output",
        type=Path,
        default=Path("orchestrator/embedded/weights"),
        help="folder for the weights (%(default)s)",
    )
    p.add_argument(
        "--work",
        type=Path,
        default=Path("runs/teachers"),
        help="folder for the scene pool and finished steps (%(default)s)",
    )
    p.add_argument("--num-scenes", type=int, default=120_000, help="training scenes (%(default)s)")
    p.add_argument(
        "--tower-epochs", type=float, default=6.0, help="passes of the image tower over the pool (%(default)s)"
    )
    p.add_argument("--clip-steps", type=int, default=1500, help="steps of the text tower (%(default)s)")
    p.add_argument("--vlm-steps", type=int, default=2000, help="steps of the VLM (%(default)s)")
    p.add_argument("--num-check", type=int, default=1000, help="unseen scenes to measure on (%(default)s)")
    p.add_argument("--threads", type=int, default=1, help="torch threads; part of what makes the numbers (%(default)s)")
    p.add_argument("--dry-run", action="store_true", help="print what would be made, and end")
    return p


def show(title: str) -> Any:
    """A progress printer: one line rewritten in place on a terminal, otherwise a line at most every 20 s."""
    import sys

    last = [0.0]

    def progress(done: int, total: int, note: str = "") -> None:
        now = time.monotonic()
        terminal = sys.stdout.isatty()
        if done == total or now - last[0] > (0.5 if terminal else 20):
            last[0] = now
            bar = "#" * (24 * done // total)
            end = "\n" if done == total or not terminal else "\r"
            print(f"{title:<14} [{bar:<24}] {done}/{total} {note}", end=end, flush=True)

    return progress


def publish(made: Path, target: Path) -> float:
    """Copy a finished step into the output folder; the seconds it took."""
    target.mkdir(parents=True, exist_ok=True)
    for file in made.iterdir():
        if file.name != "seconds":
            (target / file.name).write_bytes(file.read_bytes())
    return float((made / "seconds").read_text())


def main(arguments: list[str] | None = None) -> None:
    """Run every step that --work does not hold yet."""
    a = parser().parse_args(arguments)
    print(
        f"tower {TOWER}: {a.num_scenes} scenes x {a.tower_epochs} epochs; "
        f"text tower {a.clip_steps} steps; VLM {a.vlm_steps} steps"
    )
    print(f"weights -> {a.output}/tiny_clip, {a.output}/tiny_vlm, {a.output}/QUALITY.md; kept steps -> {a.work}")
    if a.dry_run:
        return
    import timm
    import torch

    from orchestrator.embedded import quality
    from orchestrator.embedded.scene_pool import pool_scene, render_pool
    from orchestrator.embedded.train_clip import pooled_features, train_clip
    from orchestrator.embedded.train_tower import attribute_accuracy, train_tower, value_indices
    from orchestrator.embedded.train_vlm import token_features, train_vlm

    torch.set_num_threads(a.threads)
    times: dict[str, float] = {}

    def timed(name: str, started: float) -> None:
        times[name] = time.monotonic() - started

    started = time.monotonic()
    pixels = render_pool(a.work, a.num_scenes, num_processes=2, progress=show("scenes"))
    scenes = [pool_scene(i) for i in range(a.num_scenes)]
    values = torch.tensor([value_indices(s) for s in scenes])
    timed("render scenes", started)
    drawn = a.work / f"scenes_{a.num_scenes}.seconds"
    if not drawn.exists():
        drawn.write_text(str(times["render scenes"]))
    times["render scenes"] = float(drawn.read_text())

    started = time.monotonic()
    kept = a.work / f"tower_{TOWER}_{a.num_scenes}_{a.tower_epochs:g}_{a.threads}.pt"
    if kept.exists():
        state = torch.load(kept, weights_only=True)
        trunk = timm.create_model(TOWER, num_classes=0)
        trunk.load_state_dict(state["trunk"])
        accuracy, times["image tower"] = state["accuracy"], state["seconds"]
    else:
        trunk, head = train_tower(TOWER, pixels, values, epochs=a.tower_epochs, progress=show("image tower"))
        check, check_scenes = quality.render_check(2 * a.num_check)
        accuracy = attribute_accuracy(trunk, head, check, torch.tensor([value_indices(s) for s in check_scenes]))
        timed("image tower", started)
        torch.save({"trunk": trunk.state_dict(), "accuracy": accuracy, "seconds": times["image tower"]}, kept)
    trunk.eval()
    print("image tower on unseen scenes: " + quality.tower_accuracies(accuracy))

    made = a.work / f"{kept.stem}_clip_{a.clip_steps}"
    if not (made / "seconds").exists():
        started = time.monotonic()
        features = [pooled_features(trunk, pixels, flip=flip, progress=show("features")) for flip in (False, True)]
        train_clip(made, TOWER, trunk, features, scenes, values, steps=a.clip_steps, progress=show("text tower"))
        (made / "seconds").write_text(str(time.monotonic() - started))
    times["text tower"] = publish(made, a.output / "tiny_clip")

    made = a.work / f"{kept.stem}_vlm_{a.vlm_steps}"
    if not (made / "seconds").exists():
        started = time.monotonic()
        tokens = token_features(TOWER, trunk, pixels, show("image tokens"))
        train_vlm(made, TOWER, trunk, tokens, scenes, steps=a.vlm_steps, progress=show("VLM"))
        (made / "seconds").write_text(str(time.monotonic() - started))
    times["VLM"] = publish(made, a.output / "tiny_vlm")

    started = time.monotonic()
    numbers = quality.measure(a.output, dataset_seeds=(7, 1000, 1001), num_scenes=a.num_check, progress=show("quality"))
    timed("quality", started)
    rows = {k: f"{100 * v:.1f} %" for k, v in numbers.items()}
    rows |= {f"image tower, linear head, {k}": f"{100 * v:.1f} %" for k, v in accuracy.items()}
    rows |= {f"size of {n}": f"{quality.folder_mebibytes(a.output / n):.1f} MiB" for n in ("tiny_clip", "tiny_vlm")}
    rows |= {f"time, {k}": f"{v / 60:.1f} min" for k, v in times.items()}
    text = (
        "# The embedded teachers\n\n"
        "Made by `python -m jobs.teachers` (`make teachers`) with its defaults, on scenes of a seed of their own,\n"
        "balanced over all 1,024 combinations of attributes: they know more than the long-tailed training set shows.\n"
        f"{a.num_scenes} scenes; tower {TOWER} {a.tower_epochs:g} epochs, text tower {a.clip_steps} steps, "
        f"VLM {a.vlm_steps} steps, {a.threads} thread(s), seed 0.\n"
        "Times are wall times, on two cores that other work shared.\n\n"
    )
    (a.output / "QUALITY.md").write_text(text + quality.table(rows))
    print(quality.table(rows))


if __name__ == "__main__":
    main()
