"""Accessibility potential against searches with a heap, in a made city and in Porto Alegre."""

from __future__ import annotations

import csv
import importlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feed_files import slow_potential, slow_snap, slow_streets, slow_vehicles, write_feed
from placevec.errors import UsageError
from placevec.features.access import decayed, potential, rides, transit_network, walk_network, window
from placevec.features.roads import walk_graph
from placevec.geo.cells import H3Cells
from placevec.geo.sphere import LonLat, distance_m
from placevec.sources.gtfs import read_feed
from road_fakes import grid_city

module = importlib.import_module("placevec.features.access.potential")  # its name is also that of the function

CITY = grid_city(16, 10, lon=10.0, lat=49.998, step_m=110.0)


def points(n: int, seed: int) -> LonLat:
    rng = np.random.default_rng(seed)
    return LonLat(rng.uniform(9.998, 10.026, n), rng.uniform(49.996, 50.01, n))


@given(st.integers(0, 1000), st.integers(1, 12), st.integers(1, 12))
def test_by_foot_against_a_heap(seed: int, n: int, m: int) -> None:
    origins, goals = points(n, seed), points(m, seed + 1)
    weights = np.random.default_rng(seed).integers(0, 4, (m, 2)).astype(float)
    walk = walk_network(walk_graph(CITY), origins, goals, snap_m=150)
    found = potential(walk, *walk.points, weights, (3, 7, 12))
    edges, main = slow_streets(CITY)
    homes, ends = slow_snap(CITY, main, origins, 150), slow_snap(CITY, main, goals, 150)
    assert found.present.tolist() == [node >= 0 for node, _ in homes]
    assert np.allclose(found.values, slow_potential(edges, homes, ends, weights, (3, 7, 12)), rtol=1e-6)


@pytest.mark.parametrize("shape", [(9, 4), (4, 9)])
def test_by_transit_against_a_heap(tmp_path: Path, shape: tuple[int, int]) -> None:
    feed = read_feed(write_feed(tmp_path / "town.zip")).of_day()
    origins, goals = points(shape[0], 1), points(shape[1], 2)
    weights = np.random.default_rng(0).integers(0, 4, (shape[1], 2)).astype(float)
    walk = walk_network(walk_graph(CITY), origins, goals, feed.where, snap_m=150)
    taken = rides(feed, *window("07:00-09:00"), longest_wait=60)
    network = transit_network(walk, taken, feed.where, walk.points[2])
    minutes = (5, 8, 11, 14)
    found = potential(network, walk.points[0], walk.points[1], weights, minutes)
    edges, main = slow_streets(CITY)
    homes, ends, stops = (slow_snap(CITY, main, group, 150) for group in (origins, goals, feed.where))
    both = slow_vehicles(edges, feed, stops, *window("07:00-09:00"), 60)
    slow = slow_potential(both, homes, ends, weights, minutes)
    assert np.allclose(found.values, slow, rtol=1e-6)
    by_foot = potential(walk, walk.points[0], walk.points[1], weights, minutes).values
    assert (found.values >= by_foot).all()
    assert (found.values > by_foot).any()


def test_pieces_and_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    origins, goals = points(30, 3), points(40, 4)
    weights = np.ones((40, 1))
    walk = walk_network(walk_graph(CITY), origins, goals)
    whole = potential(walk, *walk.points, weights, (4,), decay="gaussian").values
    monkeypatch.setattr(module, "_MOST_NODES", 0)
    monkeypatch.setattr(module, "_MOST_PLACES", 3)
    told: list[tuple[str, int, int]] = []
    cut = potential(walk, *walk.points, weights, (4,), decay="gaussian", told=lambda *a: told.append(a))
    assert np.allclose(cut.values, whole, rtol=1e-12)
    assert told[-1][1] == told[-1][2]
    tiny = potential(walk, *walk.points, weights, (4,), decay="gaussian", chunk_bytes=1)
    assert np.allclose(tiny.values, whole, rtol=1e-12)


def test_nothing_to_reach_and_nowhere_to_go_from() -> None:
    walk = walk_network(walk_graph(CITY), points(3, 0), LonLat(np.zeros(2), np.zeros(2)))
    found = potential(walk, *walk.points, np.ones((2, 1)), (10,))
    assert not found.values.any()
    assert found.present.any()
    empty = LonLat(np.zeros(0), np.zeros(0))
    walk = walk_network(walk_graph(CITY), empty, points(2, 0))
    assert potential(walk, *walk.points, np.ones((2, 1)), (10,)).values.shape == (0, 1, 1)
    for bad in ((), (0,), (float("inf"),)):
        with pytest.raises(UsageError, match="give one or several numbers above 0"):
            potential(walk, *walk.points, np.ones((2, 1)), bad)


def test_decays() -> None:
    minutes = np.array([0.0, 10.0, 20.0, 20.1])
    assert decayed(minutes, 20, "cumulative", 1).tolist() == [1, 1, 1, 0]
    assert np.allclose(decayed(minutes, 20, "exponential", 0.1), [1, np.exp(-1), np.exp(-2), 0])
    gaussian = decayed(minutes, 20, "gaussian", 1)
    assert gaussian[[0, 2, 3]].tolist() == [1, 0, 0]
    assert 0.5 < gaussian[1] < 0.8
    with pytest.raises(UsageError, match="there is no decay 'linear'"):
        decayed(minutes, 20, "linear", 1)


def test_porto_alegre_against_a_heap(data_dir: Path) -> None:
    pytest.importorskip("osmium")
    from placevec.sources.osm.roads import read_roads

    folder = data_dir / "porto_alegre"
    roads = read_roads(folder / "poa_osm.pbf")
    feed = read_feed([folder / "poa_eptc.zip", folder / "poa_trensurb.zip"]).of_day()
    with (folder / "poa_hexgrid.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    cells = np.array([int(row["id"], 16) for row in rows], dtype=np.uint64)
    homes, goals = H3Cells(9).centre(cells[::300]), H3Cells(9).centre(cells)
    weights = np.array([[float(row["jobs"] or 0), float(row["schools"] or 0)] for row in rows])
    weights[~np.isfinite(weights)] = 0
    walk = walk_network(walk_graph(roads), homes, goals, feed.where)
    taken = rides(feed, *window("14:00-16:00"))
    network = transit_network(walk, taken, feed.where, walk.points[2])
    edges, main = slow_streets(roads)
    where = LonLat(roads.lon[main], roads.lat[main])
    snapped = [[(main[k], s) for k, s in _plain(group, where)] for group in (homes, goals, feed.where)]
    both = slow_vehicles(edges, feed, snapped[2], *window("14:00-16:00"))
    for graph, slow in ((walk, edges), (network, both)):
        found = potential(graph, walk.points[0], walk.points[1], weights, (15, 30))
        oracle = slow_potential(slow, snapped[0], snapped[1], weights, (15, 30))
        assert np.allclose(found.values, oracle, rtol=1e-6)
        assert (oracle > 0).any()


def _plain(points: LonLat, among: LonLat, most: float = 500.0) -> list[tuple[int, float]]:
    """The nearest by a scan of all; a row that no list has, beyond `most` metres."""
    unit, all_units = points.unit(), among.unit()
    found = []
    for one, point in zip(unit, points, strict=True):
        k = int(np.argmax(all_units @ one))
        metres = float(distance_m(point, among[k])[0])
        found.append((k, metres / (4.8 / 3.6)) if metres <= most else (k, float("inf")))
    return found
