"""What a probe reads: tables by name, the places that they share, and targets by column or raster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from placevec.errors import SchemaError, UsageError
from placevec.table import EmbeddingTable, Places, StoredTable, open_table
from placevec.tasks.inputs import sample
from placevec.tasks.map import Tables


def named_tables(tables: Tables | Mapping[str, Any]) -> dict[str, EmbeddingTable]:
    """Tables by their names, which are those of their files. Raises UsageError if two have one name."""
    if isinstance(tables, Mapping):
        return {name: read_table(table) for name, table in tables.items()}
    listed = [tables] if isinstance(tables, str | Path | StoredTable | EmbeddingTable) else list(tables)
    named: dict[str, EmbeddingTable] = {}
    for table in listed:
        name = _name(table)
        if name in named:
            raise UsageError(f"two tables are called {name!r}: rename one, the report could not tell them apart")
        named[name] = read_table(table)
    return named


def _name(table: Any) -> str:
    if isinstance(table, EmbeddingTable):
        return table.meta.tower or "table"
    return Path(str(table.path if isinstance(table, StoredTable) else table)).stem


def read_table(table: Any) -> EmbeddingTable:
    """A table, or the one that stands at a path."""
    if isinstance(table, EmbeddingTable):
        return table
    return (table if isinstance(table, StoredTable) else open_table(table)).read()


def common_ids(tables: Sequence[EmbeddingTable]) -> NDArray[Any]:
    """The ids that all tables hold, in the order of the first. Raises SchemaError if there are none."""
    ids = tables[0].ids
    for table in tables[1:]:
        ids = ids[table.rows_of(ids) >= 0]
    if len(ids) == 0:
        raise SchemaError("the tables have no id in common: probe tables of the same places")
    return ids


def label_places(labels: str | Path | Places) -> Places:
    """Places with the columns of targets, or those of a file."""
    if isinstance(labels, Places):
        return labels
    from placevec.sources.places import read_places

    if str(labels).endswith((".csv", ".csv.gz")):
        return read_places(labels, id="id")
    return read_places(labels)


def target_of(target: str, places: Places) -> tuple[str, NDArray[Any]]:
    """The name and the values (n,) of a target, which is a column or name=raster. Raises UsageError otherwise."""
    name, equals, raster = target.partition("=")
    if equals:
        return name, sample(raster, places.lonlat())
    if not places.has(target):
        known = ", ".join(places.attributes) or "none"
        raise UsageError(f"{target!r} is no column of the tables: give one of {known}, or name=raster")
    return target, places.column(target)


def ground_m(tables: Sequence[EmbeddingTable]) -> float:
    """The widest ground that a vector of one of the tables has seen, in metres; 0 where chips are not known."""
    layouts = [table.meta.chip_layout or {} for table in tables]
    return max((float(layout.get("ground_m", 0.0)) for layout in layouts), default=0.0)
