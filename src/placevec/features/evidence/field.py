"""Vectors over one image, and the scores of queries at its positions: what every kind of evidence comes down to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from placevec.encoders.base import Vectors, unit_rows
from placevec.errors import DataError

Floats = NDArray[np.float64]
Image = NDArray[np.uint8]
Encode = Callable[[Image], Vectors]
"""Images (n, bands, h, w) of one size to unit vectors (n, dims)."""


@dataclass(frozen=True)
class Field:
    """The vectors of one image, by position; scores are linear in them.

    Raises:
        DataError: vectors that are not finite, or that do not fit the shape.
    """

    vectors: Vectors  # (m, dims), one for each position, or for each window where there is a `spread`
    shape: tuple[int, int]  # rows and columns of positions, evenly over the whole image
    size: tuple[int, int]  # height and width of the image in pixels
    whole: Vectors  # (dims,) of length 1, of the image as one
    spread: sparse.csr_array | None = None  # (rows·columns, m), rows that add up to 1: windows to positions
    cells: bool = False  # positions are the windows themselves, side by side: regions do not grow over them

    def __post_init__(self) -> None:
        positions = self.shape[0] * self.shape[1]
        fits = (positions, len(self.vectors)) == self.spread.shape if self.spread is not None else None
        if self.vectors.ndim != 2 or not (len(self.vectors) == positions if fits is None else fits):
            raise DataError(f"{self.vectors.shape} vectors for {self.shape} positions: one each is needed")
        if not (np.isfinite(self.vectors).all() and np.isfinite(self.whole).all()):
            raise DataError("a vector of the image is not finite: give another image or model")

    def scores(self, queries: NDArray[np.float32]) -> Floats:
        """Scores (q, rows, columns) of unit vectors (q, dims) at the positions."""
        each = (self.vectors @ queries.T.astype(np.float32)).astype(np.float64)
        placed = each if self.spread is None else np.asarray(self.spread @ each)
        return np.ascontiguousarray(placed.T).reshape(len(queries), *self.shape)

    def score(self, queries: NDArray[np.float32]) -> Floats:
        """Cosines (q,) of unit vectors (q, dims) with the whole image."""
        return queries.astype(np.float64) @ self.whole.astype(np.float64)


def dense_field(dense: Vectors, size: tuple[int, int], *, pool: float = 0.0) -> Field:
    """The field of vectors (h, w, dims) whose mean is the vector of the image, before it is brought to length 1.

    Without pooling all are divided by the length of that mean: the mean of a query's scores over the positions is then
    exactly its cosine with the image, and the score of a position is its own part in it. With pooling, a position has
    the direction of the weighted mean around it: since pooling and head are linear, that is the vector of a soft crop
    there, for the price of none. A score is then a cosine, the image's own where the pooling is wide enough.

    Args:
        dense: the vectors.
        size: height and width of the image in pixels.
        pool: standard deviation of the Gaussian weights as a share of the map's shorter side; 0: no pooling.
    """
    rows, columns, dims = dense.shape
    mean = dense.reshape(-1, dims).astype(np.float64).mean(axis=0)
    length = float(np.linalg.norm(mean)) or 1.0
    whole = (mean / length).astype(np.float32)
    if pool <= 0:
        return Field((dense.reshape(-1, dims) / length).astype(np.float32), (rows, columns), size, whole)
    down, across = (_weights(count, pool * min(rows, columns)) for count in (rows, columns))
    tall = (down @ dense.reshape(rows, -1)).reshape(rows, columns, dims)
    around = np.matmul(across[None], tall)
    return Field(unit_rows(around.reshape(-1, dims)), (rows, columns), size, whole)


def _weights(count: int, deviation: float) -> NDArray[np.float32]:
    """Gaussian weights (count, count) of positions around each of them; rows add up to 1, also at the edges."""
    at = np.arange(count)
    weights = np.exp(-((at[:, None] - at[None]) ** 2) / (2 * deviation**2))
    out: NDArray[np.float32] = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return out
