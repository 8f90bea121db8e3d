"""One point for a mixture of hypotheses: five ways to choose it, each for all rows at once.

The mean of hypotheses that lie apart lies between them, where nobody thinks that the place is. So the default takes
the spherical mean inside the heaviest mode only. "median" minimises the expected distance, "geoscore" maximises the
expected score 5000 exp(−d / 1492.7 km) of the field, "argmax" takes the heaviest hypothesis as it is, and "flat" is
the mean of latitudes and longitudes, wrong across the antimeridian, which is kept to compare with.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from placevec.errors import UsageError
from placevec.geo.mixture.law import Mixture, angles
from placevec.geo.sphere import EARTH_RADIUS_M, LonLat

Floats = NDArray[np.float64]
Kind = Literal["mode", "argmax", "median", "geoscore", "flat"]

POINTS: tuple[Kind, ...] = get_args(Kind)
REACH_M = 50_000.0
SCORE_M = 1_492_700.0
"""The length in the geoscore 5000 exp(−d / 1492.7 km) (Haas et al. 2023, PIGEON)."""

# Balls whose weights differ by rounding only are equally heavy.
_DIGITS = 12
_STEPS = 200
# Steps shorter than a centimetre change nothing that a photo could tell.
_STILL = 0.01 / EARTH_RADIUS_M
_AT_ONCE = 2_000_000


def points(mixture: Mixture, how: Kind = "mode", *, reach_m: float = REACH_M) -> LonLat:
    """The point (n) of each law.

    Args:
        mixture: n laws; spreads and floor do not matter here. A law without any weight is taken to have equal ones.
        how: "mode" (the spherical mean of the hypotheses within `reach_m` of the one around which most weight lies),
            "argmax", "median" (geometric median on the sphere), "geoscore" or "flat".
        reach_m: the radius of a mode, in metres.

    Raises:
        UsageError: there is no such way, or the reach is not positive.
    """
    if how not in POINTS:
        raise UsageError(f"there is no point estimate {how!r}; choose one of {', '.join(POINTS)}")
    if not reach_m > 0:
        raise UsageError(f"the reach of a mode is {reach_m} m; give a positive number")
    m = mixture.weights.shape[1]
    if len(mixture) == 0:
        return LonLat(np.zeros(0), np.zeros(0))
    step = max(1, _AT_ONCE // (m * m))
    parts = [_points(mixture[at : at + step], how, reach_m) for at in range(0, len(mixture), step)]
    return LonLat(np.concatenate([p.lon for p in parts]), np.concatenate([p.lat for p in parts]))


def _points(mixture: Mixture, how: Kind, reach_m: float) -> LonLat:
    unit = mixture.unit
    total = mixture.weights.sum(axis=1, keepdims=True)
    weights = np.where(total > 0, mixture.weights, 1.0)
    weights = weights / weights.sum(axis=1, keepdims=True)
    if how == "flat":
        lonlat = mixture.lonlat
        lon, lat = lonlat.lon.reshape(weights.shape), lonlat.lat.reshape(weights.shape)
        return LonLat((weights * lon).sum(axis=1), (weights * lat).sum(axis=1))
    if how == "argmax":
        return LonLat.from_unit(unit[np.arange(len(unit)), np.argmax(weights, axis=1)])
    if how == "mode":
        return LonLat.from_unit(_mode(unit, weights, reach_m))
    if how == "median":
        return LonLat.from_unit(_descend(unit, weights, np.ones_like, lambda d: d))
    return LonLat.from_unit(_descend(unit, weights, _pull, lambda d: -_pull(d)))


def _pull(angle: Floats) -> Floats:
    share: Floats = np.exp(-angle * (EARTH_RADIUS_M / SCORE_M))
    return share


def _mode(unit: Floats, weights: Floats, reach_m: float) -> Floats:
    near = angles(unit[:, :, None, :], unit[:, None, :, :]) <= reach_m / EARTH_RADIUS_M
    mass = np.round(np.einsum("nij,nj->ni", near, weights), _DIGITS)
    # The heaviest ball; of equal ones that of the heaviest hypothesis, then the first. Fillers found no mode.
    mass = np.where(weights > 0, mass, -1.0)
    heaviest = mass == mass.max(axis=1, keepdims=True)
    centre = np.argmax(np.where(heaviest, weights, -1.0), axis=1)
    inside = np.take_along_axis(near, centre[:, None, None], axis=1)[:, 0] * weights
    mean = np.einsum("nm,nmk->nk", inside, unit)
    length = np.linalg.norm(mean, axis=1, keepdims=True)
    # Only a reach of half the Earth can make hypotheses cancel.
    lost = length < 1e-12
    found: Floats = np.where(lost, unit[np.arange(len(unit)), centre], mean / np.where(lost, 1.0, length))
    return found


def _descend(
    unit: Floats, weights: Floats, factor: Callable[[Floats], Floats], loss: Callable[[Floats], Floats]
) -> Floats:
    """The points (n, 3) that minimise Σ_j w_j loss(d_j): the best hypothesis, or what is found below it.

    Weiszfeld's steps on the sphere (Fletcher, Venkatasubramanian and Joshi 2009): go along Σ w u / Σ (w / d), where u
    are the directions to the hypotheses and w = w_j · factor(d_j). For a concave loss such as −exp(−d) the tangent at
    d lies above it, so that each step on the tangents goes down as well. At a hypothesis, whose own direction has no
    value, the pull of the others must exceed its own weight (Vardi and Zhang 2000), otherwise it is the answer.
    """
    every = np.arange(len(unit))
    between = angles(unit[:, :, None, :], unit[:, None, :, :])
    expected = np.einsum("nij,nj->ni", loss(between), weights)
    best = np.argmin(np.where(weights > 0, np.round(expected, _DIGITS), np.inf), axis=1)
    x = unit[every, best]
    found: Floats = x.copy()
    lowest = expected[every, best]
    active = every
    for _ in range(_STEPS):
        goal, mass = unit[active], weights[active]
        angle = angles(x[active, None, :], goal)
        here = angle < _STILL
        pull = mass * factor(angle)
        away = np.where(here, 0.0, pull)
        # Directions in the tangent plane: what of the hypothesis is not along x.
        along = (goal * x[active, None, :]).sum(axis=2, keepdims=True)
        flat = goal - along * x[active, None, :]
        flat /= np.maximum(np.linalg.norm(flat, axis=2, keepdims=True), 1e-300)
        push = (away[:, :, None] * flat).sum(axis=1)
        strength = np.linalg.norm(push, axis=1)
        own = np.where(here, pull, 0.0).sum(axis=1)
        stiff = (away / np.where(here, 1.0, angle)).sum(axis=1)
        free = np.maximum(0.0, 1.0 - own / np.maximum(strength, 1e-300))
        step = free * strength / np.maximum(stiff, 1e-300)
        go = step > _STILL
        active, push, strength, step = active[go], push[go], strength[go], step[go]
        if len(active) == 0:
            break
        turn = push / strength[:, None]
        x[active] = np.cos(step)[:, None] * x[active] + np.sin(step)[:, None] * turn
        x[active] /= np.linalg.norm(x[active], axis=1, keepdims=True)
    reached = (loss(angles(x[:, None, :], unit)) * weights).sum(axis=1)
    better = reached < lowest
    found[better] = x[better]
    return found
