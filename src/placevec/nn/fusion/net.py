"""A network that fuses modalities on hexagons, and reads the fused vector off what it expects of each of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from placevec.nn.fusion.config import FusionConfig
from placevec.nn.fusion.tokens import Tokens
from placevec.nn.hexunet import FullAreaUNet, HexGraph, neighbour_sum


class Decoder(nn.Module):
    """The state of a cell to what one modality should be there, and on the mean around it."""

    def __init__(self, width: int, part: int, tokens: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.state = nn.Linear(width, part)
        self.out = nn.Linear(part, 2 * tokens)

    def read(self, state: Tensor) -> Tensor:
        """The decoder's own state (n, part): what is taken as the vector."""
        return F.gelu(self.state(self.norm(state)))

    def forward(self, state: Tensor) -> tuple[Tensor, Tensor]:
        """Raw scores (n, tokens) of the cell's own tokens, and of those of its neighbourhood."""
        own, around = self.out(self.read(state)).chunk(2, dim=1)
        return own, around


class FusionNet(nn.Module):
    """Tokens of each modality → gated sum → U-Net over hexagons → a decoder for each modality.

    The input is one matrix: the values of all modalities side by side (0 where there are none), then for each modality
    whether the cell has it. A modality that a cell has not, or that is hidden, is replaced by a learned token.

    The vector of a cell holds one part for each modality: the state of its decoder when that modality is hidden, in
    the whole area, so that each part says what all else around tells of it. A plain autoencoder copies; what can be
    told from the rest is what modalities have in common. Before these stand, with `own`, the tokens themselves and
    their means around: what is not told by anything else is not lost. See `FusionConfig.blocks`.

    Args:
        config: the shape.
        tokens: of each modality, fitted; None where weights are about to be loaded.
    """

    def __init__(self, config: FusionConfig, tokens: Sequence[Tokens] | None = None) -> None:
        super().__init__()
        self.config = config
        width = config.width
        shapes = config.modalities
        self.tokens = nn.ModuleList(tokens or [Tokens(one.columns, one.tokens, one.form) for one in shapes])
        self.enter = nn.ModuleList(nn.Linear(one.tokens, width) for one in shapes)
        self.absent = nn.Parameter(0.1 * torch.randn(len(shapes), width))
        self.gate = nn.ModuleList(nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 1)) for _ in shapes)
        self.unet = FullAreaUNet(width, config.unet)
        self.decoders = nn.ModuleList(Decoder(config.unet.dims[0], config.part, one.tokens) for one in shapes)
        # Scores of the mean tokens below each cell of the coarser levels, for the consistency of scales.
        total = sum(one.tokens for one in shapes)
        self.above = nn.ModuleList(nn.Sequential(nn.LayerNorm(d), nn.Linear(d, total)) for d in config.unet.dims[1:])
        # Projections of two halves of the modalities, for the contrast between them.
        self.project = nn.Sequential(nn.LayerNorm(config.unet.dims[0]), nn.Linear(config.unet.dims[0], width))

    def split(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """The input (n, inputs) as values of each modality, and which are there (n, modalities) bool."""
        *values, present = torch.split_with_sizes(x, [*self.config.columns, len(self.config.modalities)], dim=1)
        return values, present > 0.5

    def coded(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """The tokens of each modality (0 where it is absent), and which are there."""
        values, present = self.split(x)
        codes = [code(values[k]) * present[:, k : k + 1] for k, code in enumerate(self.tokens)]
        return codes, present

    def gates(self, codes: Sequence[Tensor], shown: Tensor) -> tuple[Tensor, Tensor]:
        """What the U-Net reads (n, width), and the weight of each modality (n, modalities), 0 to 2.

        Args:
            codes: of `coded`.
            shown: (n, modalities) bool, which are there and not hidden.
        """
        parts = [self._entered(k, code, shown[:, k]) for k, code in enumerate(codes)]
        fused = codes[0].new_zeros(())
        for part, _ in parts:
            fused = fused + part
        return fused, torch.cat([weight for _, weight in parts], dim=1)

    def _entered(self, modality: int, code: Tensor, shown: Tensor) -> tuple[Tensor, Tensor]:
        """What one modality adds to what the U-Net reads (n, width), and its weight (n, 1)."""
        seen = F.gelu(self.enter[modality](code))
        entered = torch.where(shown[:, None], seen, self.absent[modality].to(seen.dtype))
        weight = 2.0 * torch.sigmoid(self.gate[modality](entered))
        return weight * entered, weight

    def around(self, codes: Sequence[Tensor], present: Tensor, graph: HexGraph) -> list[Tensor]:
        """The mean tokens of each modality over each cell and its neighbours that have it; 0 where none has."""
        return [self.mean_around(code, present[:, k], graph)[0] for k, code in enumerate(codes)]

    def mean_around(self, code: Tensor, here: Tensor, graph: HexGraph) -> tuple[Tensor, Tensor]:
        """The mean tokens (n, tokens) of one modality around each cell, and how much of the weights (n,) have it."""
        known = neighbour_sum(here[:, None].to(code.dtype), graph, 0)
        return neighbour_sum(code, graph, 0) / known.clamp(min=1e-6), known[:, 0]

    def decoder(self, modality: int) -> Decoder:
        """That of the modality with this number."""
        found = self.decoders[modality]
        assert isinstance(found, Decoder)
        return found

    def states(self, codes: Sequence[Tensor], shown: Tensor, graph: HexGraph, depth: int | None = None) -> list[Tensor]:
        """The states of every level, the finest first, when the modalities `shown` are seen."""
        if self.config.unet.checkpoint and torch.is_grad_enabled():
            # One modality at a time, so that the gradient needs the inside of one alone.
            fused = codes[0].new_zeros(())
            for k, code in enumerate(codes):
                fused = fused + checkpoint(self._entered, k, code, shown[:, k], use_reentrant=False)[0]
        else:
            fused, _ = self.gates(codes, shown)
        found: list[Tensor] = self.unet(fused, graph, depth=depth)
        return found

    def vectors(self, x: Tensor, graph: HexGraph) -> Tensor:
        """The fused vectors (n, dims) of the finest cells."""
        codes, present = self.coded(x)
        parts = [*codes, *self.around(codes, present, graph)] if self.config.own else []
        for k in range(len(self.decoders)):
            shown = present.clone()
            shown[:, k] = False
            parts.append(self.decoder(k).read(self.states(codes, shown, graph)[0]))
        return torch.cat(parts, dim=1)


class VectorReader(nn.Module):
    """The network as the cones run it: rows, graph and presence to the vectors of the finest level."""

    def __init__(self, net: FusionNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, graph: HexGraph, present: Tensor | None = None) -> list[Tensor]:
        """The fused vectors alone; `present` is told by the rows themselves."""
        return [self.net.vectors(x, graph)]
