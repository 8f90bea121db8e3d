"""The head of a locator: features of images to laws over regions and cells, points within cells, and their spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from placevec.errors import DataError, UsageError
from placevec.nn.dense import Linear
from placevec.nn.locator.branches import Join
from placevec.nn.locator.cell_heads import CellHeads
from placevec.nn.locator.config import HeadConfig
from placevec.nn.locator.gate import Fusion
from placevec.nn.locator.offsets import OffsetHead
from placevec.nn.locator.segments import joint_log_softmax, segment_log_softmax

MIN_REACH_M = 1.0
"""The reach of a cell whose training points coincide."""


class LocatorHead(nn.Module):
    """Everything after the image encoders.

    Every image trains the head of cells of every region, by the joint law p(region)·p(cell | region): asked about a
    region that is not its own, a head has learned what to answer.

    Args:
        config: sizes and further inputs.
        widths: the width of each image encoder's feature.
        cells: the number of cells of each region; 0 for a region without any.
        reach_m: (N,) metres within which a cell's points lie; cells of the first region first.
        middle: (3,) the direction at which the auxiliary head begins; by default longitude and latitude 0.

    Raises:
        UsageError: no encoder, no cell, or reaches that do not fit the cells.
    """

    region: Tensor
    has_cells: Tensor

    def __init__(
        self,
        config: HeadConfig,
        widths: Sequence[int],
        cells: Sequence[int],
        reach_m: Tensor,
        middle: Tensor | None = None,
    ) -> None:
        super().__init__()
        cells = [int(count) for count in cells]
        total = sum(cells)
        if not widths or min(widths) < 1:
            raise UsageError(f"a locator reads the features of at least one image encoder, not of widths {widths}")
        if not total or min(cells) < 0:
            raise UsageError(f"a locator needs at least one cell; the regions have {cells}")
        reach = torch.as_tensor(reach_m).detach().to(torch.float32)
        if reach.shape != (total,) or not bool((reach.isfinite() & (reach >= 0)).all()):
            raise UsageError(f"reach_m is {total} metres, none negative, one for each cell; got {tuple(reach.shape)}")
        self.config = config
        self.cells = tuple(cells)
        counts = torch.tensor(cells)
        region = torch.repeat_interleave(torch.arange(len(cells)), counts)
        self.register_buffer("region", region, persistent=False)
        self.register_buffer("has_cells", counts > 0, persistent=False)
        self.fusion = Fusion(widths, config.dims, config.gate == "channel")
        self.joins = nn.ModuleDict({branch.kind: Join(branch, config.dims) for branch in config.branches})
        self.region_head = _head(config.dims, config.region_hidden, len(cells), config.dropout)
        self.cell_heads = CellHeads(config, cells)
        self.offset_head = OffsetHead(config, region, len(cells), reach.clamp(min=MIN_REACH_M))
        self.auxiliary_head = _head(config.dims, config.auxiliary_hidden, 3, config.dropout)
        self._aim(torch.tensor([1.0, 0.0, 0.0]) if middle is None else torch.as_tensor(middle))

    def extras(self, batch: Mapping[str, NDArray[Any]]) -> dict[str, Tensor]:
        """The further inputs of a batch as the tensors that `fuse` takes; those it does not hold are left out.

        Raises:
            DataError: a column has another form than its branch reads.
        """
        device = self.region.device
        return {
            branch.kind: branch.read(batch[branch.kind]).to(device)
            for branch in self.config.branches
            if branch.kind in batch
        }

    def fuse(self, features: Sequence[Tensor], extras: Mapping[str, Tensor] | None = None) -> Tensor:
        """Features (n, w_i) of the encoders and further inputs, see `extras`, to fused vectors (n, dims).

        An input that is missing, for an image or altogether, has no effect on the vector at all.

        Raises:
            DataError: features of other widths, or an input for which the head has no branch.
        """
        fused: Tensor = self.fusion(features)
        given = dict(extras or {})
        for kind, join in self.joins.items():
            if kind in given:
                fused = join(fused, given.pop(kind))
        if given:
            known = ", ".join(self.joins) or "none"
            raise DataError(f"this head has no branch for {sorted(given)[0]!r}; it has: {known}")
        return fused

    def region_logits(self, fused: Tensor) -> Tensor:
        """(n, dims) to (n, P)."""
        logits: Tensor = self.region_head(fused)
        return logits

    def cell_logits(self, fused: Tensor) -> Tensor:
        """(n, dims) to (n, N)."""
        logits: Tensor = self.cell_heads(fused)
        return logits

    def cell_logs(self, cell_logits: Tensor) -> Tensor:
        """(n, N) logits to log p(cell | its region)."""
        return segment_log_softmax(cell_logits, self.region, len(self.cells))

    def joint_logs(self, region_logits: Tensor, cell_logits: Tensor) -> Tensor:
        """The joint law log p(cell) (n, N): the mass of a region without cells goes to the others in proportion."""
        return joint_log_softmax(region_logits, self.cell_logs(cell_logits), self.region, self.has_cells)

    def offsets(self, fused: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
        """Where in each of k given cells the image would have been taken.

        Args:
            fused: (n, dims).
            cells: (n, k) int64 rows of cells.

        Returns:
            (n, k, 2) metres east and north of the cell's centre, shorter than its reach, and (n, k) the logarithm of
            the spread in metres.
        """
        found: tuple[Tensor, Tensor] = self.offset_head(fused, cells)
        return found

    def auxiliary(self, fused: Tensor) -> Tensor:
        """(n, dims) to unit vectors (n, 3): a coarse guess that knows of no cells."""
        return F.normalize(self.auxiliary_head(fused), dim=1, eps=1e-6)

    def _aim(self, middle: Tensor) -> None:
        last = self.auxiliary_head[-1]
        assert isinstance(last, nn.Linear)
        with torch.no_grad():
            nn.init.normal_(last.weight, std=0.01)
            last.bias.copy_(middle)


def _head(inputs: int, hidden: int, outputs: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        Linear(inputs, hidden), nn.LayerNorm(hidden), nn.GELU(), nn.Dropout(dropout), Linear(hidden, outputs)
    )
