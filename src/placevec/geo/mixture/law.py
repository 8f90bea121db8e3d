"""The law of a place that is sought: von Mises-Fisher kernels around hypotheses, over a uniform floor.

A kernel of the spread σ has the concentration κ = (R / σ)². Its density per steradian at the chord c from its centre is
κ / (2π (1 − exp(−2κ))) · exp(−κ c² / 2) (Mardia and Jupp, Directional Statistics, 2000, section 9.3.2, with
1 − cos t = c² / 2): the form with the dot product loses all digits where κ is large.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from placevec.errors import DataError
from placevec.geo.sphere import EARTH_RADIUS_M, LonLat

Floats = NDArray[np.float64]

LEAST_SPREAD_M = 1.0
"""No kernel is narrower: an optimiser that finds a coincidence would otherwise make it a spike without bound."""

_SUM = 1e-6
# Plain numbers, so that float32 stays float32: log 2π + 2 log R.
_LOG_GROUND = math.log(2.0 * math.pi) + 2.0 * math.log(EARTH_RADIUS_M)
_COLUMNS = ("unit", "weights", "spread_m", "floor")


@dataclass(frozen=True, eq=False)
class Mixture:
    """n laws of m hypotheses each; weights and floor of a law add up to 1.

    Attributes:
        unit: (n, m, 3) the unit vectors of the hypotheses.
        weights: (n, m) their probabilities; 0 for a hypothesis that is only there to fill a row.
        spread_m: (n, m) their spreads in metres: the standard deviation along either axis, where it is small.
        floor: (n,) the probability that the place is anywhere in the area.
        area_m2: the area that the floor is spread over, in square metres.
        ground: (q, 3) unit vectors of points spread evenly over that area, from `even_points`: with them, the part of
            the floor that a region holds is counted; without, it is taken to be the region's area, wherever it lies.

    Raises:
        DataError: shapes that do not fit, or what is no probability, no unit vector or no spread.
    """

    unit: Floats
    weights: Floats
    spread_m: Floats
    floor: Floats
    area_m2: float
    ground: Floats | None = None

    def __post_init__(self) -> None:
        for name in _COLUMNS:
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=np.float64))
        object.__setattr__(self, "area_m2", float(self.area_m2))
        n, m = self.weights.shape if self.weights.ndim == 2 else (-1, 0)
        if m < 1 or self.unit.shape != (n, m, 3) or self.spread_m.shape != (n, m) or self.floor.shape != (n,):
            raise DataError(
                f"a mixture has weights (n, m), unit vectors (n, m, 3), spreads (n, m) and a floor (n,), not "
                f"{self.weights.shape}, {self.unit.shape}, {self.spread_m.shape} and {self.floor.shape}"
            )
        if not (np.isfinite(self.area_m2) and self.area_m2 > 0):
            raise DataError(f"the area of a mixture's floor is {self.area_m2} m²; give a positive number")
        if self.ground is not None and (np.ndim(self.ground) != 2 or np.shape(self.ground)[1] != 3):
            raise DataError(f"the ground of a mixture is (q, 3) unit vectors, not {np.shape(self.ground)}")
        self._check_numbers()

    def _check_numbers(self) -> None:
        if not (np.abs((self.unit**2).sum(axis=2) - 1.0) < 1e-4).all():
            raise DataError("a hypothesis is no unit vector; divide it by its length first")
        if not (np.isfinite(self.spread_m).all() and (self.spread_m > 0).all()):
            raise DataError("a spread of a mixture is not a positive number of metres")
        total = self.weights.sum(axis=1) + self.floor
        fine = (self.weights >= 0).all(axis=1) & (self.floor >= 0) & (np.abs(total - 1.0) <= _SUM)
        if not fine.all():
            row = int(np.argmin(fine))
            raise DataError(
                f"row {row}: weights {self.weights[row].round(6).tolist()} and the floor {self.floor[row]:g} are no "
                "probabilities that add up to 1; make the mixture by Mixture.of, which shares them out"
            )

    @classmethod
    def of(
        cls,
        unit: ArrayLike,
        weights: ArrayLike,
        spread_m: ArrayLike,
        *,
        area_m2: float,
        floor: float = 0.0,
        tail: float = 0.0,
        ground: Floats | None = None,
    ) -> Mixture:
        """The laws of hypotheses whose weights need not add up to 1, as `hypotheses` gives them.

        The floor of law i is φ_i = e + (1 − e) τ (1 − Σ_j w_ij): a constant share e, and the share τ of the
        probability that no hypothesis has. The weights are then scaled to 1 − φ_i.

        Args:
            unit: (n, m, 3) vectors, scaled to unit length here.
            weights: (n, m), none negative, each row adding up to at most 1; a row of zeros has the floor 1.
            spread_m: (n, m) or whatever broadcasts to it; at least `LEAST_SPREAD_M` is taken.
            area_m2: of the floor, in square metres.
            floor: e, from 0 to 1.
            tail: τ, from 0 to 1.
            ground: (q, 3) points spread evenly over the area; see the attribute.
        """
        w, v = np.asarray(weights, dtype=np.float64), np.asarray(unit, dtype=np.float64)
        if w.ndim != 2 or v.shape != (*w.shape, 3):
            raise DataError(f"weights (n, m) and vectors (n, m, 3) are wanted, not {w.shape} and {v.shape}")
        if not (0.0 <= floor <= 1.0 and 0.0 <= tail <= 1.0):
            raise DataError(f"the floor {floor} and the tail {tail} are shares, from 0 to 1")
        total = w.sum(axis=1)
        if not (np.isfinite(w).all() and (w >= 0).all() and (total <= 1.0 + _SUM).all()):
            raise DataError("the weights of the hypotheses are no probabilities; give numbers >= 0, at most 1 in all")
        share = floor + (1.0 - floor) * tail * np.clip(1.0 - total, 0.0, 1.0)
        share = np.where(total > 0.0, share, 1.0)
        scale = (1.0 - share) / np.where(total > 0.0, total, 1.0)
        with np.errstate(invalid="ignore", divide="ignore"):
            v = v / np.linalg.norm(v, axis=2, keepdims=True)
        spread = np.broadcast_to(np.asarray(spread_m, dtype=np.float64), w.shape)
        return cls(v, w * scale[:, None], np.maximum(spread, LEAST_SPREAD_M), share, area_m2, ground)

    def __len__(self) -> int:
        return len(self.weights)

    def __getitem__(self, rows: int | slice | NDArray[np.int64] | NDArray[np.bool_] | Sequence[int]) -> Mixture:
        """Some of the laws, as a mixture; a number gives a mixture of one."""
        if isinstance(rows, int | np.integer):
            if not -len(self) <= rows < len(self):
                raise IndexError(f"row {rows} of {len(self)} mixtures")
            rows = slice(int(rows), int(rows) + 1 or None)
        index = rows if isinstance(rows, slice) else np.asarray(rows)
        part = object.__new__(Mixture)
        for name in _COLUMNS:
            object.__setattr__(part, name, getattr(self, name)[index])
        object.__setattr__(part, "area_m2", self.area_m2)
        object.__setattr__(part, "ground", self.ground)
        return part

    @classmethod
    def joined(cls, parts: Sequence[Mixture]) -> Mixture:
        """Mixtures over one area, of as many hypotheses each, one after the other.

        Raises:
            DataError: no parts, or parts that differ in area or in the number of hypotheses.
        """
        if not parts or len({(part.area_m2, part.weights.shape[1]) for part in parts}) > 1:
            raise DataError("mixtures that are joined have one area and as many hypotheses; give at least one")
        columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _COLUMNS}
        return cls(**columns, area_m2=parts[0].area_m2, ground=parts[0].ground)

    @property
    def lonlat(self) -> LonLat:
        """All hypotheses, row by row: a LonLat of length n m."""
        return LonLat.from_unit(self.unit.reshape(-1, 3))


def log_peak(spread_m: Floats) -> Floats:
    """The log of a kernel's density per square metre at its centre, for spreads of any shape.

    log κ − log 2π − log(1 − exp(−2κ)) − 2 log R; the last but one by the form that keeps its digits on either side of
    κ = log(2) / 2 (Mächler 2012, Accurately computing log(1 − exp(−|a|))).
    """
    kappa = (EARTH_RADIUS_M / spread_m) ** 2
    narrow = kappa > 0.35
    with np.errstate(divide="ignore"):
        rest = np.where(narrow, np.log1p(-np.exp(-2.0 * kappa)), np.log(-np.expm1(-2.0 * kappa)))
    peak: Floats = np.log(kappa) - rest - _LOG_GROUND
    return peak


def log_kernel(chord2: Floats, spread_m: Floats) -> Floats:
    """The log density per square metre of kernels at the squared chords |μ − x|² between unit vectors."""
    return log_peak(spread_m) - 0.5 * chord2 * (EARTH_RADIUS_M / spread_m) ** 2


def log_hypotheses(mixture: Mixture, x: Floats, *, exact: bool = True) -> Floats:
    """The log density (n, k) per square metre of the hypotheses alone, without the floor, at unit vectors (n, k, 3).

    Not `exact`, chords come from dot products, three times as fast: in float64 the error is under 0.02 nats at a spread
    of `LEAST_SPREAD_M`, and falls with its square.
    """
    with np.errstate(divide="ignore"):
        peaks = np.log(mixture.weights) + log_peak(mixture.spread_m)
    half_kappa = 0.5 * (EARTH_RADIUS_M / mixture.spread_m) ** 2
    if exact:
        terms = np.zeros((*x.shape[:2], mixture.weights.shape[1]))
        # One axis at a time: a third of the memory of an (n, k, m, 3) array.
        for axis in range(3):
            terms += (x[:, :, None, axis] - mixture.unit[:, None, :, axis]) ** 2
    else:
        terms = 2.0 - 2.0 * (x @ mixture.unit.transpose(0, 2, 1))
    terms *= -half_kappa[:, None, :]
    terms += peaks[:, None, :]
    return log_sum(terms)


def angles(p: Floats, q: Floats) -> Floats:
    """The angles between unit vectors, exact for near ones."""
    minus = p - q
    angle: Floats = 2.0 * np.arcsin(np.minimum(np.sqrt((minus * minus).sum(axis=-1)) / 2.0, 1.0))
    return angle


def log_sum(terms: Floats) -> Floats:
    """The log of Σ exp over the last axis; −inf where all are. scipy's own takes ten times as long for small arrays."""
    most = terms.max(axis=-1, keepdims=True)
    finite = np.where(np.isfinite(most), most, 0.0)
    with np.errstate(divide="ignore"):
        total: Floats = np.log(np.exp(terms - finite).sum(axis=-1)) + finite[..., 0]
    return total


