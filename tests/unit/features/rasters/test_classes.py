"""Shares of classes in cells."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import h3
import numpy as np
import pytest

from placevec.errors import DataError
from placevec.features.rasters import Zones, count_classes
from placevec.geo.sphere import LonLat
from placevec.sources.classes import ClassTable, class_table
from placevec.sources.rasters import Raster

LON, LAT = 8.0, 47.0
TABLE = ClassTable.from_json({"1": "rice", "2": "village", "7": "water"}, "own")
PIXEL = 3e-4


def raster_of(values: Any, pixel: float = PIXEL, nodata: float | None = None) -> Raster:
    array = np.asarray(values, dtype=np.uint8)
    half = array.shape[0] / 2 * pixel
    return Raster.from_array(array, bounds=(LON - half, LAT - half, LON + half, LAT + half), nodata=nodata)


def cells_at(resolution: int, k: int) -> Any:
    return np.array([h3.str_to_int(c) for c in h3.grid_disk(h3.latlng_to_cell(LAT, LON, resolution), k)], np.uint64)


def test_counts_borders_and_diversity_are_those_of_a_plain_loop() -> None:
    rng = np.random.default_rng(0)
    values = rng.choice([0, 1, 2, 7], (50, 50), p=[0.1, 0.5, 0.2, 0.2])
    cells = cells_at(9, 2)
    found = count_classes([raster_of(values, nodata=0)], Zones(cells), TABLE, min_valid=0.0)
    owner = np.empty((50, 50), dtype=np.uint64)
    for row in range(50):
        for col in range(50):
            lat, lon = LAT - (row - 24.5) * PIXEL, LON + (col - 24.5) * PIXEL
            owner[row, col] = h3.str_to_int(h3.latlng_to_cell(lat, lon, 9))
    for at, cell in enumerate(cells):
        mine = values[owner == cell]
        counts = [int((mine == code).sum()) for code in (1, 2, 7)]
        assert found.counts[at].tolist() == counts
        pairs = edges = 0
        for a, b in ((np.s_[:, 1:], np.s_[:, :-1]), (np.s_[1:], np.s_[:-1])):
            both = (owner[a] == cell) & (owner[b] == cell) & (values[a] > 0) & (values[b] > 0)
            pairs += int(both.sum())
            edges += int((both & (values[a] != values[b])).sum())
        assert (found.pairs[at], found.edges[at]) == (pairs, edges)
        shares = [count / sum(counts) for count in counts]
        entropy = -sum(share * math.log(share) for share in shares if share)
        np.testing.assert_allclose(found.diversity()[at], entropy)
        np.testing.assert_allclose(found.shares()[at], shares)


def test_one_class_alone_has_no_diversity_and_no_borders() -> None:
    found = count_classes([raster_of(np.full((60, 60), 2))], Zones(cells_at(9, 1)), TABLE)
    assert found.present.all()
    np.testing.assert_array_equal(found.shares(), np.tile([0.0, 1.0, 0.0], (7, 1)))
    np.testing.assert_array_equal(found.diversity(), 0.0)
    np.testing.assert_array_equal(found.edge_share(), 0.0)


def test_a_code_that_is_not_known_matters_only_within_the_cells() -> None:
    values = np.full((60, 60), 1)
    values[0, 0] = 99
    zones = Zones(cells_at(9, 0))
    assert count_classes([raster_of(values)], zones, TABLE).present.all()
    values[30, 30] = 99
    with pytest.raises(DataError, match="class code 99"):
        count_classes([raster_of(values)], zones, TABLE)
    lax = count_classes([raster_of(values)], zones, TABLE, unknown="nodata")
    assert lax.shares()[0].tolist() == [1.0, 0.0, 0.0]


def test_cells_smaller_than_pixels_have_the_class_at_their_centre() -> None:
    values = np.tile([1, 2], (12, 6))
    raster = raster_of(values, 0.005)
    cells = cells_at(10, 4)
    found = count_classes([raster], Zones(cells), TABLE)
    assert found.present.all()
    centre = Zones(cells).centre()
    code = raster.sample(LonLat(centre.lon, centre.lat), resampling="nearest")[:, 0]
    alone = found.sampled
    assert alone.sum() > len(cells) / 2
    np.testing.assert_array_equal(np.argmax(found.counts[alone], axis=1), (code[alone] == 2).astype(int))
    np.testing.assert_array_equal(found.counts[alone].sum(axis=1), 1)


def test_land_cover_of_zion(data_dir: Path) -> None:
    raster = Raster(data_dir / "zion/nlcd2011.tif")
    centre = raster.lonlat([500.0], [700.0])
    cells = h3.grid_disk(h3.latlng_to_cell(float(centre.lat[0]), float(centre.lon[0]), 8), 3)
    zones = Zones(np.array([h3.str_to_int(cell) for cell in cells], dtype=np.uint64))
    found = count_classes([raster], zones, class_table("nlcd"))
    assert found.present.all()
    np.testing.assert_allclose(found.shares().sum(axis=1), 1.0)
    area = h3.average_hexagon_area(8, "m^2") / (31.53 * 31.52)
    assert 0.7 * area < np.median(found.counts.sum(axis=1)) < 1.3 * area
