"""Where the pixels of patches lie on a raster: the way there is smooth, so that it is computed once for many places.

From (longitude and latitude of the centre, metres east and north of it) to (column, row) leads a function of four
variables that is analytic on a raster's projection. In each box of two degrees it is interpolated by a polynomial,
checked at points between the nodes, and given up for exact computation where that is not good enough (beside poles,
on the seam of a projection, for squares of a thousand kilometres).

All that depends on a place alone is computed element by element, so that a patch is the same, bit for bit, whatever
other patches are read with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from placevec.sources.chips import laea_inverse
from placevec.sources.rasters import Raster

Floats = NDArray[np.float64]

_BOX = 2.0  # degrees
_CENTRES = 5  # nodes along each side of a box
_TOLERANCE = 0.005  # pixels of the raster by which an interpolated position may be off
_HELD = 4096  # boxes that are remembered


@dataclass(frozen=True)
class Squares:
    """The way from squares on the ground to the raster, as polynomials in x (east) and y (south) on [-1, 1].

    Attributes:
        rows: (m,) which of the places asked for they are.
        terms: (2, k, k, m) coefficients of y^i x^j for the column and the row, in pixels of the raster. k is 3
            (then i + j is at most 2) or 5.
    """

    rows: NDArray[np.int64]
    terms: Floats


class Positions:
    """Positions of the pixels of ground squares on one raster.

    Args:
        raster: the raster.
        ground_m: side of the squares in metres.
    """

    def __init__(self, raster: Raster, ground_m: float) -> None:
        self.raster = raster
        self.half = ground_m / 2.0
        self._boxes: dict[tuple[int, int], Floats | None] = {}

    def squares(self, lon: Floats, lat: Floats) -> tuple[list[Squares], NDArray[np.int64]]:
        """The squares around places (n,), and the places that polynomials do not serve: see `exact`."""
        i, j = np.floor(lon / _BOX).astype(np.int64), np.floor(lat / _BOX).astype(np.int64)
        number = i * 1024 + j
        order = np.argsort(number, kind="stable")
        starts = np.flatnonzero(np.diff(number[order], prepend=number[order][:1] - 1))
        stops = np.append(starts[1:], len(order))[: len(starts)]
        by_degree: dict[int, list[tuple[NDArray[np.int64], Floats]]] = {}
        rest: list[NDArray[np.int64]] = []
        for start, stop in zip(starts, stops, strict=True):
            rows = order[start:stop]
            at = int(i[rows[0]]), int(j[rows[0]])
            fitted = self._box(*at)
            if fitted is None:
                rest.append(rows)
                continue
            u = (lon[rows] / _BOX - at[0]) * 2.0 - 1.0
            v = (lat[rows] / _BOX - at[1]) * 2.0 - 1.0
            by_degree.setdefault(fitted.shape[-1], []).append((rows, _centre_terms(fitted, u, v)))
        found = [
            Squares(np.concatenate([rows for rows, _ in parts]), np.concatenate([t for _, t in parts], axis=-1))
            for parts in by_degree.values()
        ]
        return found, np.concatenate(rest) if rest else np.zeros(0, dtype=np.int64)

    def exact(self, lon: Floats, lat: Floats, at: Floats) -> tuple[Floats, Floats]:
        """Columns and rows (m, k, k) of grid points `at` (k,) of squares, on [-1, 1], first row north.

        On a raster that goes around the globe, columns are those next to the centre's, maybe beyond its rim.
        """
        east, north = np.meshgrid(self.half * at, -self.half * at)
        x, y = laea_inverse(lon[:, None, None], lat[:, None, None], east, north)
        col, row = self.raster.pixel(x, y)
        if self.raster.wraps:
            centre, _ = self.raster.pixel(lon[:, None, None], lat[:, None, None])
            with np.errstate(invalid="ignore"):
                col = col + self.raster.width * np.round((centre - col) / self.raster.width)
        return col, row

    def _box(self, i: int, j: int) -> Floats | None:
        """Coefficients (centre degree v, centre degree u, 2, k, k) of a box, None where they are no good."""
        boxes = self._boxes
        if (i, j) not in boxes:
            if len(boxes) >= _HELD:
                boxes = self._boxes = {}  # not emptied: another thread may be looking
            boxes[i, j] = self._fit(i, j)
        return boxes[i, j]

    def _fit(self, i: int, j: int) -> Floats | None:
        nodes, to_terms = _chebyshev(_CENTRES)
        between = np.array([-0.93, -0.31, 0.44, 0.97])
        checks = np.array([-0.9, -0.35, 0.45, 0.95])
        expected = self._at(i, j, between, checks)
        if not np.isfinite(expected).all():
            return None
        for k in (3, 5):
            inner, inner_terms = _chebyshev(k)
            values = self._at(i, j, nodes, inner)
            if not np.isfinite(values).all():
                return None
            # One axis at a time: all at once, einsum goes through the product of all nine.
            fitted = np.einsum("av,vucyx->aucyx", to_terms, values)
            fitted = np.einsum("bu,aucyx->abcyx", to_terms, fitted)
            fitted = np.einsum("ky,abcyx->abckx", inner_terms, fitted)
            fitted = np.einsum("lx,abckx->abckl", inner_terms, fitted)
            v, u = (grid.reshape(-1) for grid in np.meshgrid(between, between, indexing="ij"))
            terms = _centre_terms(fitted, u, v)
            powers = checks ** np.arange(k)[:, None]
            found = np.einsum("lx,mcyl->mcyx", powers, np.einsum("ky,cklm->mcyl", powers, terms))
            if np.abs(found.reshape(expected.shape) - expected).max() <= _TOLERANCE:
                return np.asarray(fitted)
        return None

    def _at(self, i: int, j: int, centres: Floats, at: Floats) -> Floats:
        """Positions (v, u, 2, y, x) of grid points `at` of squares around the grid points `centres` of a box."""
        lat, lon = np.meshgrid((j + (centres + 1.0) / 2.0) * _BOX, (i + (centres + 1.0) / 2.0) * _BOX, indexing="ij")
        with np.errstate(all="ignore"):
            col, row = self.exact(lon.reshape(-1), np.clip(lat.reshape(-1), -90.0, 90.0), at)
            if self.raster.wraps:  # one sheet for the whole box
                middle = col[len(col) // 2 : len(col) // 2 + 1, :1, :1]
                mean = col.mean(axis=(1, 2), keepdims=True)
                col = col + self.raster.width * np.round((middle - mean) / self.raster.width)
        return np.stack([col, row], axis=1).reshape(len(centres), len(centres), 2, len(at), len(at))


def _centre_terms(fitted: Floats, u: Floats, v: Floats) -> Floats:
    """Coefficients (2, k, k, m) of squares whose centres lie at (u, v), each (m,), of a box on [-1, 1]."""
    degree = len(fitted)
    total = np.zeros((*fitted.shape[2:], len(u)))
    for a in range(degree - 1, -1, -1):
        inner = np.zeros_like(total)
        for b in range(degree - 1, -1, -1):
            inner *= u
            inner += fitted[a, b][..., None]
        total *= v
        total += inner
    return total


@lru_cache(maxsize=8)
def _chebyshev(k: int) -> tuple[Floats, Floats]:
    """Nodes (k,) on [-1, 1], and the matrix (k, k) from values there to the coefficients of 1, x, x² and so on."""
    nodes = -np.cos(np.pi * np.arange(k) / (k - 1))
    return nodes, np.linalg.inv(nodes[:, None] ** np.arange(k))
