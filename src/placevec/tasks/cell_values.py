"""Values of cells made of the rows of a file: what `area targets` and the modality `columns` share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from placevec.errors import DataError, SchemaError
from placevec.geo.cells import CellArray, H3Cells
from placevec.geo.sphere import LonLat
from placevec.sources.targets import TargetRows, area_weighted, at_level
from placevec.sources.targets.columns import numbers
from placevec.sources.targets.keys import resolutions
from placevec.sources.targets.levels import Group, Land, grouped
from placevec.table import Skipped

STAGE = "import"
COUNT = "count"
"""The column that says how many points lie in a cell."""


@dataclass
class CellValues:
    """Values of n cells.

    Attributes:
        columns: by name (n,): numbers, NaN where nothing is known; or an Arrow array of what is none.
        how: of each column whether it was summed or averaged; "" where it came as it was.
        outside: rows that lie in none of the cells.
        skipped: rows that could not be read.
        notes: lines for people.
        reach_m: how far beyond its cell a value may come from, in metres.
    """

    columns: dict[str, Any]
    how: dict[str, str]
    outside: int = 0
    skipped: list[Skipped] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    reach_m: float = 0.0


def cell_values(
    rows: TargetRows,
    columns: Mapping[str, pa.ChunkedArray],
    how: Mapping[str, Group],
    cells: CellArray,
    resolution: int,
    *,
    land: Land = "children",
    zeros: bool = False,
    min_cover: float = 0.0,
    path: str | Path = "",
) -> CellValues:
    """The values of `columns` of `rows` at `cells` (n,), sorted and distinct; see `targets.import_targets`.

    Raises:
        SchemaError: a cell stands there several times and `how` does not say what becomes of that.
        DataError: no row names a cell.
    """
    if rows.kind == "h3":
        return _by_cell(rows, columns, how, cells, resolution, land, path)
    if rows.kind == "points":
        return _by_point(rows, columns, how, cells, resolution, zeros)
    return _by_polygon(rows, columns, how, cells, resolution, min_cover)


def _by_cell(
    rows: TargetRows,
    columns: Mapping[str, pa.ChunkedArray],
    how: Mapping[str, Group],
    wanted: CellArray,
    level: int,
    land: Land,
    path: str | Path,
) -> CellValues:
    assert rows.cells is not None
    found = CellValues({}, {})
    ordinal = np.arange(len(rows))
    good = rows.cells != 0
    found.skipped += [Skipped(f"row {row}", STAGE, "its key is no H3 cell") for row in ordinal[~good]]
    if not good.any():
        raise DataError(f"{path}: no row names an H3 cell")
    levels = resolutions(rows.cells)
    own = int(np.bincount(levels[good]).argmax())
    foreign = good & (levels != own)
    found.skipped += [
        Skipped(f"{int(rows.cells[row]):x}", STAGE, f"a cell of resolution {levels[row]} among those of {own}")
        for row in ordinal[foreign]
    ]
    used = ordinal[good & ~foreign]
    cells, first, inverse, counts = np.unique(
        rows.cells[used], return_index=True, return_inverse=True, return_counts=True
    )
    doubled = int((counts > 1).sum())
    if doubled and not all(name in how for name in columns):
        again = int(cells[counts.argmax()])
        raise SchemaError(
            f"{path}: the cell {again:x} stands in {counts.max()} rows, and {doubled:,} cells do so: leave one row "
            "each, or say with --how sum or --how mean how they become one"
        )
    if doubled:
        found.notes.append(f"{doubled:,} cells stood in several rows, which became one")
    at = H3Cells(own).parent(cells, level) if own >= level else cells
    scope = wanted if own >= level else np.unique(H3Cells(level).parent(wanted, own))
    found.outside = int((~np.isin(at, scope)).sum())
    for name, column in columns.items():
        values = numbers(column)
        if values is None:
            if own == level and not doubled:
                found.columns[name] = _copied(column, used[first], cells, wanted)
                found.how[name] = ""
            else:
                found.notes.append(f"{name} holds no numbers: left out")
            continue
        kind = how.get(name, "mean")
        if own != level and name not in how:
            found.notes.append(_assumed(name))
        single = grouped(inverse, values[used], len(cells), kind) if doubled else values[used][first]
        found.columns[name] = at_level(cells, single, kind, level, wanted, land)
        found.how[name] = kind if own != level or doubled else ""
    if own < level:
        found.reach_m = 2.0 * H3Cells(own).edge_m  # the diameter of the cell whose value it is
    if own != level:
        found.notes.append(f"values of cells of resolution {own} were brought to {level}")
    return found


def _by_point(
    rows: TargetRows,
    columns: Mapping[str, pa.ChunkedArray],
    how: Mapping[str, Group],
    wanted: CellArray,
    level: int,
    zeros: bool,
) -> CellValues:
    assert rows.geometry is not None
    found = CellValues({}, {})
    located = shapely.get_type_id(rows.geometry) == 0
    located &= ~shapely.is_empty(rows.geometry)
    found.skipped += [Skipped(f"row {row}", STAGE, "it has no point") for row in np.flatnonzero(~located)]
    used = np.flatnonzero(located)
    points = LonLat(shapely.get_x(rows.geometry[used]), shapely.get_y(rows.geometry[used]))
    cells = H3Cells(level).assign(points)
    at = np.minimum(np.searchsorted(wanted, cells), len(wanted) - 1)
    inside = wanted[at] == cells
    found.outside = int((~inside).sum())
    at, used = at[inside], used[inside]
    count = np.bincount(at, minlength=len(wanted)).astype(np.float64)
    name = COUNT if COUNT not in columns else f"{COUNT}_of_points"
    found.columns[name] = count if zeros else np.where(count > 0, count, np.nan)
    found.how[name] = "sum"
    for column, values in _numeric(columns, how, found).items():
        kind = how.get(column, "mean")
        made = grouped(at, values[used], len(wanted), kind)
        found.columns[column] = np.where(count == 0, 0.0, made) if zeros and kind == "sum" else made
        found.how[column] = kind
    return found


def _by_polygon(
    rows: TargetRows,
    columns: Mapping[str, pa.ChunkedArray],
    how: Mapping[str, Group],
    wanted: CellArray,
    level: int,
    min_cover: float,
) -> CellValues:
    assert rows.geometry is not None
    found = CellValues({}, {})
    areal = np.isin(shapely.get_type_id(rows.geometry), (3, 6)) & ~shapely.is_empty(rows.geometry)
    found.skipped += [Skipped(f"row {row}", STAGE, "it has no polygon") for row in np.flatnonzero(~areal)]
    used = np.flatnonzero(areal)
    values = {name: one[used] for name, one in _numeric(columns, how, found).items()}
    kinds: dict[str, Group] = {name: how.get(name, "mean") for name in values}
    made, covered = area_weighted(wanted, level, rows.geometry[used], values, kinds)
    thin = covered < min_cover
    if (thin & (covered > 0)).any():
        found.notes.append(f"{int((thin & (covered > 0)).sum()):,} cells are covered by less than {min_cover:g}")
    found.columns |= {name: np.where(thin, np.nan, one) for name, one in made.items()}
    found.how |= dict(kinds)
    return found


def _numeric(
    columns: Mapping[str, pa.ChunkedArray], how: Mapping[str, Group], found: CellValues
) -> dict[str, NDArray[np.float64]]:
    kept = {}
    for name, column in columns.items():
        values = numbers(column)
        if values is None:
            found.notes.append(f"{name} holds no numbers: left out")
            continue
        if name not in how:
            found.notes.append(_assumed(name))
        kept[name] = values
    return kept


def _assumed(name: str) -> str:
    return f"{name} was taken as a mean; if it counts something, say --how {name}=sum"


def _copied(column: pa.ChunkedArray, rows: NDArray[np.int64], cells: CellArray, wanted: CellArray) -> pa.Array:
    """The values of a column that holds no numbers, at the cells wanted, null where there is none."""
    at = np.minimum(np.searchsorted(cells, wanted), len(cells) - 1)
    index = pa.array(rows[at], mask=cells[at] != wanted)
    return column.combine_chunks().take(index)
