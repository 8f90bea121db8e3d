"""A pre-norm transformer block, shared by the image and the text networks."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from placevec.errors import UsageError


def check_width(width: int, heads: int) -> None:
    """Refuse a width that does not share out evenly among the heads, by UsageError."""
    if heads < 1 or width % heads:
        raise UsageError(f"width = {width}, heads = {heads}: the width is a multiple of the number of heads")


class Attention(nn.Module):
    """Multi-head self-attention (Vaswani et al. 2017, section 3.2.2), over all positions."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout  # of the weights between positions
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """(n, positions, width) to the same; `keep` (n, positions) bool says which positions may be looked at."""
        n, length, width = x.shape
        q, k, v = self.qkv(x).reshape(n, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        mask = None if keep is None else keep[:, None, None, :]
        share = self.dropout if self.training else 0.0
        found = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=share)
        out: Tensor = self.out(found.transpose(1, 2).reshape(n, length, width))
        return out


class DropPath(nn.Module):
    """Stochastic depth (Huang et al. 2016): in training a whole branch of a row is left out at times."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """`x` (n, ...), rows set to 0 with the probability `share` and the others made larger by 1 / (1 - share)."""
        if not self.training or not self.share:
            return x
        keep = 1.0 - self.share
        return x * torch.empty(len(x), *[1] * (x.ndim - 1), device=x.device, dtype=x.dtype).bernoulli_(keep) / keep


class TransformerBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)) (pre-norm: Xiong et al. 2020).

    Args:
        width: components of a position.
        heads: of the attention.
        ratio: width of the hidden layer of the MLP, as a multiple of `width`.
        dropout: share of what is dropped in attention weights and after both branches.
        drop_path: probability that a branch is left out for a row.
    """

    def __init__(self, width: int, heads: int, ratio: float, dropout: float, drop_path: float = 0.0) -> None:
        super().__init__()
        hidden = max(1, round(width * ratio))
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads, dropout)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, width))
        self.after = nn.Sequential(nn.Dropout(dropout), DropPath(drop_path))

    def forward(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """(n, positions, width) to the same; `keep` (n, positions) bool says which positions may be looked at."""
        x = x + self.after(self.attention(self.norm1(x), keep))
        out: Tensor = x + self.after(self.mlp(self.norm2(x)))
        return out


def start(module: nn.Module) -> None:
    """Draw the weights of linear layers anew by Glorot and Bengio 2010 (uniform), biases 0.

    A fixed deviation of 0.02, usual at 768 components, would leave the attention of narrow networks all but even.
    """
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.xavier_uniform_(part.weight)
            nn.init.zeros_(part.bias)
