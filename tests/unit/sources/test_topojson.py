"""TopoJSON: arcs, quantisation, jumps across the antimeridian, rings around a pole."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from placevec.errors import FormatError
from placevec.geo.boxes import unwrap_polygon
from placevec.sources.topojson import is_topology, topology_polygons

SQUARE = [[0, 0], [4, 0], [4, 4], [0, 4], [0, 0]]


def topology(arcs, geometry, **more):
    return {"type": "Topology", "objects": {"it": geometry}, "arcs": arcs, **more}


def polygon(*rings):
    return {"type": "Polygon", "arcs": [list(ring) for ring in rings]}


def test_two_neighbours_share_an_arc_in_both_directions():
    arcs = [[[1, 0], [1, 1]], [[1, 1], [0, 1], [0, 0], [1, 0]], [[1, 0], [2, 0], [2, 1], [1, 1]]]
    both = {"type": "GeometryCollection", "geometries": [polygon([0, 1]), polygon([2, ~0])]}
    left, right = topology_polygons(topology(arcs, both))
    assert left.equals(shapely.box(0, 0, 1, 1))
    assert right.equals(shapely.box(1, 0, 2, 1))


def test_quantised_arcs_are_sums_of_steps():
    steps = [[[10, 20], [4, 0], [0, 4], [-4, 0], [0, -4]]]
    (found,) = topology_polygons(
        topology(steps, polygon([0]), transform={"scale": [0.5, 0.25], "translate": [-10, 30]})
    )
    assert found.equals(shapely.box(-5, 35, -3, 36))


def test_holes_stay_and_lines_are_left_out():
    hole = [[1, 1], [1, 2], [2, 2], [2, 1], [1, 1]]
    objects = {
        "type": "GeometryCollection",
        "geometries": [
            {"type": "MultiPolygon", "arcs": [[[0], [1]]]},
            {"type": "LineString", "arcs": [0]},
            {"type": "Point", "coordinates": [0, 0]},
            {"type": None},
        ],
    }
    (found,) = topology_polygons(topology([SQUARE, hole], objects))
    assert found.area == 15.0


@pytest.mark.parametrize(
    "ring", [[[7, 7], [0, 0], [0, 0], [0, 0]], [[7, 7], [1, 0], [0, 0], [-1, 0]], [[7, 7], [0, 0]]]
)
def test_an_island_that_quantisation_has_flattened_is_kept(ring):
    (found,) = topology_polygons(topology([ring], polygon([0]), transform={"scale": [0.01, 0.01], "translate": [0, 0]}))
    assert found.area > 0
    assert found.contains(shapely.Point(0.07, 0.07)) or found.touches(shapely.Point(0.07, 0.07))
    assert found.area < 0.02**2


def test_edges_go_the_short_way():
    across = [[179, 0], [-179, 0], [-179, 1], [179, 1], [179, 0]]
    (found,) = topology_polygons(topology([across], polygon([0])))
    assert unwrap_polygon(found).equals(shapely.union(shapely.box(179, 0, 180, 1), shapely.box(-180, 0, -179, 1)))


def test_a_ring_that_changes_between_180_and_minus_180():
    # Both names of one meridian in one ring, as stitched files have them.
    ring = [[180, 0], [-180, 0], [-179, 0], [-179, 1], [180, 1], [180, 0]]
    (found,) = topology_polygons(topology([ring], polygon([0])))
    assert unwrap_polygon(found).equals(shapely.box(-180, 0, -179, 1))


def test_a_ring_around_the_pole_is_closed_over_it():
    lon = [-170, -90, 0, 90, 170, -170]
    ring = [[x, -70] for x in lon]
    (found,) = topology_polygons(topology([ring], polygon([0])))
    area = unwrap_polygon(found)
    assert area.area == pytest.approx(360 * 20)
    assert area.contains(shapely.Point(33, -89))


def test_flat_outlines_stay_as_they_are():
    flat = [[-180, -90], [-180, -70], [0, -65], [180, -70], [180, -90], [-180, -90]]
    belt = [[-180, 0], [180, 0], [180, 10], [-180, 10], [-180, 0]]
    both = {"type": "MultiPolygon", "arcs": [[[0]], [[1]]]}
    cap, around = topology_polygons(topology([flat, belt], both))
    np.testing.assert_array_equal(np.array(cap.exterior.coords), flat)
    assert around.area == 3600


@pytest.mark.parametrize(
    "broken",
    [
        {"type": "Topology"},
        topology([SQUARE], polygon([3])),
        topology([SQUARE[:3]], {"type": "Polygon", "arcs": [[0, 0]]}),
        topology([SQUARE], {"type": "Polygon"}),
        topology([["a"]], polygon([0])),
        topology([SQUARE], polygon([0]), transform={"scale": [1]}),
        topology(None, polygon([0])),
    ],
)
def test_what_breaks_the_specification_is_said(broken):
    assert is_topology(broken)
    with pytest.raises(FormatError, match=r"land\.json is no whole TopoJSON"):
        topology_polygons(broken, "land.json")


def test_geojson_is_no_topology():
    assert not is_topology({"type": "FeatureCollection"})
    assert not is_topology([])
