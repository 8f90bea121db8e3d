"""Graphs of streets and vehicles: made smaller without changing a way, and what a wait and a ride take."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse.csgraph import dijkstra

from feed_files import write_feed
from placevec.errors import DataError, UsageError
from placevec.features.access import rides, walk_network, window
from placevec.features.access.contract import contract
from placevec.features.access.rides import medians
from placevec.features.roads import walk_graph
from placevec.features.roads.routing import fastest
from placevec.geo.sphere import LonLat
from placevec.sources.gtfs import read_feed
from road_fakes import grid_city, roads_of


@given(st.integers(0, 10_000), st.integers(2, 40), st.floats(0.5, 3.0))
def test_a_smaller_graph_has_the_same_ways(seed: int, n: int, density: float) -> None:
    rng = np.random.default_rng(seed)
    m = int(density * n)
    u, v, w = rng.integers(0, n, m), rng.integers(0, n, m), rng.uniform(0.1, 5, m)
    # A long chain, and a ring apart from all.
    u, v = np.concatenate([u, np.arange(n - 1)[: n // 2]]), np.concatenate([v, np.arange(1, n)[: n // 2]])
    w = np.concatenate([w, rng.uniform(0.1, 5, len(u) - m)])
    graph = fastest(np.concatenate([u, v]), np.concatenate([v, u]), np.concatenate([w, w]), n)
    keep = rng.random(n) < 0.3
    small, rows = contract(graph, keep)
    assert set(np.flatnonzero(keep)) <= set(rows.tolist())
    kept = np.flatnonzero(keep)
    at = np.searchsorted(rows, kept)
    if len(kept):
        before = dijkstra(graph, indices=kept)[:, kept]
        after = dijkstra(small, indices=at)[:, at]
        assert np.allclose(before, after, rtol=1e-12, equal_nan=True)


def test_a_chain_a_dead_end_and_a_ring() -> None:
    # 0-1-2-3 is a chain, 4 hangs on 1, and 5-6-7 is a ring of its own.
    u, v = np.array([0, 1, 2, 1, 5, 6, 7]), np.array([1, 2, 3, 4, 6, 7, 5])
    w = np.array([1.0, 2.0, 4.0, 9.0, 1.0, 1.0, 1.0])
    graph = fastest(np.concatenate([u, v]), np.concatenate([v, u]), np.concatenate([w, w]), 8)
    small, rows = contract(graph, np.isin(np.arange(8), [0, 3]))
    assert rows.tolist() == [0, 3]
    assert small.toarray().tolist() == [[0, 7], [7, 0]]


def test_points_go_to_the_nearest_street_of_the_largest_part() -> None:
    # The second street is nearer to the point, but is joined to nothing.
    roads = roads_of([10.0, 10.001, 10.002, 10.0005, 10.0006], [50, 50, 50, 50.0005, 50.0005], [(0, 1), (1, 2), (3, 4)])
    points = LonLat(np.array([10.001, 10.05]), np.array([50.0005, 50.0]))
    walk = walk_network(walk_graph(roads), points, kmh=3.6)
    assert walk.points[0].near.tolist() == [True, False]
    assert walk.points[0].seconds[0] == pytest.approx(55.6, abs=0.2)
    assert walk.points[0].seconds[1] == np.inf
    assert (walk.lon[walk.points[0].node[0]], walk.lat[walk.points[0].node[0]]) == (10.001, 50)


def test_slower_walkers_take_longer() -> None:
    graph = walk_graph(grid_city())
    points = LonLat(graph.lon, graph.lat)
    fast, slow = walk_network(graph, points), walk_network(graph, points, kmh=2.4)
    assert np.allclose(slow.seconds.toarray(), 2 * fast.seconds.toarray())
    assert fast.fastest_m_s <= 4.8 / 3.6 + 1e-6


def test_what_cannot_be_walked() -> None:
    city = grid_city()
    with pytest.raises(DataError, match="no street to walk on"):
        walk_network(walk_graph(city.take(np.zeros(len(city), dtype=bool))))
    with pytest.raises(UsageError, match="by foot, not by drive"):
        walk_network(walk_graph(city, "drive"))
    with pytest.raises(UsageError, match="both have to be above 0"):
        walk_network(walk_graph(city), kmh=0)


def test_windows() -> None:
    assert window("7:00-09:30") == (25200, 34200)
    assert window(" 22:00 - 26:00 ") == (79200, 93600)
    for text in ("", "7-9", "09:00-07:00", "07:00", "07:00-07:61"):
        with pytest.raises(UsageError, match="write a part of the day as 07:00-09:00"):
            window(text)


def test_rides_of_a_small_town(tmp_path: Path) -> None:
    feed = read_feed(write_feed(tmp_path / "town.zip")).of_day()
    found = rides(feed, *window("07:00-09:00"))
    legs = {(feed.stop_id[a], feed.stop_id[b]): k for k, (a, b) in enumerate(zip(found.start, found.end, strict=True))}
    assert set(legs) == {("a", "b"), ("b", "c"), ("b", "d")}
    # Two departures in two hours, and half the hour between them; one, and no more than half an hour.
    assert found.wait[[legs["a", "b"], legs["b", "c"], legs["b", "d"]]].tolist() == [1800, 1800, 1800]
    assert rides(feed, *window("07:00-09:00"), longest_wait=1e9).wait[legs["b", "d"]] == 3600
    assert found.seconds[legs["a", "b"]] == 120
    assert found.seconds[legs["b", "c"]] == (120 + 180) / 2
    assert (found.before.tolist(), found.after.tolist()) == ([legs["a", "b"]], [legs["b", "c"]])
    assert found.dwell.tolist() == [(0 + 60) / 2]
    # Of a trip that departs anywhere within the window all legs are ridden; those that leave outside are not boarded.
    cut = rides(feed, *window("07:32-07:34"))
    assert cut.wait.tolist() == [np.inf, 60]
    assert len(cut.before) == 1


def test_no_departure_in_the_window(tmp_path: Path) -> None:
    feed = read_feed(write_feed(tmp_path / "town.zip")).of_day()
    with pytest.raises(DataError, match="nothing departs from 12:00 to 13:00; there is service from 07:00 to 24:10"):
        rides(feed, *window("12:00-13:00"))


@given(st.lists(st.tuples(st.integers(0, 4), st.floats(-10, 10)), min_size=1, max_size=30))
def test_medians(rows: list[tuple[int, float]]) -> None:
    names, group = np.unique([row[0] for row in rows], return_inverse=True)
    values = np.array([row[1] for row in rows])
    expected = [np.median(values[group == g]) for g in range(len(names))]
    assert np.allclose(medians(group.astype(np.int64), values, len(names)), expected)