def log_floor(mixture: Mixture) -> Floats:
    """The log density (n,) per square metre of the floor; −inf where there is none."""
    with np.errstate(divide="ignore"):
        found: Floats = np.log(mixture.floor) - np.log(mixture.area_m2)
    return found


def log_density(mixture: Mixture, p: LonLat | Floats) -> Floats:
    """The log of the density per square metre.

    Args:
        mixture: n laws.
        p: n points, one for each law; or unit vectors (n, k, 3), k for each law. With one law, or with one point,
            it goes with every row of the other.

    Returns:
        (n,) for a LonLat, (n, k) for unit vectors. Every point counts as one of the floor's area.

    Raises:
        DataError: as many points as laws are needed.
    """
    x = paired_units(mixture, p)
    law = mixture[np.zeros(len(x), dtype=np.int64)] if len(mixture) == 1 and len(x) != 1 else mixture
    if len(x) == 1 and len(law) != 1:
        x = np.broadcast_to(x, (len(law), *x.shape[1:]))
    found = np.logaddexp(log_hypotheses(law, x), log_floor(law)[:, None])
    return found[:, 0] if isinstance(p, LonLat) else found


def paired_units(mixture: Mixture, p: LonLat | Floats) -> Floats:
    """Points for each law, or for one: unit vectors (n or 1, k, 3); DataError where their number does not fit."""
    x = p.unit()[:, None, :] if isinstance(p, LonLat) else np.asarray(p, dtype=np.float64)
    if x.ndim != 3 or x.shape[2] != 3 or (len(x) != len(mixture) and 1 not in (len(x), len(mixture))):
        raise DataError(f"{x.shape} points cannot be paired with {len(mixture)} mixtures; give one for each")
    return x
