"""Scores of pairs of vectors: fast with a known error, and exact.

The fast ones are float32 products of blocks, whose last bits depend on the shape of the block and on threads. The
exact one of a pair is a float64 sum in an order that only d decides, rounded to float32 once: it is the same in
whatever company the pair comes, and equal vectors have equal scores. `index.exact` ranks by the same rule.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec.errors import DataError

Vectors = NDArray[np.float32]
Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

METRICS = ("cosine", "dot", "l2")
_LONGEST = 1e15  # squared, it still fits into float32
_PIECE = 4096  # rows looked at together
_PAIRS_BYTES = 8 << 20


class Side:
    """The vectors of one side, images or captions, in the form of which the inner product ranks.

    Args:
        vectors: (n, d) numbers in memory or mapped; they are not copied as a whole.
        metric: "cosine", "dot" or "l2".
        side: 0 or 1, the two sides of a product (for l2 they differ).
        name: of what they are, for messages.

    Raises:
        DataError: not (n, d) numbers, no rows, values that are not finite, or too large for float32.
    """

    def __init__(self, vectors: NDArray[Any], metric: str, side: int, name: str) -> None:
        if metric not in METRICS:
            raise DataError(f"there is no ranking by {metric!r}; known: {', '.join(METRICS)}")
        if vectors.ndim != 2 or vectors.dtype.kind not in "fiu" or 0 in vectors.shape:
            raise DataError(f"vectors of {name} are numbers of the shape (n, d), not {vectors.dtype} {vectors.shape}")
        self.vectors, self.metric, self.side = vectors, metric, side
        self.size = np.empty(len(vectors))
        for start in range(0, len(vectors), _PIECE):
            piece = np.asarray(vectors[start : start + _PIECE], dtype=np.float64)
            self.size[start : start + _PIECE] = np.sqrt(np.add.reduce(piece * piece, axis=1))
        odd = np.flatnonzero(~(self.size < _LONGEST))
        if len(odd):
            raise DataError(
                f"the vector of {name} row {int(odd[0])} holds values that are not finite or too large: embed it again"
            )

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def dims(self) -> int:
        """Components of a vector as given."""
        return int(self.vectors.shape[1])

    def exact(self, rows: Rows | slice) -> Floats:
        """Some rows in float64, in the form that is multiplied.

        For l2 two components are added to each vector, such that q'·v' = -|q - v|² / 2.
        """
        found = np.ascontiguousarray(self.vectors[rows], dtype=np.float64)
        size = self.size[rows][:, None]
        if self.metric == "cosine":
            return found / np.where(size > 0, size, 1.0)
        if self.metric == "l2":
            half, one = -0.5 * size * size, np.ones_like(size)
            return np.hstack([found, half, one] if self.side else [found, one, half])
        return found

    def rough(self, rows: slice) -> tuple[Vectors, Floats]:
        """The same in float32, and the length of each row."""
        found = self.exact(rows)
        return found.astype(np.float32), np.sqrt(np.add.reduce(found * found, axis=1))


def error_unit(dims: int) -> float:
    """The largest error of a float32 product, as a share of |q| |v|.

    A float32 sum of d products is wrong by at most d · 2^-24 · |q| |v| in any order of adding; the roundings of both
    vectors, of the exact score and for l2 two further components come on top of it.
    """
    return (dims + 16) * 2.0**-24


def pair_scores(left: Side, right: Side, images: Rows, captions: Rows) -> Vectors:
    """The exact scores (p,) of pairs of rows of both sides."""
    scores = np.empty(len(images), dtype=np.float32)
    step = max(1, _PAIRS_BYTES // (8 * (left.dims + 2)))
    for start in range(0, len(images), step):
        part = slice(start, start + step)
        products = left.exact(images[part]) * right.exact(captions[part])
        scores[part] = np.add.reduce(products, axis=1)
    return scores
