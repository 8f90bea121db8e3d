"""Laws over cells that lie in regions: softmax within each region, and the joint law."""

from __future__ import annotations

import torch
from torch import Tensor


def segment_log_softmax(logits: Tensor, region: Tensor, regions: int) -> Tensor:
    """The log-softmax log p(cell | its region) over the columns of each region, all regions at once.

    Args:
        logits: (n, N).
        region: (N,) int64 region of each column.
        regions: number of regions; some may have no column.
    """
    with torch.no_grad():  # any shift cancels: the largest of the region keeps exp() from overflow
        columns = region.expand(len(logits), -1)
        top = logits.new_full((len(logits), regions), -torch.inf).scatter_reduce_(1, columns, logits, "amax")
        shift = top[:, region]
    shifted = logits - shift
    sums = logits.new_zeros(len(logits), regions).index_add(1, region, shifted.exp())
    # log() of the sums that are used: that of a region without cells would be -inf, with a gradient of NaN.
    return shifted - sums[:, region].log()


def joint_log_softmax(region_logits: Tensor, cell_logs: Tensor, region: Tensor, has_cells: Tensor) -> Tensor:
    """The joint law log p(cell) = log p(region) + log p(cell | region), p(region) over the regions with cells alone.

    Args:
        region_logits: (n, P).
        cell_logs: (n, N) of `segment_log_softmax`.
        region: (N,) int64 region of each column.
        has_cells: (P,) bool.
    """
    allowed = region_logits.masked_fill(~has_cells, -torch.inf).log_softmax(dim=1)
    return allowed[:, region] + cell_logs
