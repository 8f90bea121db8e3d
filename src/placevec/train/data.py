"""Training data by row: arrays in memory, or anything that reads rows; and the hash by which a run knows its data."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec.errors import DataError, UsageError

Read = Callable[[NDArray[np.int64]], NDArray[Any]]


@dataclass(frozen=True)
class Rows:
    """`count` rows that `read` gives by number, and the `key` (a hash) of what they hold."""

    count: int
    read: Read
    key: str

    @classmethod
    def of(cls, source: NDArray[Any] | Rows) -> Rows:
        """Rows of an array, by its first axis; Rows are given back as they are."""
        if isinstance(source, Rows):
            return source
        return cls(len(source), source.__getitem__, digest(source))


def digest(*arrays: NDArray[Any]) -> str:
    """sha256 (hex) of the types, shapes and contents of arrays."""
    total = hashlib.sha256()
    for array in arrays:
        total.update(f"{array.dtype.str}{array.shape}".encode())
        total.update(np.ascontiguousarray(array).data)
    return total.hexdigest()


def parts(val: NDArray[Any], count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows for training and those for validation.

    Args:
        val: (count,) bool, True where a row is for validation only.
        count: number of rows.

    Raises:
        DataError: another length or type, or fewer than 2 rows for training.
    """
    mask = np.asarray(val)
    if mask.dtype != np.bool_ or mask.shape != (count,):
        raise DataError(f"the validation mask is {mask.dtype} {mask.shape}; it has to be bool ({count},)")
    train, held = np.flatnonzero(~mask), np.flatnonzero(mask)
    if len(train) < 2:
        raise UsageError(f"{len(train)} of {count} rows are left for training: hold out fewer")
    return train.astype(np.int64), held.astype(np.int64)
