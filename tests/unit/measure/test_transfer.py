"""Transfer between two generated countries, whose targets follow one law; and where they do not."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from placevec.errors import DataError, UsageError
from placevec.geo.cells import H3Cells
from placevec.measure.ridge import ALPHAS
from placevec.measure.transfer import MEAN_OF_A, OWN, PROBE_OF_A, STANDARDISED, City, _by_few, transfer
from placevec.sources.world import World

COLUMNS = ("elevation", "slope", "coast_km", "urban", "cropland_share", "forest_share", "temperature", "rain")


@pytest.fixture(scope="module")
def countries() -> tuple[City, City]:
    made = []
    for seed in (0, 1):
        held = World(seed).targets
        x = np.column_stack([np.asarray(held[name], dtype=np.float64) for name in COLUMNS])
        where = H3Cells(6).centre(np.asarray(held["h3"]))
        made.append(City(f"country {seed}", x, where, np.asarray(held["population"], dtype=np.float64)))
    return made[0], made[1]


def test_what_was_learned_in_one_country_holds_in_the_other(countries: tuple[City, City]) -> None:
    found = transfer(*countries, target="population", transform="log1p", draws=300)
    score = {row.name: row.scores["r2"].mean for row in found.rows}
    assert score[MEAN_OF_A] < 0.05
    assert score[PROBE_OF_A] > 0.85
    assert score[OWN] >= score[PROBE_OF_A] - 0.01
    assert score["probe of A + 10 labels"] > score["10 labels alone"] + 0.2
    assert found.row("probe of A + 10 labels").against.outcome == "beats"
    assert found.row(PROBE_OF_A).against.outcome == "beats"
    assert score["200 labels alone"] > score["50 labels alone"] > score["10 labels alone"]
    interval = found.row(PROBE_OF_A).scores["r2"]
    assert interval.low < interval.mean < interval.high
    records = found.to_records()
    assert [record["row"] for record in records][:3] == [MEAN_OF_A, PROBE_OF_A, STANDARDISED]
    assert records[-1]["labels"] is None


def test_a_shifted_sensor_is_mended_by_standardising_each_city(countries: tuple[City, City]) -> None:
    a, b = countries
    shifted = dataclasses.replace(b, x=b.x * 2.0 + 5.0 * b.x.std(axis=0))
    found = transfer(a, shifted, transform="log1p", labels=(0, 50), shuffles=1, draws=200)
    assert found.row(PROBE_OF_A).scores["r2"].mean < 0.0
    assert found.row(STANDARDISED).scores["r2"].mean > 0.85
    assert found.row("probe of A + 50 labels").scores["r2"].mean > 0.85


def test_a_law_that_does_not_hold_is_unlearned_by_labels(countries: tuple[City, City]) -> None:
    a, b = countries
    straight, turned = dataclasses.replace(a, y=np.log1p(a.y)), dataclasses.replace(b, y=-np.log1p(b.y))
    found = transfer(straight, turned, labels=(0, 50, 200), shuffles=1, draws=200)
    assert found.row(PROBE_OF_A).scores["r2"].mean < 0.0
    assert found.row(OWN).scores["r2"].mean > 0.85
    assert found.row("probe of A + 200 labels").scores["r2"].mean > 0.8


def test_leave_one_out_is_that_of_the_plain_loop() -> None:
    rng = np.random.default_rng(0)
    z, test = rng.standard_normal((25, 4)), np.arange(20, 25)
    y, rows = z @ [2.0, 0, 0, 1] + 0.3 * rng.standard_normal(25), np.arange(20)

    def ridge(train: np.ndarray, alpha: float, where: np.ndarray) -> np.ndarray:
        middle, level = z[train].mean(axis=0), y[train].mean()
        c = z[train] - middle
        return (z[where] - middle) @ np.linalg.solve(c.T @ c + alpha * np.eye(4), c.T @ (y[train] - level)) + level

    loss = [
        sum(float((ridge(np.delete(rows, i), alpha, rows[i : i + 1])[0] - y[i]) ** 2) for i in rows) for alpha in ALPHAS
    ]
    best = float(ALPHAS[int(np.argmin(loss))])
    assert np.allclose(_by_few(z, y, rows, test, errors_of_a=False), ridge(rows, best, test))
    # Errors that are noise alone are left as they are, or moved by a constant.
    noise = _by_few(z, 1e-3 * rng.standard_normal(25), rows, test, errors_of_a=True)
    assert np.allclose(noise, noise[0])


def test_what_cannot_be(countries: tuple[City, City]) -> None:
    a, b = countries
    with pytest.raises(UsageError, match="they must be one Space's"):
        transfer(a, dataclasses.replace(b, x=b.x[:, :3]))
    with pytest.raises(UsageError, match="give 0, or 3 and more"):
        transfer(a, b, labels=(0, 2))
    with pytest.raises(DataError, match="nothing to predict"):
        transfer(a, dataclasses.replace(b, y=np.ones(len(b.y))))
    few = transfer(a, b, labels=(100_000,), shuffles=1, draws=200)
    assert [row.name for row in few.rows] == [MEAN_OF_A, OWN]
