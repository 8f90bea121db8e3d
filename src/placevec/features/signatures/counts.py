"""Counting of classes over many patches at once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from placevec.errors import SchemaError

Counts = NDArray[np.int64]
Classes = NDArray[np.uint8]

_PIXELS = 1 << 16  # counted at once: their codes stay in the processor's cache


def class_counts(patches: Classes, classes: int) -> Counts:
    """How many pixels of each patch (m, rows, columns) belong to the classes 0 to `classes`: (m, classes + 1)."""
    found = np.empty((len(patches), classes + 1), dtype=np.int64)
    for part in _parts(patches):
        found[part] = _count(patches[part].astype(np.int64), classes + 1)
    return found


def pair_counts(patches: Classes, classes: int, neighbours: int = 4) -> Counts:
    """How many pairs of adjacent pixels of each patch belong to each unordered pair of classes.

    Each two pixels that touch are counted once, whichever of them comes first; pairs with a pixel of nothing (0)
    are left out.

    Args:
        patches: (m, rows, columns) classes 1 to `classes`, 0 for nothing.
        classes: their number K.
        neighbours: 4 (sides), or 8 (sides and corners).

    Returns:
        (m, K (K + 1) / 2), in the order of `pair_rows`.

    Raises:
        SchemaError: patches of a single pixel, where nothing touches.
    """
    rows, columns = patches.shape[1:]
    if rows * columns < 2:
        raise SchemaError(f"patches of {rows} x {columns} pixels have no adjacent ones: cut larger patches")
    width = classes + 1
    first, second = pair_rows(classes)
    found = np.empty((len(patches), len(first)), dtype=np.int64)
    for part in _parts(patches):
        here = patches[part].astype(np.int64)
        scaled = here * width
        square = _count(scaled[:, :, :-1] + here[:, :, 1:], width * width)
        square += _count(scaled[:, :-1] + here[:, 1:], width * width)
        if neighbours == 8:
            square += _count(scaled[:, :-1, :-1] + here[:, 1:, 1:], width * width)
            square += _count(scaled[:, :-1, 1:] + here[:, 1:, :-1], width * width)
        square = square.reshape(-1, width, width)
        both = square[:, first, second] + square[:, second, first]
        both[:, first == second] //= 2
        found[part] = both
    return found


def joint_counts(one: Classes, other: Classes, classes: tuple[int, int]) -> Counts:
    """How many pixels of each patch have a class of one layer and a class of another: (m, K1 K2), the first slowest."""
    width = classes[1] + 1
    found = np.empty((len(one), classes[0] * classes[1]), dtype=np.int64)
    for part in _parts(one):
        codes = one[part].astype(np.int64) * width + other[part]
        square = _count(codes, (classes[0] + 1) * width).reshape(-1, classes[0] + 1, width)
        found[part] = square[:, 1:, 1:].reshape(len(square), -1)
    return found


def pair_rows(classes: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The classes of each unordered pair, 1-based, the smaller first: 1|1, 1|2, ... 1|K, 2|2, ..."""
    first, second = np.triu_indices(classes)
    return first + 1, second + 1


def _parts(patches: NDArray[np.uint8]) -> Iterator[slice]:
    step = max(1, _PIXELS // max(1, patches.shape[1] * patches.shape[2]))
    return (slice(at, at + step) for at in range(0, len(patches), step))


def _count(codes: Counts, size: int) -> Counts:
    """How often each code 0 to size − 1 stands in each of the arrays (m, ...): (m, size). `codes` is overwritten."""
    m = len(codes)
    codes += (np.arange(m) * size)[:, None, None]
    return np.bincount(codes.reshape(-1), minlength=m * size).reshape(m, size)
