"""What is done with a trained network: gallery, calibration, the point estimate, and what was forgotten."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("hdbscan")

import tiny_located as located
import tiny_locator as tiny
from placevec.encoders.locator import Locator
from placevec.encoders.locator.decoding import Refinement
from placevec.geo.mixture import points
from placevec.geo.sphere import LonLat, destination, distance_m
from placevec.train.locate.data import LocateData, Parts, gather
from placevec.train.locate.finish import finish, forgotten, outputs_of, with_gallery
from placevec.train.loop import TrainResult

N = 300
KINDS = ("mode", "argmax", "median", "geoscore")


def result(folder: Path) -> TrainResult:
    return TrainResult(folder, 9, 6, {"energy_km": 20.0}, {"energy_km": 90.0}, "end", "key")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Locator, LocateData]:
    """A locator of 96 images, and data of which 96 are its training rows."""
    locator = tiny.tiny_locator(steps=30, gallery=False)
    rows = np.arange(N)
    split = Parts(rows[:96], rows[96:180], rows[180:])
    held = located.source(N)
    data = gather(held, split, locator.geocells.regions.assign, tmp_path_factory.mktemp("content"))
    return locator, data


def test_the_gallery_is_of_the_training_rows_alone(made: tuple[Locator, LocateData]) -> None:
    locator, data = made
    gallery = with_gallery(locator, data.train).gallery
    assert gallery is not None
    assert gallery.ids.tolist() == data.train.ids.tolist()
    wanted = locator.encode({"image": tiny.country(N).images[:96]})
    np.testing.assert_allclose(gallery.vectors, wanted, atol=1e-6)
    np.testing.assert_array_equal(gallery.cells, locator.geocells.rows(data.train.lonlat))
    np.testing.assert_array_equal(gallery.lonlat.lon, data.train.lonlat.lon)


def test_features_that_are_known_give_the_same_gallery_and_answers(made: tuple[Locator, LocateData]) -> None:
    locator, data = made
    net = locator.net
    import torch

    with torch.no_grad():
        features = [net.features(torch.from_numpy(data.store.read(np.arange(N))))[0].numpy()]
    one, other = with_gallery(locator, data.train).gallery, with_gallery(locator, data.train, features).gallery
    assert one is not None
    assert other is not None
    np.testing.assert_allclose(one.vectors, other.vectors, atol=1e-5)
    a, b = outputs_of(locator, data.val), outputs_of(locator, data.val, features)
    np.testing.assert_allclose(a.cell_logits, b.cell_logits, atol=1e-4)


def test_what_is_reported_is_what_the_locator_answers(made: tuple[Locator, LocateData], tmp_path: Path) -> None:
    locator, data = made
    found = finish(locator, data, "geography", result(tmp_path), None, groups=np.arange(len(data.calibration)) // 4)
    own = found.locator
    prediction = own.predict(data.val.batch(np.arange(len(data.val))))
    error = distance_m(data.val.lonlat, prediction.points) / 1e3
    assert found.evaluation["end_to_end"]["median_km"] == pytest.approx(float(np.median(error)))
    assert found.scores["geography/median_km"] == found.evaluation["end_to_end"]["median_km"]
    assert own.card.scores["geography/energy_km"] == 20.0
    decoders = found.evaluation["decoders"]
    assert set(decoders) == {*KINDS, "flat"}
    for kind in KINDS:
        said = points(prediction.mixture, kind, reach_m=own.decoding.reach_m)
        wanted = float(np.median(distance_m(data.val.lonlat, said)) / 1e3)
        assert decoders[kind]["median_km"] == pytest.approx(wanted)
    assert decoders["mode"] == found.evaluation["end_to_end"]
    assert found.evaluation["calibration"] == own.calibration.to_json()
    assert own.calibration.to_json() != locator.calibration.to_json()
    assert "point" not in found.evaluation


def test_the_point_with_the_least_error_is_chosen_where_that_is_asked(
    made: tuple[Locator, LocateData], tmp_path: Path
) -> None:
    locator, data = made
    found = finish(locator, data, "geography", result(tmp_path), None, choose=True)
    mixture = locator.decode(outputs_of(locator, data.val)).mixture
    errors = {kind: np.median(distance_m(data.val.lonlat, points(mixture, kind))) for kind in KINDS}
    assert errors[found.evaluation["point"]] == min(errors.values())
    assert found.locator.decoding.point == found.evaluation["point"]


def test_few_images_calibrate_nothing(made: tuple[Locator, LocateData], tmp_path: Path) -> None:
    locator, data = made
    few = LocateData(data.train, data.val, data.calibration.take(slice(0, 49)), data.store, data.key, 0)
    found = finish(locator, few, "geography", result(tmp_path), None)
    assert "calibration" not in found.evaluation
    assert found.locator.calibration.to_json() == locator.calibration.to_json()


def test_a_refinement_is_part_of_what_is_calibrated(made: tuple[Locator, LocateData], tmp_path: Path) -> None:
    locator, data = made
    refining = locator.decoded(refine=Refinement(weight=1.0, rescore=1.0))
    found = finish(refining, data, "geography", result(tmp_path), None)
    plain = finish(locator, data, "geography", result(tmp_path), None)
    assert found.evaluation["calibration"] != plain.evaluation["calibration"]


def test_a_locator_of_regions_alone_gets_no_gallery(made: tuple[Locator, LocateData], tmp_path: Path) -> None:
    found = finish(made[0], made[1], "province", result(tmp_path), None)
    assert found.locator.gallery is None
    assert "end_to_end" not in found.evaluation
    assert found.scores == {"province/energy_km": 20.0}


def test_forgotten_and_gained_are_shares_of_the_validation_rows() -> None:
    truth = LonLat(np.full(5, 10.0), np.full(5, 50.0))

    def at(*km: float) -> Any:
        return SimpleNamespace(points=destination(truth, np.zeros(5), 1e3 * np.array(km)))

    val: Any = SimpleNamespace(lonlat=truth)
    found = forgotten(val, at(10, 10, 300, 300, 199), at(10, 300, 10, 400, 201))
    assert found == {"forgotten": 0.4, "gained": 0.2}
