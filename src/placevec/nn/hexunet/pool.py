"""Between levels: a parent is the mean of its children, a child gets what its parent has."""

from __future__ import annotations

import torch
from torch import Tensor

from placevec.nn.hexunet.bags import bag_sum
from placevec.nn.hexunet.graph import HexGraph


def child_shares(graph: HexGraph, level: int, present: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    """How much each row of `level` counts for its parent, and which parents have data.

    Args:
        graph: the area.
        level: of the children.
        present: (n_l,) bool, which rows have data; None: all. Children without data count nothing, unless none of
            their siblings has any either: then all count the same.

    Returns:
        The shares (n_l,) float32, which sum to 1 over the children of a parent, and (n_{l+1},) bool or None.
    """
    parent, starts = graph.parent[level], graph.starts[level]
    count = torch.diff(starts, append=starts.new_tensor([len(parent)])).float()
    if present is None:
        return (1.0 / count)[parent], None
    bags, _ = graph.pooling(level)
    known = bags.sum_of(present.float()[:, None])[:, 0]
    among = known[parent]
    return torch.where(among > 0, present.float() / among.clamp(min=1.0), (1.0 / count)[parent]), known > 0


def pool(x: Tensor, graph: HexGraph, level: int, shares: Tensor) -> Tensor:
    """The weighted means (n_{l+1}, d) of the children's rows x (n_l, d), with the shares of `child_shares`."""
    return bag_sum(x, *graph.pooling(level, shares))


def spread(x: Tensor, graph: HexGraph, level: int) -> Tensor:
    """The parent's row for each child: x (n_{l+1}, d) to (n_l, d) of `level`."""
    up, down = graph.pooling(level)
    return bag_sum(x, down, up)
