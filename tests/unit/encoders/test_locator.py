"""The locator: the same answer in whatever company, calibration and decoding in their order, guesses with evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from numpy.typing import NDArray

pytest.importorskip("torch")
pytest.importorskip("hdbscan")

import torch

import tiny_locator as tiny
from placevec.encoders.locator import Decoding, Gallery, Locator, Prediction, Refinement, Shown
from placevec.errors import CheckpointError, DataError, UsageError
from placevec.geo.mixture import points
from placevec.geo.sphere import LonLat, distance_m
from placevec.measure.geo_calibration import Calibration, fit_calibration
from placevec.nn.locator.losses import move
from placevec.testing import check_encoder


@pytest.fixture(scope="module")
def locator() -> Locator:
    return tiny.tiny_locator(steps=60)


@pytest.fixture(scope="module")
def held() -> tiny.Country:
    return tiny.country(40, seed=3)


def images(country: tiny.Country) -> dict[str, NDArray[Any]]:
    return {"image": country.images}


def same(one: Prediction, other: Prediction) -> None:
    for name in ("fused", "region_logs", "cell_logs", "rows", "confidence", "radius_m"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    np.testing.assert_array_equal(one.mixture.unit, other.mixture.unit)
    np.testing.assert_array_equal(one.mixture.weights, other.mixture.weights)
    assert one.points == other.points


def test_it_is_an_encoder(locator: Locator, held: tiny.Country) -> None:
    check_encoder(locator, images(held), tolerance=0.0)
    assert (locator.inputs, locator.dims, locator.card.normalized, locator.card.kind) == (
        ("image",),
        16,
        True,
        "locator",
    )


def test_it_has_learned_the_made_up_country(locator: Locator, held: tiny.Country) -> None:
    found = locator.predict(images(held))
    error = distance_m(found.points, held.lonlat)
    assert np.median(error) < 20_000
    assert (found.region == held.regions.assign(held.lonlat)).mean() > 0.9
    assert (found.cell == locator.geocells.rows(held.lonlat)).mean() > 0.7


def test_one_answer_in_whatever_company(locator: Locator, held: tiny.Country) -> None:
    whole = locator.predict(images(held))
    for rows in (np.arange(1), np.arange(7), np.array([11, 3, 30])):
        part = locator.predict({"image": held.images[rows]})
        for name in ("region_logs", "cell_logs", "rows", "confidence", "radius_m", "fused"):
            np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[rows])
        assert part.points == whole.points[rows]


def test_another_batch_changes_digits_only(locator: Locator, held: tiny.Country) -> None:
    whole, alone = locator.predict(images(held)), locator.predict({"image": held.images[:1]}, batch=1)
    assert distance_m(alone.points, whole.points[:1])[0] < 1.0
    np.testing.assert_allclose(alone.region_logs, whole.region_logs[:1], atol=1e-4)


def test_probabilities_add_up(locator: Locator, held: tiny.Country) -> None:
    found = locator.predict(images(held))
    np.testing.assert_allclose(np.exp(found.region_logs).sum(axis=1), 1.0)
    np.testing.assert_allclose(np.exp(found.joint_logs).sum(axis=1), 1.0)
    np.testing.assert_allclose(found.mixture.weights.sum(axis=1) + found.mixture.floor, 1.0)
    assert (np.diff(found.mixture.weights, axis=1) <= 0).all()
    assert ((found.confidence > 0) & (found.confidence < 1)).all()
    for row in range(len(found)):
        live = found.mixture.weights[row] > 0
        assert len(set(found.rows[row][live].tolist())) == live.sum()


def test_hypotheses_lie_where_the_offsets_of_the_network_say(locator: Locator, held: tiny.Country) -> None:
    """Against the network asked cell by cell, and the exponential map of the losses."""
    found = locator.outputs(images(held))
    head, centres = locator.head, locator.geocells.centres
    with torch.inference_mode():
        fused = head.fuse(locator.net.features(torch.from_numpy(held.images[:4])))
        for row in range(4):
            for at, cell in enumerate(found.rows[row].tolist()):
                offset, log_spread = head.offsets(fused[row : row + 1], torch.tensor([[cell]]))
                place = move(torch.from_numpy(centres[cell].unit()), offset[0, 0].double())
                here = LonLat.from_unit(place.numpy())
                there = LonLat.from_unit(found.unit[row, at][None])
                assert distance_m(here, there)[0] < 0.5
                assert found.spread_m[row, at] == pytest.approx(float(log_spread.exp()), rel=1e-4)
                assert distance_m(there, centres[cell])[0] <= float(head.offset_head.reach_m[cell]) + 0.5


def test_the_oracle_is_a_diagnostic_that_changes_nothing(locator: Locator, held: tiny.Country) -> None:
    cells = locator.geocells.rows(held.lonlat)
    blind, told = locator.predict(images(held)), locator.predict(images(held), cells)
    same(blind, told)
    assert blind.oracle is None
    assert told.oracle is not None
    centres = locator.geocells.centres[cells]
    assert (distance_m(told.oracle, centres) <= locator.head.offset_head.reach_m.numpy()[cells] + 1).all()
    outside = locator.predict(images(held), np.full(40, -1))
    best = LonLat.from_unit(locator.outputs(images(held)).unit[:, 0])
    assert outside.oracle is not None
    assert distance_m(outside.oracle, best).max() < 0.01
    with pytest.raises(DataError, match="no rows of the 8 geocells"):
        locator.predict(images(held), np.full(40, 8))
    with pytest.raises(DataError, match="3 true cells for 40 images"):
        locator.predict(images(held), np.zeros(3, dtype=np.int64))


def test_where_an_image_was_taken_is_never_looked_at(locator: Locator, held: tiny.Country) -> None:
    lonlat = np.column_stack([held.lonlat.lon, held.lonlat.lat])
    same(locator.predict(images(held)), locator.predict({**images(held), "lonlat": lonlat}))


def test_no_images(locator: Locator, held: tiny.Country) -> None:
    none = locator.predict({"image": held.images[:0]}, np.zeros(0, dtype=np.int64))
    assert len(none) == len(none.mixture) == len(none.points) == 0
    assert none.region_logs.shape == (0, 2)
    assert none.oracle is not None
    assert locator.predict_regions({"image": held.images[:0]}).shape == (0, 2)


def test_features_computed_before_give_the_same(locator: Locator, held: tiny.Country) -> None:
    with torch.inference_mode():
        features = [backbone(torch.from_numpy(held.images)).numpy() for backbone in locator.backbones]
    found = locator.decode(locator.outputs_of_features(features))
    assert distance_m(found.points, locator.predict(images(held)).points).max() < 1.0
    with pytest.raises(DataError, match="backbones of"):
        locator.outputs_of_features([values[:, :3] for values in features])


def test_a_calibration_is_applied(locator: Locator, held: tiny.Country) -> None:
    outputs = locator.outputs(images(held))
    plain = locator.decode(outputs)
    unsure = locator.calibrated(
        Calibration(region_temperature=5.0, cell_temperature=5.0, spread_factor=2.0, floor=0.1, confidence_m=50_000.0)
    )
    found = unsure.decode(outputs)
    assert (found.region_probability < plain.region_probability).all()
    np.testing.assert_allclose(found.mixture.floor, 0.1)
    assert (found.confidence_m, plain.confidence_m) == (50_000.0, 25_000.0)
    for row in range(5):
        for cell, spread in zip(found.rows[row], found.mixture.spread_m[row], strict=True):
            at = int(np.flatnonzero(outputs.rows[row] == cell)[0])
            assert spread == pytest.approx(2.0 * outputs.spread_m[row, at])
    # The most probable regions and cells stay the most probable ones.
    np.testing.assert_array_equal(found.region, plain.region)


def test_the_uniform_part_lies_within_the_regions(locator: Locator, held: tiny.Country) -> None:
    """The law, and what a calibration is fitted to, reckon with the same even points of the area."""
    ground = locator.predict(images(held)).mixture.ground
    fitted = locator.holdout(locator.outputs(images(held)), held.lonlat).ground
    assert ground is not None
    np.testing.assert_array_equal(ground, fitted)
    assert (locator.geocells.regions.assign(LonLat.from_unit(ground)) >= 0).mean() > 0.99


def test_calibration_on_places_held_out(locator: Locator) -> None:
    fit, test = tiny.country(160, seed=8), tiny.country(160, seed=9)
    outputs = locator.outputs(images(fit))
    held = locator.holdout(outputs, fit.lonlat, groups=None)
    ready = locator.calibrated(fit_calibration(held, levels=locator.decoding.levels))
    found = ready.predict(images(test))
    inside = []
    for row in range(0, 160, 2):
        region = ready.guess(found, row).region(0.8)
        inside.append(shapely.intersects_xy(region.polygon, test.lonlat.lon[row], test.lonlat.lat[row]))
    assert 0.65 < np.mean(inside) < 0.95
    near = distance_m(found.points, test.lonlat) <= found.radius_m
    assert 0.65 < near.mean() < 0.95
    sure = distance_m(found.points, test.lonlat) <= ready.calibration.confidence_m
    assert abs(sure.mean() - found.confidence.mean()) < 0.12


def test_a_shift_of_regions_is_added_to_their_logits(locator: Locator, held: tiny.Country) -> None:
    shifted = locator.decoded(region_shift=(0.0, 3.0))
    plain, found = locator.predict_regions(images(held)), shifted.predict_regions(images(held))
    np.testing.assert_allclose(found[:, 1] - found[:, 0], plain[:, 1] - plain[:, 0] + 3.0, atol=1e-4)
    np.testing.assert_allclose(np.exp(found), np.exp(shifted.predict(images(held)).region_logs), atol=1e-5)
    with pytest.raises(CheckpointError, match="3 numbers for 2 regions"):
        locator.decoded(region_shift=(0.0, 1.0, 2.0))


@pytest.mark.parametrize("point", ["mode", "argmax", "median", "geoscore", "flat"])
def test_points_of_every_kind(locator: Locator, held: tiny.Country, point: str) -> None:
    found = locator.decoded(point=point, reach_m=80_000.0).predict(images(held))
    assert found.points == points(found.mixture, point, reach_m=80_000.0)


def test_more_and_fewer_hypotheses(locator: Locator, held: tiny.Country) -> None:
    wide = locator.decoded(regions=2, cells=4).predict(images(held))
    narrow = locator.decoded(regions=1, cells=2).predict(images(held))
    assert wide.rows.shape == (40, 8)
    assert narrow.rows.shape == (40, 2)
    sums = np.exp(np.take_along_axis(wide.joint_logs, wide.rows, axis=1)).sum(axis=1)
    np.testing.assert_allclose(sums, 1.0)
    np.testing.assert_array_equal(narrow.rows[:, 0], wide.rows[:, 0])


def test_what_is_no_decoding() -> None:
    for wrong, words in (
        ({"regions": 0}, "at least one cell"),
        ({"reach_m": float("nan")}, "reach_m"),
        ({"levels": (0.8, 0.5)}, "levels rise"),
        ({"levels": (0.5, 1.0)}, "levels rise"),
        ({"confidence_m": 0.0}, "confidence_m"),
    ):
        with pytest.raises(UsageError, match=words):
            Decoding(**wrong)
    for wrong in ({"k": 0}, {"temperature": 0.0}, {"weight": 1.5}, {"rescore": -0.1}):
        with pytest.raises(UsageError, match="refinement"):
            Refinement(**wrong)
    given = Decoding(refine=Refinement(k=3), region_shift=(0.5, 0.0), point="median")
    assert Decoding.from_json(given.to_json()) == given
    with pytest.raises(UsageError, match="known: mode, argmax"):
        Decoding.from_json({"point": "middle"})
    with pytest.raises(UsageError, match="no setting 'regoins'"):
        tiny.tiny_locator().decoded(regoins=3)


def test_training_images_refine(locator: Locator, held: tiny.Country) -> None:
    plain = locator.predict(images(held))
    moved = locator.decoded(refine=Refinement(k=3, weight=1.0, rescore=0.5))
    found = moved.predict(images(held))
    assert plain.moved is None
    assert found.moved is not None
    assert found.moved.any()
    error = distance_m(found.points, held.lonlat)
    assert np.median(error) < 20_000
    # Nothing may move farther than the veto says, and with one of no metres nothing moves.
    still = locator.decoded(refine=Refinement(k=3, weight=1.0, max_m=0.0)).predict(images(held))
    assert still.moved is not None
    assert not still.moved.any()
    assert distance_m(still.points, plain.points).max() < 1e-3
    # Without a gallery there is nothing to refine by.
    bare = tiny.tiny_locator(gallery=False, decoding=Decoding(refine=Refinement()))
    assert bare.predict(images(held)).moved is None


def test_a_training_image_finds_itself(locator: Locator) -> None:
    made = tiny.country(96)
    assert locator.gallery is not None
    rows, cosines = locator.gallery.nearest(locator.encode({"image": made.images}), 3)
    np.testing.assert_array_equal(rows[:, 0], np.arange(96))
    np.testing.assert_allclose(cosines[:, 0], 1.0, atol=1e-5)
    guess = locator.locate_one(made.images[5])
    assert guess.evidence[0].id == "train-0005"
    assert guess.evidence[0].asset == "train-0005.png"
    away = distance_m(guess.evidence[0].lonlat, guess.point)[0]
    assert guess.evidence[0].distance_m == pytest.approx(away)


def test_the_gallery_against_a_full_sort() -> None:
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(50, 6)).astype(np.float32)
    vectors[7] = vectors[3]  # a tie
    there = LonLat(rng.uniform(-180, 180, 50), rng.uniform(-80, 80, 50))
    gallery = Gallery.of([str(i) for i in range(50)], there, vectors, np.zeros(50, dtype=np.int64))
    queries = np.concatenate([rng.normal(size=(9, 6)), vectors[3:4]]).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    rows, cosines = gallery.nearest(queries, 5)
    slow = queries @ gallery.vectors.T
    for at in range(10):
        np.testing.assert_allclose(cosines[at], np.sort(slow[at])[::-1][:5], atol=1e-6)
    assert rows[9, :2].tolist() == [3, 7]
    assert gallery.nearest(queries, 80)[0].shape == (10, 50)
    with pytest.raises(DataError, match="differ in length"):
        replace(gallery, cells=np.zeros(3, dtype=np.int64))


def test_a_guess(locator: Locator, held: tiny.Country) -> None:
    guess = locator.locate(held.images[0])
    assert not isinstance(guess, Mapping)
    guess = locator.locate_one(held.images[0], shown=Shown(k=3, evidence=2))
    assert guess.region_name in ("west", "east")
    assert 0.5 < guess.region_probability <= 1.0
    assert len(guess.weights) <= 3
    assert len(guess.evidence) == 2
    assert [region.level for region in guess.regions] == [0.5, 0.8, 0.95]
    areas = [region.area_m2 for region in guess.regions]
    assert areas == sorted(areas)
    domain = shapely.union_all(held.regions.polygons)
    for small, large in zip(guess.regions, guess.regions[1:], strict=False):
        assert shapely.covers(large.polygon, small.polygon)
        assert shapely.covers(shapely.buffer(domain, 1e-9), large.polygon)
    assert set(guess.labels) <= {"west", "east"}
    plain = locator.locate_one(held.images[0], shown=Shown(evidence=0, regions=False))
    assert plain.regions == plain.evidence == ()
    assert "evidence" not in plain.to_record()


def test_arrays_and_sources(locator: Locator, held: tiny.Country) -> None:
    several = list(locator.locate_many(held.images[:5]))
    assert [guess.id for guess in several] == ["0", "1", "2", "3", "4"]
    found = locator.predict({"image": held.images[:5]})
    assert [guess.point for guess in several] == list(found.points)
    wide = np.zeros((3, 20, 60), dtype=np.uint8)
    assert locator.locate_one(wide).point == locator.locate_one(wide[:, :, 20:40]).point
    with pytest.raises(UsageError, match="is no image"):
        locator.locate_many(held.images[0, 0])
    with pytest.raises(UsageError, match="give at least 1"):
        next(locator.locate_rows(locator.open(held.images), np.arange(3), batch=0))


def test_after_the_first_phase_only_regions_are_known(held: tiny.Country) -> None:
    early = tiny.tiny_locator(recipe={"phase": 0})
    assert early.predict_regions(images(held)).shape == (40, 2)
    for ask in (early.locate, early.locate_many):
        with pytest.raises(UsageError, match="regions alone"):
            next(ask(held.images))
    with pytest.raises(UsageError, match="regions alone"):
        early.locate_one(held.images[0])
    ready = early.with_card(replace(early.card, recipe={}))
    assert (early.phase, ready.phase) == (0, None)
    assert ready.locate_one(held.images[0]).region_name


def test_more_regions_than_hypotheses_and_one_region_alone(held: tiny.Country) -> None:
    many = tiny.tiny_locator(n=200, regions=4)
    found = many.predict(images(held))
    assert found.region_logs.shape == (40, 4)
    assert found.mixture.weights.sum(axis=1).max() <= 1.0 + 1e-9
    single = tiny.tiny_locator(n=60, regions=1)
    guess = single.locate_one(held.images[0])
    assert (guess.region_name, guess.region_probability) == ("west", 1.0)


def test_what_cameras_write_is_used_where_it_is_known(held: tiny.Country) -> None:
    found = tiny.tiny_locator(head={"branches": [{"kind": "metadata", "hidden": 8}]})
    assert found.reads_camera
    none = found.predict(images(held))
    unknown = found.predict({**images(held), "metadata": np.full((40, 6), np.nan, dtype=np.float32)})
    same(none, unknown)
    told = found.predict({**images(held), "metadata": np.ones((40, 6), dtype=np.float32)})
    assert not np.array_equal(told.fused, none.fused)
    with pytest.raises(DataError, match="metadata"):
        found.predict({**images(held), "metadata": np.ones((40, 2))})


def test_bad_images(locator: Locator) -> None:
    for wrong in (np.zeros((2, 4, 16, 16), np.uint8), np.zeros((2, 3, 16, 20), np.uint8), np.zeros((2, 16), np.uint8)):
        with pytest.raises(DataError):
            locator.predict({"image": wrong})
    with pytest.raises(UsageError, match="reads 'image'"):
        locator.predict({"text": np.zeros(2)})


def test_photos_of_a_folder(locator: Locator, held: tiny.Country, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    (tmp_path / "photos").mkdir()
    for row in range(4):
        large = held.images[row].transpose(1, 2, 0).repeat(8, axis=0).repeat(8, axis=1)
        image.fromarray(large).save(tmp_path / "photos" / f"{row}.png")
    (tmp_path / "photos" / "bad.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut short")
    skipped: list[Any] = []
    told: list[tuple[int, int]] = []
    found = list(
        locator.locate_many(
            tmp_path / "photos",
            batch=2,
            on_skip=skipped.append,
            progress=lambda done, total, facts: told.append((done, total)),
        )
    )
    assert [guess.id for guess in found] == ["0.png", "1.png", "2.png", "3.png"]
    assert [one.id for one in skipped] == ["bad.jpg"]
    assert told[-1] == (5, 5)
    wanted = locator.predict({"image": held.images[:4]})
    apart = distance_m(
        LonLat(*(np.concatenate([getattr(g.point, axis) for g in found]) for axis in ("lon", "lat"))), wanted.points
    )
    assert apart.max() < 2_000
    one = locator.locate(str(tmp_path / "photos" / "1.png"))
    assert not hasattr(one, "__next__")
    several = list(locator.locate_many([tmp_path / "photos" / "1.png", tmp_path / "photos" / "3.png"]))
    assert several[1].point == found[3].point


def test_one_image_that_cannot_be_located_leaves_the_others(locator: Locator, held: tiny.Country, monkeypatch) -> None:
    plain = locator.predict

    def picky(data: Any, *words: Any, **more: Any) -> Prediction:
        if (data["image"][:, 0, 0, 0] == 255).any():
            raise DataError("a white corner")
        return plain(data, *words, **more)

    monkeypatch.setattr(locator, "predict", picky)
    given = np.minimum(held.images[:6], 254)
    given[2, 0, 0, 0] = 255
    skipped: list[Any] = []
    found = list(locator.locate_many(given, on_skip=skipped.append))
    assert [guess.id for guess in found] == ["0", "1", "3", "4", "5"]
    assert [(one.id, one.stage, one.reason) for one in skipped] == [("2", "locate", "a white corner")]
