"""The nested estimators against the same protocol in loops of scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import multivariate_normal
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsRegressor
from sklearn.preprocessing import StandardScaler

from placevec.errors import DataError, UsageError
from placevec.geo.sphere import EARTH_RADIUS_M, LonLat, pairwise_m
from placevec.measure import rbf
from placevec.measure.knn import nearest, nested_knn
from placevec.measure.nested import Folds, mean_fit
from placevec.measure.rbf import nested_gp
from placevec.measure.ridge import nested_ridge
from placevec.measure.splits import block_split, random_split

ALPHAS = (1e-2, 1.0, 1e2)
KS = (1, 4, 9)


def world(n: int = 240, p: int = 6, t: int = 1, seed: int = 0):
    rng = np.random.default_rng(seed)
    places = LonLat(rng.uniform(-9, 3, n), rng.uniform(36, 43, n))
    x = rng.standard_normal((n, p)) * 10.0 ** rng.integers(-3, 4, p) + rng.uniform(-50, 50, p)
    y = (x - x.mean(axis=0)) / x.std(axis=0) @ rng.standard_normal((p, t)) + rng.standard_normal((n, t))
    return places, x, y


def split_of(places, buffer_m: float = 30_000.0, k: int = 4):
    return block_split(places, "h3:3", k, buffer_m=buffer_m)


def slow_nested(split, y, fit, choices):
    """For each fold the choice of the least squared error over the other folds, then one more fit: all in loops."""
    pairs = list(split.pairs())
    out = np.full(y.shape, np.nan)
    chosen = []
    for f, (train, test) in enumerate(pairs):
        loss = np.zeros((len(choices), y.shape[1]))
        for g, (other, held) in enumerate(pairs):
            if g == f:
                continue
            learn, check = np.intersect1d(train, other), np.intersect1d(train, held)
            for i, choice in enumerate(choices):
                loss[i] += ((fit(learn, check, choice) - y[check]) ** 2).sum(axis=0)
        best = loss.argmin(axis=0)
        for column, i in enumerate(best):
            out[test, column] = fit(train, test, choices[i])[:, column]
        chosen.append([choices[i] for i in best])
    return out, chosen


def sk_fit(x, y, make, scale):
    def fit(train, test, choice):
        scaler = StandardScaler().fit(x[train])
        a, b = (scaler.transform(x[train]), scaler.transform(x[test])) if scale else (x[train], x[test])
        return make(choice).fit(a, y[train]).predict(b).reshape(len(test), -1)

    return fit


@pytest.mark.parametrize("p", [6, 300])
@pytest.mark.parametrize("kind", ["random", "block"])
def test_ridge_against_scikit_learn(p, kind):
    places, x, y = world(p=p, t=2)
    split = random_split(np.arange(240), 4) if kind == "random" else split_of(places)
    found = nested_ridge(x, y, split, alphas=ALPHAS)
    expected, chosen = slow_nested(split, y, sk_fit(x, y, lambda a: Ridge(alpha=a), True), ALPHAS)
    np.testing.assert_allclose(found.prediction, expected, rtol=1e-6, atol=1e-7)
    assert [one["alpha"] for one in found.chosen] == chosen
    assert all(one["n_train"] == len(train) for one, (train, _) in zip(found.chosen, split.pairs(), strict=True))


def test_ridge_without_kept_covariances(monkeypatch):
    places, x, y = world()
    split = split_of(places)
    kept = nested_ridge(x, y, split)
    monkeypatch.setattr("placevec.measure.ridge._KEPT_BYTES", 0)
    np.testing.assert_allclose(nested_ridge(x, y, split).prediction, kept.prediction, rtol=1e-9)
    assert [a["alpha"] for a in kept.chosen] == [a["alpha"] for a in nested_ridge(x, y, split).chosen]


def test_ridge_survives_constant_repeated_and_huge_features():
    places, x, y = world()
    odd = np.concatenate([x, x[:, :1], np.full((240, 1), 7.0), 1e9 + x[:, 1:2]], axis=1)
    found = nested_ridge(odd, y, split_of(places)).prediction
    assert np.isfinite(found).all()
    assert np.corrcoef(found[:, 0], y[:, 0])[0, 1] > 0.8


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "sphere"])
@pytest.mark.parametrize("kind", ["random", "block"])
def test_knn_against_scikit_learn(metric, kind):
    places, x, y = world(t=2)
    x = x if metric == "euclidean" else x / np.linalg.norm(x, axis=1, keepdims=True)
    split = random_split(np.arange(240), 4) if kind == "random" else split_of(places)
    given_x = places if metric == "sphere" else x
    found = nested_knn(given_x, y, split, metric="cosine" if metric == "sphere" else metric, neighbours=KS)
    space = places.unit() if metric == "sphere" else x
    fit = sk_fit(space, y, lambda k: KNeighborsRegressor(k, algorithm="brute"), metric == "euclidean")
    expected, chosen = slow_nested(split, y, fit, KS)
    if metric == "euclidean":
        # Inner lists are scaled by the rows of their own outer fold: the same k almost always, and then all else.
        same = [one["neighbours"] == c for one, c in zip(found.chosen, chosen, strict=True)]
        assert np.mean(same) >= 0.5
        for one, c, (_, test) in zip(found.chosen, chosen, split.pairs(), strict=True):
            if one["neighbours"] == c:
                np.testing.assert_allclose(found.prediction[test], expected[test], atol=1e-9)
        return
    assert [one["neighbours"] for one in found.chosen] == chosen
    np.testing.assert_allclose(found.prediction, expected, atol=1e-9)


@given(st.integers(0, 1000), st.integers(1, 40), st.sampled_from([50, 3000, 9000]))
def test_nearest_is_exact(seed, count, size):
    rng = np.random.default_rng(seed)
    gallery = rng.standard_normal((size, 3)).astype(np.float32)
    if seed % 3 == 0:
        gallery[: size // 2] = gallery[0]
    queries = rng.standard_normal((4, 3)).astype(np.float32)
    scores = queries @ gallery.T
    found = nearest(queries, gallery, count)
    assert found.shape == (4, min(count, size))
    for row in range(4):
        assert len(set(found[row].tolist())) == found.shape[1]
        np.testing.assert_allclose(scores[row, found[row]], np.sort(scores[row])[::-1][: found.shape[1]], rtol=1e-5)


def test_nearest_where_the_sample_misleads():
    """A gallery whose sampled columns all score high: too few pass the threshold, and the row is done in full."""
    gallery = np.zeros((8192, 1), dtype=np.float32)
    gallery[:: 8192 // 2048] = 1.0 + np.arange(2048)[:, None] / 2048
    gallery[1::4, 0] = 0.5
    for count in (5, 2000, 4000):
        found = nearest(np.ones((2, 1), dtype=np.float32), gallery, count)
        np.testing.assert_array_equal(gallery[found[0], 0], np.sort(gallery[:, 0])[::-1][:count])


def test_gp_against_scikit_learn():
    places, _, _ = world(200)
    rng = np.random.default_rng(2)
    y = np.sin(places.lon) * 100 + places.lat + 0.3 * rng.standard_normal(200)
    split = split_of(places)
    found = nested_gp(places, y, split)
    for one, (train, test) in zip(found.chosen, split.pairs(), strict=True):
        kernel = ConstantKernel(1.0, "fixed") * Matern(one["length_m"] / EARTH_RADIUS_M, "fixed", nu=1.5)
        kernel += WhiteKernel(one["noise"], "fixed")
        model = GaussianProcessRegressor(kernel, optimizer=None).fit(places.unit()[train], y[train] - y[train].mean())
        expected = model.predict(places.unit()[test]) + y[train].mean()
        np.testing.assert_allclose(found.prediction[test, 0], expected, rtol=1e-5, atol=1e-5)


def test_gp_chooses_what_is_most_likely():
    places, _, y = world(80)
    xyz, centred = places.unit(), y[:, 0] - y[:, 0].mean()
    length, noise = rbf._most_likely(xyz, y)
    distance = np.linalg.norm(xyz[:, None] - xyz[None], axis=2)
    apart = distance[distance > 0]

    def likelihood(a: float, b: float) -> float:
        kernel = (1 + np.sqrt(3) * distance / a) * np.exp(-np.sqrt(3) * distance / a) + b * np.eye(80)
        signal = centred @ np.linalg.solve(kernel, centred) / 80
        return float(multivariate_normal(np.zeros(80), signal * kernel).logpdf(centred))

    grid = np.geomspace(0.5 * np.quantile(apart, 0.01), np.quantile(apart, 0.95), rbf._LENGTHS)
    best = max(likelihood(a, b) for a in grid for b in rbf._NOISE)
    assert likelihood(length, noise) == pytest.approx(best, abs=1e-4)


def test_gp_is_capped_and_drawn_by_the_seed():
    places, _, y = world()
    split = split_of(places)
    one, same, other = (nested_gp(places, y, split, cap=50, seed=s) for s in (1, 1, 2))
    assert {c["n_train"] for c in one.chosen} == {50}
    np.testing.assert_array_equal(one.prediction, same.prediction)
    assert (one.prediction != other.prediction).any()
    constant = nested_gp(places, np.ones(240), split)
    np.testing.assert_allclose(constant.prediction, 1.0)


@pytest.mark.parametrize("name", ["mean", "ridge", "ridge dual", "cosine", "euclidean", "sphere", "gp"])
def test_nothing_sees_the_labels_that_it_predicts(name):
    places, x, y = world(p=300 if name == "ridge dual" else 6)
    run = {
        "mean": mean_fit,
        "ridge": lambda t, s: nested_ridge(x, t, s),
        "ridge dual": lambda t, s: nested_ridge(x, t, s),
        "cosine": lambda t, s: nested_knn(x, t, s),
        "euclidean": lambda t, s: nested_knn(x, t, s, metric="euclidean"),
        "sphere": lambda t, s: nested_knn(places, t, s),
        "gp": lambda t, s: nested_gp(places, t, s),
    }[name]
    split = split_of(places)
    before = run(y, split)
    for f, (train, test) in enumerate(split.pairs()):
        # All that is not training may be anything: test rows, and the rows of the buffer.
        spoilt = y.copy()
        spoilt[np.setdiff1d(np.arange(240), train)] = 1e6
        after = run(spoilt, split)
        np.testing.assert_array_equal(after.prediction[test], before.prediction[test])
        assert after.chosen[f] == before.chosen[f]


def test_rows_of_no_fold_are_not_predicted():
    places, x, y = world()
    groups = np.arange(240) % 9
    split = block_split(places, "h3:3", 3, groups=groups, strays="drop")
    out = split.fold == -1
    assert out.any()
    for fit in (nested_ridge(x, y, split), nested_knn(x, y, split), nested_gp(places, y, split), mean_fit(y, split)):
        np.testing.assert_array_equal(np.isnan(fit.prediction[:, 0]), out)


def test_folds_know_who_may_train():
    places, _, _ = world()
    split = split_of(places, 60_000.0)
    folds = Folds(split)
    distance = pairwise_m(places, places)
    atoms = folds.atoms
    for f, (train, test) in enumerate(split.pairs()):
        np.testing.assert_array_equal(folds.train(f), train)
        np.testing.assert_array_equal(folds.tests[f], test)
        for g, learn, held in folds.inner(f):
            rows = np.flatnonzero(learn)
            assert distance[np.ix_(rows, held)].min() > 60_000
            assert distance[np.ix_(rows, test)].min() > 60_000
            assert (split.fold[held] == g).all()
            # A set of training rows is a union of atoms.
            assert not set(atoms[rows].tolist()) & set(atoms[~learn].tolist())


def test_refusals():
    places, x, y = world(60)
    with pytest.raises(UsageError, match="3 folds or more, not 2"):
        nested_ridge(x, y, random_split(np.arange(60), 2))
    split = random_split(np.arange(60), 3)
    with pytest.raises(DataError, match="60 rows for 59"):
        nested_ridge(x[:59], y, split)
    with pytest.raises(DataError, match="targets of the shape"):
        nested_ridge(x, y[:59], split)
    broken = x.copy()
    broken[7, 2] = np.nan
    for call in (nested_ridge, nested_knn):
        with pytest.raises(DataError, match="row 7: a feature is not finite"):
            call(broken, y, split)
        with pytest.raises(DataError, match="target is not finite"):
            call(x, np.full(60, np.inf), split)
    with pytest.raises(UsageError, match="'manhattan'"):
        nested_knn(x, y, split, metric="manhattan")
    assert places is not None
