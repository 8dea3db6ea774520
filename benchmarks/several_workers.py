"""Several workers: two on two cores against one with two threads, and the loss curves of 1, 2 and 4.

Workers are gloo processes under DDP, each with an equal share of one global batch. Speeds are taken turn by turn. The
curves are those of a vision transformer, which has no BatchNorm, with a linear adaptor and a text loss whose negatives
are those of all workers: so all are one and the same training but for rounding. The largest difference of a step's loss
is printed, and the tolerance that it must keep.
"""

import multiprocessing
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.made_training import MadeData
from benchmarks.pairs import arguments, told
from benchmarks.turns import LOSSES, endless_steps, give_turns, in_group, serve
from orchestrator import distributed
from orchestrator.students import AdaptorSettings, TimmStudentSettings
from orchestrator.training.settings import AdamWSettings, TrainingSettings

TWO, ONE, TOLERANCE = "two workers", "one worker, two threads", 1e-3
WITHOUT_BATCHNORM = TimmStudentSettings(name="test_vit", image_size=64)


def _serve(folder: Path, name: str, rank: int, num_workers: int, num_threads: int, *rest: Any) -> None:
    torch.set_num_threads(num_threads)
    (folder / name).mkdir(exist_ok=True)
    with in_group(folder / name, rank, num_workers):
        serve(folder, name, *rest)


def _curve(folder: Path, rank: int, num_workers: int, batch: int, num_steps: int) -> None:
    """The mean loss of each step over the workers, as a file."""
    torch.set_num_threads(1)
    with in_group(folder, rank, num_workers):
        losses = _losses(folder / f"data-{rank}", num_workers, batch, num_steps)
    if rank == 0:
        np.save(folder / "losses.npy", losses)


def _losses(own: Path, num_workers: int, batch: int, num_steps: int) -> np.ndarray:
    own.mkdir()
    settings = TrainingSettings(epochs=1000, batch_size=batch, optimizer=AdamWSettings(learning_rate=1e-3))
    adaptor = AdaptorSettings(depth=0)
    trainer = MadeData(own, count=4 * batch, num_classes=10).trainer(
        WITHOUT_BATCHNORM, LOSSES, settings, adaptor=adaptor, parallel=num_workers > 1
    )
    steps = endless_steps(trainer)
    return np.array(
        [
            float(distributed.sum_over_workers(torch.tensor(next(steps), dtype=torch.float64))) / num_workers
            for _ in range(num_steps)
        ]
    )


def curves(folder: Path, batch: int, num_steps: int) -> dict[int, np.ndarray]:
    """Losses of each step by number of workers."""
    found = {}
    for num_workers in (1, 2, 4):
        own = folder / f"curve-{num_workers}"
        own.mkdir()
        _run(_curve, [(own, rank, num_workers, batch, num_steps) for rank in range(num_workers)])
        found[num_workers] = np.load(own / "losses.npy")
    return found


def _start(target: Any, arguments: list[tuple[Any, ...]]) -> list[Any]:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=target, args=each) for each in arguments]
    for process in processes:
        process.start()
    return processes


def _run(target: Any, arguments: list[tuple[Any, ...]]) -> None:
    for process in _start(target, arguments):
        process.join()
        assert process.exitcode == 0, f"a worker ended with {process.exitcode}"


def draw(found: dict[int, np.ndarray], path: Path) -> None:
    """The curves over each other, and their distances to one worker's below."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, (above, below) = pyplot.subplots(2, 1, sharex=True, figsize=(7, 5), height_ratios=(2, 1))
    for (num_workers, losses), style in zip(found.items(), ("-", "--", ":"), strict=True):
        above.plot(losses, style, label=f"{num_workers} worker{'s' if num_workers > 1 else ''}", linewidth=2)
        if num_workers > 1:
            below.semilogy(np.abs(losses - found[1]) + 1e-12, style, label=f"{num_workers} workers")
    above.set_ylabel("loss of the global batch")
    below.set_ylabel("distance to 1 worker")
    below.set_xlabel("step")
    above.legend()
    below.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.tight_layout()
    figure.savefig(path, dpi=100)


def main() -> None:
    """Measure, draw and print."""
    parser = arguments(__doc__)
    parser.add_argument("--student", default="test_byobnet", help="a timm model, for the speeds")
    parser.add_argument("--batch", type=int, default=192, help="global batch, for the speeds")
    parser.add_argument("--curve-batch", type=int, default=64, help="global batch of the curves")
    parser.add_argument("--curve-steps", type=int, default=200, help="steps of the curves")
    parser.add_argument("--figure", type=Path, default=Path("docs/images/loss_curves.png"), help="where it is drawn")
    parser.add_argument("--only-curves", action="store_true", help="without the speeds")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="workers-") as name:
        folder = Path(name)
        found = curves(folder, given.curve_batch, given.curve_steps)
        apart = {count: float(np.abs(losses - found[1]).max()) for count, losses in found.items() if count > 1}
        draw(found, given.figure)
        shown = ", ".join(f"{count} workers {distance:.1e}" for count, distance in apart.items())
        print(
            f"losses {found[1][0]:.4f} to {found[1][-1]:.4f} in {given.curve_steps} steps of {given.curve_batch} images"
        )
        kept = "kept" if max(apart.values()) < TOLERANCE else "NOT KEPT"
        print(f"largest distance of a step's loss to one worker's: {shown}; tolerance {TOLERANCE:g} {kept}")
        if given.only_curves:
            return
        rest = (given.student, given.batch, 1)
        sides = [(folder, TWO, rank, 2, 1, *rest) for rank in range(2)] + [(folder, ONE, 0, 1, 2, *rest)]
        processes = _start(_serve, sides)

        def alive() -> None:
            assert all(process.exitcode in (None, 0) for process in processes), "a side has ended early"

        times = give_turns(folder, [TWO, ONE], {TWO: 2, ONE: 1}, given.seconds, alive)
        for process in processes:
            process.join()
    print(f"{given.student}, 64 pixels, global batch {given.batch} (processor time of two workers is the first one's)")
    print(told(times, TWO, ONE, images=given.batch)[0])


if __name__ == "__main__":
    main()
