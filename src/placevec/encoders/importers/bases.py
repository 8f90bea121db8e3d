"""The columns of SatCLIP's position encodings as multiples of columns of ours.

SatCLIP (github.com/microsoft/satclip, `positional_encoding/`) evaluates its harmonics at φ = lon + 180° and
θ = lat + 90°, so that cos θ = -sin(lat) and sin θ = cos(lat). For the associated Legendre functions
P_lm(-x) = (-1)^(l+m)·P_lm(x), and a half turn multiplies cos mφ and sin mφ by (-1)^m: the two make (-1)^l.
It has two bases, which its hyper-parameter `harmonics_calculation` names:

- "closed-form" keeps the Condon-Shortley phase (-1)^m, as ours does (`nn.harmonics`).
- "analytic" takes it out, and its generator writes the norm of order 0 as sqrt((2l+1)/4·π), which is π times the norm
  sqrt((2l+1)/(4π)) (issue 33 of that repository). A network that learned with both needs both.

"analytic-corrected" is the analytic basis from a generator with the brackets set right; the hyper-parameters of such a
checkpoint call it "analytic" too. In all three the column of (l, m) is l² + l + m, cosines for m > 0, as in ours.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from placevec.errors import UsageError

BASES = ("analytic", "closed-form", "analytic-corrected")


def harmonic_factors(basis: str, degrees: int) -> Tensor:
    """The factors (L²,), float64: the peer's column is factor times ours.

    Args:
        basis: one of `BASES`.
        degrees: L.

    Raises:
        UsageError: an unknown basis.
    """
    if basis not in BASES:
        raise UsageError(f"no basis of SatCLIP is called {basis!r}; known: {', '.join(BASES)}")
    column = np.arange(degrees * degrees)
    degree = np.sqrt(column).astype(np.int64)  # exact: the floor of the root of an integer far below 2^52
    order = column - degree * degree - degree
    factor = np.where(degree % 2 == 0, 1.0, -1.0)
    if basis != "closed-form":
        factor *= np.where(order % 2 == 0, 1.0, -1.0)
    if basis == "analytic":
        factor[order == 0] *= math.pi
    return torch.from_numpy(factor)


def grid_columns(frequencies: int) -> Tensor:
    """The peer's column (4·S,) for each column of our Space2Vec grid of S scales.

    SatCLIP's "grid" has all scales of longitude and then all of latitude, each as (sin, cos); ours has for each scale
    (cos, sin) of longitude and (cos, sin) of latitude. Angles and radii are the same: degrees / radius in radians.
    """
    scale = 2 * torch.arange(frequencies)
    half = 2 * frequencies
    return torch.stack([scale + 1, scale, half + scale + 1, half + scale], dim=1).flatten()
