"""The whole line on photographs of ordinary size, with three corrupted copies among them."""

from pathlib import Path

import pytest

from benchmarks.photos_line import command, counts, write_data
from orchestrator.artifacts.storage import read_table


@pytest.mark.slow
def test_every_photograph_is_accounted_for_and_a_corrupted_one_costs_only_itself(
    shared_materials: Path, tmp_path: Path
) -> None:
    import subprocess

    from tests.smoke_line import PROJECT

    photos = shared_materials / "data" / "photos"
    if not photos.is_dir():
        pytest.skip("the photographs are not there")
    good = write_data(photos, tmp_path / "data")
    storage = tmp_path / "runs"
    ended = subprocess.run(
        command(tmp_path / "data", storage, "in_process"), cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    index, captions = counts(storage, "index"), counts(storage, "captions")
    assert index["train"] + index["select"] + index["report"] == good
    quarantine = read_table(storage / "photos" / "index" / "quarantine.parquet")
    assert sorted(Path(path).name for path in quarantine["path"].to_pylist()) == ["cut.JPEG", "empty.JPEG", "text.JPEG"]
    assert captions == {
        "asked": 2 * index["train"], "done": 2 * index["train"], "reused": 0, "quarantined": 0, "skipped": 0
    }  # fmt: skip
    assert (storage / "photos" / "report" / "report.html").is_file()
