"""Streamed covers against covers in one piece: oracle `H3Cells.cover`, and every cell of the Earth asked in turn."""

from __future__ import annotations

import h3
import numpy as np
import pytest
import shapely
from shapely.geometry import MultiPolygon, Polygon

from placevec.errors import DataError, UsageError
from placevec.geo.boxes import unwrap_polygon
from placevec.geo.cells import H3Cells
from placevec.sources.polygons import Mask
from placevec.sources.stencil import cover_parts, part_level

FIJI = Polygon([(177.2, -18.3), (178.7, -18.2), (181.2, -16.3), (179.9, -16.0), (178.4, -16.7)])
CHUKOTKA = Polygon([(170, 60.1), (180.5, 62.2), (190.3, 65.9), (184, 67.1), (172, 70.2), (168, 66)])
ANTARCTICA = Polygon([(-180, -90), (-180, -84), (-60, -63.2), (0, -70), (110, -66), (180, -84), (180, -90)])
POLE = Polygon([(x, 88.0 + 0.7 * np.sin(x)) for x in range(-170, 171, 20)])
ISLETS = MultiPolygon(
    [shapely.box(x, y, x + 1e-5, y + 1e-5) for x, y in ((1, 1), (-120.3, 44), (179.99999, 0), (9, -77))]
)
RING = Polygon(shapely.Point(10, 45).buffer(3).exterior, [shapely.Point(10, 45).buffer(2.5).exterior])
NEIGHBOURS = [shapely.box(5, 40, 8, 43), shapely.box(8, 40, 11, 43), shapely.box(10, 42, 12, 45)]

REGIONS = {
    "fiji": [FIJI],
    "chukotka": [CHUKOTKA],
    "antarctica": [ANTARCTICA],
    "pole": [POLE],
    "islets": [ISLETS],
    "ring": [RING],
    "neighbours": NEIGHBOURS,
    "world": [shapely.box(-180, -90, 180, 90)],
}


def streamed(mask: Mask, resolution: int) -> tuple[np.ndarray, np.ndarray, list[int]]:
    parts = [part for part in cover_parts(mask, resolution) if len(part.cells)]
    level = part_level(resolution)
    for part in parts:
        assert (H3Cells(resolution).parent(part.cells, level) == part.key).all()
        assert len(part.cells) <= 7**5
        assert part.done < part.total
    return (
        np.concatenate([part.cells for part in parts]),
        np.concatenate([part.whole for part in parts]),
        [part.key for part in parts],
    )


@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("resolution", [0, 1, 2, 3])
def test_against_all_cells_of_the_earth(region, resolution):
    mask = Mask.of(REGIONS[region])
    base = np.array([h3.str_to_int(cell) for cell in h3.get_res0_cells()], dtype=np.uint64)
    every = np.sort(H3Cells(0).children(base, resolution).cells)
    outlines = H3Cells(resolution).polygons(every)
    area = shapely.union_all([unwrap_polygon(g) for g in REGIONS[region]])
    shapely.prepare(area)
    cells, whole, keys = streamed(mask, resolution)
    np.testing.assert_array_equal(cells, every[shapely.intersects(area, outlines)])
    # Rounding at the cut of the antimeridian and at merged borders may leave a sliver of 1e-9 degrees.
    wanted = shapely.covers(shapely.buffer(area, 1e-9, quad_segs=1), outlines)
    np.testing.assert_array_equal(whole, wanted[shapely.intersects(area, outlines)])
    assert keys == sorted(set(keys))


@pytest.mark.parametrize(
    ("region", "resolution"),
    [
        ("fiji", 6),
        ("fiji", 7),
        ("chukotka", 5),
        ("antarctica", 4),
        ("pole", 5),
        ("pole", 6),
        ("islets", 9),
        ("ring", 5),
    ],
)
def test_against_the_cover_in_one_piece(region, resolution):
    area = shapely.union_all([unwrap_polygon(g) for g in REGIONS[region]])
    cells, whole, _ = streamed(Mask.of(REGIONS[region]), resolution)
    np.testing.assert_array_equal(cells, H3Cells(resolution).cover(area))
    assert (np.diff(cells) > 0).all()
    outlines = H3Cells(resolution).polygons(cells[~whole])
    # Of what is not whole something lies outside, but for slivers.
    assert (shapely.area(shapely.difference(outlines, area)) > 0).mean() > 0.999


@pytest.mark.parametrize("resolution", [10, 12, 13, 15])
def test_fine_cells_go_through_several_stages(resolution):
    side = 60 * h3.average_hexagon_edge_length(resolution, "m") / 111_000
    square = shapely.box(-3.7, 40.4, -3.7 + side, 40.4 + side)
    cells, whole, keys = streamed(Mask.of([square]), resolution)
    np.testing.assert_array_equal(cells, H3Cells(resolution).cover(square))
    np.testing.assert_array_equal(whole, shapely.covers(square, H3Cells(resolution).polygons(cells)))
    assert {h3.get_resolution(h3.int_to_str(key)) for key in keys} == {resolution - 5}


def test_cells_that_poke_out_of_a_parent_are_found():
    # A speck on the rim of each of the children of one parent: most lie beyond the parent's own outline or near it.
    parent = H3Cells(4).assign(H3Cells(4).centre(np.array([h3.str_to_int("842a107ffffffff")], dtype=np.uint64)))
    kids = H3Cells(4).children(parent, 9).cells
    outline = H3Cells(4).polygons(parent)[0]
    outlines = H3Cells(9).polygons(kids)
    out = ~shapely.covers(outline, outlines)
    assert out.sum() > 100
    corner = shapely.get_coordinates(outlines[out], return_index=True)
    specks = [shapely.Point(xy).buffer(1e-7) for xy in corner[0][:: len(corner[0]) // 60]]
    cells, _, _ = streamed(Mask.of(specks), 9)
    np.testing.assert_array_equal(cells, H3Cells(9).cover(MultiPolygon(specks)))


def test_every_islet_has_its_cell_at_every_level():
    points = [(1, 1), (-120.3, 44), (179.99999, 0.0), (9, -77)]
    for resolution in range(10):
        cells, whole, _ = streamed(Mask.of(REGIONS["islets"]), resolution)
        assert not whole.any()
        for x, y in points:
            assert h3.str_to_int(h3.latlng_to_cell(y + 5e-6, x + 5e-6, resolution)) in cells


def test_no_mask_and_no_resolution():
    with pytest.raises(DataError, match="no polygon with an area"):
        Mask.of([shapely.Point(0, 0)], "points.geojson")
    with pytest.raises(UsageError, match="resolution 16"):
        list(cover_parts(Mask.of(NEIGHBOURS), 16))
