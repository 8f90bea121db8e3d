"""The one protocol by which content is read: chips, photos, captions, maps and timetables are all Sources."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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


class Part(Protocol):
    """A contiguous part of the rows of something too large to list, such as a row group of a file.

    Attributes:
        name: its name, for people.
        start: its first row.
        stop: the row after its last one.
        key: what its places share, such as an H3 parent in hexadecimal.
    """

    @property
    def name(self) -> str:
        """See above."""

    @property
    def start(self) -> int:
        """See above."""

    @property
    def stop(self) -> int:
        """See above."""

    @property
    def key(self) -> str:
        """See above."""


@runtime_checkable
class Partitioned(Protocol):
    """A Source whose places are never all in memory: a job reads them part by part, in the order of the file.

    Ids are unique in the whole of it, as those of every Source. Where they rise from part to part, as those of
    sorted cells do, that is proven without holding them.
    """

    @property
    def num_rows(self) -> int:
        """The number of places."""

    def parts(self) -> Sequence[Part]:
        """The parts in order; together they are all rows, each once. No shard of a job crosses their borders."""

    def part(self, start: int, stop: int) -> Source:
        """The places of rows `start` to `stop` (not included) with their content; its row 0 is row `start`."""

    def template(self) -> Places:
        """No rows, and all columns."""

    def fingerprint(self) -> str:
        """What changes whenever a place or its content does, without reading them all."""


class StoredRows(Protocol):
    """Places in a file of which parts are read: `Partitioned` without the content."""

    @property
    def num_rows(self) -> int:
        """The number of places."""

    @property
    def parts(self) -> Sequence[Part]:
        """The parts in order."""

    def read(self, start: int, stop: int) -> Places:
        """The places of rows `start` to `stop` (not included)."""

    def template(self) -> Places:
        """No rows, and all columns."""

    def fingerprint(self) -> str:
        """What changes whenever a place does."""


class PartedSource:
    """Stored places, and what is read at them: `Partitioned`.

    Args:
        stored: the places, such as `table.stored_places.StoredPlaces`.
        content: makes a Source of some of them; its places are those given, in their order.
        about: what tells this content from another, for `fingerprint`: a fingerprint of rasters and settings.
    """

    def __init__(self, stored: StoredRows, content: Callable[[Places], Source], about: str = "") -> None:
        self.stored = stored
        self.content = content
        self.about = about

    @property
    def num_rows(self) -> int:
        """The number of places."""
        return self.stored.num_rows

    def parts(self) -> Sequence[Part]:
        """The parts of the file."""
        return self.stored.parts

    def part(self, start: int, stop: int) -> Source:
        """The places of rows `start` to `stop` with their content."""
        return self.content(self.stored.read(start, stop))

    def template(self) -> Places:
        """No rows, and all columns."""
        return self.stored.template()

    def fingerprint(self) -> str:
        """That of the places, and `about`."""
        return f"{self.stored.fingerprint()} {self.about}".strip()


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
