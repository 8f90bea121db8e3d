"""Geocells as a user meets them: photos of a country and its provinces as files, cells on a map and in a model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import shapely

pytest.importorskip("hdbscan")

from commands import placevec
from generated import arcadia
from placevec.files import write_text
from placevec.geo.geocells import GeoCells
from placevec.geo.regions import Regions
from placevec.geo.sphere import LonLat


def test_from_photos_to_cells(tmp_path: Path) -> None:
    world = arcadia()
    outlines = np.empty(len(world.provinces), dtype=object)
    outlines[:] = world.provinces
    regions = Regions(tuple(world.province_names), outlines)
    write_text(tmp_path / "provinces.geojson", json.dumps(regions.to_geojson()))
    photos = world.photo_places().lonlat()
    lines = [f"{lon!r},{lat!r}" for lon, lat in zip(photos.lon.tolist(), photos.lat.tolist(), strict=True)]
    write_text(tmp_path / "photos.csv", "\n".join(["lon,lat", *lines]) + "\n")

    words = ["--min-points", "10", "--min-samples", "4", "--dense", "3km", "--sparse", "15km", "--asset", "cells.arrow"]
    made = ["area", "geocells", "photos.csv", "--regions", "provinces.geojson", *words]
    printed, _ = placevec(tmp_path, *made, "-o", "cells.geojson")
    records = [json.loads(line) for line in printed.splitlines()]
    assert [record["region"] for record in records] == world.province_names
    assert all(record["of_limit"] <= 1.0 and record["largest_km"] <= 15.0 for record in records)

    cells = GeoCells.from_bytes((tmp_path / "cells.arrow").read_bytes())
    features = json.loads((tmp_path / "cells.geojson").read_text())["features"]
    assert len(features) == len(cells) == sum(record["cells"] for record in records)
    # On the map, a photo lies in the outline of the cell that the model gives it.
    drawn = np.array([shapely.geometry.shape(item["geometry"]) for item in features], dtype=object)
    rows = cells.rows(photos)
    known = rows >= 0
    held = shapely.intersects_xy(drawn[rows[known]], photos.lon[known], photos.lat[known])
    assert held.mean() > 0.99
    assert sum(record["points"] for record in records) == known.sum()

    placevec(tmp_path, *made, "-o", "b.geojson")
    assert (tmp_path / "b.geojson").read_bytes() == (tmp_path / "cells.geojson").read_bytes()
    assert GeoCells.from_bytes((tmp_path / "cells.arrow").read_bytes()) == cells
    nowhere = LonLat.of(0.0, 0.0)
    assert cells.rows(nowhere)[0] == -1
