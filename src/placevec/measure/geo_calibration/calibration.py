"""What was learned on places held out about how far a locator's probabilities can be trusted; a JSON asset."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from placevec.errors import DataError
from placevec.geo.mixture import Mixture, mass_radii, temper, within_mass
from placevec.geo.sphere import LonLat
from placevec.measure.geo_calibration.confidence import ConfidenceMap

Floats = NDArray[np.float64]

VERSION = 1
LEVELS = (0.5, 0.8, 0.95)
CONFIDENCE_M = 25_000.0


@dataclass(frozen=True)
class Calibration:
    """How to temper, widen and read a locator's answers; without arguments it changes nothing.

    Attributes:
        region_temperature: what the logits of regions are divided by.
        cell_temperature: the same of cells.
        spread_factor: what predicted spreads are multiplied by.
        floor: probability that the place is anywhere in the area, whatever the hypotheses say.
        tail: share, of the probability that no hypothesis has, which goes to the floor too; see `Mixture.of`.
        levels: {a level: that of the region to draw, so that it holds the place with the probability of the key}.
        level_intervals: {a level: the 95 % interval of that value under resampled blocks}.
        radius_factors: {a level: what the radius of that mass is multiplied by, to hold the place so often}.
        confidence: the map of the mass within `confidence_m` to the probability that the error is at most that.
        confidence_m: that distance in metres.
        rows: places it was fitted on; 0 for none.
        blocks: blocks that they lie in.
    """

    region_temperature: float = 1.0
    cell_temperature: float = 1.0
    spread_factor: float = 1.0
    floor: float = 0.0
    tail: float = 0.0
    levels: Mapping[float, float] = field(default_factory=dict)
    level_intervals: Mapping[float, tuple[float, float]] = field(default_factory=dict)
    radius_factors: Mapping[float, float] = field(default_factory=dict)
    confidence: ConfidenceMap = field(default_factory=ConfidenceMap)
    confidence_m: float = CONFIDENCE_M
    rows: int = 0
    blocks: int = 0

    def __post_init__(self) -> None:
        for name in ("region_temperature", "cell_temperature", "spread_factor", "confidence_m"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise DataError(f"the {name} of a calibration is {value}; it is a positive number")
        shares = [self.floor, self.tail, *self.levels, *self.levels.values(), *self.radius_factors]
        if not all(0.0 <= value <= 1.0 for value in shares):
            raise DataError(f"floor, tail and levels of a calibration are shares from 0 to 1, not {shares}")
        if any(math.isnan(value) or value < 0 for value in self.radius_factors.values()):
            raise DataError(f"the radius factors {dict(self.radius_factors)} of a calibration are not all >= 0")

    @classmethod
    def identity(cls, *, confidence_m: float = CONFIDENCE_M) -> Calibration:
        """No calibration: what the network says is taken as it is."""
        return cls(confidence_m=confidence_m)

    def temper(self, region_logs: ArrayLike, cell_logs: ArrayLike, starts: ArrayLike) -> tuple[Floats, Floats]:
        """Log probabilities of regions (n, P) and of cells given their region (n, N); see `geo.mixture.temper`."""
        return temper(
            region_logs,
            cell_logs,
            starts,
            region_temperature=self.region_temperature,
            cell_temperature=self.cell_temperature,
        )

    def mixture(
        self, unit: ArrayLike, weights: ArrayLike, spread_m: ArrayLike, area_m2: float, ground: Floats | None = None
    ) -> Mixture:
        """The mixture of hypotheses whose weights are tempered, with spread, floor and tail calibrated.

        Args:
            unit: (n, m, 3) unit vectors.
            weights: (n, m) joint probabilities.
            spread_m: (n, m) as predicted.
            area_m2: of the area of study.
            ground: (q, 3) points spread evenly over it, see `even_points`.
        """
        spread = np.asarray(spread_m, dtype=np.float64) * self.spread_factor
        return Mixture.of(unit, weights, spread, area_m2=area_m2, floor=self.floor, tail=self.tail, ground=ground)

    def nominal(self, level: float) -> float:
        """The level of the region to draw for one that holds the place with the probability `level`.

        Between the levels that were fitted it is interpolated; 0 and 1 stay.
        """
        if not 0.0 <= level <= 1.0:
            raise DataError(f"the level {level} is no probability; give a number from 0 to 1")
        known = {0.0: 0.0, **self.levels, 1.0: 1.0}
        at = sorted(known)
        return float(np.interp(level, at, np.maximum.accumulate([known[one] for one in at])))

    def radii_m(self, mixture: Mixture, centre: LonLat, levels: Sequence[float]) -> Floats:
        """The radii (n, levels) in metres about the points (n) that hold the place with such probabilities.

        A level whose factor is not known takes that of the nearest one known, or 1 without any.
        """
        factors = [self._factor(level) for level in levels]
        radii: Floats = mass_radii(mixture, centre, levels) * np.array(factors)
        return radii

    def confidence_of(self, mixture: Mixture, centre: LonLat) -> Floats:
        """The probability (n,) that the place lies within `confidence_m` of the points (n), calibrated."""
        return self.confidence(within_mass(mixture, centre, self.confidence_m))

    def _factor(self, level: float) -> float:
        if not self.radius_factors:
            return 1.0
        return self.radius_factors[min(self.radius_factors, key=lambda known: (abs(known - level), known))]

    def to_json(self) -> dict[str, Any]:
        """A JSON object; see `from_json`. A radius without bound is null."""
        return {
            "version": VERSION,
            **{name: getattr(self, name) for name in _NUMBERS},
            "levels": {f"{level:g}": value for level, value in self.levels.items()},
            "level_intervals": {f"{level:g}": list(value) for level, value in self.level_intervals.items()},
            "radius_factors": {
                f"{level:g}": value if math.isfinite(value) else None for level, value in self.radius_factors.items()
            },
            "confidence": self.confidence.to_json(),
            "rows": self.rows,
            "blocks": self.blocks,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any], where: str = "calibration.json") -> Calibration:
        """Read what `to_json` wrote.

        Raises:
            DataError: it is damaged, or another version of placevec wrote it.
        """
        if not isinstance(value, Mapping) or value.get("version") != VERSION:
            found = value.get("version") if isinstance(value, Mapping) else value
            raise DataError(f"{where} has version {found!r}, not {VERSION}; calibrate the locator again")
        try:
            return cls(
                **{name: float(value[name]) for name in _NUMBERS},
                levels={float(k): float(v) for k, v in value["levels"].items()},
                level_intervals={float(k): (float(v[0]), float(v[1])) for k, v in value["level_intervals"].items()},
                radius_factors={
                    float(k): math.inf if v is None else float(v) for k, v in value["radius_factors"].items()
                },
                confidence=ConfidenceMap.from_json(value["confidence"]),
                rows=int(value["rows"]),
                blocks=int(value["blocks"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise DataError(f"{where} is damaged ({error}); calibrate the locator again") from None


_NUMBERS = ("region_temperature", "cell_temperature", "spread_factor", "floor", "tail", "confidence_m")
