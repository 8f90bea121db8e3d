from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from pathlib import Path

import h3
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from placevec.errors import DataError, UsageError
from placevec.features.roads.lengths import ORIENTATIONS, entropy, lengths, orientation
from placevec.features.roads.measures import RoadSettings, road_columns
from placevec.features.roads.nodes import junctions, shape
from placevec.features.roads.placing import CellRows
from placevec.features.roads.street import street_graph
from placevec.geo.cells import H3Cells
from placevec.geo.sphere import LonLat
from placevec.sources.osm.road_rules import KEYS, ROAD_CLASSES, road_rule
from placevec.sources.osm.roads import read_roads
from road_fakes import grid_city, roads_of, slow_streets

REFERENCE = [name for name in ROAD_CLASSES[:-1] if name != "track"]


def cells_around(lon: float, lat: float, resolution: int = 9, k: int = 5) -> NDArray[np.uint64]:
    system = H3Cells(resolution)
    found: NDArray[np.uint64] = system.rings(system.assign(LonLat.of(lon, lat)), k)[0]
    return found


@settings(max_examples=15)
@given(st.integers(0, 50), st.sampled_from([40.0, 200.0, 900.0]), st.sampled_from([10.0, 179.998]), st.booleans())
def test_no_metre_is_lost_and_none_counted_twice(seed: int, step_m: float, lon: float, cut: bool) -> None:
    roads = grid_city(4, 4, lon=lon, lat=-30.0, step_m=step_m, seed=seed)
    around = CellRows(cells_around((lon + 180) % 360 - 180, -30.0, 8, 12))
    found = lengths(roads, around, cut=cut)
    assert found.by_class.sum() == pytest.approx(roads.metres.sum(), rel=1e-5)
    per_class = np.bincount(roads.kind, roads.metres, minlength=len(ROAD_CLASSES))
    assert found.by_class.sum(axis=0) == pytest.approx(per_class, rel=1e-5)
    assert found.by_orientation.sum() == pytest.approx(roads.metres.sum(), rel=1e-5)


def test_a_long_segment_is_shared_among_the_cells_it_passes() -> None:
    roads = roads_of([10.0, 10.03], [50.0, 50.0], [(0, 1)])
    cells = CellRows(cells_around(10.015, 50.0, k=8))
    middle, shared = (lengths(roads, cells, cut=cut).by_class.sum(axis=1) for cut in (False, True))
    assert np.count_nonzero(middle) == 1
    passed = {h3.latlng_to_cell(50.0, 10.0 + 0.03 * t, 9) for t in np.linspace(0, 1, 2001)}
    assert 5 < np.count_nonzero(shared) <= len(passed)
    assert shared.max() < 450.0


def test_orientations_are_bins_of_ten_degrees_whatever_the_direction() -> None:
    lon, lat = [0.0, 0.0, 0.01, 0.01, -0.01], [0.0, 0.01, 0.0, 0.01, 0.01]
    roads = roads_of(lon, lat, [(0, 1), (1, 0), (0, 2), (2, 0), (0, 3), (3, 0), (0, 4), (4, 0)])
    found = orientation(roads)
    assert found[:4].tolist() == [0, 0, 9, 9]
    assert np.array_equal(found[0::2], found[1::2])
    # 45 degrees is the border of two bins, and the metres of a degree differ a little.
    assert set(found[4:].tolist()) <= {4, 5, 13, 14}
    assert found.max() < ORIENTATIONS
    assert entropy(np.array([[3.0, 0.0, 0.0], [2.0, 2.0, 2.0], [0.0, 0.0, 0.0]])).tolist() == pytest.approx([0, 1, 0])


def test_indices_of_a_cell_are_those_of_its_streets() -> None:
    # A square with one diagonal, a dead end, and a street that leaves the cell; res 9 cells are about 350 m wide.
    system = H3Cells(9)
    cell = system.assign(LonLat.of(10.0, 50.0))
    centre = system.centre(cell)
    d = 0.0004
    x, y = float(centre.lon[0]), float(centre.lat[0])
    lon = [x - d, x + d, x + d, x - d, x, x + 0.02]
    lat = [y - d, y - d, y + d, y + d, y, y]
    roads = roads_of(lon, lat, [(0, 1), (1, 2), (2, 3), (3, 0), (0, 2), (3, 4), (1, 5)])
    rows = CellRows(cell)
    found = shape(street_graph(roads), rows)
    # Nodes 0, 1, 2, 3 of degree 3 and the dead end 4; streets within: 6, and one that leaves.
    assert found.mean_degree.tolist() == pytest.approx([13 / 5])
    assert found.link_node_ratio.tolist() == pytest.approx([7 / 5])
    assert found.beta.tolist() == pytest.approx([6 / 5])
    assert found.gamma.tolist() == pytest.approx([6 / 9])
    assert found.alpha.tolist() == pytest.approx([2 / 5])
    assert found.circuity.tolist() == pytest.approx([1.0], abs=1e-4)
    inner, leaving = roads.metres[:6].sum() * 2, roads.metres[6]
    assert found.mean_street_m.tolist() == pytest.approx([(inner + leaving) / 13], rel=1e-5)
    nodes = junctions(roads, rows)
    assert (nodes.three[0], nodes.four[0], nodes.dead[0]) == (4, 0, 1)


