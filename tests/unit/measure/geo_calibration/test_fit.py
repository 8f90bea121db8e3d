import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from locator_world import AREA_M2, STARTS, known_world
from placevec.errors import DataError
from placevec.geo.mixture import credible_level, credible_regions, log_density, points
from placevec.geo.sphere import LonLat, distance_m
from placevec.measure.calibration import expected_calibration_error
from placevec.measure.geo_calibration import LEVELS, Calibration, fit_calibration
from placevec.measure.geo_calibration.fit import fit_temperature


@pytest.fixture(scope="module")
def fitted():
    return fit_calibration(known_world(600))


@pytest.fixture(scope="module")
def tested(fitted):
    held = known_world(600, seed=1)
    law = held.mixture(fitted)
    return held, law, points(law)


def test_what_is_known_of_the_world_is_found(fitted) -> None:
    assert fitted.region_temperature == pytest.approx(2.0, rel=0.15)
    assert fitted.cell_temperature == pytest.approx(2.0, rel=0.15)
    assert fitted.spread_factor == pytest.approx(1.7, rel=0.1)
    assert fitted.floor == pytest.approx(0.03, abs=0.02)
    assert (fitted.rows, fitted.blocks) == (600, 40)


def test_new_places_are_in_their_regions_as_often_as_said(fitted, tested) -> None:
    held, law, centre = tested
    level = credible_level(law, held.truth)
    error = distance_m(centre, held.truth)
    radii = fitted.radii_m(law, centre, LEVELS)
    for at, wanted in enumerate(LEVELS):
        noise = 3 * np.sqrt(2 * wanted * (1 - wanted) / 600)
        assert (level <= fitted.nominal(wanted)).mean() == pytest.approx(wanted, abs=noise)
        assert (error <= radii[:, at]).mean() == pytest.approx(wanted, abs=noise)
        low, high = fitted.level_intervals[wanted]
        assert low <= fitted.levels[wanted] <= high + 0.01
    assert expected_calibration_error(fitted.confidence_of(law, centre), error <= 25e3) < 0.06


def test_polygons_hold_the_places_that_their_level_says(fitted, tested) -> None:
    from placevec.geo.boxes import in_polygon

    held, law, _ = tested
    drawn = [fitted.nominal(level) for level in LEVELS]
    level = credible_level(law[:40], held.truth[:40])
    for row in range(40):
        for region, nominal in zip(credible_regions(law[row], drawn=drawn), drawn, strict=True):
            if abs(level[row] - nominal) > 0.005 and nominal < 0.97:
                p = held.truth[row]
                assert in_polygon(p.lon, p.lat, region.polygon)[0] == (level[row] <= nominal)


def test_the_density_of_new_places_rises(fitted, tested) -> None:
    held, law, _ = tested
    plain = held.mixture(replace(Calibration.identity(), floor=fitted.floor))
    assert log_density(law, held.truth).mean() > log_density(plain, held.truth).mean() + 0.1


@given(st.integers(0, 10_000), st.sampled_from([0.3, 1.0, 3.0]), st.integers(2, 9))
@settings(max_examples=10)
def test_temperatures_are_recovered(seed, temperature, classes) -> None:
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(4000, classes))
    p = np.exp(logits)
    truth = (np.cumsum(p / p.sum(axis=1, keepdims=True), axis=1) < rng.uniform(size=(4000, 1))).sum(axis=1)
    assert fit_temperature(temperature * logits, truth) == pytest.approx(temperature, rel=0.15)


def test_few_lucky_places_do_not_freeze_a_temperature() -> None:
    logits = np.array([[2.0, 0.0]] * 3)
    assert fit_temperature(logits, np.zeros(3, dtype=int)) > 0.2
    assert fit_temperature(logits, np.full(3, -1)) == 1.0
    assert fit_temperature(np.array([[0.0, -np.inf]]), np.array([1])) == 1.0


def test_a_new_block_asks_for_more_than_a_new_row() -> None:
    held = known_world(120, blocks=30)
    rows, blocks = fit_calibration(held), fit_calibration(held, by_block=True)
    assert rows.spread_factor == blocks.spread_factor
    assert blocks.levels[0.95] >= rows.levels[0.95] - 0.02
    few = fit_calibration(replace(held, groups=np.arange(120) % 4), by_block=True)
    assert few.levels[0.95] == 1.0
    assert few.radius_factors[0.95] == np.inf
    again = Calibration.from_json(json.loads(json.dumps(few.to_json())))
    assert again == few


