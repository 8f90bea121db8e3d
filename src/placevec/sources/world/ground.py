"""The generated country between its pixels: how built-up, green, busy and high it is at any position.

Pixels of the country are 400 to 600 m wide; streets, and H3 cells of resolution 9, are finer. Between pixels values
are interpolated; to the built-up intensity, parks and business belong waves of some hundred metres, which follow from
the seed at any position alone, so that streets, places and people that are made apart agree with each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from scipy.special import expit

from placevec.sources.world.cover import Cover
from placevec.sources.world.grid import Grid
from placevec.sources.world.noise import stream
from placevec.sources.world.settlement import Towns
from placevec.sources.world.terrain import Terrain

Floats = NDArray[np.float64]

_WAVES = 24
_PARK = 1.25  # standard deviations of its field beyond which there is a park: a tenth of the ground


@dataclass(frozen=True, eq=False)
class Ground:
    """What lies at positions (column, row) of the grid, each (n,)."""

    seed: int
    grid: Grid
    terrain: Terrain
    cover: Cover
    towns: Towns

    def built(self, col: ArrayLike, row: ArrayLike) -> Floats:
        """How built-up it is, between pixels: 2 in the middle of towns, 0 in the country."""
        return self.between(self.cover.urban, col, row)

    def urban(self, col: ArrayLike, row: ArrayLike) -> Floats:
        """How built-up it is, with the denser and looser quarters that pixels do not show."""
        return np.asarray(self.built(col, row) * np.exp(0.35 * self._quarters(col, row) - 0.06), dtype=np.float64)

    def business(self, col: ArrayLike, row: ArrayLike) -> Floats:
        """Share of business in what is built, 0 to 1: the middle of towns, and centres of some kilometres elsewhere."""
        found: Floats = expit(3.0 * (self.urban(col, row) - 1.6) + 1.6 * self._centres(col, row))
        return found

    def park(self, col: ArrayLike, row: ArrayLike) -> NDArray[np.bool_]:
        """Where in a town there is a park."""
        return np.asarray(self._parks(col, row) > _PARK)

    def land(self, col: ArrayLike, row: ArrayLike) -> NDArray[np.bool_]:
        """Where it is dry: neither sea nor lake, nor beyond the grid."""
        y, x = np.floor(row).astype(np.int64), np.floor(col).astype(np.int64)
        inside = (y >= 0) & (y < self.grid.height) & (x >= 0) & (x < self.grid.width)
        at = np.clip(y, 0, self.grid.height - 1), np.clip(x, 0, self.grid.width - 1)
        return inside & self.terrain.land[at] & ~self.terrain.lake[at]

    def elevation(self, col: ArrayLike, row: ArrayLike) -> Floats:
        """Metres, with the small hills and hollows that pixels do not show: the more the steeper it is around."""
        rough = np.minimum(4.0 + 120.0 * self.between(self.terrain.slope, col, row), 25.0)
        coarse = self.between(self.terrain.elevation, col, row)
        return np.asarray(coarse + rough * self._hills(col, row) * np.clip(coarse / 20.0, 0.0, 1.0), dtype=np.float64)

    def between(self, field: NDArray[np.generic], col: ArrayLike, row: ArrayLike) -> Floats:
        """A field (rows, columns) of the country, interpolated between the middles of pixels."""
        # A pixel's value is that at its middle.
        at = np.stack([np.asarray(row, dtype=np.float64) - 0.5, np.asarray(col, dtype=np.float64) - 0.5])
        found: Floats = ndimage.map_coordinates(field.astype(np.float64), at, order=1, mode="nearest")
        return found

    @cached_property
    def _quarters(self) -> Waves:
        return waves(self.seed, "quarters", self.grid.metres, 700.0, 3000.0)

    @cached_property
    def _centres(self) -> Waves:
        return waves(self.seed, "centres of business", self.grid.metres, 1800.0, 5000.0)

    @cached_property
    def _parks(self) -> Waves:
        return waves(self.seed, "parks", self.grid.metres, 900.0, 2500.0)

    @cached_property
    def _hills(self) -> Waves:
        return waves(self.seed, "hills", self.grid.metres, 500.0, 2500.0)


@dataclass(frozen=True, eq=False)
class Waves:
    """A field of mean 0 and standard deviation 1, about normal: a sum of plane waves of random directions.

    Attributes:
        east: (w,) radians per column.
        south: (w,) radians per row.
        phase: (w,) radians.
    """

    east: Floats
    south: Floats
    phase: Floats

    def __call__(self, col: ArrayLike, row: ArrayLike) -> Floats:
        """The field at positions."""
        x, y = np.asarray(col, dtype=np.float64), np.asarray(row, dtype=np.float64)
        out = np.zeros(np.broadcast_shapes(x.shape, y.shape), dtype=np.float32)
        for a, b, c in zip(self.east, self.south, self.phase, strict=True):
            out += np.cos((a * x + b * y + c).astype(np.float32))  # in half the time of float64
        return np.asarray(out * np.sqrt(2.0 / len(self.phase)), dtype=np.float64)


def waves(seed: int, name: str, metres: float, shortest_m: float, longest_m: float) -> Waves:
    """The field `name` of a seed, on a grid whose pixels are `metres` wide, with waves of the given lengths."""
    rng = stream(seed, f"waves {name}")
    number = 2 * np.pi * metres / np.exp(rng.uniform(np.log(shortest_m), np.log(longest_m), _WAVES))
    angle, phase = rng.uniform(0, 2 * np.pi, (2, _WAVES))
    return Waves(number * np.cos(angle), number * np.sin(angle), phase)
