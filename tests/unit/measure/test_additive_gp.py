"""The additive Gaussian process: its gradient, its formula written out, and blocks that say nothing."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import approx_fprime
from scipy.spatial.distance import cdist, pdist, squareform

from placevec.errors import DataError
from placevec.geo.sphere import LonLat
from placevec.measure.additive_gp import Settings, _loss, fit, nested_additive_gp
from placevec.measure.nested import Folds
from placevec.measure.rbf import nested_gp
from placevec.measure.splits import random_split

BLOCKS = (("place", 0, 2), ("look", 2, 5))


def made(n: int = 240, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (n, 5))
    y = np.sin(4 * x[:, 0]) * np.cos(3 * x[:, 1]) + 0.05 * rng.standard_normal(n)
    return x, y


def test_the_gradient_is_that_of_the_likelihood() -> None:
    x, y = made(40)
    goal = np.stack([(y - y.mean()) / y.std(), x[:, 3]], axis=1)
    scaled = [np.sqrt(3) * pdist(x[:, :2]), np.sqrt(3) * pdist(x[:, 2:])]
    logs = np.array([0.3, -0.2, -0.5, 0.1, -1.5])
    _, gradient = _loss(logs, scaled, goal)
    assert gradient == pytest.approx(approx_fprime(logs, lambda at: _loss(at, scaled, goal)[0], 1e-6), rel=1e-3)


def test_the_likelihood_is_that_of_a_normal_distribution() -> None:
    from scipy.stats import multivariate_normal

    x, y = made(30)
    goal = ((y - y.mean()) / y.std())[:, None]
    scaled = [np.sqrt(3) * pdist(x[:, :2]), np.sqrt(3) * pdist(x[:, 2:])]

    def slow(logs: np.ndarray) -> float:
        kernel = (np.exp(logs[4]) + 1e-6) * np.eye(30)
        for i, distance in enumerate(scaled):
            r = squareform(distance) / np.exp(logs[i])
            kernel += np.exp(logs[2 + i]) * (1 + r) * np.exp(-r)
        return float(-multivariate_normal(np.zeros(30), kernel).logpdf(goal[:, 0]) + 0.02 * logs @ logs)

    one, two = np.array([0.3, -0.2, -0.5, 0.1, -1.5]), np.array([-1.0, 0.5, 0.2, -2.0, -0.5])
    assert _loss(one, scaled, goal)[0] - _loss(two, scaled, goal)[0] == pytest.approx(slow(one) - slow(two), rel=1e-6)


def test_a_block_that_says_nothing_gets_little_weight() -> None:
    x, y = made()
    goal = ((y - y.mean()) / y.std())[:, None]
    found = fit([x[:, :2], x[:, 2:]], goal)
    # Its weight matters only as far as its kernel varies between places.
    share = found.weights * (1 - np.exp(-1 / found.lengths))
    assert share[1] < 0.05 * share[0]


def test_predictions_are_the_formula() -> None:
    x, y = made(90)
    folds = Folds(random_split(np.arange(90), 3, 0))
    got = nested_additive_gp(x, y, folds, BLOCKS)
    used = np.random.default_rng([0, 0]).permutation(folds.train(0))
    test = folds.tests[0]
    goal = (y[used] - y[used].mean()) / y[used].std()
    settings: Settings = fit([x[used][:, :2], x[used][:, 2:]], goal[:, None])

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        total = np.zeros((len(a), len(b)))
        for i, (_, start, stop) in enumerate(BLOCKS):
            r = np.sqrt(3) * cdist(a[:, start:stop], b[:, start:stop]) / (settings.lengths[i] * settings.medians[i])
            total += settings.weights[i] * (1 + r) * np.exp(-r)
        return total

    noisy = kernel(x[used], x[used]) + (settings.noise + 1e-6) * np.eye(len(used))
    expected = y[used].mean() + y[used].std() * kernel(x[test], x[used]) @ np.linalg.solve(noisy, goal)
    assert got.prediction[test, 0] == pytest.approx(expected, abs=1e-6)
    assert set(got.chosen[0]["weights"]) == {"place", "look"}


def test_with_coordinates_alone_it_is_as_good_as_the_baseline() -> None:
    rng = np.random.default_rng(3)
    lonlat = LonLat(rng.uniform(0, 10, 300), rng.uniform(40, 48, 300))
    y = np.sin(lonlat.lon) + np.cos(lonlat.lat) + 0.05 * rng.standard_normal(300)
    folds = Folds(random_split(np.arange(300), 3, 0))
    ours = nested_additive_gp(lonlat.unit(), y, folds, [("place", 0, 3)]).prediction[:, 0]
    theirs = nested_gp(lonlat, y, folds).prediction[:, 0]
    assert np.square(y - ours).sum() < 1.1 * np.square(y - theirs).sum()


def test_a_constant_block_and_a_constant_target_do_no_harm() -> None:
    x, y = made(60)
    x[:, 2:] = 1.0
    folds = Folds(random_split(np.arange(60), 3, 0))
    assert np.isfinite(nested_additive_gp(x, y, folds, BLOCKS).prediction).all()
    flat = nested_additive_gp(x, np.stack([y, np.full(60, 7.0)], axis=1), folds, BLOCKS).prediction
    assert flat[:, 1] == pytest.approx(7.0)


def test_blocks_beyond_the_columns_are_refused() -> None:
    x, y = made(30)
    with pytest.raises(DataError, match="'look' takes columns 2 to 9 of 5"):
        nested_additive_gp(x, y, random_split(np.arange(30), 3, 0), (("place", 0, 2), ("look", 2, 9)))
