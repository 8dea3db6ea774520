"""Memory that runs out: a real allocator's failure becomes an error that names the batch that fits."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from orchestrator.errors import OutOfMemoryError
from orchestrator.training.memory import estimate, is_out_of_memory, num_images_that_fit, out_of_memory
from orchestrator.training.settings import TrainingSettings
from tests.smoke_line import SmokeLine

CPU = torch.device("cpu")
# A child that may take 700 MiB more than it has: its step on 20,000 images needs about 2 GiB.
CHILD = """
import json, resource, sys
from pathlib import Path
import numpy as np
from orchestrator.errors import OrchestratorError
from orchestrator.training.order import Place
from orchestrator.training.run import TrainingJob
from tests.smoke_line import trainer_of

trainer = trainer_of(TrainingJob.model_validate_json(sys.stdin.read()))
trainer.model.train()
few = np.arange(16)
trainer.step(trainer.make_batch(few, Place(0, 0)), few)
rows = np.arange(20_000) % len(trainer.images.labels)
batch = trainer.make_batch(few, Place(0, 0))
batch = {
    name: value if name in trainer._constants else value[rows % 16].contiguous() for name, value in batch.items()
}
size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
limit = size + 700 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    trainer.step(batch, rows)
except OrchestratorError as error:
    print(json.dumps({"kind": type(error).__name__, "told": str(error)}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit on a process's memory is Linux's")
def test_an_allocator_that_refuses_ends_in_an_error_with_a_batch_that_was_tried(
    smoke_line: SmokeLine, tmp_path: Path, project: Path
) -> None:
    told = {"training.batch_size": 20_000, "losses.text": None, "losses.image": None, "student.width": 16}
    job = smoke_line.job(tmp_path / "job", told)
    done = subprocess.run(
        [sys.executable, "-c", CHILD], cwd=project, input=job.model_dump_json(), capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["kind"] == "OutOfMemoryError"
    wrong, expected, remedy = found["told"].splitlines()
    assert wrong.startswith("out of memory at step 1 with 20000 images per worker at once")
    fits = int(expected.split("fits: ")[1].split(" fit")[0])
    assert fits in {20_000 // 2**power for power in range(1, 10)}
    steps = int(remedy.split("training.accumulation_steps: ")[1].split(" ")[0])
    assert 20_000 % steps == 0
    assert 20_000 // steps <= fits
    assert f"training.batch_size: {fits}, or training.precision: bf16" in remedy


@pytest.mark.parametrize("limit", [1, 2, 7, 33, 64])
def test_the_largest_half_that_works_is_found(limit: int) -> None:
    tried = []

    def attempt(num_images: int) -> None:
        tried.append(num_images)
        if num_images > limit:
            raise MemoryError

    fits = num_images_that_fit(128, CPU, attempt)
    assert fits == max([half for half in (64, 32, 16, 8, 4, 2) if half <= limit], default=0)
    assert tried == [half for half in (64, 32, 16, 8, 4, 2) if half >= max(fits, 2)]
    assert num_images_that_fit(128, CPU, None) == 64  # other workers would wait for what is tried


def test_what_fits_grows_with_the_memory_beyond_the_fixed_part() -> None:
    mib = 2**20
    # 100 MiB of weights, gradients and moments, 2 MiB an image; a tenth of the memory is kept free
    assert estimate(1000 * mib, fixed=100 * mib, peak=164 * mib, num_tried=32) == 400
    assert estimate(100 * mib, fixed=100 * mib, peak=164 * mib, num_tried=32) == 0


def test_the_settings_that_are_named_make_a_workers_share_fit() -> None:
    settings = TrainingSettings(batch_size=96, accumulation_steps=2)
    error = out_of_memory("no room", settings, step=7, num_images=24, num_workers=2, num_fitting=10, tried=True)
    assert isinstance(error, OutOfMemoryError)
    assert "with 24 images per worker at once" in error.wrong
    assert "training.accumulation_steps: 6 " in error.remedy  # shares of 8; 5 micro-batches do not divide 96
    assert "sees 16 of them" in error.remedy
    assert "training.batch_size: 40" in error.remedy
    hopeless = out_of_memory(
        "no room", TrainingSettings(precision="bf16"), step=0, num_images=2, num_workers=1, num_fitting=0, tried=True
    )
    assert "not even 2 images" in hopeless.expected
    assert hopeless.remedy == "a smaller student or image_size"


def test_other_errors_are_not_taken_for_it() -> None:
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError) as error:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(error.value)
