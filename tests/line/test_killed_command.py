"""The whole command killed again and again, then left alone, ends in the numbers of an undisturbed one."""

import random
import signal
import time
from pathlib import Path

import pytest

from orchestrator.tracking.mlflow_store import open_client
from tests.line.command import Smoke, verify

# Each is a sign of a stage at work; the kill follows after a random moment, which may lie within the next stage.
SIGNS = (
    "store/captions/*/parts/*.parquet",
    "smoke/sweeps/smoke/trials/0001/checkpoints/*.json",
    "smoke/arms/*/checkpoints/*.pt",
)
PATIENCE_S = 600


def kill_at(smoke: Smoke, sign: str, wait_s: float) -> int:
    """Start the command, wait for `sign` and then a moment, kill it; its exit code."""
    with smoke.start() as child:
        deadline = time.monotonic() + PATIENCE_S
        while child.poll() is None and not any(smoke.root.glob(sign)):
            assert time.monotonic() < deadline, f"no {sign}"
            time.sleep(0.002)
        time.sleep(wait_s)
        child.send_signal(signal.SIGKILL)
    return child.returncode


@pytest.mark.slow
def test_a_command_killed_three_times_ends_in_the_same_numbers(tmp_path: Path) -> None:
    undisturbed, killed = Smoke(tmp_path / "undisturbed"), Smoke(tmp_path / "killed")
    ended = undisturbed.run()
    assert ended.returncode == 0, ended.stderr
    generator = random.Random(5)
    for sign in SIGNS:
        assert kill_at(killed, sign, generator.uniform(0, 0.2)) == -signal.SIGKILL
        assert not (killed.folder / "report" / "manifest.json").exists()
    ended = killed.run()
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""  # in particular, nothing was left untold to MLflow
    client = open_client(f"sqlite:///{killed.root / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("smoke").experiment_id])
    assert len(runs) == 7
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert killed.numbers() == undisturbed.numbers()
    for arm in ("baseline", "distilled"):
        student = f"arms/{arm}/student.safetensors"
        assert (killed.folder / student).read_bytes() == (undisturbed.folder / student).read_bytes()
    assert verify(killed.root).returncode == 0
    assert {name: store.keys() for name, store in killed.stores().items()} == {
        name: store.keys() for name, store in undisturbed.stores().items()
    }
