"""CRD: closed form of the NCE, memories, draws that a resumed run repeats, and two workers over several steps."""

import math
import socket
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from orchestrator.errors import ConfigError
from orchestrator.losses.context import LossContext
from orchestrator.losses.crd import CRDSettings
from orchestrator.losses.formulas import crd as formulas
from orchestrator.losses.formulas.counter_draws import draw_others
from orchestrator.losses.formulas.crd import (
    ContrastiveRepresentationDistillation,
    contrast_scores,
    noise_contrastive_loss,
)

NUM_IMAGES, ROWS, STEPS, NUM_WORKERS = 12, 6, 3, 2
CONTEXT = LossContext((6, 6), 3, 4, 5, 1, 2, teacher_feature_dim=4, num_images=NUM_IMAGES, batch_size=ROWS)
SETTINGS = CRDSettings(dim=5, num_negatives=7)


def built() -> ContrastiveRepresentationDistillation:
    torch.manual_seed(0)
    return SETTINGS.build(CONTEXT).double()


def batch(step: int) -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(step)
    student = torch.randn(ROWS, 3, generator=random, dtype=torch.float64)
    teacher = torch.randn(ROWS, 4, generator=random, dtype=torch.float64)
    return student, teacher, torch.randperm(NUM_IMAGES, generator=random)[:ROWS]


def test_the_noise_contrastive_loss_has_its_closed_form() -> None:
    score = torch.tensor([[0.4, 0.1, 0.3]], dtype=torch.float64)
    noise = 2 / 10
    expected = -math.log(0.4 / (0.4 + noise)) - math.log(noise / (0.1 + noise)) - math.log(noise / (0.3 + noise))
    assert noise_contrastive_loss(score, 10, epsilon=0).item() == pytest.approx(expected)


def test_both_ways_to_the_scores_agree_and_leave_the_memory_free_to_change(monkeypatch: pytest.MonkeyPatch) -> None:
    vector = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    memory, index = torch.randn(9, 4, dtype=torch.float64), torch.randint(9, (3, 5))
    found = []
    for up_to in (8, 0):
        monkeypatch.setattr(formulas, "DENSE_UP_TO", up_to)
        changing = memory.clone()
        scores = contrast_scores(vector, changing, index, temperature=2.0)
        changing.zero_()
        found.append((scores.detach(), torch.autograd.grad(scores.sum(), vector)[0]))
    torch.testing.assert_close(found[0], found[1])
    assert found[0][0][1, 2].item() == pytest.approx(math.exp((vector[1].detach() @ memory[index[1, 2]]).item() / 2))


def test_draws_are_uniform_over_the_other_images_and_depend_on_step_row_and_seed_only() -> None:
    rows, step = torch.tensor([4, 0, 9]), torch.tensor(5)
    drawn = draw_others(rows, step, 90_000, 10, seed=3)
    for row, of_row in zip(rows.tolist(), drawn, strict=True):
        counts = torch.bincount(of_row, minlength=10)
        assert counts[row] == 0
        chi_square = ((counts[counts > 0] - 10_000) ** 2 / 10_000).sum()
        assert chi_square < 27.9  # 8 degrees of freedom: exceeded once in 2,000 seeds
    assert torch.equal(draw_others(rows.flip(0), step, 90_000, 10, seed=3), drawn.flip(0))
    for other in (draw_others(rows, step + 1, 90_000, 10, seed=3), draw_others(rows, step, 90_000, 10, seed=4)):
        same = (other == drawn).double().mean().item()
        assert same == pytest.approx(1 / 9, abs=0.004)


def test_a_visited_image_is_remembered_as_the_unit_mean_of_old_and_new() -> None:
    loss = built()
    student, teacher, rows = batch(0)
    before = loss.student_memory.clone()
    loss(student, teacher, rows)
    new = torch.nn.functional.normalize(loss.student_projection(student), dim=1)
    expected = torch.nn.functional.normalize(0.5 * before[rows] + 0.5 * new, dim=1)
    torch.testing.assert_close(loss.student_memory[rows], expected)
    untouched = [row for row in range(NUM_IMAGES) if row not in rows.tolist()]
    assert torch.equal(loss.student_memory[untouched], before[untouched])
    assert loss.step.item() == 1


def test_an_image_that_stands_twice_in_a_batch_is_remembered_by_its_first_vector() -> None:
    student, teacher, _ = batch(0)
    twice, once = built(), built()
    twice(student, teacher, torch.tensor([3, 1, 3, 2, 3, 1]))
    once(student[[0, 1, 3]], teacher[[0, 1, 3]], torch.tensor([3, 1, 2]))
    torch.testing.assert_close(twice.teacher_memory, once.teacher_memory)


def test_the_normaliser_is_that_of_the_first_batch_and_evaluation_changes_nothing() -> None:
    loss = built()
    loss(*batch(0))
    normaliser = loss.normaliser.clone()
    assert (normaliser > 0).all()
    loss(*batch(1))
    assert torch.equal(loss.normaliser, normaliser)
    memory = loss.student_memory.clone()
    loss.eval()(*batch(2))
    assert torch.equal(loss.student_memory, memory)
    assert loss.step.item() == 2


def test_gradients_agree_with_finite_differences_once_the_normaliser_is_known() -> None:
    loss = built()
    loss(*batch(0))
    loss.eval()
    student, teacher, rows = batch(1)
    assert torch.autograd.gradcheck(lambda feature: loss(feature, teacher, rows), student.requires_grad_())


def test_a_resumed_loss_goes_on_as_the_undisturbed_one() -> None:
    undisturbed, before = built(), built()
    expected = [undisturbed(*batch(step)) for step in range(4)]
    for step in range(2):
        before(*batch(step))
    torch.manual_seed(99)
    after = SETTINGS.build(CONTEXT).double()
    after.load_state_dict(before.state_dict())
    for step in (2, 3):
        assert torch.equal(after(*batch(step)), expected[step])
    assert torch.equal(after.student_memory, undisturbed.student_memory)


def one_worker(rank: int, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=NUM_WORKERS)
    loss, share = built(), ROWS // NUM_WORKERS
    own = slice(rank * share, (rank + 1) * share)
    values = [loss(*(tensor[own] for tensor in batch(step))).detach() for step in range(STEPS)]
    torch.save((values, dict(loss.named_buffers())), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_workers_remember_what_one_process_remembers(tmp_path: Path) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
    spawn(one_worker, args=(port, str(tmp_path)), nprocs=NUM_WORKERS)
    alone = built()
    values = [alone(*batch(step)).detach() for step in range(STEPS)]
    each = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(NUM_WORKERS)]
    for step in range(STEPS):
        torch.testing.assert_close((each[0][0][step] + each[1][0][step]) / 2, values[step])
    for _, buffers in each:
        torch.testing.assert_close(buffers, dict(alone.named_buffers()))


def test_a_run_of_one_image_or_without_teacher_features_is_refused() -> None:
    with pytest.raises(ConfigError, match="2 or more training images"):
        SETTINGS.build(LossContext((1,), 3, 4, 5, 1, 1, teacher_feature_dim=4, num_images=1))
    with pytest.raises(ConfigError, match="no feature"):
        SETTINGS.build(LossContext((1, 1), 3, 4, 5, 1, 2, num_images=9))
