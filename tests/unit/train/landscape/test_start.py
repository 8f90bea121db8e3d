"""Scales that keep relief, and a head in closed form against scipy and a planted truth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.linalg import eig

from placevec.encoders.landscape import set_feature_statistics
from placevec.nn.landscape import LandscapeConfig, LandscapeNet, PlaneConfig
from placevec.nn.landscape.net import LIMIT as CUT
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


WIDE = LandscapeConfig((PlaneConfig("cover", 6),), pixels=8, dims=24, widths=(), hidden=0)


def scaled(net: LandscapeNet, some: dict[str, NDArray[np.uint8]]) -> NDArray[np.float64]:
    """The features on one scale, cut."""
    with torch.no_grad():
        features = net.features({name: torch.from_numpy(values) for name, values in some.items()})
        found = ((features - net.mean) / net.spread).double().numpy()
    return np.asarray(np.clip(found, -CUT, CUT))


def neighbouring(n: int, seed: int = 0, classes: int = 3) -> tuple[dict[str, Any], dict[str, Any]]:
    """Patches with shares of classes of their own, and others that agree with them in seven pixels of ten."""
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(0.5 * np.ones(classes + 1), n)
    both = np.stack([rng.choice(classes + 1, (2, 8, 8), p=one) for one in shares], axis=1).astype(np.uint8)
    return {"cover": both[0]}, {"cover": np.where(rng.random((n, 8, 8)) < 0.7, both[0], both[1])}


def started(
    own: float, shrink: float = 0.1, seed: int = 0, config: LandscapeConfig = CONFIG, n: int = 60
) -> tuple[LandscapeNet, NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """A network with a head in closed form, its correlations, and the scaled features of anchors and neighbours."""
    anchors, neighbours = neighbouring(n, classes=config.layers[0].classes)
    net = LandscapeNet(config).eval()
    correlations = set_start(net, anchors, neighbours, (own, shrink), seed)
    return net, correlations, scaled(net, anchors), scaled(net, neighbours)


def weights_of(net: LandscapeNet) -> NDArray[np.float64]:
    return np.asarray(net.linear.weight.detach().double().numpy())


def canonical(
    a: NDArray[np.float64], b: NDArray[np.float64], shrink: float, count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Correlations and the head (features, count), by another routine: S^-1 C as an ordinary eigenproblem."""
    both = np.concatenate([a, b])
    variance = both.T @ both / len(both) + shrink * np.eye(a.shape[1])
    shared = (a.T @ b + b.T @ a) / len(both)
    values, vectors = eig(np.linalg.solve(variance, shared))
    order = np.argsort(-values.real)[:count]
    directions = vectors.real[:, order]
    directions = directions / np.sqrt(np.einsum("ij,ik,kj->j", directions, variance, directions))
    return values.real[order], directions * np.maximum(values.real[order], 1e-3)


