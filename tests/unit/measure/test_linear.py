"""Linear models: against plain formulas; coefficients that are known; and what modalities add."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from placevec.errors import DataError, UsageError
from placevec.geo.sphere import LonLat
from placevec.measure.coefficients import coefficients, jackknife
from placevec.measure.dropout import drop_one
from placevec.measure.linear import Scaler, best_alpha, fit_linear, nested_ols
from placevec.measure.probes import probe
from placevec.measure.ridge import ALPHAS, nested_ridge
from placevec.measure.splits import block_split, random_split


def places(n: int, seed: int = 0) -> LonLat:
    rng = np.random.default_rng(seed)
    return LonLat(rng.uniform(-6, 0, n), rng.uniform(38, 43, n))


@given(st.integers(0, 10_000), st.integers(1, 6), st.sampled_from([0.0, 0.1, 30.0]))
def test_a_fit_is_that_of_the_normal_equations(seed: int, p: int, alpha: float) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((40, p)) * rng.uniform(0.1, 1000, p) + rng.uniform(-50, 50, p), rng.standard_normal(40)
    model = fit_linear(x, y, alpha)
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    weights = np.linalg.solve(z.T @ z + alpha * np.eye(p), z.T @ (y - y.mean()))
    assert np.allclose(model.weights[:, 0], weights, atol=1e-8)
    assert np.allclose(model(x)[:, 0], y.mean() + z @ weights, atol=1e-8)


def test_ols_leaves_out_constants_and_takes_the_shortest_of_repeated_columns() -> None:
    rng = np.random.default_rng(0)
    a, y = rng.standard_normal(60), rng.standard_normal(60)
    model = fit_linear(np.column_stack([a, a, np.full(60, 1e6 + 0.1)]), y)
    assert model.rank == 1
    assert model.weights[0] == pytest.approx(model.weights[1])
    assert model.weights[2] == 0.0
    assert Scaler.of(np.ones((5, 1))).inverse == 0.0


def test_nested_ols_is_the_plain_loop_and_ridge_without_penalty() -> None:
    rng = np.random.default_rng(1)
    x, where = rng.standard_normal((200, 5)), places(200)
    y = x @ np.arange(5.0) + rng.standard_normal(200)
    split = block_split(where, "h3:3", 4, 0, 20_000.0)
    found = nested_ols(x, y, split).prediction[:, 0]
    for train, test in split.pairs():
        design = np.column_stack([np.ones(len(train)), x[train]])
        weights = np.linalg.lstsq(design, y[train])[0]
        assert np.allclose(found[test], weights[0] + x[test] @ weights[1:])
    assert np.allclose(found, nested_ridge(x, y, split, alphas=[1e-9]).prediction[:, 0], atol=1e-6)
    refitted = nested_ols(lambda train: x, y, split)
    assert np.allclose(refitted.prediction[:, 0], found)


def test_the_best_alpha_is_that_of_the_plain_loop() -> None:
    rng = np.random.default_rng(2)
    x = rng.standard_normal((60, 30))
    y = x[:, 0] + 2.0 * rng.standard_normal(60)
    split = random_split([str(i) for i in range(60)], 4, 0)
    loss = [
        sum(float(((fit_linear(x[a], y[a], alpha)(x[b])[:, 0] - y[b]) ** 2).sum()) for a, b in split.pairs())
        for alpha in ALPHAS
    ]
    assert best_alpha(x, y, split) == pytest.approx(ALPHAS[int(np.argmin(loss))])


def test_ols_stands_in_a_probe_beside_ridge() -> None:
    rng = np.random.default_rng(3)
    x, where = rng.standard_normal((150, 4)), places(150)
    report = probe(
        {"v": x}, where, x @ [1.0, 2, 0, 0], splits=("random",), shuffles=1, estimators=("ols",), draws=200,
        versus=("w",), fixed={"w": x[:, 2:]}, baselines=False,
    )  # fmt: skip
    assert [row.features for row in report] == ["w · OLS", "v · OLS"]
    assert report.rows[1].scores["r2"].mean == pytest.approx(1.0)
    assert report.rows[1].versus["w · OLS"].outcome == "beats"
    classes = probe({"v": x}, where, x[:, 0] > 0, splits=("random",), shuffles=1, estimators=("ols",), draws=200)
    assert classes.best("random", learned=True).scores["accuracy"].mean > 0.9


def test_known_coefficients_are_found_with_intervals_that_hold_them() -> None:
    rng = np.random.default_rng(4)
    n, truth = 900, np.array([2.0, -1.0, 0.0, 0.0])
    x = rng.standard_normal((n, 4)) * [1, 10, 100, 1000]
    y = x / [1, 10, 100, 1000] @ truth + rng.standard_normal(n)
    splits = [block_split(places(n), "h3:3", 5, s) for s in range(3)]
    for estimator in ("ridge", "ols"):
        found = coefficients(
            x, y, splits, names=list("abcd"), groups=["g", "g", "h", "h"], target="t", features="f",
            estimator=estimator,
        )  # fmt: skip
        assert np.allclose(found.mean * found.target_sd, truth, atol=0.12)
        assert (found.low <= truth / y.std()).all()
        assert (found.high >= truth / y.std()).all()
        assert found.largest(2).tolist() == [0, 1]
        assert found.agree[:2].tolist() == [1.0, 1.0]
        assert found.r2 == pytest.approx(5 / 6, abs=0.03)
        assert [one["column"] for one in found.to_records()][:2] == ["a", "b"]
        assert json.loads(json.dumps(found.to_json(), allow_nan=False))["columns"][0]["modality"] == "g"
    assert found.alphas == ()


def test_the_jackknife_of_means_is_their_standard_error() -> None:
    """Leaving out one value at a time, the jackknife of the mean is exactly s / √n."""
    values = np.random.default_rng(5).standard_normal(12)
    left_out = (values.sum() - values) / 11
    mean, error = jackknife(left_out[None, :, None])
    assert mean[0] == pytest.approx(values.mean())
    assert error[0] == pytest.approx(values.std(ddof=1) / np.sqrt(12))


def test_coefficients_refuse_what_has_none() -> None:
    x, y = np.zeros((30, 2)), np.arange(30.0)
    split = random_split([str(i) for i in range(30)], 3, 0)
    with pytest.raises(UsageError, match="choose ridge or ols"):
        coefficients(x, y, [split], names=["a", "b"], estimator="knn")
    with pytest.raises(UsageError, match="1 names for 2 columns"):
        coefficients(x, y, [split], names=["a"])
    with pytest.raises(DataError, match="nothing to explain"):
        coefficients(x, np.ones(30), [split], names=["a", "b"])
    constant = coefficients(x, y, [split], names=["a", "b"])
    assert constant.mean.tolist() == [0.0, 0.0]


def test_a_modality_adds_what_no_other_knows() -> None:
    rng = np.random.default_rng(6)
    n = 500
    a, b, noise = (rng.standard_normal((n, 2)) for _ in range(3))
    y = a[:, 0] + 0.4 * b[:, 0] + 0.5 * rng.standard_normal(n)
    copy = a + 1e-3 * rng.standard_normal((n, 2))
    rows = drop_one({"a": a, "copy": copy, "b": b, "noise": noise}, places(n), y, block="h3:3", shuffles=2, draws=200)
    block = {row["modality"]: row for row in rows if row["split"] == "block"}
    assert block["b"]["outcome"] == "helps"
    assert block["b"]["adds"] == pytest.approx(0.16 / 1.41, abs=0.05)
    assert block["b"]["low"] > 0.0
    # What two know alike, neither adds, though each alone knows most.
    assert abs(block["a"]["adds"]) < 0.01
    assert block["a"]["alone"] > 0.6
    assert block["noise"]["outcome"] != "helps"
    assert block["noise"]["words"].startswith("noise ")
    only = {row["modality"]: row for row in drop_one({"a": a, "b": b}, places(n), y, splits=("random",), alone=False)}
    assert only["a"]["alone"] is None
    assert only["a"]["all"] - only["a"]["without"] == pytest.approx(only["a"]["adds"])
    with pytest.raises(UsageError, match="two or more"):
        drop_one({"a": a}, places(n), y)
    with pytest.raises(DataError, match="the modality b: 3 rows"):
        drop_one({"a": a, "b": b[:3]}, places(n), y)
