"""Spherical harmonics times a weight on a lon/lat grid, without the harmonics of a single pixel.

P_lm depends on the latitude alone, cos(mλ) and sin(mλ) on the longitude alone. So, for a first layer of weight w,

    Σ_lm Y_lm(λ, φ) · w_lm = Σ_m cos(mλ) · A_m(φ) + sin(mλ) · B_m(φ),     A_m(φ) = Σ_l P_lm(φ) · w_lm

with A and B formed once for a row of pixels. A pixel costs 2L-1 products for each unit instead of L².

Less still: over a panel of neighbouring columns the 2L-1 waves are all but linearly dependent. A panel that spans the
share f of the circle has about (2L-1)·f + 10 directions (the Shannon number, Slepian 1978), found by a singular value
decomposition of its table of waves. Only those are summed.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from placevec.nn.harmonics import azimuth, column, empty, legendre

PANEL = 128  # columns at a time: enough for the matrix product, few enough to span a small share of the circle
DROPPED = 1e-8  # directions of a panel below this share of its largest one are left out: beyond float32


class HarmonicsGrid:
    """The first layer of a network on spherical harmonics, on rows of pixels: see `nn.position.base.GridLayer`.

    Args:
        weight: (h, L²) float32, columns in the order of `nn.harmonics.column`.
        degrees: L.
        lons: (W,) longitudes of the columns in degrees, float64, in any order.
    """

    @torch.no_grad()
    def __init__(self, weight: Tensor, degrees: int, lons: Tensor) -> None:
        if weight.ndim != 2 or weight.shape[1] != degrees * degrees:
            raise ValueError(f"a weight of {tuple(weight.shape)} for {degrees} degrees: it needs {degrees**2} columns")
        self.degrees = degrees
        self.units = len(weight)
        self.width = len(lons)
        self._orders = _by_order(weight.detach().to(torch.float32), degrees)
        self._panels = [(start, *_panel(lons[start : start + PANEL], degrees)) for start in range(0, self.width, PANEL)]

    @torch.no_grad()
    def __call__(self, lats: Tensor) -> Tensor:
        """Latitudes (R,) in degrees, float64, to (R, W, h) float32."""
        rows = len(lats)
        out = empty((rows, self.width, self.units), torch.float32, lats.device)
        sums = self._sums(lats)
        for start, basis, directions in self._panels:
            stop = start + len(basis)
            for row in range(rows):
                near = sums[row] if directions is None else directions @ sums[row]
                torch.mm(basis, near, out=out[row, start:stop])
        return out

    def _sums(self, lats: Tensor) -> Tensor:
        """A_0, B_0, A_1, B_1, ... of each row: (R, 2L, h)."""
        tables = legendre_by_order(lats, self.degrees)
        sums = torch.empty((len(lats), self.degrees, 2 * self.units), dtype=torch.float32, device=lats.device)
        for order, (table, weight) in enumerate(zip(tables, self._orders, strict=True)):
            torch.mm(table, weight, out=sums[:, order])
        return sums.view(len(lats), 2 * self.degrees, self.units)


def legendre_by_order(lats: Tensor, degrees: int) -> list[Tensor]:
    """For m = 0 ... L-1 the P_lm of latitudes (R,) for l = m ... L-1, each (R, L-m) float32."""
    full = torch.zeros((degrees, len(lats), degrees), dtype=torch.float32, device=lats.device)
    for degree, row in enumerate(legendre(lats, degrees)):
        full[: degree + 1, :, degree] = row.to(torch.float32)
    return [full[order, :, order:] for order in range(degrees)]


def _by_order(weight: Tensor, degrees: int) -> list[Tensor]:
    """For m = 0 ... L-1 the weights of (l, m) and, beside them, of (l, -m): (L-m, 2h); for m = 0 the latter are 0."""
    found = []
    for order in range(degrees):
        plus = [column(degree, order) for degree in range(order, degrees)]
        minus = [column(degree, -order) for degree in range(order, degrees)]
        sines = weight[:, minus].T if order else torch.zeros_like(weight[:, minus].T)
        found.append(torch.cat([weight[:, plus].T, sines], dim=1).contiguous())
    return found


def _panel(lons: Tensor, degrees: int) -> tuple[Tensor, Tensor | None]:
    """A basis (w, r) of the waves of a panel, and how the 2L waves become it (r, 2L); None where that saves nothing."""
    cosines, sines = azimuth(lons, degrees, torch.float64)
    table = torch.stack([cosines, sines], dim=1).flatten(0, 1).T  # (w, 2L): cos 0, sin 0, cos 1, sin 1, ...
    left, size, right = np.linalg.svd(table.cpu().numpy(), full_matrices=False)
    rank = int((size > DROPPED * size[:1]).sum())
    if 4 * rank > 3 * table.shape[1]:
        return table.to(torch.float32).contiguous(), None
    # The singular values go half to either side, so that float32 rounds small and large ones alike.
    half = np.sqrt(size[:rank])
    basis, directions = left[:, :rank] * half, half[:, None] * right[:rank]
    return (
        torch.from_numpy(basis).to(lons.device, torch.float32),
        torch.from_numpy(directions).to(lons.device, torch.float32),
    )
