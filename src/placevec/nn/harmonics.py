"""Real spherical harmonics of all degrees below L.

For sin(latitude) = x and cos(latitude) = s the associated Legendre functions, normalised on the sphere, are::

    P_mm = (-1)^m · sqrt((2m+1)!! / (2m)!!) / sqrt(4π) · s^m
    P_lm = a · x · P_(l-1)m  -  b · P_(l-2)m
    a = sqrt((4l² - 1) / (l² - m²)),   b = sqrt((2l+1)((l-1)² - m²) / ((2l-3)(l² - m²)))

(Holmes and Featherstone, J. Geodesy 76, 2002, eq. 11 and 12), and the real harmonics are::

    Y_lm = √2 · P_lm · cos(m·λ)  for m > 0,   P_l0  for m = 0,   √2 · P_l|m| · sin(|m|·λ)  for m < 0

with λ the longitude and the Condon-Shortley phase kept: Y_lm = √2·Re of the complex harmonic for m > 0 and √2·Im of
that of order |m| for m < 0. Degrees come in order, and within degree l the orders -l ... l: the column of (l, m) is
l² + l + m. No factorial is ever formed, so that nothing overflows: the closed form fails from L of about 86.

There are two ways to P_lm. In float64 the recurrence runs at every point. In float32 it runs once, at 2L nodes, which
gives the finite Fourier series of every P_lm in the colatitude θ (`legendre_series`)::

    P_lm(θ) = Σ_k F_lmk · cos(k·θ)  for even m,   Σ_k F_lmk · sin(k·θ)  for odd m;   k = l, l-2, ... >= 0

so that the functions of a degree at many points are one matrix product. cos(k·θ) is rounded to float32 only after it
was formed in float64: unlike a recurrence in float32, whose sine of the latitude no longer tells the latitude near a
pole, a sum of them is right to a few units in the last place everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

BLOCK = 4096  # points at a time, so that what a degree is made of stays in the cache
SERIES_DEGREES = 256  # the series takes 2·L³/3 bytes (11 MB here): above it float32 too goes by the recurrence


def column(degree: int, order: int) -> int:
    """The column of the harmonic of `degree` and `order` (-degree ... degree)."""
    return degree * degree + degree + order


def spherical_harmonics(lon: Tensor, lat: Tensor, degrees: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """All real spherical harmonics of degree below `degrees` at n points.

    Args:
        lon: (n,) longitudes in degrees, float64.
        lat: (n,) latitudes in degrees, float64.
        degrees: L, the number of degrees, at least 1.
        dtype: torch.float32 (right to 1e-5 at L = 100) or torch.float64 (1e-12 at L = 200).

    Returns:
        (n, L²) of `dtype`; a transposed view of memory that runs along the points, which matrix products take as it is.
    """
    if degrees < 1:
        raise ValueError(f"{degrees} degrees of spherical harmonics: ask for at least 1")
    fast = dtype == torch.float32 and degrees <= SERIES_DEGREES
    fill = _fill_by_series if fast else _fill_by_recurrence
    out = empty((degrees * degrees, len(lon)), dtype, lon.device)
    with torch.no_grad():
        for start in range(0, len(lon), BLOCK):
            stop = start + BLOCK
            fill(out[:, start:stop], lon[start:stop], lat[start:stop], degrees)
    return out.T


def legendre(lat: Tensor, degrees: int) -> Iterator[Tensor]:
    """The normalised P_lm of latitudes (n,) in degrees: for l = 0, 1, ... a tensor (l+1, n) float64, by order m.

    Always in float64: near the poles a float32 sine has lost the latitude, and costs 4e-4 at L = 100.
    """
    radians = torch.deg2rad(lat.to(torch.float64))
    x, s = torch.sin(radians), torch.cos(radians)
    before = row = torch.full_like(s, 1.0 / math.sqrt(4.0 * math.pi))[None]
    yield row
    for degree in range(1, degrees):
        a, b = _coefficients(degree, s.device)
        following = torch.empty((degree + 1, len(s)), dtype=torch.float64, device=s.device)
        torch.mul(row, x, out=following[:degree]).mul_(a)
        if degree > 1:
            following[: degree - 1].addcmul_(before, b, value=-1.0)
        torch.mul(row[-1], s, out=following[degree]).mul_(-math.sqrt((2 * degree + 1) / (2 * degree)))
        before, row = row, following
        yield row


@lru_cache(maxsize=4)
def legendre_series(degrees: int, device: torch.device) -> tuple[tuple[Tensor, Tensor], ...]:
    """The Fourier coefficients of P_lm in the colatitude θ, float32: for l = 0, 1, ... two tensors.

    The first, (l//2 + 1, l//2 + 1), has the even orders as rows and the factors of cos(k·θ) as columns; the second,
    ((l+1)//2, l//2 + 1), the odd orders and sin(k·θ); both with k = l mod 2, +2, ... l.

    They are those of the discrete transform over the nodes (j + ½)π/2L, which is exact for k < 2L.
    """
    nodes = (np.arange(2 * degrees) + 0.5) * (math.pi / (2 * degrees))
    angle = np.outer(np.arange(degrees), nodes)
    cosines, sines = np.cos(angle) / degrees, np.sin(angle) / degrees
    cosines[0] /= 2.0
    found = []
    for degree, row in enumerate(legendre(torch.from_numpy(90.0 - np.rad2deg(nodes)), degrees)):
        exact, k = row.numpy(), slice(degree % 2, degree + 1, 2)
        even, odd = (torch.from_numpy(part) for part in (exact[0::2] @ cosines[k].T, exact[1::2] @ sines[k].T))
        found.append((even.to(device, torch.float32), odd.to(device, torch.float32)))
    return tuple(found)


def waves(angle: Tensor, count: int, first: float = 1.0) -> Tensor:
    """cos(m·angle) + i·sin(m·angle) as (count, n) complex128 by m = 0, 1, ..., of angles (n,) in degrees.

    All but m = 0 are multiplied by `first`. By the addition theorem in float64, doubling the known orders: log2(m)
    multiplications lose as many units in the last place, while a float32 cosine of 100·angle would lose a thousand.
    """
    radians = torch.deg2rad(angle.to(torch.float64))
    turn = torch.complex(torch.cos(radians), torch.sin(radians))
    found = torch.empty((count, len(radians)), dtype=turn.dtype, device=angle.device)
    found[0] = 1.0
    if count > 1:
        found[1] = turn
    known = 2
    while known < count:
        more = min(known - 1, count - known)
        torch.mul(found[1 : 1 + more], found[known - 1], out=found[known : known + more])
        known += more
    if first != 1.0:
        found[1:] *= first
    return found


def azimuth(lon: Tensor, degrees: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """√2·cos(mλ) and √2·sin(mλ), each (L, n) by order m (1 and 0 for m = 0), of longitudes (n,) in degrees."""
    found = waves(lon, degrees, math.sqrt(2.0))
    return _run(found.real, dtype), _run(found.imag, dtype)


def empty(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """A tensor of `dtype` (torch.float32 or float64) that is about to be filled.

    On the CPU it is numpy's, which asks the system for huge pages: with small ones, the first touch of new memory takes
    longer than the sums that are written there.
    """
    if device.type != "cpu":
        return torch.empty(shape, dtype=dtype, device=device)
    return torch.from_numpy(np.empty(shape, dtype=np.float64 if dtype == torch.float64 else np.float32))


def _fill_by_series(out: Tensor, lon: Tensor, lat: Tensor, degrees: int) -> None:
    cosines, sines = azimuth(lon, degrees, torch.float32)
    backwards = sines[1:].flip(0)  # sin of orders L-1 ... 1: those of degree l are its last l rows
    around = waves(90.0 - lat.to(torch.float64), degrees)
    tables = [(_run(around[p::2].real, torch.float32), _run(around[p::2].imag, torch.float32)) for p in (0, 1)]
    rows = torch.empty((degrees, len(lon)), dtype=torch.float32, device=out.device)
    for degree, (even, odd) in enumerate(legendre_series(degrees, out.device)):
        cos_k, sin_k = tables[degree % 2]
        count = degree // 2 + 1
        torch.mm(even, cos_k[:count], out=rows[: degree + 1 : 2])
        if degree:
            torch.mm(odd, sin_k[:count], out=rows[1 : degree + 1 : 2])
        _spread(out, rows[: degree + 1], cosines, backwards, degree)


def _fill_by_recurrence(out: Tensor, lon: Tensor, lat: Tensor, degrees: int) -> None:
    cosines, sines = azimuth(lon, degrees, out.dtype)
    backwards = sines[1:].flip(0)
    for degree, exact in enumerate(legendre(lat, degrees)):
        _spread(out, exact.to(out.dtype), cosines, backwards, degree)


def _spread(out: Tensor, row: Tensor, cosines: Tensor, backwards: Tensor, degree: int) -> None:
    """The rows of `out` of a degree, from its Legendre functions (l+1, n)."""
    centre = column(degree, 0)
    if out.device.type == "cpu":  # numpy reads rows backwards as they lie, torch copies them
        into, values, around = out.numpy(), row.numpy(), cosines.numpy()
        np.multiply(values, around[: degree + 1], out=into[centre : centre + degree + 1])
        np.multiply(values[:0:-1], backwards.numpy()[len(backwards) - degree :], out=into[centre - degree : centre])
        return
    torch.mul(row, cosines[: degree + 1], out=out[centre : centre + degree + 1])
    if degree:
        torch.mul(row[1:].flip(0), backwards[-degree:], out=out[centre - degree : centre])


def _run(values: Tensor, dtype: torch.dtype) -> Tensor:
    # A part of a complex tensor is strided; what is read L times is laid out in one run.
    return values.to(dtype, memory_format=torch.contiguous_format, copy=True)


@lru_cache(maxsize=4096)
def _coefficients(degree: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The factors a (l, 1) for m = 0 ... l-1 and b (l-1, 1) for m = 0 ... l-2 of one degree."""
    m = torch.arange(degree, dtype=torch.float64)
    span = degree * degree - m * m
    a = torch.sqrt((4.0 * degree * degree - 1.0) / span)
    lower = torch.sqrt((2 * degree + 1) * ((degree - 1) ** 2 - m * m) / (max(2 * degree - 3, 1) * span))[:-1]
    return a[:, None].to(device), lower[:, None].to(device)
