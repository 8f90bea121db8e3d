from __future__ import annotations

import itertools
import math
from pathlib import Path

import h3
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from placevec.errors import DataError, FormatError, UsageError
from placevec.features.graphs import BETA, CellGraph, access_graph, load_graph
from placevec.features.roads import passage
from placevec.geo.cells import H3Cells
from placevec.geo.sphere import EARTH_RADIUS_M, LonLat
from placevec.sources.osm.roads import Roads
from road_fakes import grid_city, roads_of


def cells_around(lon: float, lat: float, resolution: int = 9, k: int = 4) -> NDArray[np.uint64]:
    system = H3Cells(resolution)
    return np.sort(system.rings(system.assign(LonLat.of(lon, lat)), k)[0])


def slow_edges(roads: Roads, cells: NDArray[np.uint64], mode: str) -> dict[tuple[int, int], float]:
    """(from, to) -> seconds, segment by segment with the h3 package."""
    known = {int(cell) for cell in cells}
    resolution = h3.get_resolution(h3.int_to_str(int(cells[0])))
    way = passage(roads, mode)
    found: dict[tuple[int, int], float] = {}
    for k in range(len(roads.a)):
        x0, y0, x1, y1 = (float(v) for v in (*_at(roads, int(roads.a[k])), *_at(roads, int(roads.b[k]))))
        dx = (x1 - x0 + 180) % 360 - 180
        parts = max(1, math.ceil(float(roads.metres[k]) / (h3.average_hexagon_edge_length(resolution, "m") / 4)))
        inside = [h3.latlng_to_cell(y0 + t / parts * (y1 - y0), x0 + t / parts * dx, resolution) for t in range(parts)]
        inside.append(h3.latlng_to_cell(y1, x1, resolution))
        for one, two in itertools.pairwise(inside):
            i, j = h3.str_to_int(one), h3.str_to_int(two)
            if i == j or i not in known or j not in known or not h3.are_neighbor_cells(one, two):
                continue
            (lat0, lon0), (lat1, lon1) = h3.cell_to_latlng(one), h3.cell_to_latlng(two)
            apart = h3.great_circle_distance((lat0, lon0), (lat1, lon1), "m") * EARTH_RADIUS_M / 6371007.180918475
            took = apart / float(way.metres_per_second[k])
            for start, end, may in ((i, j, way.forward[k]), (j, i, way.backward[k])):
                if may:
                    found[start, end] = min(found.get((start, end), math.inf), took)
    return found


def _at(roads: Roads, node: int) -> tuple[float, float]:
    return float(roads.lon[node]), float(roads.lat[node])


def edges_of(graph: CellGraph) -> dict[tuple[int, int], float]:
    ends = zip(graph.cells[graph.rows].tolist(), graph.cells[graph.cols].tolist(), strict=True)
    return dict(zip(ends, graph.seconds.tolist(), strict=True))


@settings(max_examples=9)
@given(st.integers(0, 30), st.sampled_from(["walk", "bike", "drive"]), st.sampled_from([10.0, 179.9995]))
def test_edges_are_those_of_the_slow_form_on_the_antimeridian_too(seed: int, mode: str, lon: float) -> None:
    roads = grid_city(5, 4, lon=lon, lat=10.0, step_m=330.0, seed=seed)
    rng = np.random.default_rng(seed)
    roads.oneway[:] = rng.integers(-1, 2, len(roads.a))
    roads.drive[:] = rng.random(len(roads.a)) > 0.3
    cells = cells_around((lon + 0.005 + 180) % 360 - 180, 10.005)
    graph = access_graph(roads, cells, mode)
    slow = slow_edges(roads, cells, mode)
    assert edges_of(graph) == pytest.approx(slow, rel=1e-5)
    assert graph.weight == pytest.approx(np.exp(-BETA[mode] * graph.seconds), rel=1e-5)
    assert len(graph) > 20


def test_weights_count_what_waits_at_the_destination() -> None:
    roads = roads_of([10.0, 10.01], [50.0, 50.0], [(0, 1)])
    cells = cells_around(10.005, 50.0)
    mass = np.arange(len(cells), dtype=np.float64)
    graph = access_graph(roads, cells, "walk", mass, beta=0.01)
    assert graph.weight == pytest.approx(np.exp(-0.01 * graph.seconds) * mass[graph.cols], rel=1e-5)
    for wrong in (mass[:-1], -mass, np.full(len(cells), np.nan)):
        with pytest.raises(DataError, match="the mass of 61 cells"):
            access_graph(roads, cells, "walk", wrong)
    with pytest.raises(DataError, match="beta = -1"):
        access_graph(roads, cells, "walk", beta=-1)
    with pytest.raises(UsageError, match="walk, bike, drive"):
        access_graph(roads, cells, "fly")


def test_a_long_straight_road_jumps_over_no_cell() -> None:
    roads = roads_of([10.0, 10.06], [50.0, 50.02], [(0, 1)])
    cells = cells_around(10.03, 50.01, k=12)
    graph = access_graph(roads, cells, "walk")
    inside = h3.grid_path_cells(h3.latlng_to_cell(50.0, 10.0, 9), h3.latlng_to_cell(50.02, 10.06, 9))
    assert len(graph) >= 2 * (len(inside) - 1)
    assert np.array_equal(np.sort(graph.rows), np.sort(graph.cols))


def test_areas_without_a_road_with_one_cell_and_with_a_lonely_node_have_no_edges() -> None:
    cells = cells_around(10.0, 50.0)
    for roads in (roads_of([], [], []), roads_of([10.0], [50.0], []), roads_of([10.0], [50.0], [(0, 0)])):
        assert len(access_graph(roads, cells, "walk")) == 0
    road = roads_of([10.0, 10.01], [50.0, 50.0], [(0, 1)])
    assert len(access_graph(road, cells[:1], "walk")) == 0
    assert len(access_graph(road, cells[:0], "walk")) == 0
    with pytest.raises(DataError, match="is there twice"):
        access_graph(road, np.repeat(cells[:1], 2), "walk")


def test_a_saved_graph_comes_back_in_any_order_of_cells(tmp_path: Path) -> None:
    cells = cells_around(10.005, 50.0)
    graph = access_graph(grid_city(step_m=300.0), cells, "bike")
    graph.save(tmp_path / "bike.parquet")
    again = load_graph(tmp_path / "bike.parquet")
    assert again.cells.tolist() == cells.tolist()
    assert edges_of(again) == edges_of(graph)
    assert (again.mode, again.beta, again.resolution) == ("bike", BETA["bike"], 9)
    turned = load_graph(tmp_path / "bike.parquet", cells[::-1])
    assert edges_of(turned) == edges_of(graph)
    assert (np.diff(turned.rows) >= 0).all()
    some = load_graph(tmp_path / "bike.parquet", cells[:20])
    assert 0 < len(some) < len(graph)
    with pytest.raises(DataError, match="of resolution 9, not 8"):
        load_graph(tmp_path / "bike.parquet", cells_around(10.0, 50.0, 8))


def test_what_is_no_graph_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "text.parquet").write_text("no")
    pq.write_table(pa.table({"from": [1]}), tmp_path / "other.parquet")
    for name in ("text", "other", "none"):
        with pytest.raises(FormatError, match="placevec area graph") as told:
            load_graph(tmp_path / f"{name}.parquet")
        assert "\n" not in str(told.value)