def principal(both: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """The first principal axes (features, count) of rows, by a singular value decomposition."""
    return np.linalg.svd(both, full_matrices=False)[2][:count].T


def of_share(head: NDArray[np.float64], both: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """A head under which the squared lengths of vectors have the mean `share`."""
    return head * np.sqrt(share / np.mean(np.sum((both @ head) ** 2, axis=1)))


@pytest.mark.parametrize("own", [0.0, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("shrink", [0.1, 2.0])
@pytest.mark.parametrize("config", [CONFIG, WIDE], ids=["4 components", "24 components"])
def test_half_is_canonical_correlation_and_half_principal_components(
    own: float, shrink: float, config: LandscapeConfig
) -> None:
    """What does not depend on signs nor on the rotation: the products of the weights of any two features."""
    net, correlations, a, b = started(own, shrink, config=config, n=300)
    both = np.concatenate([a, b])
    first = {0.0: config.dims, 1.0: 0}.get(own, config.dims // 2)
    assert len(correlations) == first
    assert (np.diff(correlations) <= 0).all()
    expected = np.zeros((net.count, net.count))
    if first:
        values, head = canonical(a, b, shrink, first)
        np.testing.assert_allclose(correlations, np.maximum(values, 1e-3), atol=1e-6)
        head = of_share(head, both, 1 - own)
        expected += head @ head.T
    if own:
        head = of_share(principal(both, config.dims - first), both, own)
        expected += head @ head.T
    weights = weights_of(net)
    np.testing.assert_allclose(weights.T @ weights, expected, atol=2e-5 * np.abs(expected).max())
    assert np.mean(np.sum((both @ weights.T) ** 2, axis=1)) == pytest.approx(1.0, abs=1e-4)
    assert not net.linear.bias.any()


def test_canonical_directions_solve_the_generalised_eigenproblem() -> None:
    """Before the rotation: an eigenvector of the weights' products with the covariance is one of C v = rho S v."""
    net, correlations, a, b = started(0.0, 0.1)
    both = np.concatenate([a, b])
    np.testing.assert_allclose(both.mean(axis=0), 0.0, atol=0.05)  # but for what is cut
    variance = both.T @ both / len(both) + 0.1 * np.eye(a.shape[1])
    shared = (a.T @ b + b.T @ a) / len(both)
    weights = weights_of(net)
    values, vectors = np.linalg.eig(weights.T @ weights @ variance)
    order = np.argsort(-values.real)[:4]
    for rho, value, direction in zip(correlations, values.real[order], vectors.real[:, order].T, strict=True):
        np.testing.assert_allclose(shared @ direction, rho * (variance @ direction), atol=1e-4)
        # A component counts by its correlation.
        assert value / values.real[order[0]] == pytest.approx((rho / correlations[0]) ** 2, rel=1e-3)


def test_the_rotation_keeps_distances_and_evens_what_components_vary() -> None:
    runs = [started(0.7, seed=seed, config=WIDE, n=150) for seed in (0, 1, 5)]
    a, b = runs[0][2:]
    both = np.concatenate([a, b])
    halves = [of_share(canonical(a, b, 0.1, 12)[1], both, 0.3), of_share(principal(both, 12), both, 0.7)]
    before = both @ np.concatenate(halves, axis=1)
    turned = [both @ weights_of(net).T for net, *_ in runs]
    assert not np.allclose(turned[0], turned[1], atol=1e-2)

    def distances(rows: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.linalg.norm(rows[:, None] - rows[None], axis=2)

    def unevenness(rows: NDArray[np.float64]) -> float:
        return float(rows.var(axis=0).max() / rows.var(axis=0).mean())

    assert unevenness(before) > 3.5
    for rows in turned:
        np.testing.assert_allclose(distances(rows), distances(before), atol=1e-4)
        assert unevenness(rows) < 0.7 * unevenness(before)


def test_a_seed_gives_one_start() -> None:
    first, again = (weights_of(started(0.7, seed=3)[0]) for _ in range(2))
    np.testing.assert_array_equal(first, again)


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
    correlations = set_start(net, anchors, neighbours, (0.0, 0.1))
    with torch.no_grad():
        vectors = net({"cover": torch.from_numpy(anchors["cover"])}).double().numpy()
    # The rotation mixes components; the direction in which the vectors vary most is the first one before it.
    first = vectors @ np.linalg.svd(vectors - vectors.mean(axis=0), full_matrices=False)[2][0]
    assert abs(np.corrcoef(first, water)[0, 1]) > 0.95
    assert correlations[0] > 0.85
    assert correlations[0] > correlations[1] + 0.1  # a square of the share comes second


def test_without_a_closed_form_only_scales_are_set() -> None:
    torch.manual_seed(0)
    net = LandscapeNet(CONFIG).eval()
    head = net.linear.weight.detach().clone()
    assert set_start(net, patches(20, 0), patches(20, 1), None).shape == (0,)
    assert torch.equal(net.linear.weight, head)
    expected = LandscapeNet(CONFIG).eval()
    both = {"cover": np.concatenate([patches(20, 0)["cover"], patches(20, 1)["cover"]])}
    set_feature_statistics(expected, both)
    assert torch.equal(net.mean, expected.mean)


@pytest.mark.parametrize("own", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("dims", [9, 30])
def test_more_components_than_features(own: float, dims: int) -> None:
    config = LandscapeConfig((PlaneConfig("cover", 1),), pixels=8, dims=dims, widths=(), hidden=0)
    net = LandscapeNet(config).eval()
    one = {"cover": (neighbouring(50)[0]["cover"] > 1).astype(np.uint8)}
    correlations = set_start(net, one, one, (own, 0.1))
    count = net.count
    assert count == 8 < dims
    first = {0.0: count, 1.0: 0}.get(own, min(dims // 2, count))
    assert len(correlations) == first
    rows = scaled(net, one)
    expected = np.zeros((count, count))
    if first:
        head = of_share(canonical(rows, rows, 0.1, first)[1], rows, 1 - own)
        expected += head @ head.T
    if own:
        head = of_share(principal(rows, min(count, dims - first)), rows, own)
        expected += head @ head.T
    weights = weights_of(net)
    np.testing.assert_allclose(weights.T @ weights, expected, atol=2e-5 * np.abs(expected).max())
    vectors = net({"cover": torch.from_numpy(one["cover"])})
    assert vectors.shape == (50, dims)
    assert vectors.isfinite().all()


@pytest.mark.parametrize("own", [0.0, 0.7])
def test_one_component(own: float) -> None:
    config = LandscapeConfig((PlaneConfig("cover", 3),), pixels=8, dims=1, widths=(), hidden=0)
    net, correlations, a, b = started(own, config=config)
    assert len(correlations) == (1 if own == 0 else 0)
    # One half has no component: what there is keeps its own share.
    size = ((np.concatenate([a, b]) @ weights_of(net).T) ** 2).mean()
    assert size == pytest.approx(1.0 if own == 0 else own, abs=1e-4)


@pytest.mark.parametrize("own", [0.0, 0.7, 1.0])
def test_one_pair_of_patches_of_nothing(own: float) -> None:
    net = LandscapeNet(CONFIG).eval()
    none = {"cover": np.zeros((2, 8, 8), dtype=np.uint8)}
    assert np.isfinite(set_start(net, none, none, (own, 0.1))).all()
    assert net.linear.weight.isfinite().all()
