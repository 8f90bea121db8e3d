"""Sums by row, with their type."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def sums(rows: NDArray[np.int64], n: int, values: NDArray[Any] | None = None) -> NDArray[np.float64]:
    """The sum (n,) of the values of each row; how often the row stands there, where there are no values."""
    return np.asarray(np.bincount(rows, values, minlength=n), dtype=np.float64)
