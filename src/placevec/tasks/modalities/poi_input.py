"""Where points of interest come from, for the modalities that count them: OpenStreetMap, and files of points."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray

from placevec.errors import DataError, SchemaError, UsageError
from placevec.features.modality import Told
from placevec.features.poi import count_points, grouped
from placevec.provenance import Saw, SourceRef, sha256_file
from placevec.sources.targets import read_rows
from placevec.sources.targets.columns import numbers
from placevec.tasks.modalities.around import box_around


@dataclass(frozen=True, eq=False)
class PoiCounts:
    """Counts of k categories in n cells, and what is to be said of them."""

    names: tuple[str, ...]  # (k) of the categories
    groups: tuple[str, ...]  # (k) the group of each
    counts: NDArray[np.float32]  # (n, k)
    present: NDArray[np.bool_]  # (n,) of which cells the sources know anything
    absent: str  # why the others have no row
    sources: tuple[SourceRef, ...]  # what was read
    notes: tuple[str, ...]  # what was left out
    saw: tuple[Saw, ...]  # what may be labels elsewhere

    def by(self, level: str) -> tuple[tuple[str, ...], NDArray[np.float32]]:
        """Names and counts of the leaves or of the groups. Raises UsageError for another level."""
        if level == "leaf":
            return self.names, self.counts
        if level != "group":
            raise UsageError(f"by = {level!r}: give leaf or group")
        names = tuple(dict.fromkeys(self.groups))
        return names, grouped(self.counts, [names.index(group) for group in self.groups], len(names))


def poi_counts(
    cells: NDArray[np.uint64],
    osm: str | Path | None,
    points: str | Path | None,
    category: str | None = None,
    weight: str | None = None,
    told: Told | None = None,
) -> PoiCounts:
    """The points of interest of cells (n,), from an OpenStreetMap file, a file of points, or both.

    The file of points is taken to be complete: a cell in which it has none has a known 0.

    Args:
        cells: (n,) H3 cells of one resolution, distinct, in any order.
        osm: an OpenStreetMap file.
        points: a CSV, Parquet, GeoJSON or other file of points.
        category: its column of categories; absent, all points are of one, called like the file.
        weight: its column of how much a point counts.
        told: told of the progress.

    Raises:
        UsageError: neither file is named, or columns without a file of points.
        FormatError, DataError: a file cannot be read, has no such column, or has no point around the cells.
    """
    if osm is None and points is None:
        raise UsageError("no points of interest: name an OpenStreetMap file with --osm, or a file with --points")
    if points is None and (category or weight):
        raise UsageError("--category and --weight name columns of a file of points: name it with --points")
    found = [_of_osm(cells, Path(osm), told)] if osm is not None else []
    if points is not None:
        found.append(_of_points(cells, Path(points), category, weight))
    if len(found) == 1:
        return found[0]
    first, second = found
    return PoiCounts(
        (*first.names, *(f"points_{name}" if name in first.names else name for name in second.names)),
        first.groups + second.groups,
        np.concatenate([first.counts, second.counts], axis=1),
        first.present & second.present,
        first.absent,
        first.sources + second.sources,
        first.notes + second.notes,
        first.saw + second.saw,
    )


def _of_osm(cells: NDArray[np.uint64], path: Path, told: Told | None) -> PoiCounts:
    from placevec.sources.osm import read_pois

    pois = read_pois(path, box=box_around(cells), told=told)
    if not len(pois) and pois.covers(cells).any():
        # Zeros everywhere would say that there is nothing in the city; more likely it is not in the file.
        raise DataError(
            f"{path} has no point of interest around the {len(cells):,} cells: is it of this place, and was it not "
            "filtered to roads?"
        )
    tree = pois.tree
    return PoiCounts(
        tree.names,
        tuple(leaf.group for leaf in tree.leaves),
        count_points(cells, pois.lon, pois.lat, pois.category, len(tree)),
        pois.covers(cells),
        f"outside of what {path.name} covers",
        (SourceRef(path.name, sha256_file(path), licence="ODbL-1.0", attribution="© OpenStreetMap contributors"),),
        pois.notes,
        (),
    )


def _of_points(cells: NDArray[np.uint64], path: Path, category: str | None, weight: str | None) -> PoiCounts:
    rows = read_rows(path, kind="points")
    assert rows.geometry is not None
    for column in (category, weight):
        if column is not None and column not in rows.data.schema.names:
            raise SchemaError(
                f"{path} has no column {column!r}; its columns: {', '.join(rows.data.schema.names)[:200]}"
            )
    good = ~(shapely.is_missing(rows.geometry) | shapely.is_empty(rows.geometry))
    mass = np.ones(len(rows))
    if weight is not None:
        values = numbers(rows.data[weight])
        if values is None:
            raise SchemaError(f"{path}: the column {weight!r} holds no numbers; --weight names how much a point counts")
        mass = np.where(np.isfinite(values) & (values >= 0), values, 0.0)
        good &= np.isfinite(values) & (values >= 0)
    stem = path.name.split(".")[0]
    labels = np.full(len(rows), stem, dtype=object)
    if category is not None:
        given = rows.data[category].to_pylist()
        good &= np.array([label is not None for label in given], dtype=bool)
        labels = np.array([str(label) for label in given], dtype=object)
    names, kind = np.unique(labels[good].astype(str), return_inverse=True)
    xy = shapely.get_coordinates(rows.geometry[good])
    lost = int((~good).sum())
    return PoiCounts(
        tuple(str(name) for name in names),
        (stem,) * len(names),
        count_points(cells, xy[:, 0], xy[:, 1], kind, len(names), None if weight is None else mass[good]),
        np.ones(len(cells), dtype=bool),
        "",
        (rows.source,),
        (*rows.notes, *([f"{lost:,} rows of {path.name} have no place, category or weight"] if lost else [])),
        tuple(Saw("", name) for name in dict.fromkeys((stem, *((weight,) if weight else ()), *map(str, names)))),
    )
