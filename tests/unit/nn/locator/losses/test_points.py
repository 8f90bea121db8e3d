"""Losses of points against loops and against exact arithmetic."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import locator_oracle as oracle
from placevec.geo import sphere
from placevec.geo.sphere import EARTH_RADIUS_M, LonLat
from placevec.nn.locator.losses import auxiliary_loss, kernel_log_density, move, offset_loss, spread_loss


@pytest.mark.parametrize("weights", [None, [1.0, 0.0, 2.5, 0.1]])
def test_offset_and_auxiliary_losses(weights: list[float] | None) -> None:
    p, x = oracle.units(4), oracle.units(4, seed=1)
    each = [oracle.haversine(a, b) for a, b in zip(p, x, strict=True)]
    share = weights or [1.0] * 4
    expected = sum(w * d for w, d in zip(share, each, strict=True)) / sum(share)
    given = None if weights is None else torch.tensor(weights, dtype=torch.float64)
    a, b = torch.from_numpy(p), torch.from_numpy(x)
    assert float(offset_loss(a, b, 10_000.0, given)) == pytest.approx(expected / 10_000, rel=1e-9)
    assert float(auxiliary_loss(a, b, weights=given)) == pytest.approx(expected / 100_000, rel=1e-9)


@pytest.mark.parametrize("spread_m", [50.0, 200.0, 1000.0, 30_000.0, 2e6, 1e8])
@pytest.mark.parametrize("away", [0.0, 0.5, 3.0])
def test_density_against_exact_arithmetic(spread_m: float, away: float) -> None:
    mu = LonLat.of(70.0, 30.0)
    x = sphere.destination(mu, 77.0, min(away * spread_m, 1.9e7))
    expected = oracle.fisher_log_density(mu.unit()[0], x.unit()[0], spread_m)
    log_spread = torch.tensor([math.log(spread_m)], dtype=torch.float64)
    got = kernel_log_density(torch.from_numpy(mu.unit()), torch.from_numpy(x.unit()), log_spread)
    assert float(got) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("spread_m", [200.0, 1000.0, 30_000.0])
def test_density_keeps_its_digits_in_float32(spread_m: float) -> None:
    mu = LonLat.of(70.0, 30.0)
    x = sphere.destination(mu, 77.0, spread_m)
    exact = oracle.fisher_log_density(mu.unit()[0], x.unit()[0], spread_m)
    a, b = (torch.from_numpy(p.unit()).to(torch.float32) for p in (mu, x))
    got = float(kernel_log_density(a, b, torch.tensor([math.log(spread_m)])))
    # Coordinates of float32 are 0.4 m apart: the spread of 200 m feels that, the form loses nothing more.
    assert got == pytest.approx(exact, abs=5e-3)


def test_the_dot_form_would_not() -> None:
    """The exponent of the usual form, kappa·(mu·x - 1), is -0.5 at one spread: in float32 it is off by tens of nats."""
    mu = torch.from_numpy(oracle.units(50)).to(torch.float32)
    centres = LonLat.from_unit(mu.numpy())
    x = torch.from_numpy(sphere.destination(centres, 77.0, np.full(50, 200.0)).unit()).to(torch.float32)
    kappa = (EARTH_RADIUS_M / 200.0) ** 2
    assert float((kappa * ((mu * x).sum(dim=1) - 1.0) + 0.5).abs().max()) > 30
    assert float((kappa * (mu - x).square().sum(dim=1) / 2 - 0.5).abs().max()) < 0.01


def test_density_is_a_law() -> None:
    """Its integral over the sphere is 1, for kernels from a town to the whole Earth."""
    lat = np.degrees(np.arcsin(np.linspace(-1, 1, 20_001)[:-1] + 0.5 / 10_000))
    ring = torch.from_numpy(LonLat(np.zeros_like(lat), lat).unit())
    pole = torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64)
    area = 4 * math.pi * (EARTH_RADIUS_M / 1000) ** 2 / len(lat)
    for spread_m in (3e5, 2e6, 5e7):
        logs = kernel_log_density(pole, ring, torch.full((len(ring),), math.log(spread_m), dtype=torch.float64))
        assert float(logs.exp().sum() * area) == pytest.approx(1.0, rel=1e-3)


def test_the_best_spread_is_that_of_the_errors() -> None:
    rng = np.random.default_rng(0)
    mu = LonLat(np.full(4000, 70.0), np.full(4000, 30.0))
    x = sphere.from_tangent(mu, *rng.normal(0, 8000.0, (2, 4000)))
    log_spread = torch.tensor(math.log(30_000.0), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([log_spread], max_iter=50, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = spread_loss(torch.from_numpy(mu.unit()), torch.from_numpy(x.unit()), log_spread.expand(4000))
        loss.backward()
        return loss

    optimiser.step(closure)
    assert float(log_spread.detach().exp()) == pytest.approx(8000.0, rel=0.03)


def test_the_spread_moves_points_only_if_asked() -> None:
    centre, truth = torch.from_numpy(oracle.units(5)), torch.from_numpy(oracle.units(5, seed=2))
    for through in (False, True):
        offset = torch.zeros(5, 2, requires_grad=True)
        log_spread = torch.full((5,), math.log(5000.0), requires_grad=True)
        spread_loss(move(centre, offset), truth, log_spread, through_point=through).backward()
        assert (offset.grad is not None) is through
        assert log_spread.grad.isfinite().all()


def test_gradcheck_of_the_density() -> None:
    centre, truth = torch.from_numpy(oracle.units(3)), torch.from_numpy(oracle.units(3, spread_deg=5.01))
    log_spread = torch.tensor([8.0, 10.0, 15.0], dtype=torch.float64, requires_grad=True)
    step = torch.full((3, 2), 1e-4, dtype=torch.float64, requires_grad=True)

    def density(s: torch.Tensor, log: torch.Tensor) -> torch.Tensor:
        return kernel_log_density(move(centre, s * EARTH_RADIUS_M), truth, log)

    assert torch.autograd.gradcheck(density, (step, log_spread), eps=1e-7, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_gradients_at_coincidence_and_antipodes(sign: float) -> None:
    p = torch.from_numpy(oracle.units(3)).to(torch.float32).requires_grad_()
    log_spread = torch.full((3,), math.log(1000.0), requires_grad=True)
    x = sign * p.detach()
    total = offset_loss(p, x) + auxiliary_loss(p, x) + 1e-9 * spread_loss(p, x, log_spread, through_point=True)
    total.backward()
    assert p.grad.isfinite().all()
    assert log_spread.grad.isfinite().all()
