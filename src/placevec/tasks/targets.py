"""`area targets`: what is known of the cells of an area, from files of cells, points or polygons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from placevec.area import StudyArea
from placevec.config import nearest
from placevec.errors import DataError, UsageError
from placevec.geo.cells import CellArray, H3Cells
from placevec.sources.targets import TargetRows, TargetsCard, read_rows, write_targets
from placevec.sources.targets.keys import resolutions
from placevec.sources.targets.levels import Floats, Group, Land
from placevec.sources.targets.rows import Kind
from placevec.table import Places, write_skipped
from placevec.table.places import RESERVED
from placevec.tasks.cell_values import CellValues, cell_values
from placevec.tasks.inputs import cell_places


@dataclass(frozen=True)
class TargetsSummary:
    """What became of a file of targets.

    Attributes:
        path: the file written.
        kind: what the rows of the source were about: h3, points, polygons.
        resolution: of the cells.
        rows: cells of which some target is known.
        unknown: cells of the area of which none is.
        outside: rows of the source that lie outside of the area.
        skipped: rows of the source that could not be read.
        columns: the targets.
        notes: lines for people.
    """

    path: Path
    kind: Kind
    resolution: int
    rows: int
    unknown: int
    outside: int
    skipped: int
    columns: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def to_record(self) -> dict[str, Any]:
        """A JSON object."""
        return {**asdict(self), "path": str(self.path), "columns": list(self.columns), "notes": list(self.notes)}


def import_targets(
    path: str | Path,
    out: str | Path | None = None,
    *,
    area: str | Path | StudyArea | None = None,
    cells: ArrayLike | None = None,
    resolution: int | None = None,
    kind: Kind | None = None,
    key: str | None = None,
    lon: str | None = None,
    lat: str | None = None,
    geometry: str | None = None,
    crs: str | None = None,
    columns: Sequence[str] = (),
    how: Mapping[str, Group] | Group | None = None,
    land: Land = "children",
    zeros: bool = False,
    min_cover: float = 0.0,
    complete: bool = False,
) -> TargetsSummary:
    """Bring the values of a file to the cells of an area, in a file of targets: id and h3, and a column a target.

    Rows about cells of the resolution asked for are taken as they are. Finer cells are summed or averaged, coarser
    ones spread (`sources.targets.at_level`); points are counted, summed and averaged in their cells; polygons are
    split or averaged by the area that they share with a cell (`sources.targets.area_weighted`).

    Args:
        path: a CSV, Parquet, GeoJSON, GeoPackage, Shapefile or FlatGeobuf; see `sources.targets.read_rows`.
        out: a .parquet; by default tables/targets.parquet of the area. Rows that could not be read stand beside it,
            in ``NAME.skipped.parquet``.
        area: a study area or its folder: its cells are meant.
        cells: (n,) H3 cells of one resolution; or give `area`; without both, the cells of the file.
        resolution: of the area's cells; by default the area's own.
        kind: what rows are about, where that is to be said.
        key: the column of H3 cells.
        lon: the column of longitudes, or of x in `crs`.
        lat: the column of latitudes, or of y in `crs`.
        geometry: the column of geometries.
        crs: the coordinate system, where the file does not say it.
        columns: those wanted; by default all.
        how: "sum" or "mean" for all columns, or by column. Where it matters and is not said, a column is a mean, and
            a note says so.
        land: how sums of coarser cells are spread: over all children, or over those that the area has.
        zeros: of points: a cell without any has 0 of what is counted or summed; by default nothing is known of it.
        min_cover: of polygons: cells of which they cover a smaller share are unknown.
        complete: leave out cells of which one of the file's columns is unknown, also one that is not wanted, so that
            all targets are of the same cells.

    Raises:
        UsageError: an option does not fit, or names a column that there is not.
        SchemaError: a cell stands there several times and `how` does not say what becomes of that.
        DataError: no row lies in the area, or there is no column with values.
    """
    place = StudyArea.open(area) if isinstance(area, str | Path) else area
    rows = read_rows(path, kind=kind, key=key, lon=lon, lat=lat, geometry=geometry, crs=crs)
    wanted, level = _wanted(rows, place, cells, resolution, path)
    goal = _goal(out, place, path)
    chosen = chosen_columns(rows, columns, path)
    known = how_of(how, chosen, path)
    every = chosen_columns(rows, (), path) if complete else chosen
    found = cell_values(rows, every, known, wanted, level, land=land, zeros=zeros, min_cover=min_cover, path=path)
    if not found.columns:
        raise DataError(f"{path} has no column of values: {', '.join(rows.data.schema.names) or 'it has none at all'}")
    there = _known(found.columns, len(wanted))
    if complete:
        whole = np.all([_known({name: one}, len(wanted)) for name, one in found.columns.items()], axis=0)
        partly, there = int((there & ~whole).sum()), whole
        found = replace(found, columns={name: one for name, one in found.columns.items() if name in chosen})
    if not there.any():
        raise DataError(f"{path}: none of its {len(rows):,} rows has a value for one of the {len(wanted):,} cells")
    kept = np.flatnonzero(there)
    places = _places(wanted[kept], level, {name: _take(values, kept) for name, values in found.columns.items()})
    notes = (*rows.notes, *found.notes, *_counts(found, rows, int((~there).sum())))
    if complete and partly:
        notes = (*notes, f"{partly:,} of them are known in part, and left out as --complete asks for")
    settings = {"kind": rows.kind, "land": land, "zeros": zeros, "min_cover": min_cover, "crs": crs}
    write_targets(places, goal, TargetsCard(level, found.how, settings, (rows.source,), notes))
    write_skipped(goal, found.skipped)
    return TargetsSummary(
        goal,
        rows.kind,
        level,
        len(kept),
        int((~there).sum()),
        found.outside,
        len(found.skipped),
        tuple(found.columns),
        notes,
    )


def _known(columns: Mapping[str, Any], count: int) -> NDArray[np.bool_]:
    there = np.zeros(count, dtype=bool)
    for values in columns.values():
        there |= np.asarray(values.is_valid()) if isinstance(values, pa.Array) else ~np.isnan(values)
    return there


def _take(values: Any, rows: NDArray[np.int64]) -> Any:
    if isinstance(values, pa.Array):
        return values.take(pa.array(rows))
    kept: Floats = values[rows]
    return pa.array(kept, mask=np.isnan(kept))


def _places(cells: CellArray, level: int, columns: Mapping[str, Any]) -> Places:
    """The cells in the order of all tables of cells, with the targets."""
    places = cell_places(cells, level)
    at = pa.array(np.searchsorted(cells, places.column("h3").astype(np.uint64)))
    for name, values in columns.items():
        places = places.with_column(f"{name}_" if name in RESERVED else name, values.take(at))
    return places


def _counts(found: CellValues, rows: TargetRows, unknown: int) -> list[str]:
    words = {"h3": "cells of the file", "points": "points", "polygons": "polygons"}[rows.kind]
    notes = []
    if found.outside:
        notes.append(f"{found.outside:,} {words} lie outside of the area")
    if unknown:
        notes.append(f"of {unknown:,} cells of the area nothing is known")
    if found.skipped:
        notes.append(f"{len(found.skipped):,} rows could not be read")
    return notes


def chosen_columns(rows: TargetRows, wanted: Sequence[str], path: str | Path) -> dict[str, pa.ChunkedArray]:
    """The columns wanted, or all, by name; UsageError, with the nearest, for one that there is not."""
    names = rows.data.schema.names
    for name in wanted:
        if name not in names:
            raise UsageError(f"{path} has no column {name!r}{nearest(name, names)}")
    return {name: rows.data[name] for name in (wanted or names)}


def how_of(
    how: Mapping[str, Group] | Group | None, columns: Mapping[str, pa.ChunkedArray], path: str | Path
) -> dict[str, Group]:
    """What each column is, as far as `how` says it; UsageError for a column or a word that there is not."""
    if how is None:
        return {}
    given: Mapping[str, Group] = dict.fromkeys(columns, how) if isinstance(how, str) else how
    for name, kind in given.items():
        if kind not in ("sum", "mean"):
            raise UsageError(f"{name} cannot be made one by {kind!r}: choose sum or mean")
        if name not in columns:
            raise UsageError(f"{path} has no column {name!r}{nearest(name, columns)}")
    return dict(given)


def parse_how(texts: Sequence[str]) -> dict[str, Group] | Group | None:
    """``sum``, or ``jobs=sum`` and ``price=mean``, as `import_targets` takes them.

    Raises UsageError for other words, or a word for all beside words for some.
    """
    if not texts:
        return None
    if len(texts) == 1 and "=" not in texts[0]:
        return _group(texts[0], texts[0])
    found: dict[str, Group] = {}
    for text in texts:
        name, equals, kind = text.rpartition("=")
        if not equals or not name:
            raise UsageError(f"--how {text}: beside others write COLUMN=sum or COLUMN=mean")
        found[name.strip()] = _group(kind.strip(), text)
    return found


def _group(kind: str, text: str) -> Group:
    if kind == "sum":
        return "sum"
    if kind == "mean":
        return "mean"
    raise UsageError(f"--how {text}: write sum or mean, or COLUMN=sum")


def _wanted(
    rows: TargetRows, area: StudyArea | None, cells: ArrayLike | None, resolution: int | None, path: str | Path
) -> tuple[CellArray, int]:
    if cells is not None:
        own = np.unique(np.ascontiguousarray(cells, dtype=np.uint64))
        level = int(resolutions(own[:1])[0]) if len(own) else resolution or 0
        H3Cells(level).centre(own)  # refuses what is no cell of that resolution
        return own, level
    if area is not None:
        return area.cells(resolution), area.resolution if resolution is None else resolution
    if rows.cells is None:
        raise UsageError(f"{path} holds {rows.kind}: of which cells? give the folder of a study area (--area)")
    there = rows.cells[rows.cells != 0]
    if len(there) == 0:
        raise DataError(f"{path}: no row names an H3 cell")
    own_level = int(np.bincount(resolutions(there)).argmax())
    own = np.unique(there[resolutions(there) == own_level])
    level = own_level if resolution is None else resolution
    if level > own_level:
        raise UsageError(f"{path} has cells of resolution {own_level}: for finer ones give the study area (--area)")
    return np.unique(H3Cells(own_level).parent(own, level)), level


def _goal(out: str | Path | None, area: StudyArea | None, path: str | Path) -> Path:
    if out is None and (area is None or area.folder is None):
        raise UsageError("where shall the targets go? give --out, or the folder of a study area")
    goal = (
        Path(out) if out is not None else (area.folder if area and area.folder else Path()) / "tables/targets.parquet"
    )
    if goal.suffix != ".parquet":
        raise UsageError(f"{goal}: the name of a file of targets ends in .parquet")
    if goal.exists() and goal.resolve() == Path(path).resolve():
        raise UsageError(f"{out} is the file to import: write to another name")
    return goal
