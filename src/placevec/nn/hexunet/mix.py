"""The convolution over a cell and its neighbours."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from placevec.nn.hexunet.bags import bag_sum
from placevec.nn.hexunet.graph import HexGraph


def neighbour_sum(x: Tensor, graph: HexGraph, level: int) -> Tensor:
    """Σ_j w_ij x_j (n, d) over each row itself and its neighbours at `level`, from x (n, d)."""
    return bag_sum(x, *graph.mixing(level))


class HexConv(nn.Module):
    """y_i = W_self x_i + W_near Σ_j w_ij x_j + b, with the weights w of the graph.

    The weights of a row sum to 1 and hold the cell itself. With W_self = 0 this is the layer of Kipf and Welling
    (2017, equation 2), whose weights are another normalisation of the same sum.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.own = nn.Linear(inputs, outputs)
        self.near = nn.Linear(inputs, outputs, bias=False)

    def forward(self, x: Tensor, graph: HexGraph, level: int) -> Tensor:
        """(n, inputs) of the rows of `level` to (n, outputs)."""
        mixed = neighbour_sum(x, graph, level)
        if torch.is_autocast_enabled(x.device.type):
            return self.own(x) + self.near(mixed)  # type: ignore[no-any-return]
        # Added where the product is computed: an array of (n, outputs) less.
        return torch.addmm(F.linear(x, self.own.weight, self.own.bias), mixed, self.near.weight.t())
