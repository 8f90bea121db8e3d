"""Augmentations of chips seen from above, in torch, all random numbers from one generator.

A chip has no up: flips and quarter turns cost nothing. Everything works on chips normalised per band.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from placevec.errors import UsageError


@dataclass(frozen=True)
class AugmentConfig:
    """How much a view of a chip may differ from it."""

    min_scale: float = 0.5  # least share of the chip's area that a crop keeps; 1: no crops
    turn: bool = True  # flips and quarter turns
    # In a calibrated mosaic the colour of the ground says most about a place, and learning to overlook it costs the
    # probes of Blue Marble 0.1 of R². Chips of many dates, sensors or haze want 0.1 to 0.2 in these three.
    brightness: float = 0.0  # deviation of what is added to all bands of a chip, in deviations of a band
    contrast: float = 0.0  # deviation of the logarithm of the factor of all bands about the chip's mean
    colour: float = 0.0  # deviation of what is added to each band of a chip
    noise: float = 0.0  # deviation of what is added to each pixel

    def __post_init__(self) -> None:
        if not 0 < self.min_scale <= 1:
            raise UsageError(f"min_scale = {self.min_scale}: give a share above 0, at most 1")
        for name in ("brightness", "contrast", "colour", "noise"):
            if getattr(self, name) < 0:
                raise UsageError(f"{name} = {getattr(self, name)}: give 0 or more")

    @property
    def still(self) -> bool:
        """Whether every view is the chip itself."""
        strength = (self.brightness, self.contrast, self.colour, self.noise)
        return self.min_scale == 1 and not self.turn and not any(strength)


def augment(chips: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """A random view of each chip.

    Args:
        chips: (n, bands, h, w) float32, normalised.
        config: how much.
        generator: a CPU generator; the numbers are the same on every device.
    """
    n, bands = chips.shape[:2]

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(chips.device)

    out = F.grid_sample(
        chips,
        F.affine_grid(_crops(n, config, generator).to(chips.device), list(chips.shape), align_corners=False),
        mode="bilinear",
        padding_mode="reflection",
        align_corners=False,
    )
    middle = out.mean(dim=(2, 3), keepdim=True)
    out = middle + (out - middle) * torch.exp(config.contrast * normal(n, 1, 1, 1))
    out = out + config.brightness * normal(n, 1, 1, 1) + config.colour * normal(n, bands, 1, 1)
    return out + config.noise * normal(*out.shape)


def _crops(n: int, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """(n, 2, 3) the affine maps from a view to its chip, both in [-1, 1]: crop, flip and quarter turn in one."""
    area = config.min_scale + (1.0 - config.min_scale) * torch.rand(n, generator=generator)
    stretch = torch.exp((torch.rand(n, generator=generator) * 2 - 1) * (0.29 if config.min_scale < 1 else 0.0))
    size = torch.stack([(area * stretch).sqrt(), (area / stretch).sqrt()], dim=1).clamp_max(1.0)
    centre = (torch.rand(n, 2, generator=generator) * 2 - 1) * (1.0 - size)
    matrix = torch.diag_embed(size)
    if config.turn:
        signs = torch.randint(0, 2, (n, 2), generator=generator) * 2.0 - 1.0
        matrix = matrix * signs[:, :, None]
        swap = torch.randint(0, 2, (n, 1, 1), generator=generator).bool()
        matrix = torch.where(swap, matrix.flip(2), matrix)
    return torch.cat([matrix, centre[:, :, None]], dim=2)
