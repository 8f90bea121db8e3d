"""From the layers of a patch to the planes that a network reads."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from placevec.nn.landscape.config import PlaneConfig

LIMIT = 8.0
"""Scaled values beyond this are cut: a spike in an elevation model must not drown a patch."""


class Planes(nn.Module):
    """One plane for each class, 1 where it is; of values the scaled value, and 1 where there is one.

    Where nothing is known, all planes of a layer are 0.
    """

    def __init__(self, layers: tuple[PlaneConfig, ...]) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, patches: Mapping[str, Tensor]) -> Tensor:
        """Layers (n, p, p), uint8 indices or float values, to (n, planes, p, p) float32."""
        return torch.cat([self._planes(layer, patches[layer.name]) for layer in self.layers], dim=1)

    def _planes(self, layer: PlaneConfig, patch: Tensor) -> Tensor:
        if layer.classes:
            # Compared as bytes: a one-hot tensor of 64-bit numbers is eight times as large, and slower to make.
            wanted = torch.arange(1, layer.classes + 1, dtype=torch.uint8, device=patch.device)
            return (patch.to(torch.uint8)[:, None] == wanted[None, :, None, None]).to(torch.float32)
        there = torch.isfinite(patch)
        scaled = ((patch.float() - layer.centre) / layer.scale).clamp(-LIMIT, LIMIT)
        return torch.stack([torch.where(there, scaled, 0.0), there.float()], dim=1)
