"""Distances and steps on the sphere whose gradients are finite everywhere."""

from __future__ import annotations

import torch
from torch import Tensor

from placevec.geo.sphere import EARTH_RADIUS_M


def distance_m(p: Tensor, q: Tensor) -> Tensor:
    """Great-circle distances in metres, 2R·atan2(|p - q|, |p + q|), of unit vectors (..., 3) that broadcast.

    Exact for near points in float32, where the haversine formula rounds (Kahan 2006, section 12). The gradient is
    finite everywhere: of length 1 in metres, but 0 where the points coincide or are antipodes, where a distance has a
    corner and no direction. There the haversine formula divides zero by zero.
    """
    apart = torch.linalg.vector_norm(p - q, dim=-1)
    along = torch.linalg.vector_norm(p + q, dim=-1)
    return 2.0 * EARTH_RADIUS_M * torch.atan2(apart, along)


def pairwise_m(points: Tensor, centres: Tensor) -> Tensor:
    """Distances in metres (n, N) float64 between unit vectors (n, 3) and (N, 3), without gradient; right to 0.1 m.

    By one product p·q and atan2(√(1 - p·q), √(1 + p·q)), in float64 whatever is given: in float32 the difference
    1 - p·q has lost points within 2 km of each other.
    """
    with torch.no_grad():
        p = torch.nn.functional.normalize(points.to(torch.float64), dim=1)
        q = torch.nn.functional.normalize(centres.to(torch.float64), dim=1)
        dot = p @ q.T
        half = torch.atan2((1.0 - dot).clamp_(min=0.0).sqrt_(), (1.0 + dot).clamp_(min=0.0).sqrt_())
        return half.mul_(2.0 * EARTH_RADIUS_M)


def tangent_axes(centre: Tensor) -> tuple[Tensor, Tensor]:
    """The unit vectors east and north of unit vectors (..., 3); at a pole those of longitude 0."""
    x, y, z = centre.unbind(dim=-1)
    width = torch.sqrt(x.square() + y.square())
    pole = width == 0
    safe = torch.where(pole, 1.0, width)
    cos_lon, sin_lon = torch.where(pole, 1.0, x / safe), torch.where(pole, 0.0, y / safe)
    east = torch.stack([-sin_lon, cos_lon, torch.zeros_like(z)], dim=-1)
    north = torch.stack([-z * cos_lon, -z * sin_lon, width], dim=-1)
    return east, north


def move(centre: Tensor, offset_m: Tensor) -> Tensor:
    """The exponential map: the unit vectors at `offset_m` (..., 2), metres east and north, from `centre` (..., 3).

    With o the offset, t its direction in space and a = |o| / R::

        p = cos(a)·centre + sin(a)·t

    The length of the offset is the great-circle distance and its direction the bearing, as in
    `placevec.geo.sphere.from_tangent`. The dtype is the wider of both: give centres in float64 for points that are
    right to less than a metre.
    """
    east, north = tangent_axes(centre.detach())
    step = offset_m.to(torch.promote_types(centre.dtype, offset_m.dtype)) / EARTH_RADIUS_M
    square = step.square().sum(dim=-1, keepdim=True)
    # Near 0 by series, in which there is no root: that of 0 has no gradient.
    near = square < 1e-6
    angle = torch.where(near, 1.0, square).sqrt()
    cos = torch.where(near, 1.0 - square / 2.0 + square.square() / 24.0, torch.cos(angle))
    sinc = torch.where(near, 1.0 - square / 6.0 + square.square() / 120.0, torch.sin(angle) / angle)
    return cos * centre + sinc * (step[..., :1] * east + step[..., 1:] * north)