@settings(max_examples=10)
@given(st.integers(0, 60))
def test_ratios_are_those_of_streets_walked_one_by_one(seed: int) -> None:
    roads = grid_city(6, 5, seed=seed, step_m=200.0)
    rows = CellRows(cells_around(10.004, 50.004, 9, 2))
    found = shape(street_graph(roads), rows)
    at = rows.at(roads.lon, roads.lat)
    metres: dict[int, float] = defaultdict(float)
    ends: Counter[int] = Counter()
    nodes: dict[int, set[int]] = defaultdict(set)
    for a, b, length in slow_streets(roads):
        for node in (a, b):
            ends[int(at[node])] += 1
            metres[int(at[node])] += length
            nodes[int(at[node])].add(node)
    for row in range(len(rows)):
        assert found.mean_degree[row] == pytest.approx(ends[row] / len(nodes[row]) if nodes[row] else 0)
        assert found.mean_street_m[row] == pytest.approx(metres[row] / ends[row] if ends[row] else 0, rel=1e-4)
    for share in (found.alpha, found.gamma):
        assert (share >= 0).all()
        assert (share <= 1).all()
    assert (found.circuity >= 1).all()


def test_cells_without_a_road_are_nothing_and_a_circuity_of_one() -> None:
    cells = cells_around(10.0, 50.0, k=1)
    for roads in (roads_of([], [], []), roads_of([10.0], [50.0], [])):
        names, values = road_columns(roads, cells, RoadSettings(centrality=5))
        assert np.unique(values[:, np.array(names) != "circuity"]).tolist() == [0.0]
        assert np.unique(values[:, names.index("circuity")]).tolist() == [1.0]
    names, values = road_columns(grid_city(), cells[:1])
    assert values.shape == (1, len(names)) == (1, 31)
    names, values = road_columns(grid_city(), cells[:0])
    assert values.shape == (0, 31)


def test_columns_say_their_units_and_the_other_classes_share_one() -> None:
    roads = grid_city(seed=4)
    cells = cells_around(10.004, 50.003)
    names, every = road_columns(roads, cells)
    few_names, few = road_columns(roads, cells, RoadSettings(classes=("primary", "steps"), centrality=7))
    assert few_names[:3] == ("log1p(primary_m)", "log1p(steps_m)", "log1p(other_m)")
    assert names[15:18] == ("log1p(other_m)", "log1p(road_km_per_km2)", "one_way_share")
    assert few_names[-3:] == ("log1p(betweenness_mean)", "log1p(betweenness_max)", "log1p(closeness_per_km)")
    assert np.expm1(every[:, :16]).sum() == pytest.approx(np.expm1(few[:, :3]).sum(), rel=1e-4)
    assert len(set(names)) == len(names)


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(UsageError, match="'highway' is no class of roads"):
        RoadSettings(classes=("highway",))
    with pytest.raises(UsageError, match="name each class once"):
        RoadSettings(classes=("primary", "primary"))
    with pytest.raises(UsageError, match="centrality = -1"):
        RoadSettings(centrality=-1)
    mixed = np.concatenate([cells_around(10, 50, 8, 0), cells_around(10, 50, 9, 0)])
    with pytest.raises(DataError, match=r"resolutions \[8, 9\]"):
        road_columns(grid_city(), mixed)


def test_on_a_real_city_the_columns_of_the_reference_are_those_of_a_plain_loop(data_dir: Path) -> None:
    """The form of the reference protocol, without `cut`: midpoints, and node degrees over all ways of roads."""
    osmium = pytest.importorskip("osmium")
    path = data_dir / "porto_alegre/poa_osm.pbf"
    metres: dict[tuple[str, str], float] = defaultdict(float)
    degree: Counter[int] = Counter()
    where: dict[int, tuple[float, float]] = {}
    for way in osmium.FileProcessor(str(path), osmium.osm.NODE | osmium.osm.WAY).with_locations():
        if not way.is_way() or "highway" not in way.tags:
            continue
        rule = road_rule(tuple(way.tags.get(key) for key in KEYS))
        if isinstance(rule, str):
            continue
        kind = ROAD_CLASSES[rule.kind] if ROAD_CLASSES[rule.kind] in REFERENCE else "other"
        nodes = [(n.ref, n.lat, n.lon) for n in way.nodes if n.location.valid()]
        for (a, lat_a, lon_a), (b, lat_b, lon_b) in itertools.pairwise(nodes):
            long = 111195 * math.hypot(lat_a - lat_b, (lon_a - lon_b) * math.cos(math.radians(lat_a)))
            metres[h3.latlng_to_cell((lat_a + lat_b) / 2, (lon_a + lon_b) / 2, 9), kind] += long
            for node, lat, lon in ((a, lat_a, lon_a), (b, lat_b, lon_b)):
                degree[node] += 1
                where[node] = (lat, lon)
    count: Counter[tuple[str, str]] = Counter()
    names = {1: "dead_ends", 3: "intersections_3"}
    for node, ends in degree.items():
        name = names.get(ends, "intersections_4" if ends >= 4 else "")
        count[h3.latlng_to_cell(*where[node], 9), name] += 1
    rows = [line.split(",")[0] for line in (data_dir / "porto_alegre/poa_hexgrid.csv").read_text().splitlines()[1:]]
    ids = [row.strip('"') for row in rows]
    cells = np.array([h3.str_to_int(cell) for cell in ids], dtype=np.uint64)
    roads = read_roads(path)
    told, values = road_columns(roads, cells, RoadSettings(classes=tuple(REFERENCE), cut=False))
    assert roads.covers(cells).mean() > 0.99
    for kind in (*REFERENCE, "other"):
        plain = np.log1p([metres[cell, kind] for cell in ids])
        assert values[:, told.index(f"log1p({kind}_m)")] == pytest.approx(plain, abs=0.003), kind
    for name in ("intersections_3", "intersections_4", "dead_ends"):
        plain = np.log1p([count[cell, name] for cell in ids])
        assert values[:, told.index(f"log1p({name})")] == pytest.approx(plain, abs=1e-6), name
