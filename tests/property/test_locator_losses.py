"""Promises of the losses of a locator that hold for every point, cell and law."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from placevec.geo import sphere
from placevec.geo.sphere import EARTH_RADIUS_M, LonLat
from placevec.nn.locator.losses import distance_m, geocell_loss, kernel_log_density, move, soft_targets
from placevec.nn.locator.offsets import bounded
from placevec.nn.locator.segments import joint_log_softmax, segment_log_softmax

# Coarse among fine ones: equal points, antipodes, poles and the antimeridian come up often.
longitudes = st.one_of(st.integers(-12, 12).map(lambda v: v * 15.0), st.floats(-180, 180))
latitudes = st.one_of(st.integers(-6, 6).map(lambda v: v * 15.0), st.floats(-90, 90))
points = st.tuples(longitudes, latitudes)
counts = st.lists(st.integers(0, 4), min_size=1, max_size=5).filter(any)
seeds = st.integers(0, 2**32 - 1)


def units(places: list[tuple[float, float]]) -> torch.Tensor:
    lon, lat = np.array(places).T
    return torch.from_numpy(LonLat(lon, lat).unit())


@given(points, points, st.sampled_from([torch.float32, torch.float64]))
def test_distance_is_symmetric_with_a_finite_gradient(a, b, dtype) -> None:
    p, q = (units([place]).to(dtype).requires_grad_() for place in (a, b))
    d = distance_m(p, q)
    assert torch.equal(d, distance_m(q, p))
    assert 0.0 <= float(d.detach()) <= np.pi * EARTH_RADIUS_M * (1 + 1e-6)
    d.sum().backward()
    for gradient in (p.grad, q.grad):
        assert gradient.isfinite().all()
        assert float(gradient.norm()) <= EARTH_RADIUS_M * 1.01 or float(d.detach()) > 0.99 * np.pi * EARTH_RADIUS_M


@given(points, st.floats(-2e7, 2e7), st.floats(-2e7, 2e7))
def test_a_step_is_as_long_as_it_says(at, east, north) -> None:
    centre, step = units([at]), torch.tensor([[east, north]], dtype=torch.float64, requires_grad=True)
    reached = move(centre, step)
    length = float(np.hypot(east, north))
    around = abs((length / EARTH_RADIUS_M + np.pi) % (2 * np.pi) - np.pi)  # beyond the antipode it comes nearer again
    assert abs(float(distance_m(centre, reached.detach())) - around * EARTH_RADIUS_M) < 1.0
    reached.sum().backward()
    assert step.grad.isfinite().all()


@given(points, st.lists(points, min_size=1, max_size=6), st.floats(1e3, 1e6), st.integers(0, 5))
def test_targets_are_a_law_that_falls_with_distance(at, cells, tau_m, own) -> None:
    own = own % len(cells)
    q = soft_targets(units([at]), units(cells), torch.tensor([own]), tau_m)[0].numpy()
    assert abs(q.sum() - 1) < 1e-5
    lon, lat = np.array(cells).T
    away = sphere.distance_m(LonLat.of(*at), LonLat(lon, lat))
    order = np.argsort(away, kind="stable")
    assert (np.diff(q[order]) <= 1e-6).all()
    assert (q[away > away[own] + 5.001 * tau_m + 1] == 0).all()


@given(counts, seeds, st.floats(0.1, 300.0))
def test_the_joint_law_is_one_and_the_divergence_never_negative(cells, seed, scale) -> None:
    draw = torch.Generator().manual_seed(seed)
    region = torch.repeat_interleave(torch.arange(len(cells)), torch.tensor(cells))
    regions = scale * torch.randn(3, len(cells), generator=draw)
    logits = scale * torch.randn(3, len(region), generator=draw)
    logs = segment_log_softmax(logits, region, len(cells))
    joint = joint_log_softmax(regions, logs, region, torch.tensor(cells) > 0)
    torch.testing.assert_close(joint.exp().sum(dim=1), torch.ones(3), rtol=1e-4, atol=1e-4)
    start = 0
    for count in cells:
        if count:
            part = logs[:, start : start + count]
            torch.testing.assert_close(part.exp().sum(dim=1), torch.ones(3), rtol=1e-4, atol=1e-4)
        start += count
    q = torch.rand(3, len(region), generator=draw).softmax(dim=1)
    assert float(geocell_loss(joint, q)) > -1e-5


@given(st.floats(-1e8, 1e8), st.floats(-1e8, 1e8), st.floats(1.0, 1e7))
def test_offsets_never_reach_the_bound(east, north, reach) -> None:
    v = torch.tensor([[east, north]], dtype=torch.float32, requires_grad=True)
    got = bounded(v, torch.tensor([reach]))
    assert float(got.detach().norm()) < reach
    got.sum().backward()
    assert v.grad.isfinite().all()


@given(points, st.floats(0, 2e7), st.floats(0.0, 6.3), st.floats(1.0, 1e9))
@settings(max_examples=60)
def test_density_is_finite_and_falls_with_distance(at, metres, bearing, spread_m) -> None:
    mu = LonLat.of(*at)
    x = sphere.destination(mu, np.degrees(bearing), metres)
    log_spread = torch.tensor([np.log(spread_m)], dtype=torch.float64, requires_grad=True)
    there = kernel_log_density(torch.from_numpy(mu.unit()), torch.from_numpy(x.unit()), log_spread)
    top = kernel_log_density(torch.from_numpy(mu.unit()), torch.from_numpy(mu.unit()), log_spread)
    assert float(there.detach()) <= float(top.detach()) + 1e-9
    there.sum().backward()
    assert log_spread.grad.isfinite().all()
