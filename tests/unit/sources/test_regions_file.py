"""Regions from GeoJSON files: names are never guessed, and never matched by likeness."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

from placevec.errors import DataError, FormatError, SchemaError
from placevec.geo.sphere import LonLat
from placevec.sources.regions import name_column, read_regions


def write(path: Path, features: list[tuple[dict[str, Any], Any]]) -> Path:
    items = [
        {"type": "Feature", "properties": p, "geometry": None if g is None else g.__geo_interface__}
        for p, g in features
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    return path


WEST, EAST, NORTH = shapely.box(0, 0, 1, 1), shapely.box(1, 0, 2, 1), shapely.box(0, 1, 2, 2)


def test_polygons_of_one_name_are_united(tmp_path: Path) -> None:
    path = write(tmp_path / "r.geojson", [({"n": "a"}, WEST), ({"n": "b"}, NORTH), ({"n": "a"}, EAST)])
    found = read_regions(path, column="n")
    assert found.names == ("a", "b")
    assert found.polygons[0].equals(shapely.box(0, 0, 2, 1))
    assert found.assign(LonLat([0.5, 1.5, 0.5, 5], [0.5, 0.5, 1.5, 5])).tolist() == [0, 0, 1, -1]


def test_the_only_property_that_tells_features_apart_names_them(tmp_path: Path) -> None:
    path = write(tmp_path / "r.geojson", [({"k": "x", "p": "a"}, WEST), ({"k": "x", "p": "b"}, EAST)])
    assert name_column(path) == "p"
    assert read_regions(path).names == ("a", "b")


def test_a_property_called_name_names_them(tmp_path: Path) -> None:
    path = write(tmp_path / "r.geojson", [({"iso": "A", "Name": "one"}, WEST), ({"iso": "B", "Name": "two"}, EAST)])
    assert read_regions(path).names == ("one", "two")


def test_where_several_could_be_meant_the_user_says_which(tmp_path: Path) -> None:
    path = write(tmp_path / "r.geojson", [({"iso": "A", "label": "one"}, WEST), ({"iso": "B", "label": "two"}, EAST)])
    with pytest.raises(SchemaError, match=r"several properties.*iso \('A'\); label \('one'\)"):
        read_regions(path)
    with pytest.raises(SchemaError, match="has no property 'nme'; its properties: iso, label"):
        read_regions(path, column="nme")


def test_names_change_only_by_the_mapping(tmp_path: Path) -> None:
    path = write(
        tmp_path / "r.geojson", [({"n": "Azad Kashmir"}, WEST), ({"n": "Sindh "}, EAST), ({"n": "Sind"}, NORTH)]
    )
    assert read_regions(path).names == ("Azad Kashmir", "Sindh", "Sind")
    renamed = read_regions(path, rename={"Sind": "Sindh", "Azad Kashmir": "AJK"})
    assert renamed.names == ("AJK", "Sindh")
    assert renamed.polygons[1].area == pytest.approx(3.0)
    with pytest.raises(DataError, match=r"no region is called 'AJ&K'.*there are: Azad Kashmir, Sindh, Sind"):
        read_regions(path, rename={"AJ&K": "AJK"})


@pytest.mark.parametrize(
    ("features", "error", "match"),
    [
        ([({"n": "a"}, shapely.Point(0, 0))], DataError, r"feature 0 \(a\) is no polygon"),
        ([({"n": "a"}, None)], DataError, r"feature 0 \(a\) is no polygon"),
        ([({"n": "a"}, WEST), ({"n": None}, EAST)], SchemaError, "feature 1 is empty"),
        ([({"n": "a"}, WEST), ({}, EAST)], SchemaError, "feature 1 has no property"),
        ([], DataError, "holds no feature"),
    ],
)
def test_what_cannot_be_used_says_which_feature(tmp_path: Path, features, error, match: str) -> None:
    with pytest.raises(error, match=match):
        read_regions(write(tmp_path / "r.geojson", features), column="n")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"type": "FeatureCollection"}', '{"type": "Polygon"}', "\xff"])
def test_what_is_no_geojson_says_so(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.geojson").write_bytes(text.encode("latin-1"))
    with pytest.raises(FormatError, match="GeoJSON"):
        read_regions(tmp_path / "r.geojson")
    with pytest.raises(FormatError, match="no such file"):
        read_regions(tmp_path / "absent.geojson")


def test_a_region_across_the_antimeridian_is_cut_there(tmp_path: Path) -> None:
    path = write(tmp_path / "r.geojson", [({"n": "Fiji"}, shapely.box(177, -20, 182, -15))])
    found = read_regions(path)
    assert found.assign(LonLat([178, -179, 170], [-17, -17, -17])).tolist() == [0, 0, -1]


def test_the_real_provinces_of_pakistan(data_dir: Path) -> None:
    path = data_dir / "pakistan" / "geoBoundaries-PAK-ADM1.geojson"
    with pytest.raises(SchemaError, match="shapeName"):
        read_regions(path)
    found = read_regions(path, column="shapeName", rename={"Azad Kashmir": "Azad Jammu and Kashmir"})
    assert len(found) == 7
    cities = LonLat(
        [67.0, 74.35, 73.06, 71.52, 66.99, 73.47, 74.31, 77.2], [24.9, 31.55, 33.7, 34.0, 30.2, 34.37, 35.92, 28.6]
    )
    rows = found.assign(cities)
    assert [found.names[row] if row >= 0 else "" for row in rows] == [
        "Sindh",
        "Punjab",
        "Islamabad Capital Territory",
        "Khyber Pakhtunkhwa",
        "Balochistan",
        "Azad Jammu and Kashmir",
        "Gilgit-Baltistan",
        "",
    ]
    assert np.isclose(found.areas_m2.sum() / 1e6, 877_059, rtol=0.002)
