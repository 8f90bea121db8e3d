"""Large batches in little memory: gradient caching (Gao et al. 2021, "Scaling Deep Contrastive Learning Batch Size").

A contrastive loss needs the vectors of the whole batch, but not all the activations at once. GradCache encodes the
batch in parts without a graph, takes the gradient of the loss with respect to the vectors, and then encodes part by
part again, sending each part's share of that gradient back. Checkpointing every part does just this within one
backward pass: it reaches the vectors first, and then runs each part again, with the random state of the first time so
that dropout drops the same units. The loop does not have to know, and gradients meet DDP's hooks as always.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def in_parts(encode: Callable[[Tensor], Tensor], rows: Tensor, size: int) -> Tensor:
    """What `encode` gives for `rows`, with the activations of `size` rows at most in memory; 0: of all.

    Args:
        encode: (n, ...) to (n, d), row by row.
        rows: (n, ...).
        size: rows of a part.
    """
    if size == 0 or len(rows) <= size:
        return encode(rows)
    if not torch.is_grad_enabled():
        return torch.cat([encode(part) for part in torch.split(rows, size)])
    return torch.cat([checkpoint(encode, part, use_reentrant=False) for part in torch.split(rows, size)])
