"""The product's loop under Ray Train with one worker against the same loop in a plain process, turn by turn.

Both processes live at once, each with its own copy of the same made data, and take turns of a few steps; so start-up is
not counted (it is told), and the busy hours of a shared machine fall on both. What we claim: at least 0.95 of the plain
process's images/s.
"""

import multiprocessing
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.pairs import arguments, told
from benchmarks.turns import give_turns, serve

CLAIM, RAY, PLAIN = 0.95, "Ray Train", "plain process"


def _plain(folder: Path, *rest: Any) -> None:
    torch.set_num_threads(rest[-1])
    serve(folder, PLAIN, *rest[:-1])


def _in_ray(config: dict[str, Any]) -> None:
    torch.set_num_threads(config["threads"])
    serve(Path(config["folder"]), RAY, config["student"], config["batch"], config["steps"])


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--student", default="test_byobnet", help="a timm model")
    parser.add_argument("--batch", type=int, default=192, help="images of a step")
    parser.add_argument("--steps", type=int, default=1, help="steps of a turn")
    given = parser.parse_args()
    os.environ.setdefault("RAY_TRAIN_ENABLE_STATE_TRACKING", "0")
    import ray
    import ray.train
    import ray.train.torch

    with tempfile.TemporaryDirectory(prefix="turns-") as name:
        folder = Path(name)
        rest = (given.student, given.batch, given.steps)
        plain = multiprocessing.get_context("spawn").Process(target=_plain, args=(folder, *rest, given.threads))
        plain.start()
        started = time.perf_counter()
        project = str(Path(__file__).resolve().parents[1])
        ray.init(
            address="local", num_cpus=2, include_dashboard=False, log_to_driver=False,
            runtime_env={"env_vars": {"PYTHONPATH": project}},
        )  # fmt: skip
        trainer = ray.train.torch.TorchTrainer(
            _in_ray,
            train_loop_config={"folder": name, "student": given.student, "batch": given.batch, "steps": given.steps,
                               "threads": given.threads},
            scaling_config=ray.train.ScalingConfig(num_workers=1, use_gpu=False),
            run_config=ray.train.RunConfig(name="benchmark", storage_path=name),
        )  # fmt: skip
        failed: list[BaseException] = []

        def fit() -> None:
            try:
                trainer.fit()
            except Exception as error:  # told below, in the main thread
                failed.append(error)

        running = threading.Thread(target=fit, daemon=True)
        running.start()
        start_s: list[float] = []

        def alive() -> None:
            if not start_s and (folder / f"{RAY}-0" / "ready").is_file():
                start_s.append(time.perf_counter() - started)
            if failed or plain.exitcode not in (None, 0):
                raise RuntimeError("a side has ended early") from (failed[0] if failed else None)

        times = give_turns(folder, [RAY, PLAIN], {RAY: 1, PLAIN: 1}, given.seconds, alive)
        running.join()
        plain.join()
        ray.shutdown()
    if start_s:
        print(f"start of Ray and of the worker, with its imports: {start_s[0]:.1f} s")
    print(f"{given.student}, 64 pixels, batch {given.batch}, {given.threads} threads")
    print("\n".join(told(times, RAY, PLAIN, images=given.batch * given.steps, at_least=CLAIM)))


if __name__ == "__main__":
    main()
