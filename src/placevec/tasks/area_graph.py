"""`area graph`: which neighbouring cells of an area a road joins, how long it takes, and what waits there."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from placevec.area import StudyArea
from placevec.errors import SchemaError, UsageError
from placevec.features.modality import Told
from placevec.table import Places


@dataclass(frozen=True)
class GraphSummary:
    """What became of a graph.

    Attributes:
        graph: the file.
        mode: how one moves.
        resolution: of the cells, H3's.
        cells: how many there are.
        edges: between them.
        alone: cells without an edge.
        uncovered: cells whose centre the map does not cover: what is beyond its edge is not known.
        minutes: of the middle edge, half of all being shorter; 0 without any.
        seconds: it took to make.
        notes: lines for people.
    """

    graph: Path
    mode: str
    resolution: int
    cells: int
    edges: int
    alone: int
    uncovered: int
    minutes: float
    seconds: float
    notes: tuple[str, ...] = ()

    def to_record(self) -> dict[str, Any]:
        """A JSON object."""
        record = asdict(self)
        record.pop("notes")
        return {**record, "graph": str(self.graph)}


def area_graph(
    area: str | Path | StudyArea,
    osm: str | Path,
    *,
    mode: str = "walk",
    out: str | Path | None = None,
    resolution: int | None = None,
    mass: str | Path | None = None,
    mass_column: str | None = None,
    lon: str = "lon",
    lat: str = "lat",
    beta: float | None = None,
    told: Told | None = None,
) -> GraphSummary:
    """Write the accessibility graph of an area, see `features.graphs.access_graph`.

    Args:
        area: a study area or its folder.
        osm: a file of OpenStreetMap.
        mode: walk, bike or drive.
        out: a Parquet file; by default graphs/MODE.parquet in the area's folder, with the resolution in its name where
            that is not the area's own.
        resolution: of the cells; by default the area's own.
        mass: a file of places (a table, CSV, GeoJSON): what waits in a cell is the sum over those that lie in it.
        mass_column: the column of `mass` that is summed; absent, places are counted.
        lon: the CSV's column of longitudes.
        lat: the CSV's column of latitudes.
        beta: how fast weights fall, per second.
        told: of the progress.

    Raises:
        UsageError: there is no such area, or mode, or no place for the file.
        SchemaError: `mass` has no such column of numbers.
        DataError: a file cannot be read, or a mass is negative.
    """
    from placevec.features.graphs import access_graph
    from placevec.features.roads import check_mode
    from placevec.sources.osm.roads import read_roads

    began = time.monotonic()
    check_mode(mode)
    if mass is None and mass_column is not None:
        raise UsageError(f"the column {mass_column!r} of which file? give --mass as well")
    place = StudyArea.open(area) if isinstance(area, str | Path) else area
    goal = _goal(out, place, mode, resolution)
    cells = place.cells(resolution)
    waits = None if mass is None else cell_mass(cells, mass, mass_column, lon=lon, lat=lat)
    roads = read_roads(osm, told=told)
    graph = access_graph(roads, cells, mode, waits, beta=beta)
    graph.save(goal)
    alone = np.ones(len(cells), dtype=bool)
    alone[graph.rows] = alone[graph.cols] = False
    uncovered = int((~roads.covers(cells)).sum())
    notes = (*roads.notes, *([f"{uncovered:,} cells lie outside of what {Path(osm).name} covers"] if uncovered else []))
    return GraphSummary(
        goal,
        mode,
        graph.resolution,
        len(cells),
        len(graph),
        int(alone.sum()),
        uncovered,
        round(float(np.median(graph.seconds)) / 60.0, 2) if len(graph) else 0.0,
        round(time.monotonic() - began, 2),
        notes,
    )


def cell_mass(
    cells: ArrayLike, path: str | Path, column: str | None, *, lon: str = "lon", lat: str = "lat"
) -> NDArray[np.float64]:
    """The sum (n,) of a column over the places of a file in each of the cells (n,); how many there are, without one.

    Places with an H3 cell that is fine enough belong to it, others to the cell of their coordinates; those elsewhere,
    and missing values, count nothing.

    Raises:
        SchemaError: there is no such column, or it holds no numbers.
    """
    from placevec.features.roads.placing import CellRows
    from placevec.sources.places import read_places

    own = CellRows(cells)
    places = read_places(path, lon=lon, lat=lat)
    amount = np.ones(len(places))
    if column is not None:
        amount = _numbers(path, column, places)
    located = np.flatnonzero(places.located)
    row = own.rows(places.cells(own.system.resolution, located))
    amount = amount[located]
    inside = (row >= 0) & np.isfinite(amount)
    return np.asarray(np.bincount(row[inside], amount[inside], minlength=len(own)), dtype=np.float64)


def _numbers(path: str | Path, column: str, places: Places) -> NDArray[np.float64]:
    if not places.has(column):
        raise SchemaError(f"{path} has no column {column!r}; its columns: {', '.join(places.attributes[:20])}")
    try:
        return np.asarray(places.column(column), dtype=np.float64)
    except (TypeError, ValueError):
        raise SchemaError(f"{path}: the column {column!r} holds no numbers; name one of amounts") from None


def _goal(out: str | Path | None, area: StudyArea, mode: str, resolution: int | None) -> Path:
    if out is None:
        if area.folder is None:
            raise UsageError("where shall the graph go? give --out, or the folder of a study area")
        coarse = "" if resolution in (None, area.resolution) else f"-r{resolution}"
        return area.folder / "graphs" / f"{mode}{coarse}.parquet"
    if Path(out).suffix != ".parquet":
        raise UsageError(f"{out}: the name of a graph ends in .parquet")
    return Path(out)
