"""The Jensen-Shannon distance of signatures: how much two distributions of classes differ."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from placevec.errors import DataError
from placevec.measure.parallel import in_parallel

Floats = NDArray[np.float64]

_QUERIES = 64  # compared by one thread at a time


def probabilities(vectors: NDArray[Any]) -> Floats:
    """The probabilities (n, d) behind stored signatures, which are their square roots; each row adds up to 1.

    Raises:
        DataError: a row is no such root: a negative component, or a length that is not 1.
    """
    values = np.asarray(vectors, dtype=np.float64)
    if values.ndim != 2:
        raise DataError(f"signatures of the shape {values.shape}; give (n, d)")
    found = values * values
    total = found.sum(axis=1, keepdims=True)
    bad = ~((values >= 0).all(axis=1) & (np.abs(total[:, 0] - 1) < 1e-2))
    if bad.any():
        raise DataError(
            f"row {int(np.argmax(bad))} is no signature: roots of shares have length 1 and are not negative"
        )
    return np.asarray(found / total)


def jensen_shannon(queries: NDArray[Any], table: NDArray[Any]) -> Floats:
    """The Jensen-Shannon divergences (q, n) in bits, 0 to 1, of probabilities (q, d) from probabilities (n, d).

    This is what the R packages motif and philentropy call the Jensen-Shannon distance, with logarithms to base 2:
    H((p + q) / 2) − (H(p) + H(q)) / 2 (Lin, 1991, "Divergence measures based on the Shannon entropy"). Its root is a
    metric, and ranks alike. With f(x) = x log2 x it is 1 − ½ Σ (f(p + q) − f(p) − f(q)), of which only components
    count that both have: a signature has few, so that a pair costs few logarithms.

    Raises:
        DataError: not two arrays of the same number of components, or rows that are no probabilities.
    """
    q, p = _checked(queries, "queries"), _checked(table, "table")
    if q.shape[1] != p.shape[1]:
        raise DataError(f"signatures of {q.shape[1]} and of {p.shape[1]} components do not compare")
    columns = sparse.csc_array(p)
    own = _f(columns.data)
    starts, rows, values = columns.indptr, columns.indices, columns.data

    def some(first: int) -> Floats:
        found = np.empty((min(_QUERIES, len(q) - first), len(p)))
        for out, query in zip(found, q[first : first + _QUERIES], strict=True):
            shared = np.zeros(len(p))
            for column in np.flatnonzero(query).tolist():
                part = slice(starts[column], starts[column + 1])
                share = float(query[column])
                both = values[part] + share
                # In place: half of the time would go into new arrays.
                log = np.log2(both)
                log *= both
                log -= own[part]
                log -= share * np.log2(share)
                # A row stands once in a column: this adds to each only once.
                shared[rows[part]] += log
            np.clip(1.0 - 0.5 * shared, 0.0, 1.0, out=out)
        return found

    parts = in_parallel([partial(some, first) for first in range(0, len(q), _QUERIES)])
    return np.concatenate([np.empty((0, len(p))), *parts])


def _f(x: Floats) -> Floats:
    return np.asarray(x * np.log2(np.where(x > 0, x, 1.0)))


def _checked(values: NDArray[Any], name: str) -> Floats:
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 2:
        raise DataError(f"{name} of the shape {found.shape}; give probabilities (n, d)")
    bad = ~((found >= 0).all(axis=1) & (np.abs(found.sum(axis=1) - 1) < 1e-6))
    if bad.any():
        raise DataError(f"{name}: row {int(np.argmax(bad))} holds no probabilities that add up to 1")
    return found
