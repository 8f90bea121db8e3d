"""Real spherical harmonics of all degrees below L, by the fully normalised three-term recurrence.

For sin(latitude) = x and cos(latitude) = s the associated Legendre functions, normalised on the sphere, are::

    P_mm = (-1)^m · sqrt((2m+1)!! / (2m)!!) / sqrt(4π) · s^m
    P_lm = a · x · P_(l-1)m  -  b · P_(l-2)m
    a = sqrt((4l² - 1) / (l² - m²)),   b = sqrt((2l+1)((l-1)² - m²) / ((2l-3)(l² - m²)))

(Holmes and Featherstone, J. Geodesy 76, 2002, eq. 11 and 12), and the real harmonics are::

    Y_lm = √2 · P_lm · cos(m·λ)  for m > 0,   P_l0  for m = 0,   √2 · P_l|m| · sin(|m|·λ)  for m < 0

with λ the longitude and the Condon-Shortley phase kept: Y_lm = √2·Re of the complex harmonic for m > 0 and √2·Im of
that of order |m| for m < 0. Degrees come in order, and within degree l the orders -l ... l: the column of (l, m) is
l² + l + m. No factorial is ever formed, so that nothing overflows: the closed form fails from L of about 86.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache

import torch
from torch import Tensor

BLOCK = 4096  # points at a time, so that the two rows of the recurrence stay in the cache


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
    out = torch.empty((degrees * degrees, len(lon)), dtype=dtype, device=lon.device)
    with torch.no_grad():
        for start in range(0, len(lon), BLOCK):
            stop = start + BLOCK
            _fill(out[:, start:stop], lon[start:stop], lat[start:stop], degrees)
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


def azimuth(lon: Tensor, degrees: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """√2·cos(mλ) and √2·sin(mλ), each (L, n) by order m (1 and 0 for m = 0), of longitudes (n,) in degrees."""
    radians = torch.deg2rad(lon.to(torch.float64))
    # By the addition theorem in float64, order after order: m multiplications lose m units in the last place, while
    # a float32 cosine of 100·λ would lose a thousand.
    turn = torch.complex(torch.cos(radians), torch.sin(radians))
    power = torch.full_like(turn, math.sqrt(2.0))
    waves = torch.empty((degrees, len(radians)), dtype=turn.dtype, device=lon.device)
    waves[0] = 1.0
    for order in range(1, degrees):
        power = power * turn
        waves[order] = power
    return waves.real.to(dtype), waves.imag.to(dtype)


def _fill(out: Tensor, lon: Tensor, lat: Tensor, degrees: int) -> None:
    cosines, sines = azimuth(lon, degrees, out.dtype)
    backwards = sines[1:].flip(0)  # sin of orders L-1 ... 1: those of degree l are its last l rows
    for degree, exact in enumerate(legendre(lat, degrees)):
        centre = column(degree, 0)
        row = exact.to(out.dtype)
        torch.mul(row, cosines[: degree + 1], out=out[centre : centre + degree + 1])
        if degree:
            torch.mul(row[1:].flip(0), backwards[-degree:], out=out[centre - degree : centre])


@lru_cache(maxsize=4096)
def _coefficients(degree: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The factors a (l, 1) for m = 0 ... l-1 and b (l-1, 1) for m = 0 ... l-2 of one degree."""
    m = torch.arange(degree, dtype=torch.float64)
    span = degree * degree - m * m
    a = torch.sqrt((4.0 * degree * degree - 1.0) / span)
    lower = torch.sqrt((2 * degree + 1) * ((degree - 1) ** 2 - m * m) / (max(2 * degree - 3, 1) * span))[:-1]
    return a[:, None].to(device), lower[:, None].to(device)
