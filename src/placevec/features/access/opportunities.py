"""What there is to reach: points, or columns of files keyed by H3 cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from placevec.config import nearest
from placevec.errors import DataError, SchemaError, UsageError
from placevec.geo.cells import H3Cells
from placevec.geo.sphere import LonLat
from placevec.provenance import Saw
from placevec.sources.places import read_places
from placevec.sources.targets.columns import CSV, PARQUET, numbers, read_columns
from placevec.sources.targets.keys import key_column, parse_cells, resolutions

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Opportunities:
    """m places and how much of c kinds of opportunities there is at each."""

    names: tuple[str, ...]  # (c)
    where: LonLat  # (m)
    weights: Floats  # (m, c)
    notes: tuple[str, ...]  # for people

    @property
    def saw(self) -> tuple[Saw, ...]:
        """The columns that were counted, as labels that were seen on all rows: no probe of them is made with these."""
        return tuple(Saw("", name) for name in self.names)


def read_opportunities(
    paths: Sequence[str | Path], columns: Sequence[str] = (), *, lon: str = "lon", lat: str = "lat"
) -> Opportunities:
    """The opportunities of files.

    Of a file that has some of the `columns`, these are counted; the rows of a file of points that has none of them
    count 1 each, under the name of the file. A file with a column of H3 cells is keyed by it, at the cells' centres;
    of any other the points are taken.

    Args:
        paths: .csv, .tsv (also .gz), .parquet or .geojson.
        columns: to be counted.
        lon: the column of longitudes of a CSV of points.
        lat: the column of latitudes.

    Raises:
        UsageError: no file, a column that no file has, or a file of cells of which no column is named.
        SchemaError: a column holds no numbers.
        DataError: an amount is negative, or there is nothing.
    """
    if not paths:
        raise UsageError("no opportunities are given: name a file of what there is to reach (--opportunities)")
    parts: list[tuple[LonLat, dict[str, Floats]]] = []
    notes: list[str] = []
    known: list[str] = []
    for path in paths:
        where, amounts, there = _read(Path(path), columns, lon, lat, notes)
        parts.append((where, amounts))
        known += there
    missing = next((name for name in columns if not any(name in amounts for _, amounts in parts)), None)
    if missing is not None:
        raise UsageError(f"no file of opportunities has a column {missing!r}{nearest(missing, known)}")
    names = tuple(dict.fromkeys([*columns, *(name for _, amounts in parts for name in amounts)]))
    weights = np.concatenate(
        [np.stack([amounts.get(name, np.zeros(len(where))) for name in names], axis=1) for where, amounts in parts]
    )
    lon_all = np.concatenate([where.lon for where, _ in parts])
    lat_all = np.concatenate([where.lat for where, _ in parts])
    some = (weights != 0).any(axis=1)
    if not some.any():
        raise DataError(f"there are no opportunities: {', '.join(names)} are 0 everywhere")
    return Opportunities(names, LonLat(lon_all[some], lat_all[some]), weights[some], tuple(notes))


def _read(
    path: Path, columns: Sequence[str], lon: str, lat: str, notes: list[str]
) -> tuple[LonLat, dict[str, Floats], list[str]]:
    """Where a file's opportunities are, how much of each, and the columns that the file has."""
    if path.name.lower().endswith((*CSV, *PARQUET)):
        data = read_columns(path)
        key = key_column(data, path)
        if key is not None:
            cells = parse_cells(data[key])
            amounts = {
                name: _amounts(numbers(data[name]), name, path, notes) for name in columns if name in data.schema.names
            }
            if not amounts and columns:
                near = nearest(columns[0], data.schema.names)
                raise UsageError(f"{path} has no column {' or '.join(map(repr, columns))} to count{near}")
            if not amounts:
                raise UsageError(f"{path}: which columns of these cells are opportunities? name them with --column")
            good = cells != 0
            if not good.all():
                notes.append(f"{int((~good).sum()):,} rows of {path.name} name no H3 cell")
            return _centres(cells[good]), {n: v[good] for n, v in amounts.items()}, data.schema.names
    places = read_places(path, lon=lon, lat=lat)
    good = places.located
    if not good.all():
        notes.append(f"{int((~good).sum()):,} rows of {path.name} have no position")
    amounts = {}
    for name in columns:
        if places.has(name):
            amounts[name] = _amounts(_floats(places.column(name)), name, path, notes)[good]
    if not amounts:
        stem = path.name.split(".")[0]
        amounts = {stem: np.ones(int(good.sum()))}
        notes.append(f"each of the {int(good.sum()):,} points of {path.name} counts 1, as {stem!r}")
    return LonLat(places.lon[good], places.lat[good]), amounts, list(places.attributes)


def _amounts(values: Floats | None, name: str, path: Path, notes: list[str]) -> Floats:
    if values is None:
        raise SchemaError(f"{path}: the column {name!r} holds no numbers: opportunities are amounts")
    absent = ~np.isfinite(values)
    if absent.any():
        notes.append(f"{int(absent.sum()):,} rows of {path.name} have no {name}: they count 0")
    if (values[~absent] < 0).any():
        raise DataError(f"{path}: {name} is {values[~absent].min():g} in a row: an amount is 0 or more")
    return np.where(absent, 0.0, values)


def _floats(column: NDArray[np.generic]) -> Floats | None:
    try:
        return np.array(column, dtype=np.float64)
    except (TypeError, ValueError):
        return None


def _centres(cells: NDArray[np.uint64]) -> LonLat:
    lon, lat = np.zeros(len(cells)), np.zeros(len(cells))
    level = resolutions(cells)
    for resolution in np.unique(level).tolist():
        own = level == resolution
        centre = H3Cells(resolution).centre(cells[own])
        lon[own], lat[own] = centre.lon, centre.lat
    return LonLat(lon, lat)
