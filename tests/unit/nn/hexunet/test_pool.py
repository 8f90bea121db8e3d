"""Means over children, and the parent's row for each child."""

from __future__ import annotations

import numpy as np
import torch

from placevec.geo.hex_levels import HexLevels
from placevec.nn.hexunet import HexGraph, child_shares, pool, spread


def test_a_parent_is_the_mean_of_its_children(levels: HexLevels, graph: HexGraph) -> None:
    x = torch.randn(graph.sizes[0], 3)
    shares, known = child_shares(graph, 0)
    assert known is None
    found = pool(x, graph, 0, shares)
    for parent in range(graph.sizes[1]):
        torch.testing.assert_close(found[parent], x[levels.parent[0] == parent].mean(dim=0))


def test_children_without_data_do_not_count(levels: HexLevels, graph: HexGraph) -> None:
    present = torch.from_numpy(np.random.default_rng(0).random(graph.sizes[0]) < 0.3)
    present[levels.parent[0] == 2] = False
    x = torch.randn(graph.sizes[0], 3)
    shares, known = child_shares(graph, 0, present)
    found = pool(x, graph, 0, shares)
    assert known is not None
    assert not known[2]
    for parent in range(graph.sizes[1]):
        own = torch.from_numpy(levels.parent[0] == parent)
        assert bool(known[parent]) == bool(present[own].any())
        chosen = own & present if known[parent] else own
        torch.testing.assert_close(found[parent], x[chosen].mean(dim=0))


def test_a_child_gets_what_its_parent_has(levels: HexLevels, graph: HexGraph) -> None:
    x = torch.randn(graph.sizes[2], 3)
    torch.testing.assert_close(spread(x, graph, 1), x[levels.parent[1]])


def test_gradients(graph: HexGraph) -> None:
    part = graph.take([np.arange(20), np.unique(graph.parent[0][:20].numpy()), np.arange(graph.sizes[2])])
    shares, _ = child_shares(part, 0, torch.arange(20) % 3 > 0)
    fine = torch.randn(20, 2, dtype=torch.float64, requires_grad=True)
    coarse = torch.randn(part.sizes[1], 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: pool(x, part, 0, shares.double()), (fine,))
    assert torch.autograd.gradcheck(lambda x: spread(x, part, 0), (coarse,))
