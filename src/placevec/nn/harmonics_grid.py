"""Spherical harmonics times a weight on a lon/lat grid, without the harmonics of a single pixel.

P_lm depends on the latitude alone, cos(mλ) and sin(mλ) on the longitude alone. So, for a first layer of weight w,

    Σ_lm Y_lm(λ, φ) · w_lm = Σ_m cos(mλ) · A_m(φ) + sin(mλ) · B_m(φ),     A_m(φ) = Σ_l P_lm(φ) · w_lm

with A and B formed once for a row of pixels. A pixel costs 2L-1 products for each unit instead of L².

Less still: over a panel of neighbouring columns the 2L-1 waves are all but linearly dependent. A panel that spans the
share f of the circle has about (2L-1)·f + 10 directions (the Shannon number, Slepian 1978), found by a singular value
decomposition of its table of waves. Only those are summed.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from placevec.nn.harmonics import azimuth, column, empty, legendre, legendre_series, waves

PANEL = 128  # columns at a time: enough for the matrix product, few enough to span a small share of the circle
DROPPED = 3e-8  # directions of a panel below this share of its largest one are left out: half a unit of float32
TABLE_DEGREES = 128  # up to it (8 MB) the Legendre functions of some rows are two matrix products


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
        out = empty((len(lats), self.width, self.units), torch.float32, lats.device)
        sums = self._sums(lats)
        for start, basis, directions in self._panels:
            stop = start + len(basis)
            near = sums if directions is None else product(directions, sums)
            near = near.view(basis.shape[1], len(lats), self.units)
            product(basis, near.transpose(0, 1), out=out[:, start:stop])
        return out

    def _sums(self, lats: Tensor) -> Tensor:
        """A_0 ... A_(L-1), B_1 ... B_(L-1) of each row: (2L-1, R·h)."""
        tables, count = legendre_by_order(lats, self.degrees), self.degrees
        sums = torch.empty((2 * count - 1, len(lats), self.units), dtype=torch.float32, device=lats.device)
        for order, (table, (cosines, sines)) in enumerate(zip(tables, self._orders, strict=True)):
            torch.mm(table, cosines, out=sums[order])
            if order:
                torch.mm(table, sines, out=sums[count + order - 1])
        return sums.flatten(1)


def product(left: Tensor, right: Tensor, out: Tensor | None = None) -> Tensor:
    """The matrix product in float32 of (p, q) and (..., q, s), into `out` if given.

    On the CPU it is numpy's: of matrices as thin as these OpenBLAS makes up to twice as many a second as the MKL of
    torch does (measured on AMD), and neither needs them copied.
    """
    if left.device.type != "cpu":
        return torch.matmul(left, right, out=out)
    into = None if out is None else out.numpy()
    return torch.from_numpy(np.matmul(left.numpy(), right.numpy(), out=into))


def legendre_by_order(lats: Tensor, degrees: int) -> list[Tensor]:
    """For m = 0 ... L-1 the P_lm of latitudes (R,) for l = m ... L-1, each (R, L-m) float32."""
    if degrees <= TABLE_DEGREES:
        around, table = waves(90.0 - lats.to(torch.float64), degrees).T, _series_table(degrees, lats.device)
        full = torch.empty((degrees, len(lats), degrees), dtype=torch.float32, device=lats.device)
        full[0::2] = around.real.to(torch.float32) @ table[0::2]
        full[1::2] = around.imag.to(torch.float32) @ table[1::2]
    else:
        full = torch.zeros((degrees, len(lats), degrees), dtype=torch.float32, device=lats.device)
        for degree, row in enumerate(legendre(lats, degrees)):
            full[: degree + 1, :, degree] = row.to(torch.float32)
    return [full[order, :, order:] for order in range(degrees)]


@lru_cache(maxsize=4)
def _series_table(degrees: int, device: torch.device) -> Tensor:
    """The Fourier coefficients of `legendre_series` as one table (L, L, L): order m, frequency k, degree l."""
    table = torch.zeros((degrees, degrees, degrees), dtype=torch.float32, device=device)
    for degree, (even, odd) in enumerate(legendre_series(degrees, device)):
        frequencies = slice(degree % 2, degree + 1, 2)
        table[0 : degree + 1 : 2, frequencies, degree] = even
        table[1 : degree + 1 : 2, frequencies, degree] = odd
    return table


def _by_order(weight: Tensor, degrees: int) -> list[tuple[Tensor, Tensor]]:
    """For m = 0 ... L-1 the weights of (l, m) and those of (l, -m), each (L-m, h)."""
    found = []
    for order in range(degrees):
        plus = [column(degree, order) for degree in range(order, degrees)]
        minus = [column(degree, -order) for degree in range(order, degrees)]
        found.append((weight[:, plus].T.contiguous(), weight[:, minus].T.contiguous()))
    return found


def _panel(lons: Tensor, degrees: int) -> tuple[Tensor, Tensor | None]:
    """A basis (w, r) of the waves of a panel, and how the 2L-1 waves become it (r, 2L-1), or None."""
    # None: the waves themselves are the basis, where another would hardly be smaller.
    cosines, sines = azimuth(lons, degrees, torch.float64)
    table = torch.cat([cosines, sines[1:]]).T  # (w, 2L-1)
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
