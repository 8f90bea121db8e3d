"""`map`: a table on the map, in the colours of its vectors, of a column, or of the likeness to a place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from placevec.area import StudyArea
from placevec.atlas.colour import ColourBasis, fit_basis
from placevec.atlas.frames import Frame, frame_around
from placevec.atlas.legends import class_colours, pca_colours, ramp_colours, residual_colours
from placevec.atlas.rasterise import RowMap, frame_of_cells, rows_of_cells, rows_of_points, write_geotiff
from placevec.errors import SchemaError, UsageError
from placevec.files import write_text
from placevec.geo.cells import H3Cells
from placevec.geo.sphere import LonLat, distance_m
from placevec.table import EmbeddingTable, Places, StoredTable, open_table

Layout = Literal["wide", "narrow"]
Tables = Sequence[str | Path | StoredTable | EmbeddingTable]


@dataclass(frozen=True)
class Drawn:
    """What was written for one table.

    Attributes:
        png: the figure.
        geotiff: the colours (or values) as a georeferenced raster, or None.
        rows: how many rows are on the map.
        unlocated: how many have no geometry and are not.
        hidden: how many are smaller than a pixel and lie under a neighbour.
    """

    png: Path
    geotiff: Path | None
    rows: int
    unlocated: int
    hidden: int


class Canvas:
    """The pixels of a map for the places of a table, and which row each shows."""

    def __init__(self, places: Places, *, width: int = 1600) -> None:
        rows = np.flatnonzero(places.located)
        if len(rows) == 0:
            raise SchemaError("none of the rows has a geometry: there is nothing to map")
        self.kept = _one_each(places, rows)
        self._places = places
        self.width = width
        self.frame = self._frame("equal-area", width)
        self.pixels = self._rows(self.frame)

    def plain(self) -> tuple[Frame, RowMap]:
        """The same places on a lon/lat grid, for files that other programs open."""
        frame = self._frame("lonlat", self.width)
        return frame, self._rows(frame)

    def _cells(self) -> tuple[H3Cells, NDArray[np.uint64]] | None:
        if not self._places.has("h3"):
            return None
        cells = self._places.column("h3")[self.kept].astype(np.uint64)
        levels = np.unique(cells >> np.uint64(52) & np.uint64(0xF))
        if len(levels) != 1 or len(np.unique(cells)) != len(cells):
            return None
        return H3Cells(int(levels[0])), cells

    def _frame(self, projection: Literal["equal-area", "lonlat"], width: int) -> Frame:
        found = self._cells()
        if found is not None:
            return frame_of_cells(*found, projection=projection, width=width)
        return frame_around(
            self._places.lon[self.kept], self._places.lat[self.kept], projection=projection, width=width
        )

    def _rows(self, frame: Frame) -> RowMap:
        found = self._cells()
        if found is not None:
            return rows_of_cells(*found, frame)
        points = self._places.lonlat(self.kept)
        return rows_of_points(points, frame, _reach(points))


def map_tables(
    tables: Tables,
    out: str | Path | Sequence[str | Path],
    *,
    by: str = "pca",
    like: str | None = None,
    area: str | Path | None = None,
    title: str | None = None,
    subtitle: str | None = None,
    units: str = "",
    scheme: Literal["rgb", "opponent"] = "rgb",
    basis: str | Path | None = None,
    geotiff: bool = True,
    width: int = 1600,
    layouts: Sequence[Layout] = ("wide",),
    note: str = "",
) -> list[Drawn]:
    """Draw one map for each table.

    Args:
        tables: tables, or paths of them. For "pca" they share one basis, so that equal colours mean equal vectors;
            they must be of one Space.
        out: the PNG; with several tables one for each, or one to which the name of each is added.
        by: "pca", "similarity" (to the row `like`), or the name of a column.
        like: the id whose likeness is shown.
        area: a study area whose boundary is drawn.
        title: by default the table's name and what is shown.
        subtitle: by default what made the table.
        units: units of the column.
        scheme: "rgb" (PC1 to 3 as red, green, blue) or "opponent" (readable with any colour vision).
        basis: a JSON file of a colour basis to use, so that maps made at different times compare; written if absent.
        geotiff: write the map as GeoTIFF too.
        width: pixels of the longer side.
        layouts: "wide" for pages, "narrow" for telephones (its name gets ``-narrow``).
        note: a line below the map, such as the source and its licence.

    Raises:
        SpaceMismatch: the tables are of several Spaces and share a basis.
        UsageError: the column does not exist, or `like` is not in the table.
    """
    opened = [_open(table) for table in tables]
    goals = _goals([name for name, _ in opened], out)
    shared = _basis([table for _, table in opened], basis) if by == "pca" else None
    boundary = None if area is None else StudyArea.open(area).boundary
    drawn = []
    for (name, table), goal in zip(opened, goals, strict=True):
        canvas = Canvas(table.places() if isinstance(table, EmbeddingTable) else table.places(_needed(table, by)))
        colours, legend, values, marks, what = _colours(table, canvas, by, like, shared, scheme, units)
        for layout in layouts:
            from placevec.atlas.figures import map_figure

            map_figure(
                goal if layout == "wide" else goal.with_name(f"{goal.stem}-narrow.png"),
                canvas.pixels.paint(colours),
                canvas.frame,
                title=title or f"{name[:1].upper()}{name[1:]}: {what}",
                subtitle=subtitle if subtitle is not None else _subtitle(table, len(canvas.kept)),
                legend=legend,
                boundary=boundary,
                marks=marks,
                note=note,
                layout=layout,
            )
        tiff = goal.with_suffix(".tif") if geotiff else None
        if tiff is not None:
            _write_tiff(tiff, canvas, colours, values, by, units)
        located = canvas.kept
        drawn.append(Drawn(goal, tiff, len(located), table.num_rows - len(located), canvas.pixels.unseen(len(located))))
    return drawn


def _colours(
    table: StoredTable | EmbeddingTable,
    canvas: Canvas,
    by: str,
    like: str | None,
    basis: ColourBasis | None,
    scheme: Literal["rgb", "opponent"],
    units: str,
) -> tuple[NDArray[np.uint8], Any, NDArray[np.float64] | None, LonLat | None, str]:
    """Colours of the rows kept, their legend, their values (None for colours alone), marks, and words for them."""
    if by == "pca":
        assert basis is not None
        vectors = table.vectors() if isinstance(table, EmbeddingTable) else table.read(columns=["id"]).vectors()
        colours, legend = pca_colours(basis, vectors[canvas.kept], space=table.space.id, scheme=scheme)
        return colours, legend, None, None, "principal components"
    if by == "similarity":
        return _similarity(table, canvas, like)
    places = canvas._places
    if not places.has(by):
        known = ", ".join(table.attributes) or "none"
        raise UsageError(f"{by!r} is no column; colour by pca, similarity or one of: {known}")
    column = places.column(by)[canvas.kept]
    if column.dtype.kind in "OUSb":
        names, codes = np.unique(column.astype(str), return_inverse=True)
        colours, classes = class_colours(codes, names=dict(enumerate(names.tolist())), title=by, noun="rows")
        return colours, classes, None, None, by
    values = column.astype(np.float64)
    if column.dtype.kind in "iu" and len(np.unique(column)) <= 20:
        colours, classes = class_colours(column, title=by.capitalize(), noun="rows")
        return colours, classes, values, None, by
    if by.startswith("residual"):
        colours, bins = residual_colours(values, units=units)
        return colours, bins, values, None, by
    colours, ramp = ramp_colours(values, title=by, units=units)
    return colours, ramp, values, None, by


def _similarity(
    table: StoredTable | EmbeddingTable, canvas: Canvas, like: str | None
) -> tuple[NDArray[np.uint8], Any, NDArray[np.float64], LonLat, str]:
    if like is None:
        raise UsageError("the likeness to which row? give --like ID")
    row = int(table.rows_of([like])[0])
    if row < 0:
        raise UsageError(f"there is no row {like!r} in the table")
    vectors = table.vectors() if isinstance(table, EmbeddingTable) else table.read(columns=["id"]).vectors()
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    values = (unit[canvas.kept] @ unit[row]).astype(np.float64)
    colours, legend = ramp_colours(values, title="Cosine similarity", mark="query")
    return colours, legend, values, canvas._places.lonlat(np.array([row])), f"like {like}"


def _write_tiff(
    path: Path,
    canvas: Canvas,
    colours: NDArray[np.uint8],
    values: NDArray[np.float64] | None,
    by: str,
    units: str,
) -> None:
    frame, pixels = canvas.plain()
    if values is None:
        write_geotiff(path, pixels.paint(colours), frame)
    else:
        write_geotiff(path, pixels.values(values), frame, names=(by,), units=(units,))


def _basis(tables: Sequence[StoredTable | EmbeddingTable], path: str | Path | None) -> ColourBasis:
    if path is not None and Path(path).exists():
        return ColourBasis.from_json(Path(path).read_text())
    parts = (batch.vectors() for table in tables for batch in table.batches(["id"]))
    basis = fit_basis(parts, [table.space.id for table in tables])
    if path is not None:
        write_text(path, basis.to_json() + "\n")
    return basis


def _one_each(places: Places, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """One row a place: where several observe one, the first stands for it."""
    if not places.has("place"):
        return rows
    _, first = np.unique(places.keys[rows].astype(str), return_index=True)
    return rows[np.sort(first)]


def _reach(points: LonLat) -> float:
    """How far a point may stand for the ground around it: twice the typical distance to its neighbour, in metres."""
    from scipy.spatial import cKDTree

    if len(points) < 2:
        return 1000.0
    unit = points.unit()
    nearest = np.asarray(cKDTree(unit).query(unit, k=2)[1], dtype=np.int64)
    distances = distance_m(points, points[nearest[:, 1]])
    positive = distances[distances > 0]
    return float(2.0 * np.median(positive)) if len(positive) else 1000.0


def _needed(table: StoredTable, by: str) -> list[str]:
    return [name for name in ("h3", "place", by) if table.has(name)]


def _open(table: str | Path | StoredTable | EmbeddingTable) -> tuple[str, StoredTable | EmbeddingTable]:
    if isinstance(table, EmbeddingTable):
        return table.meta.tower or "table", table
    if isinstance(table, StoredTable):
        return Path(str(table.path)).stem, table
    return Path(table).stem, open_table(table)


def _goals(names: Sequence[str], given: str | Path | Sequence[str | Path]) -> list[Path]:
    listed = [Path(given)] if isinstance(given, str | Path) else [Path(one) for one in given]
    for one in listed:
        if one.suffix.lower() != ".png":
            raise UsageError(f"{one}: a map's name ends in .png (the GeoTIFF is written beside it)")
    if len(listed) == len(names):
        return listed
    if len(listed) != 1:
        raise UsageError(f"{len(listed)} maps for {len(names)} tables: give one name for all, or one for each")
    out = listed[0]
    if len(set(names)) < len(names):
        raise UsageError("two of the tables have the same name: rename one, their maps would overwrite each other")
    return [out.with_name(f"{out.stem}-{name}.png") for name in names]


def _subtitle(table: StoredTable | EmbeddingTable, shown: int) -> str:
    made = f", by {table.meta.encoder}" if table.meta.encoder else ""
    return f"{shown:,} places, vectors of {table.dims} components{made}"
