"""Stencils of arbitrary regions: equal to the cover in one piece, sorted, without duplicates, whole where whole."""

from __future__ import annotations

import numpy as np
import shapely
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import Polygon

from placevec.geo.boxes import unwrap_polygon
from placevec.geo.cells import H3Cells
from placevec.sources.polygons import Mask
from placevec.sources.stencil import cover_parts

EDGES_DEG = {2: 1.6, 3: 0.6, 5: 0.09, 7: 0.013, 9: 0.0018}


@st.composite
def regions(draw) -> tuple[int, list[Polygon]]:
    """Some stars of a few cells' width, anywhere: at the poles, across the antimeridian, overlapping."""
    resolution = draw(st.sampled_from(sorted(EDGES_DEG)))
    x = draw(st.sampled_from([-180.0, 180.0, 0.0, 37.3]) | st.floats(-180, 180))
    y = draw(st.sampled_from([-89.9, 89.9, 0.0]) | st.floats(-80, 80))
    stars = []
    for _ in range(draw(st.integers(1, 3))):
        size = EDGES_DEG[resolution] * draw(st.floats(0.01, 6))
        angles = np.linspace(0, 2 * np.pi, draw(st.integers(3, 9)), endpoint=False)
        radii = size * np.array(draw(st.lists(st.floats(0.2, 1), min_size=len(angles), max_size=len(angles))))
        east, north = draw(st.floats(-size, size)), draw(st.floats(-size, size))
        lat = np.clip(y + north + radii * np.sin(angles), -90, 90)
        stars.append(Polygon(np.stack([x + east + radii * np.cos(angles), lat], axis=1)))
    return resolution, [star for star in stars if star.area > 1e-12]


@given(regions())
def test_stencil_is_the_cover(case: tuple[int, list[Polygon]]) -> None:
    resolution, stars = case
    if not stars:
        return
    parts = list(cover_parts(Mask.of(stars), resolution))
    cells = np.concatenate([part.cells for part in parts])
    whole = np.concatenate([part.whole for part in parts])
    area = unwrap_polygon(shapely.union_all([unwrap_polygon(star) for star in stars]))
    assert (np.diff(cells) > 0).all()
    # Merging the polygons rounds their vertices: a cell may differ that is touched by less than that alone.
    wanted = H3Cells(resolution).cover(area)
    odd = np.setxor1d(cells, wanted)
    if len(odd):
        touched = shapely.intersection(H3Cells(resolution).polygons(odd), area)
        assert shapely.area(touched).max() < 1e-9 * EDGES_DEG[resolution] ** 2
    outlines = H3Cells(resolution).polygons(cells)
    outside = shapely.area(shapely.difference(outlines, area))
    assert (outside[whole] < 1e-9 * EDGES_DEG[resolution] ** 2).all()
    assert (outside[~whole] > 0).sum() >= (~whole).sum() - 1
