"""An area as a fusion network reads it: one matrix over its finest cells, and who is next to whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from placevec.errors import DataError
from placevec.geo.hex_levels import HexLevels, hex_levels
from placevec.nn.hexunet import HexGraph, Lateral
from placevec.nn.hexunet.weights import Edges

Matrix = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class FuseArea:
    """The cells of an area with what the modalities say of them, in the order of ``levels.cells[0]``.

    Attributes:
        levels: the cells.
        graph: the same as tensors.
        x: (n, columns of all modalities + modalities) float32, see `nn.fusion.FusionNet`; may lie on disk.
        columns: of each modality.
    """

    levels: HexLevels
    graph: HexGraph
    x: Matrix
    columns: tuple[int, ...]

    def modality(self, number: int) -> Matrix:
        """The rows of a modality where it is there."""
        start = sum(self.columns[:number])
        here = self.x[:, sum(self.columns) + number] > 0.5
        return self.x[here, start : start + self.columns[number]]


@dataclass(frozen=True, eq=False)
class Labels:
    """Targets that supervise the training, of the cells of the area in the order of its levels.

    Attributes:
        names: of the t targets.
        values: (n, t) float32, NaN where a cell has none or must not be learned from.
    """

    names: tuple[str, ...]
    values: Matrix


def fuse_area(
    cells: NDArray[np.uint64],
    modalities: Sequence[tuple[Matrix, Mask]],
    resolutions: Sequence[int],
    access: Mapping[int, Edges] | Any = None,
) -> FuseArea:
    """Lay the modalities of an area side by side.

    Args:
        cells: (n,) distinct H3 cells of the finest resolution, in any order.
        modalities: for each its values (n, d) and which cells have it (n,) bool; other rows are not looked at.
        resolutions: consecutive ones.
        access: by resolution the edges of an accessibility graph, or a function of the levels that gives them.

    Raises:
        DataError: rows of another number, a value that is not finite, or a modality that no cell has.
    """
    levels = hex_levels(cells, resolutions)
    columns = tuple(values.shape[1] for values, _ in modalities)
    x = np.zeros((len(cells), sum(columns) + len(columns)), dtype=np.float32)
    start = 0
    for number, (values, present) in enumerate(modalities):
        if len(values) != len(cells) or present.shape != (len(cells),):
            raise DataError(f"modality {number + 1} has {len(values)} rows for {len(cells)} cells")
        if not present.any():
            raise DataError(f"modality {number + 1} has no row at any cell of the area")
        own, here = values[levels.order], present[levels.order]
        if not np.isfinite(own[here]).all():
            raise DataError(f"modality {number + 1} holds a value that is not finite")
        x[:, start : start + columns[number]] = np.where(here[:, None], own, 0.0)
        x[:, sum(columns) + number] = here
        start += columns[number]
    edges = access(levels) if callable(access) else access
    return FuseArea(levels, HexGraph.from_levels(levels, edges), x, columns)


def graph_tensors(graph: HexGraph) -> dict[str, Tensor]:
    """A graph as named tensors, as the training loop moves them to a device."""
    found: dict[str, Tensor] = {}
    for level, lateral in enumerate(graph.lateral):
        found[f"near.{level}"], found[f"weight.{level}"] = lateral.near, lateral.weight
        found[f"back.{level}"] = lateral.back
    for level, (parent, starts) in enumerate(zip(graph.parent, graph.starts, strict=True)):
        found[f"parent.{level}"], found[f"starts.{level}"] = parent, starts
    return found


def graph_of(batch: Mapping[str, Tensor]) -> HexGraph:
    """The graph of a batch; see `graph_tensors`."""
    levels = sum(name.startswith("near.") for name in batch)
    return HexGraph(
        tuple(Lateral(batch[f"near.{k}"], batch[f"weight.{k}"], batch[f"back.{k}"]) for k in range(levels)),
        tuple(batch[f"parent.{k}"] for k in range(levels - 1)),
        tuple(batch[f"starts.{k}"] for k in range(levels - 1)),
    )


def side_by_side(graphs: Sequence[HexGraph]) -> HexGraph:
    """Graphs of several cones as one of parts that do not touch."""
    if len(graphs) == 1:
        return graphs[0]
    offsets = [
        np.concatenate([[0], np.cumsum([graph.sizes[k] for graph in graphs])]) for k in range(len(graphs[0].sizes))
    ]

    def moved(parts: Sequence[Tensor], by: NDArray[Any]) -> Tensor:
        return torch.cat([part + int(add) for part, add in zip(parts, by, strict=False)])

    lateral = tuple(
        Lateral(
            moved([graph.lateral[k].near for graph in graphs], at),
            torch.cat([graph.lateral[k].weight for graph in graphs]),
            torch.cat([graph.lateral[k].back for graph in graphs]),
        )
        for k, at in enumerate(offsets)
    )
    parent = tuple(moved([graph.parent[k] for graph in graphs], offsets[k + 1]) for k in range(len(offsets) - 1))
    starts = tuple(moved([graph.starts[k] for graph in graphs], offsets[k]) for k in range(len(offsets) - 1))
    return HexGraph(lateral, parent, starts)
