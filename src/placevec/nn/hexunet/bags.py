"""Sums of chosen rows, and their gradients as sums of chosen rows: nothing is scattered, on no device.

`embedding_bag` reads the chosen rows and adds them up without a copy of them in between. The gradient of such a sum is
the sum over the transposed table, which its owner knows: that of neighbours is the table itself (a neighbour's
neighbour is oneself), that of children is the parent, and the other way round. Torch's own gradient scatters instead,
and a graph library keeps one row for each edge.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Bags(NamedTuple):
    """Which rows are summed for each row of the result.

    Attributes:
        rows: (n, k) int64, k for each row of the result; or (m,), all one after the other, with `starts`.
        weights: of the same shape; None: 1. Where there is no row, any row with the weight 0.
        starts: (n,) int64, where in `rows` each row of the result begins.
    """

    rows: Tensor
    weights: Tensor | None = None
    starts: Tensor | None = None

    def sum_of(self, x: Tensor) -> Tensor:
        """The sums (n, d) of rows of x (m, d), without a gradient."""
        weights = None if self.weights is None else self.weights.to(x.dtype)
        return F.embedding_bag(self.rows, x.contiguous(), self.starts, mode="sum", per_sample_weights=weights)


def bag_sum(x: Tensor, bags: Bags, transposed: Bags) -> Tensor:
    """y_i = Σ_j w_ij x_j.

    Args:
        x: (m, d) floating.
        bags: j and w_ij for each of the n rows of the result; no gradient goes to the weights.
        transposed: i and w_ij for each of the m rows of `x`.

    Returns:
        (n, d).
    """
    if not torch.is_grad_enabled() or not x.requires_grad:
        return bags.sum_of(x)
    out: Tensor = _BagSum.apply(x, *bags, *transposed)  # type: ignore[no-untyped-call]
    return out


class _BagSum(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        rows: Tensor,
        weights: Tensor | None,
        starts: Tensor | None,
        back_rows: Tensor,
        back_weights: Tensor | None,
        back_starts: Tensor | None,
    ) -> Tensor:
        ctx.save_for_backward(back_rows, back_weights, back_starts)
        return Bags(rows, weights, starts).sum_of(x)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return Bags(*ctx.saved_tensors).sum_of(grad), None, None, None, None, None, None
