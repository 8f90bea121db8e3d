"""`placevec area geocells`: files in, files out, and what is said of what was left out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import shapely

pytest.importorskip("hdbscan")

from placevec.cli.main import run
from placevec.errors import UsageError
from placevec.files import write_text
from placevec.geo.geocells import GeoCellConfig, GeoCells
from placevec.geo.regions import Regions, spherical_areas_m2
from placevec.sources.exports import write_geoparquet
from placevec.sources.places import read_places
from placevec.tasks.geocells import make_geocells
from placevec.tasks.info import info

REGIONS = Regions.of(
    {"west": shapely.box(0, 40, 3, 44), "none": shapely.box(0, 46, 3, 47), "east": shapely.box(3, 40, 6, 44)}
)
SETTINGS = ["--min-points", "10", "--min-samples", "4", "--dense", "5km", "--sparse", "40km"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Points as CSV, five of them in no region, and regions as GeoJSON."""
    rng = np.random.default_rng(0)
    lon = np.append(rng.uniform(0, 6, 400), np.full(5, 50.0))
    lines = [f"{x:.6f},{y:.6f}" for x, y in zip(lon, rng.uniform(40, 44, 405), strict=True)]
    write_text(tmp_path / "points.csv", "\n".join(["x,y", *lines]) + "\n")
    write_text(tmp_path / "regions.geojson", json.dumps(REGIONS.to_geojson()))
    return tmp_path


def test_the_files_hold_the_cells(folder: Path) -> None:
    config = GeoCellConfig(min_points=10, min_samples=4, dense_km=5, sparse_km=40)
    made = make_geocells(
        folder / "points.csv",
        folder / "regions.geojson",
        folder / "cells.parquet",
        lon="x",
        lat="y",
        config=config,
        geojson=folder / "cells.geojson",
        asset=folder / "cells.arrow",
    )
    cells = made.cells
    assert GeoCells.from_bytes((folder / "cells.arrow").read_bytes()) == cells
    data = json.loads((folder / "cells.geojson").read_text())
    assert len(data["features"]) == len(cells)
    first = data["features"][0]["properties"]
    assert first["region"] == "west"
    assert first["radius_m"] <= first["limit_m"]
    outlines = np.array([shapely.geometry.shape(item["geometry"]) for item in data["features"]], dtype=object)
    np.testing.assert_allclose(
        spherical_areas_m2(outlines) / 1e6, [item["properties"]["area_km2"] for item in data["features"]], rtol=1e-9
    )
    assert sum(item["properties"]["points"] for item in data["features"]) == 400
    assert made.points == 405
    assert made.notes == ["5 of 405 points left out: outside of all regions", "no cell in none: no point lies there"]
    again = read_places(folder / "cells.geojson")
    assert set(again.attributes) >= {"region", "centre_lon", "centre_lat", "level_1", "level_3"}


def test_the_command_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = folder / "cells.parquet"
    words = [
        "area",
        "geocells",
        str(folder / "points.csv"),
        "--lon",
        "x",
        "--lat",
        "y",
        *SETTINGS,
        "-q",
        "-o",
        str(out),
    ]
    assert run([*words, "--regions", str(folder / "regions.geojson"), "--asset", str(folder / "a.arrow")]) == 0
    said = capsys.readouterr()
    records = [json.loads(line) for line in said.out.splitlines()]
    assert [record["region"] for record in records] == ["west", "none", "east"]
    assert sum(record["points"] for record in records) == 400
    assert records[1]["cells"] == 0
    assert 0 < records[0]["largest_km"] <= 40
    assert records[0]["of_limit"] <= 1.0
    assert "5 of 405 points left out" in said.err
    first = GeoCells.from_bytes((folder / "a.arrow").read_bytes())
    more = ["--rename", "east=orient", "--column", "name", "--levels", "none", "--per-1000-points", "50"]
    assert run([*words, "--regions", str(folder / "regions.geojson"), "--asset", str(folder / "b.arrow"), *more]) == 0
    second = GeoCells.from_bytes((folder / "b.arrow").read_bytes())
    assert second.regions.names == ("west", "none", "orient")
    assert len(second.levels) == 1
    assert len(first.levels) == 3
    capsys.readouterr()
    assert run([*words, "--regions", "earth"]) == 0
    earth = json.loads(capsys.readouterr().out)
    assert (earth["region"], earth["points"]) == ("Earth", 405)


@pytest.mark.parametrize(
    ("more", "words", "status"),
    [
        (["--regions", "absent.geojson"], "absent.geojson: no such file", 1),
        (["--regions", "earth", "--dense", "70km"], "at most 70 km where dense", 2),
        (["--regions", "earth", "--dense", "5"], "is no distance", 2),
        (["--regions", "earth", "--rename", "a"], "write OLD=NEW", 2),
        (["--regions", "earth", "--geojson", "cells.json5"], "ends in .geojson", 2),
        (["--regions", "earth", "--lon", "lon"], "column", 1),
    ],
)
def test_what_cannot_be_is_said(
    folder: Path, capsys: pytest.CaptureFixture[str], more: list[str], words: str, status: int
) -> None:
    out = folder / "cells.parquet"
    command = ["area", "geocells", str(folder / "points.csv"), "--lon", "x", "--lat", "y", "-q", "-o", str(out), *more]
    assert run(command) == status
    assert words in capsys.readouterr().err
    assert not out.exists()


def test_rows_without_coordinates_are_counted(folder: Path) -> None:
    features = [
        {"type": "Feature", "properties": {}, "geometry": {"type": "Point", "coordinates": [1.0 + row / 100, 41.0]}}
        for row in range(20)
    ]
    features.append({"type": "Feature", "properties": {}, "geometry": None})
    write_text(folder / "p.geojson", json.dumps({"type": "FeatureCollection", "features": features}))
    made = make_geocells(folder / "p.geojson", REGIONS, folder / "c.geojson")
    assert made.unlocated == 1
    assert made.notes[0] == "1 of 21 points left out: no coordinates"
    with pytest.raises(UsageError, match="endings|ending|know|form"):
        make_geocells(folder / "p.geojson", REGIONS, folder / "c.xyz")


def test_the_points_may_be_a_photo_list(folder: Path) -> None:
    places = read_places(folder / "points.csv", lon="x", lat="y").with_column("asset", np.full(405, "a.jpg", object))
    write_geoparquet([places], folder / "photos.parquet")
    config = GeoCellConfig(min_points=10, min_samples=4, dense_km=5, sparse_km=40)
    regions = folder / "regions.geojson"
    listed = make_geocells(folder / "photos.parquet", regions, folder / "a.csv", config=config)
    bare = make_geocells(folder / "points.csv", regions, folder / "b.csv", lon="x", lat="y", config=config)
    assert listed.cells == bare.cells
    assert info(folder / "photos.parquet")["kind"] == "photo list"