def test_it_is_deterministic_and_tells_how_far_it_is() -> None:
    told: list[float] = []
    held = known_world(60)
    assert fit_calibration(held, progress=told.append) == fit_calibration(held)
    assert told[-1] == 1.0
    assert told == sorted(told)


@pytest.mark.parametrize("n", [1, 2, 7])
def test_a_handful_of_places(n) -> None:
    found = fit_calibration(known_world(n, blocks=2))
    assert found.confidence.kind == "identity"
    assert found.levels[0.95] == 1.0
    assert 0.2 < found.region_temperature < 5


def test_places_outside_all_regions_count_for_the_floor_only() -> None:
    held = known_world(60)
    lost = np.arange(60) < 6
    held = replace(
        held,
        region=np.where(lost, -1, held.region),
        cell=np.where(lost, -1, held.cell),
        truth=LonLat(np.where(lost, -100.0, held.truth.lon), np.where(lost, -40.0, held.truth.lat)),
    )
    assert fit_calibration(held).floor > fit_calibration(known_world(60)).floor


def test_similarity_re_scores_the_weights() -> None:
    held = known_world(20)
    rng = np.random.default_rng(0)
    scored = replace(held, similarity=rng.uniform(size=held.rows.shape), gain=4.0)
    plain, other = held.mixture(Calibration()), scored.mixture(Calibration())
    assert np.abs(plain.weights - other.weights).max() > 0.01
    assert other.weights.sum(axis=1) == pytest.approx(plain.weights.sum(axis=1))
    assert len(scored.take(np.array([3, 4]))) == 2


def test_the_identity_changes_nothing() -> None:
    held, plain = known_world(10), Calibration.identity(confidence_m=5e3)
    law = held.mixture(plain)
    assert (law.spread_m == held.spread_m).all()
    assert (law.floor == 0).all()
    assert plain.nominal(0.8) == 0.8
    assert plain.confidence_m == 5e3
    region, _ = plain.temper(held.region_logs, held.cell_logs, STARTS)
    assert region[0, 2] == -np.inf
    assert np.exp(region).sum(axis=1) == pytest.approx(1.0)
    assert Calibration.from_json(plain.to_json()) == plain


def test_levels_between_those_fitted() -> None:
    found = Calibration(levels={0.5: 0.6, 0.8: 0.7}, radius_factors={0.5: 1.1, 0.9: 2.0})
    assert [found.nominal(level) for level in (0.0, 0.25, 0.5, 0.65, 0.9, 1.0)] == pytest.approx(
        [0.0, 0.3, 0.6, 0.65, 0.85, 1.0]
    )
    held = known_world(3)
    law = held.mixture(found)
    radii = found.radii_m(law, points(law), (0.5, 0.9))
    assert radii == pytest.approx(Calibration().radii_m(law, points(law), (0.5, 0.9)) * [1.1, 2.0])
    with pytest.raises(DataError):
        found.nominal(1.2)


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"region_temperature": 0.0},
        {"floor": 1.5},
        {"levels": {"0.5": 7}},
        {"levels": {"x": 0.5}},
        {"levels": None},
        {"radius_factors": {"0.5": -1.0}},
        {"confidence": {"kind": "x"}},
        {"spread_factor": "wide"},
        {"rows": None},
    ],
)
def test_damaged_calibrations(change) -> None:
    with pytest.raises(DataError, match=r"calibrat|fit"):
        Calibration.from_json({**Calibration().to_json(), **change})
    with pytest.raises(DataError, match="version"):
        Calibration.from_json([])


def test_what_cannot_be_fitted() -> None:
    held = known_world(5)
    with pytest.raises(DataError, match="one row for each"):
        replace(held, cell=held.cell[:3])
    with pytest.raises(DataError, match="0 places"):
        held.take(np.zeros(0, dtype=np.int64))
    for more in ({"levels": (1.0,)}, {"folds": 1}):
        with pytest.raises(DataError, match="levels lie"):
            fit_calibration(held, **more)
    assert held.mixture(Calibration()).area_m2 == AREA_M2
