"""What is true of tiles: shares and counts against rasters and maps that are known in full."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from placevec.errors import FormatError, UsageError
from placevec.geo.frames import square_window
from placevec.geo.sphere import LonLat
from placevec.sources.osm import VISIBLE, Features
from placevec.sources.rasters import Raster
from placevec.sources.tag_captions import LEGENDS, LandClass, cover_shares, legend, tile_facts
from placevec.sources.tag_captions.facts import Fact

TILE = shapely.box(10.0, 45.0, 10.01, 45.01)  # about 785 x 1112 m
NUMBER = {word.tag: k for k, word in reversed(list(enumerate(VISIBLE)))}


def features(*objects: tuple[str, shapely.Geometry]) -> Features:
    shapes = np.array([shape for _, shape in objects], dtype=object)
    kind = {"Point": 0, "LineString": 1, "Polygon": 2, "MultiPolygon": 2}
    return Features(
        shapes,
        np.array([kind[shape.geom_type] for shape in shapes], dtype=np.uint8),
        np.array([NUMBER[tag] for tag, _ in objects], dtype=np.int16),
        VISIBLE,
    )


def facts_of(*objects: tuple[str, shapely.Geometry]) -> dict[str, Fact]:
    (found,) = tile_facts(np.array([TILE]), osm=features(*objects))
    return {fact.words[0]: fact for fact in found}


def test_shares_are_those_of_the_pixels() -> None:
    rng = np.random.default_rng(0)
    # Patches of 16 pixels, so that 32 samples a side are nearly exact.
    classes = np.kron(rng.choice([1, 2, 5, 200], (8, 8)), np.ones((16, 16), dtype=np.uint8)).astype(np.uint8)
    raster = Raster.from_array(classes, bounds=(10, 45, 10.128, 45.128), nodata=200)
    tiles = np.array([shapely.box(10 + k * 0.032, 45, 10 + (k + 1) * 0.032, 45.064) for k in range(4)])
    found = cover_shares(tiles, raster, (5, 1, 77))
    for k, row in enumerate(found):
        window = classes[64:, k * 32 : (k + 1) * 32]
        np.testing.assert_allclose(row, [(window == 5).mean(), (window == 1).mean(), 0], atol=1e-9)


def test_shares_of_shapes_in_parts_and_beyond_the_raster() -> None:
    classes = np.ones((40, 40), dtype=np.uint8)
    classes[:, 20:] = 2
    raster = Raster.from_array(classes, bounds=(10, 45, 10.4, 45.4))
    triangle = shapely.Polygon([(10, 45), (10.4, 45), (10, 45.4)])  # three quarters of it in the west
    parts = shapely.MultiPolygon([shapely.box(10, 45, 10.1, 45.1), shapely.box(10.3, 45, 10.4, 45.3)])
    half_out = shapely.box(9.8, 45, 10.2, 45.2)
    away = shapely.box(0, 0, 1, 1)
    found = cover_shares(np.array([triangle, parts, half_out, away]), raster, (1, 2))
    np.testing.assert_allclose(found, [[0.75, 0.25], [0.25, 0.75], [0.5, 0], [0, 0]], atol=0.02)


@given(st.integers(0, 2**32 - 1))
def test_shares_of_all_classes_fill_a_tile(seed: int) -> None:
    rng = np.random.default_rng(seed)
    raster = Raster.from_array(rng.choice([3, 7, 9], (30, 30)).astype(np.uint8), bounds=(10, 45, 10.3, 45.3))
    tiles = square_window(LonLat(rng.uniform(10.1, 10.2, 3), rng.uniform(45.1, 45.2, 3)), 4000)
    found = cover_shares(tiles, raster, (9, 3, 7))
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-9)
    assert (found >= 0).all()


def test_legends_of_public_maps_and_of_ones_own(tmp_path: Path) -> None:
    assert legend("NLCD")[41].name == "Deciduous Forest"
    assert legend("worldcover")[95].words == ("mangroves",)
    assert legend({1: "Rice fields", "2": ["a village", "Houses"]}) == {
        1: LandClass("Rice fields", ("rice fields",)),
        2: LandClass("a village", ("a village", "houses")),
    }
    (tmp_path / "own.json").write_text(json.dumps({"3": "reeds"}))
    assert legend(tmp_path / "own.json") == {3: LandClass("reeds", ("reeds",))}
    assert legend({4: LandClass("x", ())}) == {4: LandClass("x", ())}
    for bad, error, match in (
        ("corine", UsageError, "no legend of land cover: give nlcd, worldcover"),
        ({}, UsageError, "no class"),
        ({"a": "b"}, UsageError, "no whole number"),
        ({1: ""}, UsageError, "give a word"),
        ({1: [3]}, UsageError, "give a word"),
    ):
        with pytest.raises(error, match=match):
            legend(bad)
    for text in ("{", "[]"):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(FormatError):
            legend(tmp_path / "bad.json")


def test_things_are_counted_where_they_mostly_lie() -> None:
    def court(x: float) -> shapely.Geometry:
        return shapely.box(x, 45.005, x + 0.0002, 45.0051)

    found = facts_of(
        ("sport=tennis", court(10.001)),
        ("sport=tennis", court(10.002)),
        ("sport=tennis", court(10.00995)),  # a quarter of it
        ("sport=tennis", court(10.02)),
        ("natural=tree", shapely.Point(10.003, 45.003)),
    )
    assert found["a tennis court"].count == 2
    assert found["a tennis court"].many == "tennis courts"
    assert found["a tree"].count == 1
    half = facts_of(("building=stadium", shapely.box(10.006, 45.0, 10.02, 45.01)))  # less than half, but huge here
    assert half["a stadium"].share == pytest.approx(0.4, abs=1e-6)


def test_land_has_a_share_and_lines_a_length() -> None:
    found = facts_of(
        ("landuse=forest", shapely.box(9.9, 44.9, 10.0025, 45.1)),
        ("leisure=park", shapely.box(10.005, 45.0, 10.0051, 45.001)),  # a thousandth
        ("highway=residential", shapely.LineString([(9.99, 45.005), (10.02, 45.005)])),
        ("highway=secondary", shapely.LineString([(10.002, 45.0), (10.002, 45.01)])),
        ("highway=tertiary", shapely.LineString([(10.004, 45.0), (10.004, 45.01)])),
        ("railway=rail", shapely.LineString([(10.0099, 45.0), (10.0099, 45.001)])),
        ("natural=bay", shapely.box(10.5, 45, 10.6, 45.1)),
    )
    assert found["forest"].share == pytest.approx(0.25, abs=1e-6)
    assert found["a street"].count == 1
    assert found["a street"].share == pytest.approx(7 / 1112, rel=0.01)
    assert found["a road"].count == 2  # two tags, one word
    assert set(found) == {"forest", "a street", "a road"}


def test_a_road_in_pieces_is_one_road() -> None:
    pieces = [shapely.LineString([(10 + k / 1000, 45.005), (10 + (k + 1) / 1000, 45.005)]) for k in range(10)]
    assert facts_of(*(("highway=primary", piece) for piece in pieces))["a main road"].count == 1


def test_two_maps_do_not_name_one_land_twice() -> None:
    raster = Raster.from_array(np.full((20, 20), 10, dtype=np.uint8), bounds=(9.9, 44.9, 10.1, 45.1))
    classes = LEGENDS["worldcover"]
    (alone,) = tile_facts(np.array([TILE]), cover=raster, classes=classes)
    assert [(fact.words[0], fact.share) for fact in alone] == [("trees", 1.0)]
    orchard = features(("landuse=orchard", shapely.box(10, 45, 10.005, 45.01)))
    (both,) = tile_facts(np.array([TILE]), osm=orchard, cover=raster, classes=classes)
    assert [fact.words[0] for fact in both] == ["trees", "orchards"]
    wood = features(("natural=wood", shapely.box(10, 45, 10.005, 45.01)))
    (one,) = tile_facts(np.array([TILE]), osm=wood, cover=raster, classes=classes)
    assert [fact.words[0] for fact in one] == ["woods"]


def test_nothing_known_is_no_fact() -> None:
    assert tile_facts(np.array([TILE, TILE])) == [[], []]
    assert tile_facts(np.array([TILE]), osm=features()) == [[]]
    assert tile_facts(np.array([], dtype=object), osm=features(("natural=tree", shapely.Point(10, 45)))) == []


@pytest.mark.real
def test_zion_against_its_pixels(data_dir: Path) -> None:
    raster = Raster(data_dir / "zion/nlcd2011.tif")
    centre = raster.lonlat(np.array([400.0]), np.array([500.0]))
    values = tuple(LEGENDS["nlcd"])
    found = cover_shares(square_window(centre, 64 * 31.5), raster, values)[0]
    col, row = np.meshgrid(np.arange(400 - 32, 400 + 32), np.arange(500 - 32, 500 + 32))
    pixels = raster.sample(raster.lonlat(col.ravel() + 0.5, row.ravel() + 0.5), resampling="nearest")[:, 0]
    np.testing.assert_allclose(found, [(pixels == value).mean() for value in values], atol=0.03)
