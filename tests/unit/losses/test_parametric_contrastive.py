"""PaCo, GPaCo and the multi-task baseline: the formula by plain loops, the queue, the momentum copy, the weights."""

import math
from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from orchestrator.errors import ConfigError
from orchestrator.losses.formulas.key_queue import KeyQueue
from orchestrator.losses.formulas.loss import unit
from orchestrator.losses.formulas.parametric_contrastive import (
    effective_number_weights,
    floored_log_prior,
    multitask_supcon_loss,
    parametric_contrastive_loss,
)
from orchestrator.losses.gpaco import GPaCoSettings
from orchestrator.losses.multitask_supcon import MultitaskSupConSettings
from orchestrator.losses.paco import PaCoSettings
from tests.contracts.loss_batch import CONTEXT

COUNT = torch.tensor([50, 9, 1])
ANCHOR_LABEL, KEY_LABEL = torch.tensor([0, 2, 1, 0]), torch.tensor([0, 2, 1, 0, 2, 2, 0])


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rows() -> tuple[Tensor, Tensor, Tensor]:
    key = unit(normal(7, 5))
    return key[:4], key, normal(4, 3, seed=1)


def test_the_formula_is_the_weighted_mean_written_out() -> None:
    anchor, key, centres = rows()
    alpha, beta, gamma, supt, temperature, base, smooth = 0.3, 2.0, 0.7, 0.8, 0.2, 0.1, 0.1
    log_prior = floored_log_prior(COUNT)
    anchors = []
    for a in range(4):
        centre_row = (centres[a] + log_prior) / supt
        others = [k for k in range(7) if k != a]
        similarity = {k: anchor[a] @ key[k] / temperature for k in others}
        total = torch.log(centre_row.exp().sum() + gamma * torch.stack(list(similarity.values())).exp().sum())
        weights = [beta * (1 - smooth if c == ANCHOR_LABEL[a] else smooth / 2) for c in range(3)]
        parts = [w * (centre_row[c] - total) for c, w in enumerate(weights)]
        positives = [k for k in others if KEY_LABEL[k] == ANCHOR_LABEL[a]]
        parts += [alpha * (similarity[k] - total) for k in positives]
        anchors.append(-temperature / base * sum(parts) / (sum(weights) + alpha * len(positives)))
    loss = parametric_contrastive_loss(
        anchor, key, centres, ANCHOR_LABEL, KEY_LABEL, torch.arange(4),
        alpha=alpha, beta=beta, gamma=gamma, supt=supt, temperature=temperature, base_temperature=base,
        smooth=smooth, log_prior=log_prior,
    )  # fmt: skip
    torch.testing.assert_close(loss, torch.stack(anchors).mean())


def test_with_contrastive_entries_of_no_weight_it_is_the_balanced_softmax() -> None:
    anchor, key, centres = rows()
    loss = parametric_contrastive_loss(
        anchor, key, centres, ANCHOR_LABEL, KEY_LABEL, torch.arange(4),
        alpha=0, gamma=1e-30, temperature=0.2, log_prior=floored_log_prior(COUNT),
    )  # fmt: skip
    balanced = F.cross_entropy(centres + floored_log_prior(COUNT), ANCHOR_LABEL)
    torch.testing.assert_close(loss, balanced, rtol=1e-7, atol=0)


def test_the_baseline_without_any_positive_is_its_classifiers_part() -> None:
    features, logits, label = unit(normal(3, 5)), normal(3, 3, seed=1), torch.arange(3)
    ones, log_prior = torch.ones(3, dtype=torch.float64), floored_log_prior(COUNT)
    call = partial(multitask_supcon_loss, features, features, logits, label, label, torch.arange(3))
    loss = call(log_prior=log_prior, class_weight=ones, alpha=0.5, temperature=0.2)
    torch.testing.assert_close(loss, F.cross_entropy(logits + log_prior, label))


def test_the_baseline_weighs_an_anchor_by_its_class() -> None:
    features, label = torch.eye(2, dtype=torch.float64).repeat(2, 1), torch.tensor([0, 1, 0, 1])
    logits = torch.zeros(4, 2, dtype=torch.float64)
    even, weight = torch.zeros(2, dtype=torch.float64), torch.tensor([1.0, 3.0], dtype=torch.float64)
    call = partial(multitask_supcon_loss, features, features, logits, label, label, torch.arange(4))
    loss = call(log_prior=even, class_weight=weight, alpha=0.5, temperature=1.0)
    per_anchor = math.log(1 + 2 * math.exp(-1))
    torch.testing.assert_close(float(loss), math.log(2) + 0.5 * 2 * per_anchor, rtol=1e-9, atol=0)


