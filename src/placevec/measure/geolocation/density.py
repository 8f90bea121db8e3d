"""The density of training places: the law of one who knows where photos are taken, and nothing of the photo."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from placevec.errors import DataError
from placevec.geo.mixture.law import Mixture, log_hypotheses
from placevec.geo.sphere import LonLat, from_tangent
from placevec.measure.geolocation.laws import LEVELS, Law
from placevec.measure.geolocation.rivals import held_out

Floats = NDArray[np.float64]
Inside = Callable[[LonLat], NDArray[np.bool_]]

BANDWIDTHS_KM = (2.0, 5.0, 10.0, 20.0, 35.0, 50.0, 75.0, 110.0, 160.0, 250.0, 400.0)
"""The bandwidths tried."""

FLOORS = (0.001, 0.01, 0.05, 0.2)
"""The weights of the uniform law that are tried."""

_PER_KM2 = math.log(1e6)
_SAMPLES = 8192
_KERNELS_AT_ONCE = 4_000_000


@dataclass(frozen=True, eq=False)
class PlaceDensity:
    """A kernel density of places, with a uniform floor over an area: the same law for every photo.

    The kernels are those of `geo.mixture`: von Mises and Fisher's.

    Attributes:
        places: the training places, at least one.
        bandwidth_km: the standard deviation of the kernel along each axis.
        floor: weight of the uniform law, in (0, 1).
        area_km2: over which that law is uniform.
        inside: which of some points (n,) lie in that area: the kernels are cut at its border, so that no mass is lost
            where no photo can be. None: they are not.
    """

    places: LonLat
    bandwidth_km: float
    floor: float
    area_km2: float
    inside: Inside | None = None

    def __post_init__(self) -> None:
        good = len(self.places) and self.bandwidth_km > 0 and 0 < self.floor < 1 and self.area_km2 > 0
        if not good:
            raise DataError(
                f"a density of {len(self.places)} places needs a bandwidth > 0, a floor in (0, 1) and an area > 0, not "
                f"{self.bandwidth_km:g} km, {self.floor:g} and {self.area_km2:g} km²"
            )

    def log_density(self, p: LonLat) -> Floats:
        """The log-density (n,) per km² at points, which are taken to lie in the area."""
        return self._with_floor(self._log_kernel(p))

    def law(self, truth: LonLat, levels: Sequence[float] = LEVELS) -> Law:
        """What it says about n true points: the regions are the smallest that hold each level of its mass."""
        own = self.log_density(truth)
        bounds = {level: self.threshold(level) for level in levels}
        return Law(
            own,
            {level: own >= bound for level, bound in bounds.items()},
            {level: np.full(len(truth), self._held(bound)[1]) for level, bound in bounds.items()},
        )

    def threshold(self, level: float) -> float:
        """The log-density per km² of the rim of the smallest region that holds a share `level` of the mass."""
        # The mass above a bound falls as the bound rises: 60 halvings leave no digit.
        low, high = math.log(self.floor / self.area_km2), float(self._sampled.max())
        if self._held(low)[0] < level:
            return low
        for _ in range(60):
            middle = (low + high) / 2.0
            low, high = (middle, high) if self._held(middle)[0] >= level else (low, middle)
        return low

    def _held(self, bound: float) -> tuple[float, float]:
        """Mass and area (km²) of the region whose log-density is at least `bound`.

        The samples of the kernels, each worth the inverse of its density, measure the area; the floor's share of the
        mass is the share of the area.
        """
        if bound <= math.log(self.floor / self.area_km2):
            return 1.0, self.area_km2
        inside = self._sampled >= bound
        kernel = float(inside.mean())
        area = float(np.exp(-self._kernels[inside]).sum() / len(inside)) if inside.any() else 0.0
        area = min(area, self.area_km2)
        return (1.0 - self.floor) * kernel + self.floor * area / self.area_km2, area

    @cached_property
    def _held_samples(self) -> tuple[LonLat, float]:
        """Points of the area drawn from the kernels, and the share of all drawn that they are."""
        drawn = _drawn(self.places, self.bandwidth_km)
        if self.inside is None:
            return drawn, 1.0
        kept = np.asarray(self.inside(drawn), dtype=bool)
        if not kept.any():
            raise DataError("no training place lies near the area: give places of the same region")
        return drawn[kept], float(kept.mean())

    @cached_property
    def _kernels(self) -> Floats:
        return self._log_kernel(self._held_samples[0])

    @cached_property
    def _sampled(self) -> Floats:
        return self._with_floor(self._kernels)

    def _with_floor(self, kernel: Floats) -> Floats:
        uniform = math.log(self.floor / self.area_km2)
        return np.asarray(np.logaddexp(kernel + math.log1p(-self.floor), uniform))

    def _log_kernel(self, p: LonLat) -> Floats:
        return kernel_logs(p, self.places, self.bandwidth_km) - math.log(self._held_samples[1])


def _drawn(places: LonLat, bandwidth_km: float) -> LonLat:
    """Points drawn from the kernels of places, the same for the same places."""
    rng = np.random.default_rng(0)
    rows = np.resize(rng.permutation(len(places)), _SAMPLES)
    east, north = rng.normal(0.0, bandwidth_km * 1000.0, (2, _SAMPLES))
    return from_tangent(places[rows], east, north)


def kernel_logs(p: LonLat, places: LonLat, bandwidth_km: float) -> Floats:
    """Log of the mean von Mises-Fisher kernel (n,) per km² of m `places` at n points."""
    count = len(places)
    kernels = Mixture.of(places.unit()[None], np.full((1, count), 1.0 / count), bandwidth_km * 1000.0, area_m2=1.0)
    points = p.unit()
    step = max(1, _KERNELS_AT_ONCE // count)
    parts = [log_hypotheses(kernels, points[None, at : at + step])[0] for at in range(0, len(points), step)]
    return np.concatenate([np.empty(0), *parts]) + _PER_KM2


def fit_density(
    places: LonLat,
    folds: ArrayLike,
    area_km2: float,
    *,
    inside: Inside | None = None,
    bandwidths_km: Sequence[float] = BANDWIDTHS_KM,
    floors: Sequence[float] = FLOORS,
    buffer_m: float = 0.0,
) -> PlaceDensity:
    """The density with the bandwidth and the floor that give held-out training places the highest likelihood.

    Args:
        places: n training places.
        folds: (n,) the block or fold of each: a place is judged by those of the other folds.
        area_km2: of the region in which everything lies.
        inside: see `PlaceDensity`.
        bandwidths_km: to choose from.
        floors: weights of the uniform law to choose from.
        buffer_m: a place is judged by those farther than this, as tested ones are.
    """
    number = np.asarray(folds)
    if number.shape != (len(places),):
        raise DataError(f"{number.shape} folds for {len(places)} places; give one for each")
    best = (-math.inf, max(bandwidths_km), max(floors))
    parts = held_out(places.unit(), number, buffer_m)
    for bandwidth in bandwidths_km:
        logs = [kernel_logs(places[held], places[rest], bandwidth) for held, rest in parts]
        if not logs:
            break
        kernel = np.concatenate(logs)
        if inside is not None:
            share = float(np.mean(inside(_drawn(places, bandwidth))))
            kernel -= math.log(share) if share > 0 else 0.0
        for floor in floors:
            likely = np.logaddexp(kernel + math.log1p(-floor), math.log(floor / area_km2)).mean()
            if likely > best[0]:
                best = (float(likely), bandwidth, floor)
    return PlaceDensity(places, best[1], best[2], area_km2, inside)
