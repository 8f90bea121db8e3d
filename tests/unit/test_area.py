from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path

import numpy as np
import pytest
import shapely
from pyproj import Geod
from shapely.geometry import MultiPolygon

from placevec.area import SUBFOLDERS, StudyArea
from placevec.errors import CoordinateError, DataError, FormatError, UsageError
from placevec.geo.cells import H3Cells


@pytest.fixture(scope="module")
def countries() -> Path:
    root = os.environ.get("PLACEVEC_DATA")
    path = Path(root or ".") / "earth" / "ne_110m_admin_0_countries.geojson"
    if not root or not path.exists():
        pytest.skip("PLACEVEC_DATA names no folder with earth/ne_110m_admin_0_countries.geojson")
    return path


def feature(geometry, **properties):
    return {"type": "Feature", "properties": properties, "geometry": json.loads(shapely.to_geojson(geometry))}


@pytest.fixture
def small(tmp_path) -> Path:
    """Three countries, one with a far island; made here, so that the tests need no data."""
    mainland, near, far = shapely.box(-9, 36, 3, 43), shapely.box(3.5, 39, 4, 40), shapely.box(-18, 27, -14, 29)
    path = tmp_path / "countries.geojson"
    features = [
        feature(MultiPolygon([far, mainland, near]), NAME="Spain", ADMIN="Kingdom", ISO_A3="ESP", ISO_A2="ES"),
        feature(shapely.box(-10, 37, -9, 42), NAME="Portugal", ADMIN="Portugal", ISO_A3="PRT", ISO_A2="PT"),
        feature(shapely.box(177, -18, 183, -16), NAME="Fiji", ADMIN="Fiji", ISO_A3="-99", ISO_A2="FJ"),
        {"type": "Feature", "properties": {"NAME": "Nowhere"}, "geometry": None},
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def test_from_bbox():
    area = StudyArea.from_bbox((-51.3, -30.3, -51.0, -29.9), name="porto-alegre", resolutions=(8, 9))
    assert area.bbox == (-51.3, -30.3, -51.0, -29.9)
    assert area.resolution == 8
    # 0.3 degrees of longitude at 30.1 S by 0.4 degrees of latitude.
    assert area.area_km2 == pytest.approx(0.3 * 111.32 * np.cos(np.radians(30.1)) * 0.4 * 110.85, rel=2e-3)
    assert area.box_km2 == pytest.approx(area.area_km2)
    cells = area.cells()
    assert cells.dtype == np.uint64
    assert (np.diff(cells.astype(np.int64)) > 0).all()
    np.testing.assert_array_equal(cells, H3Cells(8).cover(area.boundary))
    assert len(area.cells(6)) < len(cells)


def test_areas_are_right_on_wide_boxes_and_the_world():
    assert StudyArea.from_bbox((-180, -90, 180, 90)).area_km2 == pytest.approx(510_065_622, rel=1e-6)
    half = StudyArea.from_bbox((-90, 0, 90, 90)).area_km2
    assert half == pytest.approx(510_065_622 / 4, rel=1e-4)
    across = StudyArea.from_bbox((170, -10, -170, 10))
    assert across.bbox == (170.0, -10.0, -170.0, 10.0)
    assert across.area_km2 == pytest.approx(StudyArea.from_bbox((10, -10, 30, 10)).area_km2)
    assert abs(abs(across.frame.centre.lon[0]) - 180) < 1e-6


def test_areas_against_geodesics():
    triangle = shapely.Polygon([(-9, 36), (3, 37), (-2, 43)])
    dense = shapely.segmentize(triangle, 0.001)
    geodesic = abs(Geod(ellps="WGS84").geometry_area_perimeter(dense)[0]) / 1e6
    assert StudyArea("t", triangle).area_km2 == pytest.approx(geodesic, rel=1e-6)


def test_bbox_leaves_out_the_widest_gap():
    parts = [shapely.box(-179, 0, -170, 1), shapely.box(100, 0, 110, 1), shapely.box(170, 0, 175, 1)]
    assert StudyArea("a", MultiPolygon(parts)).bbox == (100.0, 0.0, -170.0, 1.0)
    assert StudyArea("b", MultiPolygon(parts[1:])).bbox == (100.0, 0.0, 175.0, 1.0)
    nested = [shapely.box(0, 0, 50, 1), shapely.box(10, 2, 20, 3), shapely.box(60, 0, 70, 1)]
    assert StudyArea("c", MultiPolygon(nested)).bbox == (0.0, 0.0, 70.0, 3.0)


def test_bad_areas():
    with pytest.raises(DataError, match="no area"):
        StudyArea.from_bbox((1, 2, 1, 3))
    with pytest.raises(CoordinateError):
        StudyArea.from_bbox((1, 4, 2, 3))
    with pytest.raises(UsageError, match="name"):
        StudyArea.from_bbox((1, 2, 2, 3), name=" ")
    with pytest.raises(UsageError, match="no resolution 16"):
        StudyArea.from_bbox((1, 2, 2, 3), resolutions=(16,))
    with pytest.raises(UsageError, match="has no resolution"):
        StudyArea.from_bbox((1, 2, 2, 3), resolutions=())


def test_from_geojson(tmp_path):
    path = tmp_path / "valley.geojson"
    box = shapely.box(0, 0, 1, 1)
    point = feature(shapely.Point(5, 5))
    for content in (
        json.loads(shapely.to_geojson(box)),
        feature(box),
        {"type": "FeatureCollection", "features": [feature(box), point, feature(shapely.box(1, 0, 2, 1))]},
    ):
        path.write_text(json.dumps(content))
        area = StudyArea.from_geojson(path)
        assert area.name == "valley"
        assert area.bbox[0] == 0
    assert area.boundary.area == pytest.approx(2.0)
    assert area.boundary.geom_type == "Polygon"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"a": 1}', '{"type": "FeatureCollection"}', "\x00\x01", "3"])