def test_effective_number_weights_are_one_as_coded_and_favour_rare_classes_as_intended() -> None:
    assert effective_number_weights(COUNT, "as_code").tolist() == [1, 1, 1]
    effective = [(1 - 0.999**n) / (1 - 0.999) for n in COUNT.tolist()]
    expected = [sum(effective) / 3 / one for one in effective]
    intended = effective_number_weights(COUNT, "intended")
    torch.testing.assert_close(intended, torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=0)
    assert effective_number_weights(torch.tensor([4, 0]), "intended").isfinite().all()


def test_the_queue_is_first_in_first_out_and_wraps_round() -> None:
    queue = KeyQueue(5, 2, num_classes=9).double()
    for first in (0, 2, 4):
        step = torch.arange(first, first + 2)
        queue.push(step[:, None].expand(2, 2).double(), step)
    assert queue.labels.tolist() == [5, 1, 2, 3, 4]
    assert queue.vectors[:, 0].tolist() == [5, 1, 2, 3, 4]
    assert queue.pointer == 1


def test_the_queue_starts_unit_over_its_first_axis() -> None:
    queue = KeyQueue(64, 5, num_classes=3)
    torch.testing.assert_close(queue.vectors.norm(dim=0), torch.ones(5))
    assert set(queue.labels.tolist()) == {0, 1, 2}


@pytest.mark.parametrize("settings", [PaCoSettings, GPaCoSettings, MultitaskSupConSettings])
def test_a_queue_of_torn_batches_or_a_single_view_is_refused(
    settings: type[PaCoSettings | GPaCoSettings | MultitaskSupConSettings],
) -> None:
    with pytest.raises(ConfigError, match=r"queue_size 8190 .* 8 images that are seen together\n.* such as 8184"):
        settings(queue_size=8190).build(CONTEXT)
    with pytest.raises(ConfigError, match="needs 2 views"):
        settings().build(replace(CONTEXT, num_views=1))


def test_keys_enter_the_queue_after_they_were_used_and_only_in_training() -> None:
    torch.manual_seed(0)
    loss = GPaCoSettings(queue_size=8, head_dim=4).build(CONTEXT).double()
    views, logits, label = normal(8, 2, 6), normal(8, 2, 5, seed=1), torch.arange(8) % 5
    before = loss.queue.vectors.clone()
    value = loss.eval()(views, logits, label)
    assert torch.equal(loss.queue.vectors, before)
    assert torch.equal(loss.train()(views, logits, label), value)
    torch.testing.assert_close(loss.queue.vectors, loss.head(views[:, 1]).detach())
    assert torch.equal(loss.queue.labels, label)


def test_the_key_head_is_no_parameter_and_follows_after_each_step() -> None:
    torch.manual_seed(0)
    loss = PaCoSettings(queue_size=8, head_dim=4, key_momentum=0.9).build(CONTEXT).double()
    assert loss.key_momentum == 0.9
    assert not list(loss.key_head.parameters())
    start = {name: value.clone() for name, value in loss.head.named_parameters()}
    with torch.no_grad():
        for parameter in loss.head.parameters():
            parameter.add_(1.0)
    loss.after_step()
    for name, copied in loss.key_head.named_buffers():
        if name in start:
            torch.testing.assert_close(copied, start[name] + 0.1)


def test_paco_resumes_with_its_queue_and_its_copy() -> None:
    label, settings = torch.arange(8) % 5, PaCoSettings(queue_size=16, head_dim=4)
    torch.manual_seed(0)
    loss = settings.build(CONTEXT).double()
    other = settings.build(CONTEXT).double()
    step = [normal(8, 5), normal(8, 6, seed=1), normal(8, 6, seed=2), label]
    loss(*step)
    loss.after_step()
    other.load_state_dict(loss.state_dict())
    assert torch.equal(loss(*step), other(*step))
    assert torch.equal(loss.queue.vectors, other.queue.vectors)


def test_gpaco_has_gradient_through_both_views_and_centres_of_both() -> None:
    loss = GPaCoSettings(queue_size=8).build(CONTEXT).double()
    views, logits = normal(8, 3, 6).requires_grad_(), normal(8, 3, 5, seed=1).requires_grad_()
    loss(views, logits, torch.arange(8) % 5).backward()
    for gradient in (views.grad, logits.grad):
        assert gradient is not None
        assert [bool(gradient[:, view].abs().sum() > 0) for view in range(3)] == [True, True, False]
