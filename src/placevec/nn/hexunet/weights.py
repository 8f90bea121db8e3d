"""How much each neighbour counts: weights (n, 7) beside the rows (n, 7) of neighbours, and their transpose."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from placevec.errors import DataError

Weights = NDArray[np.float32]


class Edges(Protocol):
    """Directed edges between neighbouring cells, such as an accessibility graph."""

    @property
    def rows(self) -> NDArray[np.int64]:
        """(e,) the cell that is gone from."""

    @property
    def cols(self) -> NDArray[np.int64]:
        """(e,) the neighbour that is reached."""

    @property
    def weight(self) -> NDArray[np.float32]:
        """(e,) how much it counts; none negative."""


def mean_weights(near: NDArray[np.int64]) -> Weights:
    """The cell itself and its present neighbours count the same; each row sums to 1."""
    here = (near >= 0).astype(np.float32)
    return np.asarray(here / here.sum(axis=1, keepdims=True), dtype=np.float32)


def edge_weights(near: NDArray[np.int64], rows: ArrayLike, cols: ArrayLike, weight: ArrayLike) -> Weights:
    """Weights by edges; each row sums to 1, with the cell itself in it.

    A cell counts for itself as much as the neighbour that counts most, whatever the unit of the weights (the mass of
    the destinations may have any). A cell without an edge has only itself.

    Args:
        near: (n, 7) rows of the cell itself and its neighbours, -1 absent.
        rows: (e,) the cell that is gone from.
        cols: (e,) the neighbour that is reached. Two edges between the same cells count together.
        weight: (e,) none negative.

    Raises:
        DataError: an edge joins cells that are no neighbours, or its weight is no number or negative.
    """
    a, b = np.asarray(rows, dtype=np.int64), np.asarray(cols, dtype=np.int64)
    given = np.asarray(weight, dtype=np.float64)
    bad = ~np.isfinite(given) | (given < 0)
    if bad.any():
        raise DataError(f"an edge has the weight {given[bad][0]}; weights are numbers of 0 or more")
    outside = (a < 0) | (a >= len(near)) | (b < 0) | (b >= len(near))
    if outside.any():
        at = int(np.argmax(outside))
        raise DataError(f"an edge joins the rows {a[at]} and {b[at]}, but the level has {len(near)} cells")
    hit = near[a, 1:] == b[:, None]
    lost = ~hit.any(axis=1)
    if lost.any():
        at = int(np.argmax(lost))
        raise DataError(f"an edge joins the rows {a[at]} and {b[at]}, which are no neighbours")
    flat = np.bincount(a * 7 + hit.argmax(axis=1) + 1, weights=given, minlength=near.size)
    out = flat.reshape(near.shape)
    most = out.max(axis=1)
    out[:, 0] = np.where(most > 0, most, 1.0)
    return np.asarray(out / out.sum(axis=1, keepdims=True), dtype=np.float32)


def transposed(near: NDArray[np.int64], weight: Weights) -> Weights:
    """For each row j and each of its neighbours i, how much j counts for i: the weights of the gradient.

    Raises:
        DataError: a row has a neighbour that does not have it.
    """
    out = np.zeros_like(weight)
    out[:, 0] = np.where(near[:, 0] >= 0, weight[:, 0], 0.0)
    own = np.arange(len(near), dtype=np.int64)
    for column in range(1, near.shape[1]):
        here = np.flatnonzero(near[:, column] >= 0)
        other = near[here, column]
        back = near[other] == own[here, None]
        found = back.any(axis=1)
        if not found.all():
            row = int(here[np.argmin(found)])
            raise DataError(f"row {row} has the neighbour {near[row, column]}, which does not have it")
        out[here, column] = weight[other, back.argmax(axis=1)]
    return out
