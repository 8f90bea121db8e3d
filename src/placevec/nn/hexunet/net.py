"""A U-Net over the cells of an area at several resolutions."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from placevec.errors import DataError
from placevec.nn.hexunet.block import HexBlock, Join
from placevec.nn.hexunet.config import HexUNetConfig
from placevec.nn.hexunet.graph import HexGraph
from placevec.nn.hexunet.pool import child_shares, pool, spread


class FullAreaUNet(nn.Module):
    """Up from the finest level by means over children, down again with skips, blocks over neighbours at each level.

    The graph is given with each call and is no part of the weights: the same network runs on another area, and on
    the cones of an area (see `cones`).

    What goes up is widened by a matrix with orthonormal columns, and what comes down is narrowed by its transpose, so
    that an untrained network passes means on as they are.

    Args:
        inputs: width of the given rows.
        config: the settings.
    """

    def __init__(self, inputs: int, config: HexUNetConfig) -> None:
        super().__init__()
        self.inputs, self.config = inputs, config
        dims = config.dims
        self.stem = _linear(inputs, dims[0])
        self.blank = nn.Parameter(torch.zeros(dims[0]))  # stands for a row without data
        self.up = nn.ModuleList(
            _blocks(width, count, config) for width, count in zip(dims, config.lateral, strict=True)
        )
        widen = [_linear(fine, coarse) for fine, coarse in pairwise(dims)]
        self.widen = nn.ModuleList(widen)
        self.narrow = nn.ModuleList(_back(linear) for linear in widen)
        self.join = nn.ModuleList(Join(width, config.skip) for width in dims[:-1])
        self.down = nn.ModuleList(
            _blocks(width, count, config) for width, count in zip(dims[:-1], config.down, strict=True)
        )

    def forward(
        self, x: Tensor, graph: HexGraph, present: Tensor | None = None, depth: int | None = None
    ) -> list[Tensor]:
        """Rows of the finest level to vectors of every level.

        Args:
            x: (n_0, inputs), in the order of the graph's finest level.
            graph: the area, or a part of it.
            present: (n_0,) bool, which rows have data; None: all. What `x` holds elsewhere is not looked at.
            depth: how many levels are gone up to; None: all. Less leaves out what the coarser ones would say.

        Returns:
            (n_l, dims_l) for each level that was gone up to, the finest first.

        Raises:
            DataError: rows, widths or levels that do not fit.
        """
        self._check(x, graph)
        if present is None:
            state = self.stem(x)
        else:
            # What is not looked at may be NaN, which would go through a product into the gradients.
            state = self.stem(x.masked_fill(~present[:, None], 0.0))
            state = torch.where(present[:, None], state, self.blank.to(state.dtype))
        states: list[Tensor] = []
        levels = len(self.up) if depth is None else depth
        for level, blocks in enumerate(list(self.up.children())[:levels]):
            state = self._through(blocks, state, graph, level)
            states.append(state)
            if level < levels - 1:
                shares, present = child_shares(graph, level, present)
                state = self.widen[level](pool(state, graph, level, shares))
        for level in reversed(range(levels - 1)):
            above = spread(self.narrow[level](states[level + 1]), graph, level)
            joined = self.join[level](states[level], above)
            states[level] = self._through(self.down[level], joined, graph, level)
        return states

    def _through(self, blocks: nn.Module, state: Tensor, graph: HexGraph, level: int) -> Tensor:
        for block in blocks.children():
            if self.config.checkpoint and torch.is_grad_enabled():
                state = checkpoint(block, state, graph, level, use_reentrant=False)
            else:
                state = block(state, graph, level)
        return state

    def _check(self, x: Tensor, graph: HexGraph) -> None:
        if len(graph.lateral) != len(self.config.dims):
            raise DataError(
                f"the area has {len(graph.lateral)} levels, the network {len(self.config.dims)}; make the levels for it"
            )
        if x.shape != (graph.sizes[0], self.inputs):
            raise DataError(
                f"rows of the shape {tuple(x.shape)}; this area and network take ({graph.sizes[0]}, {self.inputs})"
            )


def _blocks(width: int, count: int, config: HexUNetConfig) -> nn.ModuleList:
    return nn.ModuleList(HexBlock(width, config) for _ in range(count))


def _linear(inputs: int, outputs: int) -> nn.Linear:
    """A linear layer whose matrix begins orthonormal."""
    layer = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _back(layer: nn.Linear) -> nn.Linear:
    """A layer of its own that begins as the transpose of `layer`."""
    back = nn.Linear(layer.out_features, layer.in_features)
    with torch.no_grad():
        back.weight.copy_(layer.weight.t())
    nn.init.zeros_(back.bias)
    return back
