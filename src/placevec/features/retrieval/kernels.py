"""Geographic kernels: means of the bank's vectors around a place, weighted by a Gaussian of the distance.

The kernel is exp(-c² / 2s²) of the chord c. Within a region that is a Gaussian in metres; on the whole sphere it is
exp(g (cos α - 1)) with g = 1/s², the von Mises-Fisher kernel that RANGE+ uses (Dhakal et al., CVPR 2025, section 3.3).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from placevec.features.retrieval.bank import Bank, Rows, Vectors
from placevec.features.retrieval.levels import Level, Pairs, joined
from placevec.features.retrieval.masks import Queries
from placevec.geo.sphere import EARTH_RADIUS_M

CUT = 1e-4
"""Rows whose weight is less than this part of the nearest row's are left out."""

# Beyond so many widths from the nearest row no cell counts as a whole.
_STEEP = 1.5

CELLS_PER_WIDTH = 3.0
"""How many cells of a level go into the width of its kernel."""


def width_of(metres: float) -> float:
    """The width of a kernel on the unit sphere from its width in metres along the ground."""
    return metres / EARTH_RADIUS_M


class Kernel:
    """The kernel means of one width.

    Args:
        bank: the bank.
        values: (n, d) by bank row: its own, or others at its places.
        width: of the Gaussian, as a chord on the unit sphere, > 0.
    """

    def __init__(self, bank: Bank, values: Vectors, width: float) -> None:
        self.level = Level.of(bank, width / CELLS_PER_WIDTH)
        self.values = values
        self.width = width
        self.means = self.level.means(values)

    def __call__(self, queries: Queries, nearest: NDArray[np.float64]) -> tuple[Vectors, NDArray[np.float64]]:
        """The means (b, d) around the queries, and the kernel mass (b,) that they rest on.

        The mass is the sum of exp(-c² / 2s²) over all rows that count: each row counts 1 at the place itself. Far
        from all rows the mean becomes that of the nearest ones and the mass goes to 0.

        Args:
            queries: the queries.
            nearest: (b,) chord to the nearest row that counts; NaN where there is none, which gives zeros.
        """
        out = np.zeros((len(queries), self.values.shape[1]), dtype=np.float32)
        mass = np.zeros(len(queries))
        asked = np.flatnonzero(np.isfinite(nearest))
        if not len(asked):
            return out, mass
        part = queries.take(asked)
        closest = nearest[asked]
        # A cell's mean place may be farther off than the row of it that is nearest.
        radius = np.sqrt((closest + self.level.widest) ** 2 + 2.0 * self.width**2 * np.log(1.0 / CUT))
        for some, pairs in self.level.near(part, np.minimum(radius, 2.0 + 1e-9)):
            means, total = self._batch(part.take(some), pairs, closest[some])
            out[asked[some]] = means
            mass[asked[some]] = total * np.exp(-0.5 * (closest[some] / self.width) ** 2)
        return out, mass

    def _batch(
        self, queries: Queries, pairs: Pairs, nearest: NDArray[np.float64]
    ) -> tuple[Vectors, NDArray[np.float64]]:
        """The means, and the mass relative to the weight of the nearest row, so that nothing underflows far away."""
        cells, opened = self.level.judge(queries, pairs)
        # On its steep flank the kernel changes within a cell: there rows count one by one.
        steep = (nearest > _STEEP * self.width)[cells.query]
        cells, opened = cells.where(~steep), joined([opened, cells.where(steep)])
        weight = self._weights(cells, nearest) * self.level.count[cells.at]
        total = np.asarray(np.bincount(cells.query, weight, len(queries)), dtype=np.float64)
        sums = weighted(cells.query, cells.at, weight, self.means, len(queries))
        for rows in self.level.open(queries, opened):
            weight = self._weights(rows, nearest)
            total += np.bincount(rows.query, weight, len(queries))
            sums += weighted(rows.query, rows.at, weight, self.values, len(queries))
        return sums / np.where(total > 0.0, total, 1.0).astype(np.float32)[:, None], total

    def _weights(self, pairs: Pairs, nearest: NDArray[np.float64]) -> NDArray[np.float64]:
        weights: NDArray[np.float64] = np.exp((nearest[pairs.query] ** 2 - pairs.chord**2) / (2.0 * self.width**2))
        return weights


def weighted(query: Rows, row: Rows, weight: NDArray[np.float64], values: Vectors, queries: int) -> Vectors:
    """The sums (queries, d) of the rows of `values` by pairs (query, row) with weights; each pair stands once."""
    matrix = sparse.csr_array((weight.astype(np.float32), (query, row)), shape=(queries, len(values)))
    sums: Vectors = np.asarray(matrix @ values)
    return sums
