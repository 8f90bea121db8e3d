"""The one protocol by which content is read: chips, photos, captions, maps and timetables are all Sources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from placevec.errors import SchemaError
from placevec.table import Places, Skipped

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """What was read for some rows of a Source.

    Attributes:
        rows: (m,) the rows that could be read, in the order in which they were asked for.
        data: arrays aligned with `rows` by their first axis. Keys in use: "image" (m, bands, H, W) uint8 or
            float32, "valid" (m,) share of valid pixels, "lonlat" (m, 2) longitude and latitude in degrees,
            "text" (m,) objects.
        skipped: the rows that could not be read, each with its reason.

    Raises:
        SchemaError: an array of `data` has another length than `rows`, or `rows` is not 1-D.
    """

    rows: Rows
    data: Mapping[str, NDArray[Any]]
    skipped: list[Skipped] = field(default_factory=list)

    def __post_init__(self) -> None:
        rows = np.asarray(self.rows)
        if rows.ndim != 1 or (len(rows) and rows.dtype.kind not in "iu"):
            raise SchemaError(f"the rows of a batch are a 1-D array of integers, not {rows.dtype} {rows.shape}")
        object.__setattr__(self, "rows", rows.astype(np.int64, copy=False))
        for name, values in self.data.items():
            length = len(values) if np.ndim(values) else None
            if length != len(rows):
                raise SchemaError(f"a batch of {len(rows)} rows holds {name!r} of length {length}; align it with rows")

    def __len__(self) -> int:
        return len(self.rows)


@runtime_checkable
class Source(Protocol):
    """Places whose content can be read by row."""

    def places(self) -> Places:
        """All places of the source, one row per observation."""

    def read(self, rows: Rows) -> Batch:
        """The content of `rows`; every row asked for is in `rows` or `skipped` of the answer."""


class ArraySource:
    """Places whose content lies in memory.

    Args:
        places: n places.
        data: arrays of n rows each, by key; see `Batch`.

    Raises:
        SchemaError: an array has another length than `places`.
    """

    def __init__(self, places: Places, data: Mapping[str, NDArray[Any]]) -> None:
        Batch(np.arange(len(places)), data)  # its checks are ours
        self._places = places
        self._data = dict(data)

    def places(self) -> Places:
        """All places of the source."""
        return self._places

    def read(self, rows: Rows) -> Batch:
        """The content of `rows`; nothing is ever skipped."""
        rows = check_rows(rows, len(self._places))
        return Batch(rows, {name: values[rows] for name, values in self._data.items()})


def check_rows(rows: Any, count: int) -> Rows:
    """`rows` as int64, or SchemaError where one is not a row of a source of `count` places."""
    found = np.asarray(rows)
    if found.ndim != 1 or (len(found) and found.dtype.kind not in "iu"):
        raise SchemaError(f"rows are a 1-D array of integers, not {found.dtype} {found.shape}")
    found = found.astype(np.int64, copy=False)
    bad = (found < 0) | (found >= count)
    if bad.any():
        raise SchemaError(f"row {int(found[bad][0])} does not exist: the source has {count} places")
    return found
