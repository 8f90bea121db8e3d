"""Measures of the counts of categories in cells."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from placevec.geo.areas import cell_areas


def entropy(counts: ArrayLike) -> NDArray[np.float64]:
    """The diversity (n,) of counts (n, k): Shannon's entropy -sum p ln p of the shares p of the categories, in nats.

    0 for one category and for none; ln k at most. (Shannon, A Mathematical Theory of Communication, 1948, section 6.)
    """
    found = np.asarray(counts, dtype=np.float64)
    share = found / np.maximum(found.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    logs = np.log(share, out=np.zeros_like(share), where=share > 0)
    return np.asarray(np.maximum(-(share * logs).sum(axis=1), 0.0), dtype=np.float64)


def kinds(counts: ArrayLike) -> NDArray[np.int64]:
    """How many categories (n,) there are any of."""
    return np.asarray(np.count_nonzero(np.asarray(counts), axis=1), dtype=np.int64)


def per_km2(counts: ArrayLike, cells: ArrayLike) -> NDArray[np.float64]:
    """Counts (n, k) by km2 of each cell's own area: H3 cells of one resolution differ by up to two times."""
    return np.asarray(counts, dtype=np.float64) / (cell_areas(cells)[:, None] / 1e6)


def rarity(counts: ArrayLike) -> NDArray[np.float64]:
    """How rare each category (k) is among cells with counts (m, k): idf = ln((1 + m) / (1 + df)) + 1.

    df is in how many of the m cells there is any (Salton & Buckley 1988, smoothed as if one cell more had them all). It
    is fitted on the cells that are given, without any label.
    """
    found = np.asarray(counts)
    return np.asarray(np.log((1.0 + len(found)) / (1.0 + np.count_nonzero(found, axis=0))) + 1.0)


def tf_idf(counts: ArrayLike, idf: ArrayLike | None = None) -> NDArray[np.float64]:
    """How telling each category (n, k) is of each cell: its share among the cell's points, times its rarity.

    A cell without points is a row of zeros. The `idf` (k) is that of `rarity`; absent, of the counts themselves.
    """
    found = np.asarray(counts, dtype=np.float64)
    rare = rarity(found) if idf is None else np.asarray(idf, dtype=np.float64)
    return np.asarray(found / np.maximum(found.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny) * rare)
