"""An area as tensors: neighbours and their weights at each level, and who lies in whom between levels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from placevec.errors import DataError
from placevec.geo.hex_levels import HexLevels
from placevec.nn.hexunet.bags import Bags
from placevec.nn.hexunet.weights import Edges, edge_weights, mean_weights, transposed


@dataclass(frozen=True, eq=False)
class Lateral:
    """The neighbours at one level.

    Attributes:
        near: (n, 7) int64 rows of the cell itself and its neighbours; itself again, with the weight 0, where there is
            no neighbour.
        weight: (n, 7) float32, how much each counts; a row of the full area sums to 1.
        back: (n, 7) float32, how much the row counts for each neighbour: the weights of the gradient.
    """

    near: Tensor
    weight: Tensor
    back: Tensor

    def to(self, device: torch.device | str) -> Lateral:
        """The same on `device`."""
        return Lateral(self.near.to(device), self.weight.to(device), self.back.to(device))

    def take(self, rows: Tensor) -> Lateral:
        """Those of sorted `rows` (m,) among themselves; a neighbour that is left out counts 0."""
        near = self.near[rows]
        at = torch.searchsorted(rows, near).clamp_(max=len(rows) - 1)
        here = rows[at] == near
        own = torch.arange(len(rows), device=rows.device)[:, None]
        none = torch.zeros((), device=rows.device)
        return Lateral(
            torch.where(here, at, own),
            torch.where(here, self.weight[rows], none),
            torch.where(here, self.back[rows], none),
        )


@dataclass(frozen=True, eq=False)
class HexGraph:
    """The levels of an area, or of a part of it, the finest first.

    Attributes:
        lateral: the neighbours of each level.
        parent: for each level but the last the row (n_l,) int64 of the parent; it never falls.
        starts: for each level but the last the first child (n_{l+1},) int64 of each row of the next level.
    """

    lateral: tuple[Lateral, ...]
    parent: tuple[Tensor, ...]
    starts: tuple[Tensor, ...]

    @classmethod
    def from_levels(cls, levels: HexLevels, access: Mapping[int, Edges] | None = None) -> HexGraph:
        """The graph of a whole area.

        Args:
            levels: its cells.
            access: by resolution the edges that count there, between rows of ``levels.cells``. At other resolutions
                the cell itself and all neighbours count the same.

        Raises:
            DataError: edges at a resolution that the area does not have, or between cells that are no neighbours.
        """
        given = dict(access or {})
        unknown = sorted(set(given) - set(levels.resolutions))
        if unknown:
            text = ", ".join(map(str, levels.resolutions))
            raise DataError(f"edges are given for resolution {unknown[0]}, but the levels are {text}")
        lateral = []
        for resolution, near in zip(levels.resolutions, levels.near, strict=True):
            edges = given.get(resolution)
            weight = mean_weights(near) if edges is None else edge_weights(near, edges.rows, edges.cols, edges.weight)
            lateral.append(_lateral(near, weight))
        starts = tuple(_starts(levels.lengths(level)) for level in range(len(levels) - 1))
        return cls(tuple(lateral), tuple(torch.from_numpy(rows) for rows in levels.parent), starts)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The number of rows of each level."""
        return tuple(len(level.near) for level in self.lateral)

    def to(self, device: torch.device | str) -> HexGraph:
        """The same on `device`."""
        return HexGraph(
            tuple(level.to(device) for level in self.lateral),
            tuple(rows.to(device) for rows in self.parent),
            tuple(rows.to(device) for rows in self.starts),
        )

    def take(self, rows: Sequence[NDArray[np.int64]]) -> HexGraph:
        """The part with these sorted rows of each level; the parent of every row must be among them."""
        kept = [torch.from_numpy(np.ascontiguousarray(own)).to(self.lateral[0].near.device) for own in rows]
        lateral = tuple(level.take(own) for level, own in zip(self.lateral, kept, strict=True))
        parent = tuple(
            torch.searchsorted(up, whole[own]) for whole, own, up in zip(self.parent, kept[:-1], kept[1:], strict=True)
        )
        starts = tuple(
            torch.searchsorted(own, torch.arange(len(up), device=up.device))
            for own, up in zip(parent, kept[1:], strict=True)
        )
        return HexGraph(lateral, parent, starts)

    def mixing(self, level: int) -> tuple[Bags, Bags]:
        """The weighted sum over neighbours at `level`, and its transpose."""
        at = self.lateral[level]
        return Bags(at.near, at.weight), Bags(at.near, at.back)

    def pooling(self, level: int, weight: Tensor | None = None) -> tuple[Bags, Bags]:
        """The sum over the children, weighted by `weight` (n_l,), from `level` to the next; and its transpose."""
        children = torch.arange(len(self.parent[level]), device=self.parent[level].device)
        column = None if weight is None else weight[:, None]
        return Bags(children, weight, self.starts[level]), Bags(self.parent[level][:, None], column)


def _lateral(near: NDArray[np.int64], weight: NDArray[np.float32]) -> Lateral:
    own = np.arange(len(near), dtype=np.int64)[:, None]
    rows = np.where(near >= 0, near, own)
    return Lateral(torch.from_numpy(rows), torch.from_numpy(weight), torch.from_numpy(transposed(near, weight)))


def _starts(lengths: NDArray[np.int64]) -> Tensor:
    return torch.from_numpy(np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64))
