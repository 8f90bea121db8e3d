"""Shards: the parts of a job that are done at once. The same input is always cut in the same way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec.errors import JobError
from placevec.provenance import digest_json
from placevec.sources.base import Part


@dataclass(frozen=True, eq=False)
class Shard:
    """A part of a job that is done at once.

    Attributes:
        name: its name, unique in the job and safe as part of a file name.
        rows: positions in the job's order of places.
        key: what its places share, such as an H3 parent or a block of a raster; for people.
    """

    name: str
    rows: range | NDArray[np.int64]
    key: str = ""

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def positions(self) -> NDArray[np.int64]:
        """The positions as an array."""
        return np.asarray(self.rows, dtype=np.int64)

    def to_json(self) -> list[Any]:
        """What tells this shard from another."""
        rows = self.rows
        if isinstance(rows, range):
            return [self.name, rows.start, rows.stop, rows.step]
        return [self.name, digest_json(rows.tolist())]


def plan_shards(n_rows: int, shard_rows: int) -> list[Shard]:
    """Contiguous shards of at most `shard_rows` of `n_rows` positions; the same for the same numbers."""
    return _named([(range(n_rows), "")], shard_rows)


def plan_parts(parts: Sequence[Part], shard_rows: int) -> list[Shard]:
    """Contiguous shards of at most `shard_rows` positions, none of which crosses the border of a part.

    A part that is larger is cut into pieces of `shard_rows` and a last one, so that all but that are whole batches.
    """
    return _named([(range(part.start, part.stop), part.key) for part in parts], shard_rows)


def _named(stretches: Sequence[tuple[range, str]], shard_rows: int) -> list[Shard]:
    if shard_rows < 1:
        raise JobError(f"a shard of {shard_rows} rows: give at least 1")
    pieces = [(rows[at : at + shard_rows], key) for rows, key in stretches for at in range(0, len(rows), shard_rows)]
    width = max(5, len(str(len(pieces))))
    return [Shard(f"shard-{i:0{width}d}", rows, key) for i, (rows, key) in enumerate(pieces)]


def check_plan(shards: Sequence[Shard], n: int) -> None:
    """JobError unless each of `n` positions stands in exactly one shard.

    Contiguous shards, however many places they hold, are compared by their ends.
    """
    for shard in shards:
        if len(shard) and (_low(shard) < 0 or _high(shard) >= n):
            raise JobError(f"{shard.name} holds position {_high(shard)} of {n} places")
    at = 0
    spans = [shard.rows for shard in shards if isinstance(shard.rows, range) and shard.rows.step == 1]
    if len(spans) == len(shards):
        for rows in sorted((rows for rows in spans if len(rows)), key=lambda rows: rows.start):
            if rows.start != at:
                first, times = (at, 0) if rows.start > at else (rows.start, 2)
                raise _not_one(first, times)
            at = rows.stop
        if at != n:
            raise _not_one(at, 0)
        return
    seen = np.zeros(n, dtype=np.int64)
    for shard in shards:
        np.add.at(seen, shard.positions, 1)
    if (seen != 1).any():
        first = int(np.flatnonzero(seen != 1)[0])
        raise _not_one(first, int(seen[first]))


def _low(shard: Shard) -> int:
    rows = shard.rows
    return min(rows[0], rows[-1]) if isinstance(rows, range) else int(rows.min())


def _high(shard: Shard) -> int:
    rows = shard.rows
    return max(rows[0], rows[-1]) if isinstance(rows, range) else int(rows.max())


def _not_one(position: int, times: int) -> JobError:
    return JobError(f"position {position} stands in {times} shards: each place belongs to exactly one")
