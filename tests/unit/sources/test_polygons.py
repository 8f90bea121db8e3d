"""Masks: files of polygons, overlaps, borders, damage."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import shapely

from placevec.errors import CoordinateError, DataError, FormatError, MissingExtra, UsageError
from placevec.sources.polygons import Mask, read_mask


def geojson(path: Path, *shapes, kind: str = "FeatureCollection") -> Path:
    parts = [json.loads(shapely.to_geojson(shape)) for shape in shapes]
    features = [{"type": "Feature", "properties": {}, "geometry": part} for part in parts]
    value = {"FeatureCollection": {"type": kind, "features": features}, "Feature": features[0], "bare": parts[0]}[kind]
    path.write_text(json.dumps(value))
    return path


def area(mask: Mask) -> float:
    return float(shapely.area(mask.polygons).sum())


@pytest.mark.parametrize("kind", ["FeatureCollection", "Feature", "bare"])
def test_geojson_of_each_form(tmp_path: Path, kind: str) -> None:
    mask = read_mask(geojson(tmp_path / "a.geojson", shapely.box(0, 0, 2, 1), kind=kind))
    assert mask.name == "a.geojson"
    assert area(mask) == 2
    assert len(mask.sources[0].sha256) == 64


def test_polygons_that_touch_or_overlap_become_one() -> None:
    boxes = [shapely.box(0, 0, 1, 1), shapely.box(1, 0, 2, 1), shapely.box(1.5, 0, 3, 1), shapely.box(5, 5, 6, 6)]
    mask = Mask.of([*boxes, shapely.box(3, 1, 4, 2), shapely.Point(9, 9), shapely.Polygon()])
    assert area(mask) == 5
    one, other = shapely.STRtree(mask.polygons).query(mask.polygons, predicate="overlaps")
    assert len(one) == len(other) == 0
    # A corner is no area, but a border: both parts stand for themselves.
    assert sorted(shapely.area(mask.polygons)) == [1, 1, 3]


def test_flat_polygons_among_others_are_left_out() -> None:
    flat = shapely.Polygon([(0, 0), (1, 1), (2, 2)])
    assert len(Mask.of([flat, shapely.box(0, 5, 1, 6)]).polygons) == 1
    with pytest.raises(DataError, match="no polygon with an area"):
        Mask.of([flat])


def test_islands_and_lakes_stay_apart() -> None:
    lake = shapely.box(1, 1, 3, 3)
    land = shapely.difference(shapely.box(0, 0, 4, 4), lake)
    mask = Mask.of([land, shapely.box(1.5, 1.5, 2, 2)])
    assert len(mask.polygons) == 2
    assert area(mask) == 16 - 4 + 0.25


def test_collections_and_the_antimeridian(tmp_path: Path) -> None:
    across = shapely.Polygon([(179, 0), (181, 0), (181, 1), (179, 1)])
    both = shapely.GeometryCollection([across, shapely.GeometryCollection([shapely.box(0, 0, 1, 1)])])
    mask = read_mask(geojson(tmp_path / "a.json", both))
    assert len(mask.polygons) == 3
    bounds = shapely.bounds(mask.polygons)
    assert bounds.min() >= -180
    assert bounds.max() <= 180


def test_topojson_is_told_by_its_content(tmp_path: Path) -> None:
    arcs = [[[0, 0], [4, 0], [4, 4], [0, 4], [0, 0]]]
    value = {"type": "Topology", "arcs": arcs, "objects": {"a": {"type": "Polygon", "arcs": [[0]]}}}
    path = tmp_path / "land.json"
    path.write_text(json.dumps(value))
    assert area(read_mask(path)) == 16


def test_geopackage_in_metres(tmp_path: Path) -> None:
    geopandas = pytest.importorskip("geopandas")
    frame = geopandas.GeoDataFrame(geometry=[shapely.box(-4, 40, -3, 41)], crs="EPSG:4326")
    frame.to_crs("EPSG:3857").to_file(tmp_path / "a.gpkg")
    mask = read_mask(tmp_path / "a.gpkg")
    np.testing.assert_allclose(mask.polygons[0].bounds, (-4, 40, -3, 41), atol=1e-9)
    frame.to_parquet(tmp_path / "a.geoparquet")
    assert area(read_mask(tmp_path / "a.geoparquet")) == 1
    (tmp_path / "b.gpkg").write_bytes(b"SQLite format 3\0 nothing")
    with pytest.raises(FormatError, match=r"b\.gpkg cannot be read"):
        read_mask(tmp_path / "b.gpkg")


def test_without_geopandas_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "geopandas", None)
    (tmp_path / "a.gpkg").write_bytes(b"")
    with pytest.raises(MissingExtra, match=r"placevec\[geopandas\]"):
        read_mask(tmp_path / "a.gpkg")


@pytest.mark.parametrize(
    ("name", "text", "error", "words"),
    [
        ("a.json", "{", FormatError, "is no JSON"),
        ("a.json", '{"type": "FeatureCollection"}', FormatError, "neither GeoJSON nor TopoJSON"),
        ("a.geojson", '{"type": "Point", "coordinates": [1, 2]}', DataError, "no polygon with an area"),
        ("a.txt", "x", UsageError, "polygons are read from"),
        (
            "a.geojson",
            '{"type": "Polygon", "coordinates": [[[0, 100], [1, 100], [1, 101], [0, 100]]]}',
            CoordinateError,
            r"a\.geojson.*latitude 10[01]",
        ),
    ],
)
def test_what_cannot_be_a_mask_is_said(tmp_path: Path, name: str, text: str, error: type, words: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(error, match=words):
        read_mask(tmp_path / name)


def test_a_path_that_is_none() -> None:
    with pytest.raises(UsageError, match="nor 'land'"):
        read_mask("lnad")
