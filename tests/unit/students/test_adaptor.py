"""The text adaptor: its layers by depth, and a training batch of one."""

import logging

import pytest
import torch
from torch import nn

from orchestrator.students.adaptor import AdaptorSettings


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_each_depth_has_the_layers_of_the_paper(depth: int) -> None:
    adaptor = AdaptorSettings(depth=depth).build(6, 4)
    linears = [module for module in adaptor.modules() if isinstance(module, nn.Linear)]
    norms = [module for module in adaptor.modules() if isinstance(module, nn.BatchNorm1d)]
    assert [(one.in_features, one.out_features) for one in linears] == [(6, 6)] * depth + [(6, 4)]
    assert len(norms) == depth
    assert sum(isinstance(module, nn.ReLU) for module in adaptor.modules()) == depth


def test_depth_zero_is_linear_and_a_hidden_width_can_be_chosen() -> None:
    adaptor = AdaptorSettings(depth=0).build(3, 2).double()
    a, b = torch.randn(2, 4, 3, dtype=torch.float64)
    zero = adaptor(torch.zeros(4, 3, dtype=torch.float64))
    torch.testing.assert_close(adaptor(a + b) - zero, adaptor(a) + adaptor(b) - 2 * zero)
    wide = AdaptorSettings(hidden_dim=9).build(3, 2)
    assert [tuple(p.shape) for p in wide.parameters()] == [(9, 3), (9,), (9,), (9,), (2, 9), (2,)]


def test_a_training_batch_of_one_uses_the_running_statistics_and_warns_once(caplog: pytest.LogCaptureFixture) -> None:
    adaptor = AdaptorSettings().build(3, 2)
    adaptor(torch.randn(16, 3) * 5 + 1)
    before = {name: value.clone() for name, value in adaptor.state_dict().items()}
    row = torch.randn(1, 3)
    with caplog.at_level(logging.WARNING):
        trained = adaptor(row)
        adaptor(row)
    assert len(caplog.records) == 1
    torch.testing.assert_close(trained, adaptor.eval()(row))
    assert all(torch.equal(value, before[name]) for name, value in adaptor.state_dict().items())
    trained.sum().backward()
    assert all(parameter.grad is not None for parameter in adaptor.parameters())


def test_a_batch_of_several_is_that_of_plain_batch_norm() -> None:
    torch.manual_seed(0)
    adaptor = AdaptorSettings().build(3, 2)
    plain = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 2))
    plain.load_state_dict({key.removeprefix("layers."): value for key, value in adaptor.state_dict().items()})
    batch = torch.randn(5, 3)
    assert torch.equal(adaptor(batch), plain(batch))
    assert torch.equal(adaptor.layers[1].running_var, plain[1].running_var)  # type: ignore[arg-type]
