"""What `evaluate fusion` reads: tables of cells, fold tables and targets; and which tables know a target."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec.errors import SchemaError, UsageError
from placevec.geo.cells import H3Cells, are_cells
from placevec.geo.sphere import LonLat
from placevec.measure.leaks import column_of, seen_rows
from placevec.provenance import Saw
from placevec.sources.places import read_places
from placevec.table import EmbeddingTable, Places
from placevec.tasks.evaluate_features import read_table, read_tables

Cells = NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class CellTable:
    """A table whose rows are H3 cells.

    Attributes:
        name: as reports show it.
        cells: (n,) the cells, each once.
        vectors: (n, d).
        columns: (d) their names, or none.
        saw: labels that its maker saw.
        ground_m: how far a row has looked, in metres.
        fingerprint: of its content.
    """

    name: str
    cells: Cells
    vectors: NDArray[np.float32]
    columns: tuple[str, ...] = ()
    saw: tuple[Saw, ...] = ()
    ground_m: float = 0.0
    fingerprint: str = ""

    def rows_of(self, cells: Cells) -> NDArray[np.int64]:
        """The row (m,) of each of `cells`, -1 where there is none."""
        order = self._order
        at = np.minimum(np.searchsorted(self.cells, cells, sorter=order), len(order) - 1)
        return np.where(self.cells[order[at]] == cells, order[at], -1)

    def knows(self, target: str) -> bool:
        """Whether it holds the target, or was made with labels of it whatever the cell."""
        whole = any(one.column == target and not one.split for one in self.saw)
        return whole or any(column_of(name) == target for name in self.columns)

    def has_seen(self, target: str, lonlat: LonLat, keys: NDArray[Any]) -> bool:
        """The same, or with labels of some of the cells given."""
        return self.knows(target) or bool(seen_rows(self.saw, target, lonlat, keys, len(keys)).any())

    @cached_property
    def _order(self) -> NDArray[np.int64]:
        return np.argsort(self.cells, kind="stable").astype(np.int64)


def cell_table(name: str, given: Any) -> CellTable:
    """A table as cells; SchemaError if its rows are none, or one stands there twice."""
    table: EmbeddingTable = read_table(given)
    layout = table.meta.chip_layout or {}
    return CellTable(
        name,
        cells_of(table, name),
        table.vectors(),
        tuple(table.meta.dims),
        tuple(table.meta.saw),
        float(layout.get("ground_m", 0.0)),
        table.fingerprint(),
    )


def cell_tables(given: Sequence[Any] | Mapping[str, Any]) -> dict[str, CellTable]:
    """Tables by name: that of the file, or what stands before ``=``."""
    return {name: cell_table(name, table) for name, table in read_tables(given).items()}


def fused_tables(
    given: Sequence[Any] | Mapping[str, Any],
) -> tuple[dict[str, CellTable], dict[str, tuple[CellTable, ...]]]:
    """Fused tables by name: those of one file, and those of a folder of fold tables.

    Raises:
        UsageError: a folder holds no fold-*.parquet, or two have one name.
    """
    named = list(given.items()) if isinstance(given, Mapping) else [_named(one) for one in given]
    names = [name for name, _ in named]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"two fused tables are called {twice!r}: put NAME= before one")
    whole: dict[str, CellTable] = {}
    folded: dict[str, tuple[CellTable, ...]] = {}
    for name, one in named:
        if isinstance(one, str | Path) and Path(one).is_dir() and Path(one).suffix != ".lance":
            files = sorted(Path(one).glob("**/fold-*.parquet"))
            if not files:
                raise UsageError(
                    f"{one} holds no fold-*.parquet: give a table, or the folder of one table for each fold"
                )
            folded[name] = tuple(cell_table(str(file.relative_to(one)), file) for file in files)
        else:
            whole[name] = cell_table(name, one)
    return whole, folded


def cell_targets(given: Any) -> Places:
    """Targets by cell: a Parquet file, or a CSV with the columns id (H3), lon and lat; each cell once.

    Raises:
        SchemaError: an id is no H3 cell, or a cell stands there twice.
    """
    if isinstance(given, Places):
        places = given
    else:
        csv = str(given).endswith((".csv", ".csv.gz"))
        try:
            places = read_places(given, id="id" if csv else None)
        except SchemaError as error:
            if not csv:
                raise
            first = str(error).partition(";")[0]
            raise SchemaError(
                f"{first}; a CSV of targets has the columns id, lon and lat; "
                f"`placevec area targets {given} -o targets.parquet` makes targets of any other"
            ) from None
    cells_of(places, str(given) if isinstance(given, str | Path) else "targets")
    return places


def cells_of(places: Places, name: str) -> Cells:
    """The H3 cells (n,) of rows: their column `h3`, or their ids in hexadecimal."""
    if places.has("h3") and not places.data["h3"].null_count:
        cells = places.column("h3").astype(np.uint64)
    else:
        cells = np.array([_number(text) for text in places.ids.tolist()], dtype=np.uint64)
    bad = np.flatnonzero(~are_cells(cells)) if len(cells) else np.zeros(0, dtype=np.int64)
    if len(bad) or not len(cells):
        first = repr(places.ids[int(bad[0])]) if len(bad) else "no row"
        raise SchemaError(
            f"{name}: {first} is no H3 cell; rows of cells are named by them, as `placevec area features` makes them"
        )
    numbers, count = np.unique(cells, return_counts=True)
    if (count > 1).any():
        twice = int(numbers[np.argmax(count)])
        raise SchemaError(f"{name}: the cell {twice:x} stands {int(count.max())} times; each cell has one row")
    levels = np.unique((cells >> np.uint64(52)) & np.uint64(15))
    if len(levels) > 1:
        raise SchemaError(
            f"{name}: cells of the resolutions {', '.join(map(str, levels.tolist()))}; bring them to one "
            "with `placevec area targets`"
        )
    return cells


def common_resolution(tables: Iterable[CellTable]) -> int:
    """The one H3 resolution of tables; SchemaError if they have several."""
    found = {table.name: int(table.cells[0] >> np.uint64(52)) & 15 for table in tables}
    if len(set(found.values())) != 1:
        listed = ", ".join(f"{name} {level}" for name, level in found.items())
        raise SchemaError(f"tables of several resolutions ({listed}): make all at one resolution")
    return next(iter(found.values()))


def centres(cells: Cells, resolution: int) -> LonLat:
    """The centres (n,) of cells."""
    return H3Cells(resolution).centre(cells)


def _named(one: Any) -> tuple[str, Any]:
    name, equals, path = str(one).partition("=")
    if equals:
        if not name or not path:
            raise UsageError(f"{one!r}: write NAME=PATH, or the path alone")
        return name, path
    if isinstance(one, str | Path):
        return Path(one).stem, one
    return next(iter(read_tables([one]))), one


def _number(text: str) -> int:
    try:
        number = int(text, 16)
    except ValueError:
        return 0
    return number if 0 <= number < 2**64 else 0
