"""Highest-density regions of a mixture without a grid: the mass above every density, from well-spread samples.

The samples of a kernel lie on sunflowers (Vogel 1979): the golden angle from one to the next, radii by quantiles. Most
are drawn at √2 times the kernel's spread, to reach its tail. If a floor has no ground of its own, some more are even
over a disc as large as its area, and all are weighted by the balance heuristic (Veach and Guibas 1995). No chance is in
them: the same mixture always has the same levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from placevec.errors import DataError
from placevec.geo.mixture.law import Mixture, log_hypotheses, log_peak, paired_units
from placevec.geo.sphere import EARTH_RADIUS_M, LonLat

Floats = NDArray[np.float64]

SAMPLES = 2560
"""Samples of all hypotheses of a law together: a level is then right to 0.01."""

_GOLDEN = np.pi * (3.0 - np.sqrt(5.0))
# How much wider than the kernel most samples lie, as a factor on κ.
_THIN = 0.5
_FEWEST = 48
# To so many of them comes one that is spread evenly over the area.
_PER_EVEN = 4
# So many terms at once stay near the processor.
_AT_ONCE = 300_000


class Samples(NamedTuple):
    """Weighted samples of n mixtures, k for all hypotheses together.

    Attributes:
        unit: (n, k, 3) unit vectors.
        weights: (n, k); those of a hypothesis add up to its weight.
        log_share: (n, k) the log of the area that a sample stands for times the density of its own hypothesis there:
            over the density of all, it is the sample's part of the area of a region.
    """

    unit: Floats
    weights: Floats
    log_share: Floats


class Profile(NamedTuple):
    """The mass above each density, for n mixtures.

    Attributes:
        log_density: (n, k) falling densities of the hypotheses alone, per square metre.
        mass: (n, k) the probability, floor included, of all places with at least that density; rising.
    """

    log_density: Floats
    mass: Floats

    def thresholds(self, level: float) -> Floats:
        """The log density (n,) above which the mass is `level`; NaN where the hypotheses do not reach so far."""
        out = np.full(len(self.mass), np.nan)
        for row, (logs, mass) in enumerate(zip(self.log_density, self.mass, strict=True)):
            if level <= mass[-1] and np.isfinite(logs[0]):
                out[row] = np.interp(level, mass, logs)
        return out


def spread_samples(mixture: Mixture, count: int = SAMPLES, *, even: bool = False) -> Samples:
    """Samples of each law: about `count`, and, if `even`, a quarter more that are even over the area.

    Each hypothesis has as many, at least 48: of many hypotheses each has less to say.

    Raises:
        DataError: fewer than 8 samples.
    """
    if count < 8:
        raise DataError(f"{count} samples show no region; take at least 8")
    n, m = mixture.weights.shape
    samples = max(count // m, min(count, _FEWEST))
    kappa = ((EARTH_RADIUS_M / mixture.spread_m) ** 2)[:, :, None]
    more = samples // _PER_EVEN if even else 0
    # Depths s = κ (1 − cos t), in which a kernel falls as exp(−s) and area grows evenly, by 2π σ² ds.
    share = (np.arange(samples) + 0.5) / samples
    inner = -np.log1p(share * np.expm1(-2.0 * _THIN * kappa)) / _THIN
    farthest = kappa * min(2.0, mixture.area_m2 / (2.0 * np.pi * EARTH_RADIUS_M**2))
    depth = np.concatenate([inner, farthest * (np.arange(more) + 0.5) / max(more, 1)], axis=2)
    drawn = samples * _THIN * np.exp(-_THIN * depth) / -np.expm1(-2.0 * _THIN * kappa)
    step = 1.0 / (drawn + np.where(depth <= farthest, more / farthest, 0.0))
    mass = step * np.exp(-depth)
    weights = mixture.weights[:, :, None] * mass / mass.sum(axis=2, keepdims=True)
    with np.errstate(divide="ignore"):
        own = np.log(mixture.weights) + log_peak(mixture.spread_m) + np.log(2.0 * np.pi * mixture.spread_m**2)
    log_share = own[:, :, None] - depth + np.log(step)
    # Sunflowers of different kernels are turned against each other.
    order = np.concatenate([np.arange(samples), np.arange(more)])
    turn = _GOLDEN * (order[None, :] + 0.382 * np.arange(m)[:, None])
    height = depth / kappa
    sine = np.sqrt(np.maximum(height * (2.0 - height), 0.0))
    one, two = _tangents(mixture.unit)
    unit = (1.0 - height)[..., None] * mixture.unit[:, :, None, :]
    unit += (sine * np.cos(turn))[..., None] * one[:, :, None, :]
    unit += (sine * np.sin(turn))[..., None] * two[:, :, None, :]
    k = m * (samples + more)
    return Samples(unit.reshape(n, k, 3), weights.reshape(n, k), log_share.reshape(n, k))


def profile(mixture: Mixture, samples: int = SAMPLES) -> Profile:
    """The mass above each density.

    The mass of the hypotheses is the weight of the samples; that of the floor is the share of the ground's points in
    the region, or, without a ground, the area of the region as a part of the floor's area.
    """
    counted = mixture.ground is not None or not mixture.floor.any()
    unit, weights, log_share = spread_samples(mixture, samples, even=not counted)
    logs = log_hypotheses(mixture, unit, exact=False)
    if mixture.ground is not None:
        over = np.broadcast_to(mixture.ground, (len(mixture), *mixture.ground.shape))
        logs = np.concatenate([logs, log_hypotheses(mixture, over, exact=False)], axis=1)
        each = np.broadcast_to(mixture.floor[:, None] / len(mixture.ground), over.shape[:2])
        weights = np.concatenate([weights, each], axis=1)
    ground = np.zeros_like(weights)
    if not counted:
        with np.errstate(invalid="ignore"):
            ground = np.exp(np.where(np.isfinite(logs), log_share - logs, -np.inf))
    order = np.argsort(-logs, axis=1, kind="stable")
    logs, weights, ground = (np.take_along_axis(column, order, axis=1) for column in (logs, weights, ground))
    # Half of a sample's own weight lies above its density.
    mass = np.cumsum(weights, axis=1) - 0.5 * weights
    area = np.cumsum(ground, axis=1) - 0.5 * ground
    mass += mixture.floor[:, None] * np.minimum(area / mixture.area_m2, 1.0)
    return Profile(logs, np.minimum(mass, 1.0))


def credible_level(mixture: Mixture, p: LonLat, *, samples: int = SAMPLES) -> Floats:
    """The probability (n,) of the smallest highest-density region that holds the point of its row.

    If the mixtures tell the truth, these levels are uniform from 0 to 1 (Hyndman 1996). A point is in the region of
    `credible_regions` at a level if its own level is at most that. Points farther from all hypotheses than the area is
    wide have the level 1.

    Args:
        mixture: n laws, or one.
        p: n points, or one.
        samples: of all hypotheses together.

    Raises:
        DataError: as many points as laws are needed.
    """
    x = paired_units(mixture, p)
    if len(mixture) == 1:
        own: Floats = _levels_of(mixture, x.reshape(1, -1, 3), samples)[0]
        return own
    n, m = mixture.weights.shape
    x = np.broadcast_to(x, (n, 1, 3))
    step = max(1, _AT_ONCE // (max(samples, _FEWEST * m) * m))
    found = np.empty(n)
    for at in range(0, n, step):
        found[at : at + step] = _levels_of(mixture[at : at + step], x[at : at + step], samples)[:, 0]
    return found


def _levels_of(mixture: Mixture, x: Floats, samples: int) -> Floats:
    """The levels (n, k) of unit vectors (n, k, 3)."""
    own, above = log_hypotheses(mixture, x), profile(mixture, samples)
    top = _highest(mixture)
    out = np.ones(own.shape)
    for row in range(len(mixture)):
        logs, mass = above.log_density[row], above.mass[row]
        if np.isfinite(logs[0]):
            # From the highest peak, of mass 0, downwards; numpy interpolates along rising values.
            falling = np.concatenate([[max(top[row], logs[0])], logs])
            out[row] = np.interp(-own[row], -falling, np.concatenate([[0.0], mass]), right=1.0)
    return out


def mass_radii(mixture: Mixture, centre: LonLat, levels: Sequence[float], *, samples: int = SAMPLES) -> Floats:
    """The radii (n, levels) in metres around the centre of each row within which the hypotheses have such masses.

    The mass is of the hypotheses alone, shared out as if there were no floor: the floor has no radius.

    Args:
        mixture: n laws.
        centre: n points, or one.
        levels: numbers from 0 to 1.
        samples: of all hypotheses together.

    Raises:
        DataError: as many points as laws are needed.
    """
    n, m = mixture.weights.shape
    middle = np.broadcast_to(paired_units(mixture, centre), (n, 1, 3))
    out = np.empty((n, len(levels)))
    step = max(1, _AT_ONCE // (max(samples, _FEWEST * m) * m))
    for at in range(0, n, step):
        law = mixture[at : at + step]
        unit, weights, _ = spread_samples(law, samples)
        chord = np.linalg.norm(unit - middle[at : at + step], axis=2)
        order = np.argsort(chord, axis=1, kind="stable")
        weights = np.take_along_axis(weights, order, axis=1)
        away = 2.0 * EARTH_RADIUS_M * np.arcsin(np.minimum(np.take_along_axis(chord, order, axis=1) / 2.0, 1.0))
        mass = np.cumsum(weights, axis=1) - 0.5 * weights
        total = weights.sum(axis=1)
        for row in range(len(law)):
            share = mass[row] / total[row] if total[row] > 0 else np.linspace(0.0, 1.0, mass.shape[1])
            out[at + row] = np.interp(levels, share, away[row])
    return out


def mass_radius(mixture: Mixture, centre: LonLat, level: float, *, samples: int = SAMPLES) -> Floats:
    """`mass_radii` of one level, as (n,)."""
    return mass_radii(mixture, centre, (level,), samples=samples)[:, 0]


def _highest(mixture: Mixture) -> Floats:
    """The log density (n,) of the hypotheses at the highest of their centres: a bound for interpolation."""
    at_centres = log_hypotheses(mixture, mixture.unit).max(axis=1)
    with np.errstate(divide="ignore"):
        alone = (np.log(mixture.weights) + log_peak(mixture.spread_m)).max(axis=1)
    top: Floats = np.maximum(at_centres, alone)
    return top


def _tangents(unit: Floats) -> tuple[Floats, Floats]:
    """Two unit vectors at right angles to each unit vector and to each other (Duff et al. 2017)."""
    x, y, z = np.moveaxis(unit, -1, 0)
    sign = np.copysign(1.0, z)
    a = -1.0 / (sign + z)
    b = x * y * a
    one = np.stack([1.0 + sign * x * x * a, sign * b, -sign * x], axis=-1)
    two = np.stack([b, sign + y * y * a, -y], axis=-1)
    return one, two
