"""What a U-Net over hexagons is built of: a residual block over neighbours, and the join of two levels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from placevec.nn.hexunet.config import HexUNetConfig
from placevec.nn.hexunet.graph import HexGraph
from placevec.nn.hexunet.mix import HexConv, neighbour_sum

BRANCH = 0.1  # the scale of the learned branch at the start: the untrained block is near a smoothing
FROM_ABOVE = 0.25  # the share that the coarser level has of a join at the start

_NORMS: dict[str, type[nn.Module]] = {"layer": nn.LayerNorm, "rms": nn.RMSNorm}
_ACTIVATIONS: dict[str, type[nn.Module]] = {"gelu": nn.GELU, "silu": nn.SiLU, "relu": nn.ReLU}


class HexBlock(nn.Module):
    """x + a·(Sx − x) + s·W φ(HexConv(norm(x))), where S is the weighted mean of the neighbours.

    The learned a, one for each component, says how far a component is smoothed or, below 0, sharpened; s scales the
    branch (LayerScale, Touvron et al. 2021). Means of rings alone are hard to beat on cells of a city, and from there
    the training starts.
    """

    def __init__(self, width: int, config: HexUNetConfig) -> None:
        super().__init__()
        hidden = config.expand * width
        self.norm = _NORMS[config.norm](width)
        self.conv = HexConv(width, hidden)
        self.activation = _ACTIVATIONS[config.activation]()
        self.dropout = nn.Dropout(config.dropout)
        self.out = nn.Linear(hidden, width)
        self.scale = nn.Parameter(torch.full((width,), BRANCH))
        self.smooth = nn.Parameter(torch.full((width,), config.smooth)) if config.smooth else None

    def forward(self, x: Tensor, graph: HexGraph, level: int) -> Tensor:
        """(n, width) of the rows of `level` to the same."""
        branch = self.out(self.dropout(self.activation(self.conv(self.norm(x), graph, level))))
        base = x
        if self.smooth is not None:
            mixed = neighbour_sum(x, graph, level)
            base = torch.lerp(x, mixed, self.smooth.to(x.dtype))
        return torch.addcmul(base, branch, self.scale)


class Join(nn.Module):
    """A level's rows x joined with what comes from the next level, u.

    Gate: x + g·(u − x) with g = sigmoid(A x + B u + c), for each component. Add: x + a·u with a learned for each
    component. Cat: A x + B u + c.
    """

    def __init__(self, width: int, how: str) -> None:
        super().__init__()
        self.how = how
        if how == "add":
            self.amount = nn.Parameter(torch.full((width,), FROM_ABOVE))
            return
        self.fine = nn.Linear(width, width)
        self.coarse = nn.Linear(width, width, bias=False)
        nn.init.zeros_(self.fine.bias)
        with torch.no_grad():
            if how == "gate":
                for weight in (self.fine.weight, self.coarse.weight):
                    nn.init.normal_(weight, std=0.01)
                nn.init.constant_(self.fine.bias, float(torch.logit(torch.tensor(FROM_ABOVE))))
            else:
                self.fine.weight.copy_(torch.eye(width) * (1 - FROM_ABOVE))
                self.coarse.weight.copy_(torch.eye(width) * FROM_ABOVE)

    def forward(self, x: Tensor, above: Tensor) -> Tensor:
        """The level's rows x and what comes from above, both (n, width), to the same."""
        if self.how == "add":
            return torch.addcmul(x, above, self.amount)
        both: Tensor = self.fine(x) + self.coarse(above)
        return torch.lerp(x, above, torch.sigmoid(both)) if self.how == "gate" else both
