"""Which columns of a vector are what, where it was laid together of unlike parts; they stand in the table's recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from placevec.provenance import TableMeta


def blocks_of(meta: TableMeta) -> tuple[tuple[str, int, int], ...]:
    """The blocks (name, first column, column after the last) of the vectors of a table, in order.

    They follow on each other from the first column to the last. Empty for a table whose recipe names none, or names
    something else by that word.
    """
    return tuple((one["name"], one["start"], one["stop"]) for one in block_records(meta))


def block_records(meta: TableMeta) -> tuple[Mapping[str, Any], ...]:
    """The blocks as the recipe has them: `name`, `start`, `stop`, and `weight`, what the values were multiplied by."""
    listed = meta.recipe.get("blocks")
    if not isinstance(listed, list | tuple):
        return ()
    at = 0
    for one in listed:
        if not isinstance(one, Mapping) or not isinstance(one.get("name"), str):
            return ()
        start, stop = one.get("start"), one.get("stop")
        if not isinstance(stop, int) or start != at or stop <= at:
            return ()
        at = stop
    return tuple(listed) if at == meta.space.dims else ()
