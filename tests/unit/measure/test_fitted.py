"""Features that are fitted on the training rows of each fold: no tested row is ever among these."""

from __future__ import annotations

import numpy as np
import pytest

from placevec.errors import DataError, UsageError
from placevec.geo.sphere import LonLat
from placevec.measure.baselines import FeatureSet
from placevec.measure.knn import nested_knn
from placevec.measure.nested import Folds
from placevec.measure.probes import probe
from placevec.measure.rbf import nested_gp
from placevec.measure.ridge import nested_ridge
from placevec.measure.splits import block_split, random_split

ESTIMATORS = {"ridge": nested_ridge, "knn": nested_knn, "gp": nested_gp}


def world(n: int = 240, seed: int = 0):
    rng = np.random.default_rng(seed)
    places = LonLat(rng.uniform(-9, 3, n), rng.uniform(36, 43, n))
    return places, rng.standard_normal((n, 5)), rng.standard_normal(n)


class Spy:
    """Gives away the target of every row it is fitted on, and remembers which these were."""

    def __init__(self, y: np.ndarray) -> None:
        self.y = y
        self.calls: list[np.ndarray] = []

    def __call__(self, train: np.ndarray) -> np.ndarray:
        self.calls.append(train.copy())
        out = np.random.default_rng(len(train)).standard_normal((len(self.y), 2))
        out[train, 0] = self.y[train]
        return out


@pytest.mark.parametrize("name", list(ESTIMATORS))
def test_features_that_ignore_the_training_rows_are_plain_ones(name):
    places, x, y = world()
    split = block_split(places, "h3:3", 4, buffer_m=30_000.0)
    plain = ESTIMATORS[name](x, y, split)
    fitted = ESTIMATORS[name](lambda train: x, y, split)
    np.testing.assert_allclose(fitted.prediction, plain.prediction, atol=1e-6)
    for key in ("alpha", "scaling", "neighbours", "n_train"):
        assert [one.get(key) for one in fitted.chosen] == [one.get(key) for one in plain.chosen]


@pytest.mark.parametrize("name", list(ESTIMATORS))
def test_no_tested_row_is_in_a_bank(name):
    places, _, y = world()
    split = block_split(places, "h3:3", 4, buffer_m=30_000.0)
    folds, spy = Folds(split), Spy(y)
    found = ESTIMATORS[name](spy, y, split)
    outer = [folds.train(f).tolist() for f in range(4)]
    inner = [np.flatnonzero(train).tolist() for train, _ in folds.inner_pairs()]
    called = [one.tolist() for one in spy.calls]
    assert len(called) == (4 if name == "gp" else 4 * 5 // 2)
    assert sorted(called) == sorted(outer if name == "gp" else outer + inner)
    # The target is noise: only who has seen the test rows can predict it.
    assert 1.0 - ((y - found.prediction[:, 0]) ** 2).sum() / ((y - y.mean()) ** 2).sum() < 0.05


def test_a_subset_of_rows_is_numbered_anew():
    places, _, y = world()
    spy = Spy(y)
    rows = np.arange(0, 240, 2)
    taken = FeatureSet("spy", spy, ("ridge",)).take(rows)
    taken.fit("ridge", y[rows, None], Folds(random_split(rows, 4)))
    assert all((call % 2 == 0).all() for call in spy.calls)
    assert len(taken.take(np.arange(50)).values(np.arange(10))) == 50
    assert places is not None


def test_a_probe_of_fitted_fixed_and_gp_rows():
    places, x, y = world()
    y = y.copy()
    y[::5] = np.nan
    spy = Spy(np.nan_to_num(y))
    report = probe(
        {"bank": spy, "x": x}, places, y, fixed={"harmonics": x[:, :2]}, estimators=("ridge", "knn", "gp"), shuffles=1
    )
    rows = {row.features: row for row in report if row.split == "block"}
    assert {"bank · ridge", "bank · kNN", "bank · GP", "x · GP", "harmonics · kNN"} <= set(rows)
    assert not rows["harmonics · ridge"].learned
    assert rows["bank · ridge"].learned
    assert rows["bank · ridge"].scores["r2"].mean < 0.1
    assert not any(np.isin(call, np.arange(0, 240, 5)).any() for call in spy.calls)
    record = next(one for one in report.to_records() if one["features"] == "x · GP")
    assert record["rival"] == rows["x · GP"].rival


def test_refusals():
    _, x, y = world(60)
    split = random_split(np.arange(60), 3)
    for fit in ESTIMATORS.values():
        with pytest.raises(DataError, match="59 rows for 60"):
            fit(lambda train: x[:59], y, split)
    with pytest.raises(UsageError, match="'manhattan'"):
        nested_knn(lambda train: x, y, split, metric="manhattan")
