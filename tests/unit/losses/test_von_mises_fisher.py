"""The normaliser of the von Mises-Fisher distribution against closed forms and arbitrary-precision Bessel functions."""

import math

import mpmath
import pytest
import torch

from orchestrator.losses.formulas.von_mises_fisher import bessel_ratio, log_vmf_normalizer

KAPPA = (0.0, 1e-8, 0.01, 0.5, 3.0, 17.0, 60.0, 250.0, 1500.0, 1e4, 1e5, 1e6)


def exact(kappa: float, dim: int) -> tuple[float, float]:
    with mpmath.workdps(40):
        order = mpmath.mpf(dim) / 2 - 1
        if kappa == 0:
            return float(-order * mpmath.log(2) - mpmath.loggamma(order + 1)), 0.0
        lower, upper = (mpmath.besseli(order + more, mpmath.mpf(kappa)) for more in (0, 1))
        return float(mpmath.log(lower) - order * mpmath.log(kappa)), float(upper / lower)


@pytest.mark.parametrize("dim", [2, 3, 8, 33, 81, 82, 128, 1024, 1025, 4096])
def test_values_and_ratios_are_exact_for_any_dimension_and_concentration(dim: int) -> None:
    kappa = torch.tensor(KAPPA, dtype=torch.float64)
    values, ratios = (
        torch.tensor(row, dtype=torch.float64) for row in zip(*(exact(k, dim) for k in KAPPA), strict=True)
    )
    torch.testing.assert_close(log_vmf_normalizer(kappa, dim), values, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(bessel_ratio(kappa, dim), ratios, rtol=1e-13, atol=0)


def test_in_three_dimensions_it_is_the_hyperbolic_sine() -> None:
    kappa = torch.tensor([0.1, 1.0, 7.0, 30.0], dtype=torch.float64)
    closed = 0.5 * math.log(2 / math.pi) + torch.log(torch.sinh(kappa) / kappa)
    torch.testing.assert_close(log_vmf_normalizer(kappa, 3), closed, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(bessel_ratio(kappa, 3), 1 / torch.tanh(kappa) - 1 / kappa, rtol=1e-12, atol=0)


@pytest.mark.parametrize("dim", [2, 5, 128])
def test_the_derivative_is_the_ratio_of_the_bessel_functions(dim: int) -> None:
    kappa = torch.tensor([0.3, 4.0, 90.0, 2000.0], dtype=torch.float64, requires_grad=True)
    (derivative,) = torch.autograd.grad(log_vmf_normalizer(kappa, dim).sum(), kappa)
    assert torch.equal(derivative, bessel_ratio(kappa, dim))
    assert torch.autograd.gradcheck(lambda k: log_vmf_normalizer(k, dim), (kappa,))


def test_a_float32_concentration_gives_a_float64_value_and_a_float32_gradient() -> None:
    kappa = torch.tensor([1e5, 12.0], requires_grad=True)
    value = log_vmf_normalizer(kappa, 64)
    value.sum().backward()
    assert value.dtype == torch.float64
    assert torch.equal(value, log_vmf_normalizer(kappa.detach().double(), 64))
    assert kappa.grad is not None
    assert kappa.grad.dtype == torch.float32


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gives_the_same_values() -> None:
    kappa = torch.tensor(KAPPA, dtype=torch.float64)
    on_gpu = log_vmf_normalizer(kappa.cuda(), 1024)
    torch.testing.assert_close(on_gpu.cpu(), log_vmf_normalizer(kappa, 1024), rtol=1e-13, atol=1e-13)
