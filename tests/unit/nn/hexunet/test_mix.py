"""Sums over neighbours, their gradients, and the weights."""

from __future__ import annotations

from itertools import product

import h3
import numpy as np
import pytest
import torch

from hexes import PENTAGON, SomeEdges, disk, numbers, some_edges
from placevec.errors import DataError
from placevec.geo.hex_levels import HexLevels, hex_levels
from placevec.nn.hexunet import HexConv, HexGraph, neighbour_sum
from placevec.nn.hexunet.weights import edge_weights, mean_weights, transposed


def dense(levels: HexLevels, level: int, weight: np.ndarray) -> torch.Tensor:
    """The weights as a matrix (n, n), entry by entry."""
    near = levels.near[level]
    out = torch.zeros(len(near), len(near), dtype=torch.float64)
    for row, column in product(range(len(near)), range(7)):
        if near[row, column] >= 0:
            out[row, near[row, column]] += float(weight[row, column])
    return out


def small(access: bool) -> tuple[HexLevels, HexGraph]:
    levels = hex_levels(numbers(h3.cell_to_children(PENTAGON, 7))[:5], (7, 6))
    return levels, HexGraph.from_levels(levels, {7: some_edges(levels, 0)} if access else None)


@pytest.mark.parametrize("access", [False, True])
def test_the_gradient_of_the_sum(access: bool) -> None:
    _, graph = small(access)
    x = torch.randn(graph.sizes[0], 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: neighbour_sum(x, graph, 0), (x,))


def test_sums_and_gradients_are_those_of_the_matrix(levels: HexLevels, graph: HexGraph) -> None:
    torch.manual_seed(0)
    edges = some_edges(levels, 0)
    matrix = dense(levels, 0, edge_weights(levels.near[0], edges.rows, edges.cols, edges.weight))
    x = torch.randn(graph.sizes[0], 5, dtype=torch.float64, requires_grad=True)
    y = neighbour_sum(x, graph, 0)
    torch.testing.assert_close(y, matrix @ x)
    given = torch.randn_like(y)
    (found,) = torch.autograd.grad(y, x, given)
    torch.testing.assert_close(found, matrix.T @ given)
    assert not torch.equal(matrix, matrix.T)
    with torch.no_grad():
        torch.testing.assert_close(neighbour_sum(x, graph, 0), y)


def test_without_edges_all_present_neighbours_count_the_same() -> None:
    levels = hex_levels(disk(9, 3), (9, 8))
    graph = HexGraph.from_levels(levels)
    x = torch.randn(graph.sizes[0], 2)
    for row, (near, found) in enumerate(zip(levels.near[0], neighbour_sum(x, graph, 0), strict=True)):
        assert near[0] == row
        torch.testing.assert_close(found, x[near[near >= 0]].mean(dim=0))


def test_a_cell_without_edges_keeps_what_it_has() -> None:
    levels = hex_levels(disk(9, 1), (9, 8))
    none = SomeEdges(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))
    x = torch.randn(7, 3)
    torch.testing.assert_close(neighbour_sum(x, HexGraph.from_levels(levels, {9: none}), 0), x)


def test_weights_sum_to_one_whatever_the_unit_of_the_mass(levels: HexLevels) -> None:
    edges = some_edges(levels, 0)
    weight = edge_weights(levels.near[0], edges.rows, edges.cols, edges.weight)
    np.testing.assert_allclose(weight.sum(axis=1), 1.0, rtol=1e-6)
    assert (weight[levels.near[0] < 0] == 0).all()
    other = edge_weights(levels.near[0], edges.rows, edges.cols, edges.weight * 1e6)
    np.testing.assert_allclose(other, weight, rtol=1e-5)
    some = np.unique(edges.rows)
    np.testing.assert_allclose(weight[some, 0], weight[some, 1:].max(axis=1), rtol=1e-6)


def test_two_edges_between_the_same_cells_count_together() -> None:
    near = hex_levels(disk(9, 1), (9,)).near[0]
    a, b = 0, int(near[0][near[0] >= 0][1])
    twice = edge_weights(near, [a, a], [b, b], [1.0, 2.0])
    np.testing.assert_allclose(twice, edge_weights(near, [a], [b], [3.0]))


def test_transposing_twice_gives_the_same(levels: HexLevels) -> None:
    edges = some_edges(levels, 0)
    near = levels.near[0]
    weight = edge_weights(near, edges.rows, edges.cols, edges.weight)
    np.testing.assert_array_equal(transposed(near, transposed(near, weight)), weight)


def test_a_table_that_is_not_symmetric() -> None:
    near = np.full((2, 7), -1)
    near[:, 0], near[0, 1] = [0, 1], 1
    with pytest.raises(DataError, match="row 0 has the neighbour 1, which does not have it"):
        transposed(near, mean_weights(near))


@pytest.mark.parametrize(
    ("rows", "cols", "weight", "told"),
    [
        ([0], [0], [1.0], "no neighbours"),
        ([0], [7], [1.0], "has 7 cells"),
        ([-1], [0], [1.0], "has 7 cells"),
        ([0], [1], [-1.0], "weight -1.0"),
        ([0], [1], [float("nan")], "weight nan"),
    ],
)
def test_edges_that_cannot_be(rows: list[int], cols: list[int], weight: list[float], told: str) -> None:
    near = hex_levels(disk(9, 1), (9,)).near[0]
    with pytest.raises(DataError, match=told):
        edge_weights(near, rows, cols, weight)


def test_edges_of_another_resolution(levels: HexLevels) -> None:
    with pytest.raises(DataError, match="resolution 7, but the levels are 10, 9, 8"):
        HexGraph.from_levels(levels, {7: some_edges(levels, 0)})


def test_a_convolution_is_two_products(graph: HexGraph) -> None:
    torch.manual_seed(0)
    conv = HexConv(4, 6)
    x = torch.randn(graph.sizes[1], 4)
    told = x @ conv.own.weight.T + conv.own.bias + neighbour_sum(x, graph, 1) @ conv.near.weight.T
    torch.testing.assert_close(conv(x, graph, 1), told)
    with torch.autocast("cpu", torch.bfloat16):
        half = conv(x, graph, 1)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), told, atol=0.05, rtol=0.05)


def test_a_part_of_the_graph_has_the_weights_of_the_whole(levels: HexLevels, graph: HexGraph) -> None:
    rows = [np.arange(0, n, 3) for n in levels.sizes]
    rows[1] = np.union1d(rows[1], levels.parent[0][rows[0]])
    rows[2] = np.union1d(rows[2], levels.parent[1][rows[1]])
    part = graph.take(rows)
    assert part.sizes == tuple(len(own) for own in rows)
    x = torch.zeros(graph.sizes[0], 2, dtype=torch.float64)
    x[rows[0]] = torch.randn(len(rows[0]), 2, dtype=torch.float64)
    torch.testing.assert_close(neighbour_sum(x[rows[0]], part, 0), neighbour_sum(x, graph, 0)[rows[0]])
    y = x[rows[0]].requires_grad_()
    assert torch.autograd.gradcheck(lambda y: neighbour_sum(y, part, 0), (y[:, :1],))
    for level in (0, 1):
        np.testing.assert_array_equal(rows[level + 1][part.parent[level]], levels.parent[level][rows[level]])
