"""Which row of one date is which of the other: tables joined by place, H3 cell or id, vectors untouched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from placevec.errors import SchemaError, UsageError
from placevec.table import EmbeddingTable, Places, StoredTable

Table = EmbeddingTable | StoredTable


@dataclass(frozen=True, eq=False)
class Joined:
    """Rows of two tables that are of one place.

    Attributes:
        before: (n,) int64 rows of the first table.
        after: (n,) int64 rows of the second, ascending.
        only_before: rows of the first without a partner.
        only_after: rows of the second without one.
        by: what they were joined by.
    """

    before: NDArray[np.int64]
    after: NDArray[np.int64]
    only_before: NDArray[np.int64]
    only_after: NDArray[np.int64]
    by: str


def match(first: Table, second: Table, by: str = "auto") -> Joined:
    """Join two tables by "place", "h3" or "id"; "auto" takes the first of them that both have in every row.

    Raises:
        UsageError: a table lacks the key, or no place is in both.
        SchemaError: a key stands twice in one table: change compares one vector of a place with one.
    """
    used = _key(first, second, by)
    keys = [_keys(table, used) for table in (first, second)]
    for which, key in zip(("earlier", "later"), keys, strict=True):
        counts = pc.value_counts(key)
        twice = pc.greater(counts.field("counts"), 1)
        if pc.any(twice).as_py():
            found = counts.filter(twice)[0].as_py()
            name = f"{found['values']:x}" if used == "h3" else found["values"]
            raise SchemaError(
                f"the {used} {name!r} stands {found['counts']} times in the {which} table, change compares one vector "
                "with one: take one date of it with `placevec export --where`, or join by another key (by)"
            )
    partner = np.asarray(pc.fill_null(pc.index_in(keys[1], value_set=keys[0]), -1), dtype=np.int64)
    after = np.flatnonzero(partner >= 0)
    before = partner[after]
    if not len(after):
        raise UsageError(
            f"no {used} is in both tables, of {len(keys[0]):,} and {len(keys[1]):,} rows: are they of one place?"
        )
    lonely = np.setdiff1d(np.arange(len(keys[0])), before, assume_unique=True)
    return Joined(before, after, lonely, np.flatnonzero(partner < 0), used)


def joined_attributes(first: Table, second: Table, joined: Joined) -> Places:
    """The places of the later table with its attributes, and those of the earlier one that say something else.

    An attribute of the earlier table that the later one lacks, or that differs in any place, is called NAME_before.
    Times become the span from the earlier to the later one.
    """
    old, new = _places(first, joined.before), _places(second, joined.after)
    for name in old.attributes:
        column = old.data[name].combine_chunks()
        if new.has(name) and _same(column, new.data[name].combine_chunks()):
            continue
        free = f"{name}_before"
        if new.has(free):
            raise SchemaError(f"the later table has an attribute {free!r} already: drop or rename it first")
        new = new.with_column(free, column)
    if old.has("time_start") and new.has("time_start"):
        end = new.data["time_end"] if new.has("time_end") else new.data["time_start"]
        new = new.with_column("time_end", pc.coalesce(end, new.data["time_start"]))
        new = new.with_column("time_start", old.data["time_start"])
    return new


def _key(first: Table, second: Table, by: str) -> str:
    if by not in ("auto", "place", "h3", "id"):
        raise UsageError(f"tables are joined by place, h3 or id, not by {by!r}")
    for name in ("place", "h3"):
        have = [_complete(table, name) for table in (first, second)]
        if by == name and not all(have):
            which = "earlier" if not have[0] else "later"
            raise UsageError(f"the {which} table has no {name} for every row: join by another key")
        if by in (name, "auto") and all(have):
            return name
    return "id"


def _complete(table: Table, name: str) -> bool:
    return table.has(name) and _column(table, name).null_count == 0


def _keys(table: Table, name: str) -> pa.Array:
    return _column(table, name).combine_chunks()


def _column(table: Table, name: str) -> pa.ChunkedArray:
    if isinstance(table, EmbeddingTable):
        return table.data[name]
    return pa.chunked_array([table.places([name]).data[name].combine_chunks()])


def _places(table: Table, rows: NDArray[np.int64]) -> Places:
    if isinstance(table, StoredTable):
        return table.places(None, rows)
    names = [name for name in table.data.schema.names if name not in ("embedding", "bbox")]
    return Places(table.data.select(names)).take(rows)


def _same(a: pa.Array, b: pa.Array) -> bool:
    if a.type != b.type:
        return False
    if pa.types.is_floating(a.type):
        both: tuple[NDArray[Any], NDArray[Any]] = (a.to_numpy(zero_copy_only=False), b.to_numpy(zero_copy_only=False))
        return bool(np.array_equal(*both, equal_nan=True))
    return bool(a.equals(b))
