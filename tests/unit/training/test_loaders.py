"""Loader processes: batches have the same bits however many make them, and no process outlives its training."""

import os
import signal
import subprocess
import sys
import time
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from orchestrator.training.batches import BatchMaker
from orchestrator.training.data import load_split, load_teacher
from orchestrator.training.input_settings import InputSettings
from orchestrator.training.loaders import batches_of
from orchestrator.training.mapped_arrays import map_file, whole_file_of
from orchestrator.training.order import Order
from orchestrator.training.run import TrainingJob, train
from orchestrator.training.student_file import STUDENT
from tests.smoke_line import SmokeLine

SETTINGS: dict[str, dict[str, Any]] = {
    "shifted views": {},
    "recipes and more views": {
        "training.views": {"recipe": "randcls"},
        "training.more_views": [{"recipe": "sim"}],
        "training.sampler": {"kind": "class_balanced"},
    },
    "mixing": {"training.mixing": {}},
}
TRAIN_SLOWLY = """
import sys, time
from orchestrator.training.run import TrainingJob, train

if __name__ == "__main__":
    for progress in train(TrainingJob.model_validate_json(sys.stdin.read())):
        print(progress.epoch, flush=True)
        time.sleep(60)
"""


def maker_of(job: TrainingJob) -> BatchMaker:
    """What makes the batches of a job, with all that its teachers say."""
    teacher = load_teacher(Path(job.embeddings), job.text_sources, None, job.num_classes)
    return BatchMaker(load_split(Path(job.shards), "train"), teacher, job.training, job.num_classes, job.image_size)


def order_of(make: BatchMaker) -> Order:
    """Batches of 16."""
    return Order(make.images.labels, 16, make.settings.data_seed, make.settings.sampler)


@pytest.mark.parametrize("name", SETTINGS)
def test_batches_have_the_same_bits_for_any_number_of_loaders_and_from_any_place(
    smoke_line: SmokeLine, tmp_path: Path, name: str
) -> None:
    make = maker_of(smoke_line.job(tmp_path / "job", SETTINGS[name]))
    places = [at for epoch in (0, 1) for at in order_of(make).batches(epoch)]
    alone = [make(rows, place) for place, rows in places]
    first = len(places) // 3  # in mid-epoch, as after a resume
    for count, start in ((0, 0), (1, first), (3, 0)):
        loaded = list(batches_of(places[start:], make, InputSettings(num_loaders=count)))
        assert [place for place, _, _ in loaded] == [place for place, _ in places[start:]]
        for (_, rows, batch), (_, expected_rows), expected in zip(loaded, places[start:], alone[start:], strict=True):
            assert np.array_equal(rows, expected_rows)
            assert batch.keys() == expected.keys()
            for key in expected:
                assert torch.equal(batch[key], expected[key]), (count, key)
                assert batch[key].stride() == expected[key].stride(), (count, key)  # channels last stays so


def test_a_training_with_loaders_ends_in_the_bits_of_one_without_and_leaves_its_generator_alone(
    smoke_line: SmokeLine, tmp_path: Path
) -> None:
    changes = {
        "training.epochs": 2,
        "student": {"kind": "timm", "name": "test_vit", "image_size": 32, "drop_path": 0.5},
    }
    jobs = [smoke_line.job(tmp_path / f"{count}", changes) for count in (0, 2)]
    jobs[1] = jobs[1].model_copy(update={"loading": InputSettings(num_loaders=2)})
    for job in jobs:
        list(train(job))
    students = [(Path(job.folder) / STUDENT).read_bytes() for job in jobs]
    assert students[0] == students[1]
    assert jobs[0].identity() == jobs[1].identity()


def test_ceasing_to_iterate_ends_the_loaders(smoke_line: SmokeLine, tmp_path: Path) -> None:
    make = maker_of(smoke_line.job(tmp_path / "job"))
    batches = batches_of(order_of(make).batches(0), make, InputSettings(num_loaders=2))
    next(batches)
    ours = _loaders_of(os.getpid())
    assert len(ours) == 2
    batches.close()
    psutil.wait_procs(ours, timeout=30)
    assert not any(process.is_running() for process in ours)


def test_loaders_end_when_their_training_is_killed(smoke_line: SmokeLine, tmp_path: Path) -> None:
    job = smoke_line.job(tmp_path / "job").model_copy(update={"loading": InputSettings(num_loaders=2)})
    script = tmp_path / "train_slowly.py"
    script.write_text(TRAIN_SLOWLY)
    training = subprocess.Popen([sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert training.stdin is not None
    assert training.stdout is not None
    training.stdin.write(job.model_dump_json())
    training.stdin.close()
    assert training.stdout.readline().strip() == "1"
    loaders = _loaders_of(training.pid)
    assert len(loaders) == 2
    training.send_signal(signal.SIGKILL)
    training.wait()
    training.stdout.close()
    gone, alive = psutil.wait_procs(loaders, timeout=60)
    assert (len(gone), alive) == (2, [])


def test_a_loader_that_is_killed_is_told_and_not_waited_for(smoke_line: SmokeLine, tmp_path: Path) -> None:
    make = maker_of(smoke_line.job(tmp_path / "job"))
    places = list(order_of(make).batches(0)) * 200
    batches = batches_of(places, make, InputSettings(num_loaders=1, batches_ahead=1))
    next(batches)
    _loaders_of(os.getpid())[0].kill()
    with pytest.raises(ValueError, match=r"a loader process ended.*\n.*num_loaders"):
        list(batches)


def test_memory_mapped_arrays_travel_as_the_name_of_their_file(tmp_path: Path) -> None:
    values = np.arange(5000, dtype=np.float32).reshape(50, 100)
    np.save(tmp_path / "values.npy", values)
    mapped = np.load(tmp_path / "values.npy", mmap_mode="r")
    raw = tmp_path / "values.bin"
    raw.write_bytes(values.tobytes())
    plain = map_file(str(raw), "float32", 0, values.shape)
    for array in (mapped, plain, mapped[7:20], plain[7:20], np.asarray(mapped)[3]):
        data = bytes(ForkingPickler.dumps(array))
        assert len(data) < 1000
        found = ForkingPickler.loads(data)
        assert np.array_equal(found, array)
        assert whole_file_of(found) is not None
    for array in (values, mapped[:, ::2], np.array(mapped)):
        assert np.array_equal(ForkingPickler.loads(bytes(ForkingPickler.dumps(array))), array)


def _loaders_of(pid: int) -> list[psutil.Process]:
    """The processes forked by the fork server of a process."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        servers = [child for child in psutil.Process(pid).children() if _is_server(child)]
        if found := [process for server in servers for process in server.children()]:
            return found
        time.sleep(0.1)
    return []


def _is_server(process: psutil.Process) -> bool:
    return "orchestrator.training.loaders" in " ".join(process.cmdline())
