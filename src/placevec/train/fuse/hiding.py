"""What is hidden in a step: single modalities of cells, and whole blocks."""

from __future__ import annotations

import torch
from torch import Tensor

from placevec.nn.hexunet import HexGraph
from placevec.train.fuse.config import Hiding


def ancestors(graph: HexGraph, level: int) -> Tensor:
    """The row (n_0,) at `level`, or at the coarsest where there are fewer, in which each finest cell lies."""
    rows = torch.arange(graph.sizes[0], device=graph.lateral[0].near.device)
    for parent in graph.parent[:level]:
        rows = parent[rows]
    return rows


def hidden(graph: HexGraph, modalities: int, config: Hiding, generator: torch.Generator) -> Tensor:
    """Which modality of which cell is hidden (n_0, modalities) bool, drawn from `generator`, a CPU generator."""
    device = graph.lateral[0].near.device
    cells = graph.sizes[0]

    def drawn(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator).to(device)

    out = drawn(cells, modalities) < config.modality
    if config.blocks:
        level = min(config.level, len(graph.sizes) - 1)
        share = config.blocks * drawn(1)
        blocks = drawn(graph.sizes[level]) < share
        lost = drawn(cells, modalities) < config.block_modalities
        out |= blocks[ancestors(graph, level)][:, None] & lost
    return out
