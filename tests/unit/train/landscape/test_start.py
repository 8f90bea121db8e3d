"""Scales that keep relief, and a head in closed form against scipy and a planted truth."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.linalg import eig

from placevec.encoders.landscape import set_feature_statistics
from placevec.nn.landscape import LandscapeConfig, LandscapeNet, PlaneConfig
from placevec.nn.landscape.planes import LIMIT, Planes
from placevec.train.landscape.start import robust_scales, set_start


def terrain(relief: float, n: int = 20, base: float = 1000.0) -> NDArray[np.float32]:
    rng = np.random.default_rng(1)
    return (base + relief * rng.normal(size=(n, 8, 8))).astype(np.float32)


def shown(plane: PlaneConfig, patches: NDArray[np.float32]) -> NDArray[np.float32]:
    found: NDArray[np.float32] = Planes((plane,))({"h": torch.from_numpy(patches)})[:, 0].numpy()
    return found


def test_a_mountain_differs_from_a_plain() -> None:
    """The original scaled each patch by itself: plain and mountain were the same."""
    plain, mountain = terrain(2.0), terrain(300.0)
    plane = robust_scales("h", np.concatenate([plain, mountain]))
    assert shown(plane, mountain).std() > 50 * shown(plane, plain).std()
    high = shown(plane, plain + 400)
    assert (high > shown(plane, plain)).all()


def test_they_are_median_and_half_the_range_of_nine_tenths() -> None:
    values = np.arange(1001, dtype=np.float32).reshape(1, 7, 143)
    assert robust_scales("h", values) == PlaneConfig("h", 0, 500.0, 450.0)
    values[0, 0, :20] = 1e9  # spikes
    assert robust_scales("h", values).scale == pytest.approx(450.0, rel=0.05)
    values[0, 1] = np.nan
    assert np.isfinite([robust_scales("h", values).centre, robust_scales("h", values).scale]).all()


def test_by_a_coast_the_land_keeps_its_relief() -> None:
    """Where more than nine tenths are sea, their range is nothing: what is divided by it is all at the limit."""
    patches = np.zeros((100, 8, 8), dtype=np.float32)
    patches[:4] = np.linspace(5, 900, 4 * 64, dtype=np.float32).reshape(4, 8, 8)
    plane = robust_scales("h", patches)
    land = shown(plane, patches)[:4]
    assert land[0].mean() < land[1].mean() < land[2].mean()
    assert (np.abs(land) < LIMIT).mean() > 0.9


@given(st.floats(-1e4, 1e4, width=32), st.integers(1, 50))
def test_one_value_everywhere(value: float, n: int) -> None:
    plane = robust_scales("h", np.full((n, 8, 8), value, dtype=np.float32))
    assert (plane.centre, plane.scale) == (pytest.approx(value, rel=1e-6), 1.0)


def test_nothing_known_anywhere() -> None:
    assert robust_scales("h", np.full((4, 8, 8), np.nan, dtype=np.float32)) == PlaneConfig("h")


CONFIG = LandscapeConfig((PlaneConfig("cover", 3),), pixels=8, dims=4, widths=(), hidden=0)


def patches(n: int, seed: int) -> dict[str, NDArray[np.uint8]]:
    return {"cover": np.random.default_rng(seed).integers(0, 4, (n, 8, 8)).astype(np.uint8)}


def scaled(net: LandscapeNet, some: dict[str, NDArray[np.uint8]]) -> NDArray[np.float64]:
    with torch.no_grad():
        features = net.features({name: torch.from_numpy(values) for name, values in some.items()})
        found: NDArray[np.float64] = ((features - net.mean) / net.spread).double().numpy()
    return found


def test_the_head_solves_the_generalised_eigenproblem() -> None:
    anchors = patches(60, 0)
    neighbours = {
        "cover": np.where(np.random.default_rng(1).random((60, 8, 8)) < 0.7, anchors["cover"], patches(60, 2)["cover"])
    }
    net = LandscapeNet(CONFIG).eval()
    correlations = set_start(net, anchors, neighbours, 0.1)
    a, b = scaled(net, anchors), scaled(net, neighbours)
    both = np.concatenate([a, b])
    np.testing.assert_allclose(both.mean(axis=0), 0.0, atol=1e-4)
    variance = both.T @ both / 120 + 0.1 * np.eye(a.shape[1])
    shared = (a.T @ b + b.T @ a) / 120
    # Without symmetry, by another routine: C v = rho S v as an ordinary eigenproblem of S^-1 C.
    values = np.sort(eig(np.linalg.solve(variance, shared))[0].real)[::-1][:4]
    np.testing.assert_allclose(correlations, values, atol=1e-6)
    assert (np.diff(correlations) <= 0).all()
    for row, rho in zip(net.linear.weight.detach().double().numpy(), correlations, strict=True):
        direction = row / rho
        np.testing.assert_allclose(shared @ direction, rho * (variance @ direction), atol=1e-5)
        assert direction @ variance @ direction == pytest.approx(1.0, abs=1e-4)
        assert row[np.abs(row).argmax()] > 0
    assert not net.linear.bias.any()


def test_it_finds_a_factor_that_neighbours_share() -> None:
    """Patches differ in the share of water, in which neighbours agree, and in much that they do not share."""
    rng = np.random.default_rng(3)
    n = 400
    water = rng.uniform(0.05, 0.9, n)

    def drawn() -> dict[str, NDArray[np.uint8]]:
        grass = rng.uniform(0, 1, n)[:, None, None]  # of what is no water, each end by itself
        rest = np.where(rng.random((n, 8, 8)) < grass, 2, 3)
        return {"cover": np.where(rng.random((n, 8, 8)) < water[:, None, None], 1, rest).astype(np.uint8)}

    anchors, neighbours = drawn(), drawn()
    net = LandscapeNet(CONFIG).eval()
    correlations = set_start(net, anchors, neighbours, 0.1)
    with torch.no_grad():
        first = net.project({"cover": torch.from_numpy(anchors["cover"])})[:, 0].numpy()
    assert abs(np.corrcoef(first, water)[0, 1]) > 0.95
    assert correlations[0] > 0.85
    assert correlations[0] > correlations[1] + 0.1  # a square of the share comes second


def test_without_shrink_only_scales_are_set() -> None:
    torch.manual_seed(0)
    net = LandscapeNet(CONFIG).eval()
    head = net.linear.weight.detach().clone()
    assert set_start(net, patches(20, 0), patches(20, 1), None).shape == (0,)
    assert torch.equal(net.linear.weight, head)
    expected = LandscapeNet(CONFIG).eval()
    both = {"cover": np.concatenate([patches(20, 0)["cover"], patches(20, 1)["cover"]])}
    set_feature_statistics(expected, both)
    assert torch.equal(net.mean, expected.mean)


def test_more_components_than_features() -> None:
    config = LandscapeConfig((PlaneConfig("cover", 1),), pixels=8, dims=30, widths=(), hidden=0)
    net = LandscapeNet(config).eval()
    one = {"cover": (patches(50, 0)["cover"] > 1).astype(np.uint8)}
    correlations = set_start(net, one, one, 0.1)
    assert len(correlations) == net.count < 30
    assert not net.linear.weight[net.count :].any()
    assert net({"cover": torch.from_numpy(one["cover"])}).isfinite().all()


def test_one_pair_of_patches_of_nothing() -> None:
    net = LandscapeNet(CONFIG).eval()
    none = {"cover": np.zeros((2, 8, 8), dtype=np.uint8)}
    assert np.isfinite(set_start(net, none, none, 0.1)).all()
    assert net.linear.weight.isfinite().all()
