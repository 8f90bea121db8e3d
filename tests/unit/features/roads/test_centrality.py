from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from placevec.errors import UsageError
from placevec.features.roads import StreetGraph, street_graph
from placevec.features.roads.centrality import centrality
from road_fakes import grid_city, roads_of, slow_centrality


def edges_of(graph: StreetGraph) -> list[tuple[int, int, float]]:
    return list(zip(graph.a.tolist(), graph.b.tolist(), graph.metres.tolist(), strict=True))


@settings(max_examples=12)
@given(st.integers(0, 40), st.sampled_from([150.0, 400.0, np.inf]))
def test_with_all_nodes_it_is_that_of_the_ways_between_all_pairs(seed: int, limit: float) -> None:
    graph = street_graph(grid_city(5, 4, seed=seed))
    found = centrality(graph, len(graph.lon), limit)
    through, near = slow_centrality(edges_of(graph), len(graph.lon), limit)
    assert found.betweenness == pytest.approx(through, abs=1e-6)
    assert found.closeness == pytest.approx(near)


def test_a_sample_is_right_on_average_and_the_same_for_the_same_seed() -> None:
    graph = street_graph(grid_city(8, 8, seed=3))
    exact = centrality(graph, 10**6, np.inf)
    drawn = [centrality(graph, 13, np.inf, seed=seed) for seed in range(60)]
    assert all(one.sources == 13 for one in drawn)
    mean = np.mean([one.betweenness for one in drawn], axis=0)
    assert mean.sum() == pytest.approx(exact.betweenness.sum(), rel=0.03)
    assert np.corrcoef(mean, exact.betweenness)[0, 1] > 0.99
    near = np.mean([one.closeness for one in drawn], axis=0)
    assert near.sum() == pytest.approx(exact.closeness.sum(), rel=0.03)
    assert np.array_equal(drawn[5].betweenness, centrality(graph, 13, np.inf, seed=5).betweenness)


def test_loops_parallel_streets_and_islands_are_ordinary() -> None:
    pairs = [(8, 0), (0, 1), (0, 1), (1, 2), (2, 2), (3, 4), (5, 6), (6, 7), (7, 5)]
    graph = street_graph(roads_of(np.arange(9) / 1000, np.zeros(9), pairs, metres=[4, 9, 5, 7, 1, 3, 2, 2, 2]))
    found = centrality(graph, 100, np.inf)
    by_node = dict(zip(graph.node.tolist(), found.betweenness.tolist(), strict=True))
    assert {node: pairs for node, pairs in by_node.items() if pairs} == pytest.approx({0: 2.0, 1: 2.0})
    near = dict(zip(graph.node.tolist(), found.closeness.tolist(), strict=True))
    assert near[3] == near[4] == pytest.approx(100.0)  # nearer than 10 m counts as 10 m
    nothing = centrality(street_graph(roads_of([], [], [])), 10, 100.0)
    assert len(nothing.betweenness) == 0


def test_no_sample_and_no_metres_are_refused() -> None:
    graph = street_graph(grid_city())
    for samples, limit in ((0, 100.0), (5, 0.0), (5, np.nan)):
        with pytest.raises(UsageError, match="give at least 1, and metres above 0"):
            centrality(graph, samples, limit)
