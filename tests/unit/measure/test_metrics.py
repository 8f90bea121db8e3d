"""Every metric against a slow, obvious oracle."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from placevec.errors import DataError
from placevec.geo.cells import H3Cells
from placevec.geo.sphere import LonLat, pairwise_m
from placevec.measure import metrics as m


def numbers(seed: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.standard_normal(n).round(1) + 1000.0
    return y, y + rng.standard_normal(n).round(1)


@given(st.integers(0, 10_000), st.integers(3, 60))
def test_regression_against_scikit_learn(seed, n):
    y, p = numbers(seed, n)
    if (y == y[0]).all() or (p == p[0]).all():
        return
    assert m.r2(y, p) == pytest.approx(sk.r2_score(y, p), abs=1e-9)
    assert m.mae(y, p) == pytest.approx(sk.mean_absolute_error(y, p))
    assert m.rmse(y, p) == pytest.approx(sk.root_mean_squared_error(y, p))
    assert m.spearman(y, p) == pytest.approx(spearmanr(y, p).statistic)


@given(st.integers(0, 10_000), st.integers(2, 60), st.integers(2, 6))
def test_classification_against_scikit_learn(seed, n, classes):
    rng = np.random.default_rng(seed)
    names = np.array([f"c{i}" for i in range(classes)])
    y, p = names[rng.integers(0, classes, n)], names[rng.integers(0, classes, n)]
    assert m.accuracy(y, p) == pytest.approx(sk.accuracy_score(y, p))
    assert m.macro_f1(y, p) == pytest.approx(sk.f1_score(y, p, average="macro", zero_division=0))
    recalls = [(p[y == c] == c).mean() for c in np.unique(y)]
    assert m.balanced_accuracy(y, p) == pytest.approx(np.mean(recalls))


def test_log_loss_against_scikit_learn():
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(4), 50)
    y = rng.integers(0, 4, 50)
    assert m.log_loss(y, p) == pytest.approx(sk.log_loss(y, p, labels=range(4)))
    assert m.log_loss([0], [[0.0, 1.0]]) == pytest.approx(-np.log(1e-15))


def test_what_is_undefined_is_nan():
    assert np.isnan(m.r2([1, 1], [1, 2]))
    assert np.isnan(m.spearman([1, 1], [1, 2]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: m.r2([1, 2], [1]), "as many of each"),
        (lambda: m.mae([], []), "at least one"),
        (lambda: m.accuracy(["a"], ["a", "b"]), "as many of each"),
        (lambda: m.log_loss([0, 1], [[1.0], [1.0]]), "class 1 has no column"),
        (lambda: m.log_loss([0], [[0.5, 0.2]]), "row 0 .* does not add up"),
        (lambda: m.log_loss([0, 1], [[1.0, 0.0]]), "give"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(DataError, match=message):
        call()


def slow_moran(z: np.ndarray, w: np.ndarray) -> float:
    z = z - z.mean()
    total = 0.0
    for i in range(len(z)):
        for j in range(len(z)):
            total += w[i, j] * z[i] * z[j]
    return len(z) / w.sum() * total / (z @ z)


def test_moran_against_loops_and_permutations():
    rng = np.random.default_rng(1)
    p = LonLat(rng.uniform(0, 3, 60), rng.uniform(40, 43, 60))
    weights = m.near_weights(p, 5)
    dense = weights.toarray()
    d = pairwise_m(p, p)
    np.fill_diagonal(d, np.inf)
    for i in range(60):
        np.testing.assert_array_equal(np.sort(np.argsort(d[i])[:5]), np.flatnonzero(dense[i]))
    np.testing.assert_allclose(dense.sum(axis=1), 1.0)
    smooth = np.sin(p.lon) + np.cos(p.lat)
    found = m.morans_i(smooth, weights)
    assert found.i == pytest.approx(slow_moran(smooth, dense))
    assert found.expected == pytest.approx(-1 / 59)
    assert found.z > 5
    assert found.p < 1e-5
    # The moments under normality are near those of random permutations.
    noise = rng.standard_normal(60)
    shuffled = [m.morans_i(rng.permutation(noise), weights).i for _ in range(2000)]
    assert np.mean(shuffled) == pytest.approx(found.expected, abs=0.01)
    assert np.std(shuffled) == pytest.approx(found.sd, rel=0.1)
    assert abs(m.morans_i(noise, weights).z) < 3


def test_moran_of_places_that_coincide_and_of_constants():
    p = LonLat(np.zeros(12), np.zeros(12))
    weights = m.near_weights(p, 8)
    assert weights.diagonal().sum() == 0.0
    assert ((weights.toarray() > 0).sum(axis=1) == 8).all()
    assert np.isnan(m.morans_i(np.full(12, 0.1), weights).i)
    with pytest.raises(DataError, match="12 places|11 values"):
        m.morans_i(np.ones(11), weights)
    with pytest.raises(DataError, match="1 places have no neighbours"):
        m.near_weights(LonLat.of(0, 0))


def test_ring_weights_are_the_neighbours_that_are_there():
    system = H3Cells(5)
    all_cells = system.rings(system.assign(LonLat.of(-4, 40)), 4)[0]
    lone = system.assign(LonLat.of(100, 10))
    cells = np.concatenate([all_cells[::2], lone])
    weights = m.ring_weights(cells).toarray()
    near = system.rings(cells, 1)[:, 1:]
    for i in range(len(cells)):
        expected = np.isin(cells, near[i])
        np.testing.assert_array_equal(weights[i] > 0, expected)
        if expected.any():
            np.testing.assert_allclose(weights[i][expected], 1 / expected.sum())
    assert weights[-1].sum() == 0.0


def slow_ranks(q, g, qg, gg, exclude=None):
    ranks = []
    for i in range(len(q)):
        scores = [float(q[i] @ g[j]) for j in range(len(g))]
        if exclude is not None and exclude[i] >= 0:
            scores[exclude[i]] = -np.inf
        best = max(s for s, group in zip(scores, gg, strict=True) if group == qg[i])
        ranks.append(1 + sum(s >= best and group != qg[i] for s, group in zip(scores, gg, strict=True)))
    return np.array(ranks)


@given(st.integers(0, 10_000), st.integers(1, 7))
def test_retrieval_against_loops(seed, chunk):
    rng = np.random.default_rng(seed)
    # Small whole numbers: products are exact, ties are frequent.
    q, g = rng.integers(-2, 3, (9, 3)).astype(float), rng.integers(-2, 3, (15, 3)).astype(float)
    gg = np.array([f"t{i}" for i in rng.integers(0, 5, 15)])
    qg = rng.choice(gg, 9)
    ranks = m.retrieval_ranks(q, g, qg, gg, chunk=chunk)
    np.testing.assert_array_equal(ranks, slow_ranks(q, g, qg, gg))
    for k in (1, 3, 15):
        assert m.recall_at(ranks, k) == np.mean([r <= k for r in ranks])
    assert m.mean_reciprocal_rank(ranks) == pytest.approx(np.mean([1 / r for r in ranks]))
    assert m.median_rank(ranks) == np.median(ranks)


def test_retrieval_of_duplicates_and_of_oneself():
    g = np.eye(4)
    # Captions 0 and 1 are the same text: either answers, in the duplicate-aware count.
    official = m.retrieval_ranks(g[[1, 0]], g, [0, 1], [0, 1, 2, 3])
    aware = m.retrieval_ranks(g[[1, 0]], g, ["x", "x"], ["x", "x", "y", "z"])
    assert (official > 1).all()
    np.testing.assert_array_equal(aware, 1)
    # Alike vectors earn nothing; the query itself may not answer.
    assert m.retrieval_ranks(np.ones((1, 2)), np.ones((5, 2)), [0], range(5)).tolist() == [5]
    alone = m.retrieval_ranks(g[:1], g, ["x"], ["x", "x", "y", "z"], exclude=[0])
    assert alone.tolist() == slow_ranks(g[:1], g, ["x"], ["x", "x", "y", "z"], [0]).tolist() == [3]
    with pytest.raises(DataError, match="query 1: no item"):
        m.retrieval_ranks(g[:2], g, [0, 9], range(4))
    with pytest.raises(DataError, match="do not fit"):
        m.retrieval_ranks(g[:2], g, [0], range(4))