def test_files_that_are_no_geojson(tmp_path, content):
    path = tmp_path / "x.geojson"
    path.write_text(content)
    with pytest.raises(FormatError, match="GeoJSON"):
        StudyArea.from_geojson(path)


def test_files_without_an_area(tmp_path):
    with pytest.raises(UsageError, match="no file"):
        StudyArea.from_geojson(tmp_path / "none.geojson")
    path = tmp_path / "points.geojson"
    path.write_text(json.dumps(feature(shapely.Point(1, 1))))
    with pytest.raises(DataError, match="no polygon"):
        StudyArea.from_geojson(path)


def test_countries_by_any_name(small):
    for name in ("Spain", "spain", "KINGDOM", "esp", "ES", " Spain "):
        assert StudyArea.from_country(name, small).boundary.area == pytest.approx(84 + 0.5 + 8)
    assert StudyArea.from_country("fiji", small).bbox == (177.0, -18.0, -177.0, -16.0)
    assert StudyArea.from_country("Spain+Portugal", small).boundary.area == pytest.approx(84 + 0.5 + 8 + 5)


def test_iberia_leaves_out_far_islands(small):
    area = StudyArea.from_country("Iberia", small)
    assert area.boundary.area == pytest.approx(84 + 0.5 + 5)
    assert area.bbox == (-10.0, 36.0, 4.0, 43.0)
    assert area.name == "Iberia"


def test_unknown_countries(small, tmp_path):
    with pytest.raises(UsageError, match=r"'Portugall'; nearest: Portugal, \w+, \w+"):
        StudyArea.from_country("Spain+Portugall", small)
    with pytest.raises(UsageError, match="no country is called '-99'"):
        StudyArea.from_country("-99", small)
    other = tmp_path / "other.geojson"
    other.write_text(json.dumps(feature(shapely.box(0, 0, 1, 1))))
    with pytest.raises(FormatError, match="NAME"):
        StudyArea.from_country("Spain", other)


def test_save_and_open(tmp_path):
    area = StudyArea.from_bbox((170, -10.1, -170, 10), name='Straße "x" \\ 東', resolutions=(5, 7))
    kept = area.save(tmp_path / "deep" / "area")
    again = StudyArea.open(tmp_path / "deep" / "area")
    assert again == kept == area
    assert again.folder == tmp_path / "deep" / "area"
    assert again.name == area.name
    assert again.resolutions == (5, 7)
    np.testing.assert_array_equal(again.cells(), area.cells())
    assert all((again.folder / sub).is_dir() for sub in SUBFOLDERS)
    listing = tomllib.loads((again.folder / "area.toml").read_text(encoding="utf-8"))
    assert listing["bbox"] == list(area.bbox)
    assert sorted(p.name for p in again.folder.iterdir()) == sorted([*SUBFOLDERS, "area.toml", "boundary.geojson"])


def test_saving_again_and_over_another(tmp_path):
    area = StudyArea.from_bbox((0, 0, 1, 1), name="a")
    area.save(tmp_path)
    area.save(tmp_path)
    for other in (
        StudyArea.from_bbox((0, 0, 1, 2), name="a"),
        StudyArea.from_bbox((0, 0, 1, 1), name="b"),
        StudyArea.from_bbox((0, 0, 1, 1), name="a", resolutions=(4,)),
    ):
        with pytest.raises(UsageError, match="already holds the study area 'a'"):
            other.save(tmp_path)
    assert StudyArea.open(tmp_path) == area


def test_a_save_that_is_cut_short_leaves_no_area(tmp_path, monkeypatch):
    area = StudyArea.from_bbox((0, 0, 1, 1), name="a")
    real = Path.replace

    def fail(self, target):
        if Path(target).name == "area.toml":
            raise OSError("disk full")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        area.save(tmp_path)
    assert not list(tmp_path.glob("*area.toml*"))
    assert not list(tmp_path.glob(".*"))
    monkeypatch.undo()
    area.save(tmp_path)
    assert StudyArea.open(tmp_path) == area


def test_folders_without_an_area(tmp_path):
    with pytest.raises(UsageError, match=r"no area\.toml"):
        StudyArea.open(tmp_path)
    for text in ("name = ", 'name = "a"\n'):
        (tmp_path / "area.toml").write_text(text)
        with pytest.raises(FormatError, match=r"area\.toml"):
            StudyArea.open(tmp_path)
    with pytest.raises(UsageError, match="local folder"):
        StudyArea.open("s3://bucket/area")


@pytest.mark.real
def test_natural_earth(countries):
    iberia = StudyArea.from_country("iberia", countries, resolutions=(4,))
    assert iberia.bbox == pytest.approx((-9.53, 35.95, 3.04, 43.75), abs=0.01)
    assert iberia.area_km2 == pytest.approx(590_000, rel=0.03)
    assert iberia.boundary.geom_type == "Polygon"
    assert len(iberia.cells()) > 300
    for name in ("France", "FRA", "USA", "United States of America", "sudan", "BR"):
        assert StudyArea.from_country(name, countries).boundary.is_valid
    assert StudyArea.from_country("Fiji", countries).bbox[0] == pytest.approx(177.3, abs=0.1)
    russia = StudyArea.from_country("Russia", countries)
    assert russia.bbox[0] > 0 > russia.bbox[2]
    assert russia.area_km2 == pytest.approx(16.9e6, rel=0.03)
    antarctica = StudyArea.from_country("Antarctica", countries)
    assert antarctica.bbox[:2] == (-180.0, -90.0)
    with pytest.raises(UsageError, match="nearest: Portugal"):
        StudyArea.from_country("Portugl", countries)
