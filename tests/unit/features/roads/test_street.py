from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from placevec.errors import UsageError
from placevec.features.roads import RoutingGraph, StreetGraph, passage, street_graph, walk_graph
from placevec.sources.osm.road_rules import ROAD_CLASSES
from placevec.sources.osm.roads import Roads
from road_fakes import grid_city, roads_of, slow_dijkstra, slow_streets


@st.composite
def networks(draw: st.DrawFn) -> Roads:
    """Any multigraph of a few nodes: loops, parallel segments, rings and islands among them."""
    n = draw(st.integers(1, 9))
    pairs = draw(st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), max_size=14))
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    return roads_of(
        10 + rng.random(n) / 100,
        50 + rng.random(n) / 100,
        pairs,
        kind=rng.integers(0, len(ROAD_CLASSES), len(pairs)),
        oneway=rng.integers(-1, 2, len(pairs)),
        metres=rng.integers(1, 100, len(pairs)),
    )


def streets_of(graph: StreetGraph) -> list[tuple[int, int, float]]:
    a, b = graph.node[graph.a], graph.node[graph.b]
    ends = zip(np.minimum(a, b).tolist(), np.maximum(a, b).tolist(), graph.metres.tolist(), strict=True)
    return sorted((x, y, round(m, 3)) for x, y, m in ends)


@given(networks())
def test_streets_are_those_that_one_finds_by_walking_them(roads: Roads) -> None:
    assert streets_of(street_graph(roads)) == slow_streets(roads)


@given(networks())
def test_streets_keep_lengths_degrees_and_every_node(roads: Roads) -> None:
    graph = street_graph(roads)
    assert graph.metres.sum() == pytest.approx(roads.metres.sum())
    assert graph.degree.sum() == 2 * len(graph.a)
    touched = np.unique(np.concatenate([roads.a, roads.b]))
    assert (graph.street_at[touched] >= 0).all()
    assert np.array_equal(np.flatnonzero(graph.node_of >= 0), graph.node)
    # Only the node that holds a ring has two ends.
    assert (graph.degree[graph.degree == 2].size) <= graph.loops.sum()


@given(networks())
def test_seconds_of_a_street_are_those_of_its_segments_in_its_direction(roads: Roads) -> None:
    graph, way = street_graph(roads), passage(roads, "drive")
    ends = {"forward": (graph.a, graph.b), "backward": (graph.b, graph.a)}
    for street in range(len(graph.a)):
        mine = np.flatnonzero(graph.street_of == street)
        n = len(roads.lon)
        edges = []
        for k in mine:
            a, b, took = int(roads.a[k]), int(roads.b[k]), float(roads.metres[k] / way.metres_per_second[k])
            edges += [(a, b, took)] if way.forward[k] else []
            edges += [(b, a, took)] if way.backward[k] else []
        if graph.loops[street]:
            continue  # its two directions share their ends
        for name, (start, end) in ends.items():
            expected = slow_dijkstra(edges, int(graph.node[start[street]]), n)[int(graph.node[end[street]])]
            assert getattr(graph, name)[street] == pytest.approx(expected)


def test_a_ring_a_lollipop_and_a_loop_are_streets() -> None:
    #  ring 0-1-2; stick 3-4 with the loop 4-5-6-4; a segment from 7 to 7
    pairs = [(0, 1), (1, 2), (2, 0), (3, 4), (4, 5), (5, 6), (6, 4), (7, 7)]
    graph = street_graph(roads_of(np.arange(8) / 100, np.zeros(8), pairs, metres=[1, 2, 3, 4, 5, 6, 7, 8]))
    assert streets_of(graph) == [(0, 0, 6.0), (3, 4, 4.0), (4, 4, 18.0), (7, 7, 8.0)]
    assert graph.degree.tolist() == [2, 1, 3, 2]
    assert graph.straight[graph.loops].tolist() == [0.0, 0.0, 0.0]
    assert graph.node_of.tolist() == [0, -1, -1, 1, 2, -1, -1, 3]


def test_a_street_has_the_class_of_most_of_its_metres_and_knows_one_ways() -> None:
    service, primary = ROAD_CLASSES.index("service"), ROAD_CLASSES.index("primary")
    roads = roads_of(
        [0, 0.01, 0.02, 0.03],
        [0, 0, 0, 0],
        [(1, 0), (1, 2), (2, 3)],
        kind=[service, primary, primary],
        oneway=[-1, 0, 1],
        metres=[100, 60, 60],
    )
    graph = street_graph(roads)
    assert graph.kind.tolist() == [primary]
    assert graph.one_way.tolist() == [True]


def test_no_roads_are_no_streets() -> None:
    graph = street_graph(roads_of([5.0], [5.0], []))
    assert len(graph.a) == len(graph.lon) == 0
    assert graph.street_at.tolist() == [-1]
    routes = walk_graph(roads_of([], [], []))
    assert len(routes) == 0


def test_speeds_are_by_class_limit_and_mode() -> None:
    steps, motorway = ROAD_CLASSES.index("steps"), ROAD_CLASSES.index("motorway")
    roads = roads_of(
        [0, 1, 2], [0, 0, 0], [(0, 1), (1, 2), (0, 2)], kind=[steps, motorway, motorway], kmh=[np.nan, 100, 0]
    )
    assert (3.6 * passage(roads, "walk").metres_per_second).tolist() == pytest.approx([2.4, 4.8, 4.8])
    assert (3.6 * passage(roads, "drive").metres_per_second).tolist() == pytest.approx([10, 80, 1])
    with pytest.raises(UsageError, match="'swim': choose one of walk, bike, drive"):
        passage(roads, "swim")


def test_one_ways_bind_cars_and_bikes_but_nobody_on_foot() -> None:
    roads = roads_of([0, 1], [0, 0], [(0, 1)], oneway=-1)
    assert walk_graph(roads).seconds.nnz == 2
    for mode in ("bike", "drive"):
        seconds = walk_graph(roads, mode).seconds.toarray()
        assert seconds[0, 1] == 0 < seconds[1, 0]


def test_the_routing_graph_keeps_the_fastest_of_parallel_ways_and_marks_the_largest_part() -> None:
    roads = roads_of(
        [0, 1, 2, 3, 4, 5, 6],
        np.zeros(7),
        [(0, 1), (1, 0), (1, 2), (2, 2), (4, 5), (5, 6)],
        metres=[100, 60, 10, 5, 0, 7],
        walk=[True, True, True, True, True, False],
    )
    routes = walk_graph(roads)
    assert routes.node.tolist() == [0, 1, 2, 4, 5]
    assert routes.main.tolist() == [True, True, True, False, False]
    assert routes.seconds.toarray()[0, 1] == pytest.approx(60 / (4.8 / 3.6))
    assert routes.seconds[3, 4] == pytest.approx(0.001)  # a way of no length is still a way
    assert not routes.seconds.diagonal().any()


@given(st.integers(0, 20))
def test_ways_are_as_long_as_the_slow_form_says(seed: int) -> None:
    from scipy.sparse.csgraph import dijkstra

    roads = grid_city(4, 4, seed=seed)
    routes: RoutingGraph = walk_graph(roads)
    way = passage(roads, "walk")
    edges = []
    for k, (a, b) in enumerate(zip(roads.a.tolist(), roads.b.tolist(), strict=True)):
        took = float(roads.metres[k] / way.metres_per_second[k])
        edges += [(a, b, took), (b, a, took)]
    slow = np.array(slow_dijkstra(edges, int(routes.node[0]), len(roads.lon)))
    fast = dijkstra(routes.seconds, indices=[0])[0]
    assert fast == pytest.approx(slow[routes.node])
