"""Two commands that caption the same images into one store at the same time."""

import subprocess
from pathlib import Path

import pytest

from orchestrator.artifacts.storage import read_table
from orchestrator.stages.verify import stores_below
from tests.line.command import SCRIPT, verify
from tests.smoke_line import PROJECT

BATCH_SIZE = 4


@pytest.mark.parametrize("names", [("one", "two"), ("one", "one")], ids=["two experiments", "the same experiment"])
def test_two_runs_at_once_corrupt_nothing_and_pay_for_no_row_twice(tmp_path: Path, names: tuple[str, str]) -> None:
    def command(name: str) -> list[str]:
        settings = [f"storage_root={tmp_path / name}", f"store_root={tmp_path / 'store'}", "tracking.kind=none",
                    f"captioning.batch_size={BATCH_SIZE}"]  # fmt: skip
        flags = [part for setting in settings for part in ("--set", setting)]
        sheets = ["jobs/experiments/smoke.yaml", "--execution", "jobs/executions/in_process.yaml"]
        return [str(SCRIPT), "caption", *sheets, f"name={name}", *flags]

    for name in dict.fromkeys(names):  # the index first, so that both begin to caption at the same moment
        index = command(name)
        index[1] = "index"
        assert subprocess.run(index, cwd=PROJECT, check=False, capture_output=True).returncode == 0
    children = [
        subprocess.Popen(command(name), cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for name in names
    ]
    for child in children:
        told, _ = child.communicate(timeout=300)
        assert child.returncode == 0, told.decode()
    views = [read_table(tmp_path / name / name / "captions" / "captions.parquet") for name in names]
    assert views[0].equals(views[1])
    (store,) = stores_below(str(tmp_path / "store"))
    totals = store.totals()
    rows = len(store.keys())
    assert rows == 124
    assert totals["model_rows"] == totals["done"] == rows  # who comes second waits for what is in flight
    assert verify(tmp_path / "store").returncode == 0
    assert all(verify(tmp_path / name).returncode == 0 for name in names)
    assert not list(tmp_path.rglob(".plan-*"))
