"""Ridge chooses between two scalings of the columns; both come from one factorisation each, without eigenvectors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
from sklearn.linear_model import Ridge

from placevec.errors import UsageError
from placevec.geo.sphere import LonLat
from placevec.measure.linear import best_alpha
from placevec.measure.nested import Folds
from placevec.measure.rbf import nested_gp
from placevec.measure.ridge import nested_ridge
from placevec.measure.shrink import Shrunk
from placevec.measure.splits import Split, block_split, random_split

ALPHAS = (1e-2, 1.0, 1e2)


def blocks_of_two_sizes(n: int = 240, p: int = 40, seed: int = 0):
    """A small block that knows the target, and a large one of noise: weights of the blocks matter."""
    rng = np.random.default_rng(seed)
    places = LonLat(rng.uniform(-9, 3, n), rng.uniform(36, 43, n))
    x = np.concatenate([5.0 * rng.standard_normal((n, 3)), 0.05 * rng.standard_normal((n, p))], axis=1)
    y = x[:, :3] @ rng.standard_normal((3, 1)) + rng.standard_normal((n, 1))
    return places, x, np.concatenate([y, x[:, 3:] @ rng.standard_normal((p, 1)) * 20], axis=1)


def slow(x, y, split):
    """All of the choice in loops of scikit-learn: for each fold and target the scaling and alpha of least error."""
    pairs = list(split.pairs())
    out, chosen = np.full(y.shape, np.nan), []

    def scaled(train, scaling):
        size = x[train].std(axis=0)
        return (x - x[train].mean(axis=0)) / (size if scaling == "columns" else np.sqrt((size**2).mean()))

    choices = [(scaling, alpha) for scaling in ("columns", "common") for alpha in ALPHAS]
    for f, (train, test) in enumerate(pairs):
        for t in range(y.shape[1]):
            loss = []
            for scaling, alpha in choices:
                total = 0.0
                for g, (other, held) in enumerate(pairs):
                    if g != f:
                        learn, check = np.intersect1d(train, other), np.intersect1d(train, held)
                        z = scaled(learn, scaling)
                        guess = Ridge(alpha=alpha).fit(z[learn], y[learn, t]).predict(z[check])
                        total += ((guess - y[check, t]) ** 2).sum()
                loss.append(total)
            scaling, alpha = choices[int(np.argmin(loss))]
            z = scaled(train, scaling)
            out[test, t] = Ridge(alpha=alpha).fit(z[train], y[train, t]).predict(z[test])
            chosen.append((f, scaling, alpha))
    return out, chosen


@pytest.mark.parametrize("p", [10, 220])
def test_the_choice_against_loops(p):
    places, x, y = blocks_of_two_sizes(p=p)
    split = block_split(places, "h3:3", 4, buffer_m=30_000.0)
    expected, chosen = slow(x, y, split)
    found = nested_ridge(x, y, split, alphas=ALPHAS)
    np.testing.assert_allclose(found.prediction, expected, rtol=1e-6, atol=1e-6)
    said = [(one["fold"], s, a) for one in found.chosen for s, a in zip(one["scaling"], one["alpha"], strict=True)]
    assert said == chosen
    assert {scaling for _, scaling, _ in said} == {"columns", "common"}


def test_equal_columns_have_one_scaling(monkeypatch):
    places, x, y = blocks_of_two_sizes()
    even = (x - x.mean(axis=0)) / x.std(axis=0)
    split = random_split(np.arange(240), 4)
    tried = []
    solve = Shrunk.solve
    monkeypatch.setattr(Shrunk, "solve", lambda self, b, a: tried.append(1) or solve(self, b, a))
    found = nested_ridge(even, y[:, 0], split)
    assert {one["scaling"] for one in found.chosen} == {"columns"}
    assert len(tried) == 4 * 5 // 2
    nested_ridge(x, y[:, 0], split)
    assert len(tried) == 3 * 4 * 5 // 2
    only = nested_ridge(x, y[:, 0], split, scalings=("common",))
    assert {one["scaling"] for one in only.chosen} == {"common"}
    assert places is not None


def test_common_scaling_survives_constant_features():
    _, x, y = blocks_of_two_sizes(60)
    split = random_split(np.arange(60), 3)
    odd = np.concatenate([x, np.full((60, 1), 3.0)], axis=1)
    assert np.isfinite(nested_ridge(odd, y, split, scalings=("common",)).prediction).all()
    flat = nested_ridge(np.ones((60, 4)), y, split).prediction
    assert np.isfinite(flat).all()
    with pytest.raises(UsageError, match="scalings"):
        nested_ridge(x, y, split, scalings=("rows",))


@given(st.integers(1, 30), st.integers(1, 40), st.integers(0, 500))
def test_shrunk_solves(p, rank, seed):
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((rank, p))
    a = z.T @ z
    b = rng.standard_normal((p, 2))
    alphas = np.array([1e-3, 1.0, 1e3])
    found = Shrunk(np.asfortranarray(a)).solve(b, alphas)
    for i, alpha in enumerate(alphas):
        np.testing.assert_allclose(found[:, i], np.linalg.solve(a + alpha * np.eye(p), b), rtol=1e-6, atol=1e-6)


def test_shrunk_below_rounding():
    ones = np.ones((50, 50)) * 1e12
    assert np.isfinite(Shrunk(np.asfortranarray(ones)).solve(np.ones((50, 1)), np.array([1e-12, 1e-4]))).all()


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_gp_of_vectors_against_scikit_learn(metric):
    places, x, y = blocks_of_two_sizes(160, 6)
    split = random_split(np.arange(160), 3)
    found = nested_gp(x, y[:, 0], split, metric=metric)
    for one, (train, test) in zip(found.chosen, split.pairs(), strict=True):
        if metric == "cosine":
            z = x / np.linalg.norm(x, axis=1, keepdims=True)
        else:
            z = (x - x[train].mean(axis=0)) / x[train].std(axis=0)
        kernel = ConstantKernel(1.0, "fixed") * Matern(one["length"], "fixed", nu=1.5) + WhiteKernel(
            one["noise"], "fixed"
        )
        mean = y[train, 0].mean()
        model = GaussianProcessRegressor(kernel, optimizer=None).fit(z[train], y[train, 0] - mean)
        np.testing.assert_allclose(found.prediction[test, 0], model.predict(z[test]) + mean, rtol=1e-4, atol=1e-4)
    assert places is not None


@pytest.mark.parametrize("p", [3, 90])
@pytest.mark.parametrize("scaling", ["columns", "common"])
def test_what_lies_in_one_district_throws_no_row(p, scaling):
    """A trace of it trains: by its size there it would be blown up ten thousandfold in the test."""
    rng = np.random.default_rng(0)
    fold = np.arange(80) % 4
    folds = Folds(Split(fold, 4, {}))
    x, y = rng.standard_normal((80, p)), rng.standard_normal(80)
    rare = np.where(fold == 0, rng.uniform(3000.0, 5000.0, 80), 0.0)
    rare[1] = 0.5
    both = np.column_stack([x, rare])
    for make in (both, lambda train: both):
        found = nested_ridge(make, y, folds, scalings=(scaling,)).prediction
        assert np.abs(found).max() < 10.0 * np.abs(y).max()


def test_what_lies_in_one_district_drives_no_penalty_up():
    rng = np.random.default_rng(0)
    fold = np.arange(80) % 4
    x = rng.standard_normal((80, 3))
    y = x @ [1.0, 2.0, 3.0] + 0.1 * rng.standard_normal(80)
    rare = np.where(fold == 0, rng.uniform(3000.0, 5000.0, 80), 0.0)
    rare[1] = 0.5
    folds = Folds(Split(fold, 4, {}))
    assert best_alpha(x, y, folds) < 10.0
    assert best_alpha(np.column_stack([x, rare]), y, folds) < 10.0


def test_ordinary_columns_are_scaled_by_training_alone():
    """The floor touches nothing that varies everywhere."""
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((90, 4)) * [1.0, 50.0, 1e-3, 7.0], rng.standard_normal(90)
    folds = Folds(Split(np.arange(90) % 3, 3, {}))
    found = nested_ridge(x, y, folds, scalings=("columns",), alphas=[3.0]).prediction[:, 0]
    for f, test in enumerate(folds.tests):
        train = folds.train(f)
        z = (x - x[train].mean(axis=0)) / x[train].std(axis=0)
        weights = np.linalg.solve(z[train].T @ z[train] + 3.0 * np.eye(4), z[train].T @ (y[train] - y[train].mean()))
        assert np.allclose(found[test], y[train].mean() + z[test] @ weights, atol=1e-10)
