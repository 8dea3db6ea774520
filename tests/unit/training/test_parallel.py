"""Joined and compiled models: one worker's bad loss stops all; what cannot be had here is refused with a reason."""

import socket
from multiprocessing.queues import SimpleQueue
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch.multiprocessing import get_context
from torch.multiprocessing.spawn import spawn

from orchestrator.errors import ConfigError, NonFiniteLossError
from orchestrator.training.order import Order
from orchestrator.training.parallel import check_workers, prepare
from orchestrator.training.run import TrainingJob
from orchestrator.training.settings import TrainingSettings
from tests.smoke_line import SmokeLine, trainer_of

SETTINGS = {"training.batch_size": 16, "training.accumulation_steps": 2, "losses.text": None}


def one_worker(rank: int, port: int, text: str, bad_row: int, told: "SimpleQueue[tuple[int, str, int]]") -> None:
    """Train until a loss is not finite, as one of two; then say who was told what, and after how many steps."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    job = TrainingJob.model_validate_json(text)
    if rank == 0:
        with pytest.raises(ConfigError, match="synchronised BatchNorm has no form for the CPU"):
            prepare(trainer_of(job).model, TrainingSettings(sync_batchnorm=True), torch.device("cpu"))
    trainer = trainer_of(job, bad_row, parallel=True)
    trainer.model.train()
    try:
        for place, rows in trainer.order.batches(0, rank=rank, num_workers=2):
            trainer.step(trainer.make_batch(rows, place), rows)
    except NonFiniteLossError as error:
        told.put((rank, str(error), trainer.step_index))
    dist.destroy_process_group()


def test_a_loss_that_is_not_finite_on_one_worker_stops_both_with_its_images(
    smoke_line: SmokeLine, tmp_path: Path
) -> None:
    job = smoke_line.job(tmp_path / "job", SETTINGS)
    images = trainer_of(job).images
    shares = list(
        Order(images.labels, 16, job.training.data_seed, num_micro_batches=2).batches(0, rank=1, num_workers=2)
    )
    bad_row = int(shares[3][1][1])  # worker 1 alone meets it, in the second micro-batch of the second step
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
    told = get_context("spawn").SimpleQueue()
    spawn(one_worker, args=(port, job.model_dump_json(), bad_row, told), nprocs=2)
    said = sorted((told.get(), told.get()))
    assert [(rank, step) for rank, _, step in said] == [(0, 1), (1, 1)]
    assert said[0][1] == said[1][1]
    assert images.image_ids[bad_row] in said[0][1]


def test_workers_and_micro_batches_must_divide_the_batch() -> None:
    check_workers(TrainingSettings(batch_size=24, accumulation_steps=4), [3])
    with pytest.raises(ConfigError, match="batch_size 24 on 4 workers in 4 micro-batches"):
        check_workers(TrainingSettings(batch_size=24, accumulation_steps=4), [4])
    with pytest.raises(ConfigError, match="batch_size 24 on 5 workers"):
        check_workers(TrainingSettings(batch_size=24), [5])


def test_images_views_and_weights_keep_channels_last_through_the_students_convolutions(
    smoke_line: SmokeLine, tmp_path: Path
) -> None:
    trainer = trainer_of(smoke_line.job(tmp_path / "job"))
    place, rows = next(trainer.order.batches(0))
    seen: list[bool] = []
    convolutions = [one for one in trainer.model.student.modules() if isinstance(one, torch.nn.Conv2d)]
    assert convolutions
    for one in convolutions:
        assert one.weight.is_contiguous(memory_format=torch.channels_last)
        one.register_forward_hook(
            lambda _, given, made: seen.extend(
                tensor.is_contiguous(memory_format=torch.channels_last) for tensor in (*given, made)
            )
        )
    trainer.model(trainer.make_batch(rows, place))
    assert seen
    assert all(seen)


@pytest.mark.slow
def test_a_compiled_student_has_the_loss_and_gradients_of_the_plain_one_under_the_same_names(
    smoke_line: SmokeLine, tmp_path: Path
) -> None:
    plain, compiled = (trainer_of(smoke_line.job(tmp_path / name, {"training.compile": True})) for name in "ab")
    prepare(compiled.model, compiled.settings, torch.device("cpu"))
    place, rows = next(plain.order.batches(0))
    totals = []
    for trainer in (plain, compiled):
        total, _ = trainer.model.train()(trainer.make_batch(rows, place))
        total.backward()
        totals.append(total.detach())
    assert compiled.model._compiled is not None
    torch.testing.assert_close(totals[0], totals[1], rtol=1e-5, atol=0)
    assert list(plain.model.state_dict()) == list(compiled.model.state_dict())
    for (name, one), other in zip(plain.model.named_parameters(), compiled.model.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-5, msg=lambda text, n=name: f"{n}: {text}")
