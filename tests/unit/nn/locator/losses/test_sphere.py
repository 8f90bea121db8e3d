"""Distances and steps against the numpy forms of `geo.sphere`, and gradients where formulas divide by zero."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from locator_oracle import units
from placevec.geo import sphere
from placevec.geo.sphere import EARTH_RADIUS_M, LonLat
from placevec.nn.locator.losses import distance_m, move, pairwise_m, tangent_axes

NEAR = LonLat(np.array([0.0, 10.0, 179.9, -70.0, 33.0]), np.array([0.0, 45.0, -17.0, 89.9, -90.0]))
FAR = LonLat(np.array([0.0, 10.001, -179.9, 110.0, 12.0]), np.array([1e-6, 45.0, -17.0, 89.9, 90.0]))
AWKWARD = [(0.0, 0.0), (0.0, 90.0), (0.0, -90.0), (180.0, 0.0), (90.0, 0.0), (-33.3, 17.2)]


def tensor(p: LonLat, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.from_numpy(p.unit()).to(dtype)


def test_distances_are_those_of_the_sphere() -> None:
    np.testing.assert_allclose(distance_m(tensor(NEAR), tensor(FAR)), sphere.distance_m(NEAR, FAR), rtol=1e-12)
    np.testing.assert_allclose(pairwise_m(tensor(NEAR), tensor(FAR)), sphere.pairwise_m(NEAR, FAR), rtol=1e-9, atol=0.2)


@pytest.mark.parametrize("metres", [1.0, 10.0, 200.0, 1000.0])
def test_float32_distances_of_near_points(metres: float) -> None:
    a = LonLat.of(70.0, 30.0)
    b = sphere.destination(a, 40.0, metres)
    # The vectors themselves are rounded to 0.4 m in float32; the formula adds nothing to that.
    assert float(distance_m(tensor(a, torch.float32), tensor(b, torch.float32))) == pytest.approx(metres, abs=0.8)
    assert float(pairwise_m(tensor(a, torch.float32), tensor(b, torch.float32))) == pytest.approx(metres, abs=0.8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("at", AWKWARD)
def test_gradients_are_finite_where_points_coincide_and_at_antipodes(at: tuple[float, float], dtype) -> None:
    for sign, expected in ((1.0, 0.0), (-1.0, math.pi * EARTH_RADIUS_M)):
        p = tensor(LonLat.of(*at), dtype).requires_grad_()
        q = (sign * p.detach()).clone().requires_grad_()
        found = distance_m(p, q)
        assert float(found.detach()) == pytest.approx(expected, abs=1e-6 * EARTH_RADIUS_M)
        found.sum().backward()
        assert p.grad.isfinite().all()
        assert q.grad.isfinite().all()


def test_gradient_one_step_from_coincidence() -> None:
    p = torch.tensor([[1.0, 0.0, 0.0]], requires_grad=True)
    q = torch.tensor([[1.0, 6e-8, 0.0]])
    distance_m(p, q).sum().backward()
    assert float(p.grad.norm()) == pytest.approx(EARTH_RADIUS_M, rel=1e-3)


def test_gradcheck_of_distances_and_steps() -> None:
    p = torch.from_numpy(units(4)).requires_grad_()
    q = torch.from_numpy(units(4, seed=1)).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: distance_m(a, b) / EARTH_RADIUS_M, (p, q))
    # Both the series and the closed form: steps of metres and of thousands of kilometres.
    for scale in (1e-7, 0.3):
        step = (scale * torch.randn(4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(3))).detach()
        step.requires_grad_()
        centre = p.detach()
        assert torch.autograd.gradcheck(lambda s, c=centre: move(c, s * EARTH_RADIUS_M), (step,), atol=1e-7)


@pytest.mark.parametrize("length", [0.0, 0.01, 5.0, 6_370.0, 6_372.0, 50_000.0, 3_000_000.0])
def test_steps_are_those_of_the_sphere(length: float) -> None:
    rng = np.random.default_rng(0)
    # No pole among them: there "north" depends on a longitude that a unit vector does not keep.
    centre = LonLat(rng.uniform(-180, 180, 50), rng.uniform(-89.9, 89.9, 50))
    angle = rng.uniform(0, 2 * np.pi, 50)
    east, north = length * np.sin(angle), length * np.cos(angle)
    got = move(tensor(centre), torch.from_numpy(np.stack([east, north], axis=1)))
    expected = sphere.from_tangent(centre, east, north)
    assert sphere.distance_m(LonLat.from_unit(got.numpy()), expected).max() < 1e-6 * max(1.0, length / 1000)
    np.testing.assert_allclose(got.norm(dim=1), 1.0, rtol=1e-12)


def test_no_step_has_a_gradient() -> None:
    for dtype in (torch.float32, torch.float64):
        step = torch.zeros(3, 2, dtype=dtype, requires_grad=True)
        centre = torch.from_numpy(units(3))
        point = move(centre, step)
        assert point.dtype == torch.float64
        (point * torch.from_numpy(units(3, seed=9))).sum().backward()
        assert step.grad.isfinite().all()
        assert (step.grad.abs().sum(dim=1) > 0).all()


def test_axes_at_the_poles_are_those_of_longitude_0() -> None:
    poles = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]], dtype=torch.float64)
    east, north = tangent_axes(poles)
    assert east.tolist() == [[0.0, 1.0, 0.0], [0.0, 1.0, 0.0]]
    np.testing.assert_array_equal(north, [[-1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    moved = move(poles, torch.tensor([[0.0, -1e5], [0.0, 1e5]]))
    got = LonLat.from_unit(moved.numpy())
    np.testing.assert_allclose(got.lon, 0.0, atol=1e-9)
    np.testing.assert_allclose(sphere.distance_m(got, LonLat(np.zeros(2), np.array([90.0, -90.0]))), 1e5, rtol=1e-6)
