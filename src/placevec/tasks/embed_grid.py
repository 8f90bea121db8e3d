"""`embed --on grid`: run an encoder of coordinates over every pixel of a region, into an EmbeddingGrid.

The raster is made strip by strip from north to south, and a table of the same pixels beside it by wish. Memory holds
one strip. Nothing is resumed: a raster that was interrupted leaves no file, and is made again from the start.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from placevec import __version__
from placevec.area import StudyArea
from placevec.engine.embedding import name_of
from placevec.engine.work import Progress, Spec, build
from placevec.errors import DataError, UsageError
from placevec.geo.boxes import Box, in_polygon
from placevec.geo.pixel_grid import PixelGrid
from placevec.geo.sphere import LonLat
from placevec.grid import WRITE_CACHE, GridSink
from placevec.provenance import TableMeta
from placevec.registry import need
from placevec.table import EmbeddingTable, Places
from placevec.table.codec import DTYPES, encode
from placevec.table.lance import write_lance
from placevec.table.parquet import ParquetSink

if TYPE_CHECKING:
    import pyarrow as pa

    from placevec.encoders.base import Encoder

Vectors = NDArray[np.float32]
Rows = Callable[[NDArray[np.float64]], Vectors]  # latitudes (R,) to vectors (R, W, d)

STRIP_ROWS = 256  # at most: a strip is one row of the file's tiles, which are smaller where the raster is wide

_UNIT_CODEC = {"method": "alphaearth"}  # known before any vector is: a grid cannot wait for the largest component
_TABLES = (".parquet", ".geoparquet", ".gpq", ".lance")


@dataclass(frozen=True)
class GridSummary:
    """What `embed --on grid` has made.

    Attributes:
        out: the raster.
        table: the table of the same pixels, if one was asked for.
        columns: width of the raster in pixels.
        rows: its height.
        pixels: pixels with a vector; the others lie outside the area.
        bbox: (west, south, east, north) of the raster in degrees.
        pixel_deg: size of a pixel in degrees of longitude and of latitude.
        pixel_m: the same in metres in the middle of the raster.
        space: id of the Space of the vectors.
        dims: components of a vector.
        seconds: time of this run.
        notes: what a person should know.
    """

    out: Path
    table: Path | None
    columns: int
    rows: int
    pixels: int
    bbox: Box
    pixel_deg: tuple[float, float]
    pixel_m: tuple[float, float]
    space: str
    dims: int
    seconds: float
    notes: tuple[str, ...] = ()

    def to_record(self) -> dict[str, Any]:
        """A JSON object."""
        table = None if self.table is None else str(self.table)
        return {**asdict(self), "out": str(self.out), "table": table, "notes": list(self.notes)}


def embed_grid(
    encoder: Encoder | Spec,
    out: str | Path,
    *,
    area: StudyArea | str | Path | None = None,
    bbox: Box | None = None,
    resolution: str = "1km",
    dtype: str = "float32",
    table: str | Path | None = None,
    mask: bool = True,
    progress: Progress | None = None,
    recipe: Mapping[str, Any] | None = None,
    seed: int | None = None,
    parents: Sequence[str] = (),
) -> GridSummary:
    """Embed the centre of every pixel of a region into the raster `out`.

    Args:
        encoder: an encoder of coordinates, or a Spec that builds it.
        out: ``.tif``; it appears when all is done, or not at all.
        area: the region, a StudyArea or its folder.
        bbox: (west, south, east, north) of the raster in degrees; by default that of the area.
        resolution: see `PixelGrid.of`.
        dtype: "float32"; "float16" (rounded so; a GeoTIFF keeps it as float32); "int8" (AlphaEarth's codec, for vectors
            of length 1).
        table: also a table of the pixels, ``.parquet`` or ``.lance``.
        mask: leave out the pixels whose centre lies outside the area.
        progress: called with the pixels done, all pixels, and how many hold a vector.
        recipe: further settings, for provenance.
        seed: the random seed, for provenance.
        parents: fingerprints of the tables that the raster is made from, for provenance.

    Raises:
        UsageError: neither area nor box, an unknown option, an encoder that reads more than coordinates, or a raster
            that cannot fit the disk.
        DataError: no pixel has its centre in the area.
    """
    began = time.monotonic()
    goal, side = _goals(out, table)
    region = StudyArea.open(area) if isinstance(area, str | Path) else area
    if region is None and bbox is None:
        raise UsageError("a grid of which region? give --area FOLDER (made by `placevec area new`) or --bbox W,S,E,N")
    frame = bbox if bbox is not None or region is None else region.bbox
    assert frame is not None
    grid = PixelGrid.of(frame, resolution)
    shape = region.boundary if region is not None and mask else None
    maker: Encoder = build(encoder)
    _check_inputs(maker)
    if dtype not in DTYPES:
        raise UsageError(f"vectors cannot be stored as {dtype!r}; choose one of {', '.join(DTYPES)}")
    if dtype == "int8" and not maker.card.normalized:
        raise UsageError("int8 needs vectors of length 1, and this encoder's are not: use --dtype float32 or float16")
    _check_room(goal, grid, maker.dims, dtype, 1.0 if shape is None else min(1.0, region_share(shape.area, grid)))
    rows = _rows(maker, grid.lons)
    settings = {
        "do": "embed",
        "on": "grid",
        "resolution": resolution,
        "bbox": list(grid.bbox),
        "shape": [grid.height, grid.width],
        "dtype": dtype,
        "masked": shape is not None,
        "placevec": __version__,
        **(recipe or {}),
    }
    meta = TableMeta(
        space=maker.space,
        tower=maker.tower,
        dtype=dtype,
        normalized=maker.card.normalized,
        codec=_UNIT_CODEC if dtype == "int8" else None,
        dims=tuple(getattr(maker, "names", ())),
        kind="pixel",
        chip_layout={"layout_type": "named_grid", "grid_id": f"lonlat:{grid.step[0]:.9g}x{grid.step[1]:.9g}"},
        encoder=name_of(maker),
        weights_sha256=maker.card.weights_sha256,
        recipe=settings,
        seed=seed,
        sources=maker.card.sources,
        parents=tuple(parents),
        saw=maker.card.saw,
    )
    work = _Work(grid, meta, rows, shape, goal, progress)
    rasterio = need("rasterio", extra="raster", purpose="writing an EmbeddingGrid")
    with rasterio.Env(GDAL_CACHEMAX=WRITE_CACHE):
        if side is None:
            for _ in work.strips():
                pass
        elif side.suffix == ".lance":
            write_lance(work.pieces(), side, meta)
        else:
            with ParquetSink(side, meta, count=False) as sink:
                for piece in work.pieces():
                    sink.write(piece)
    return GridSummary(
        out=goal,
        table=side,
        columns=grid.width,
        rows=grid.height,
        pixels=work.kept,
        bbox=grid.bbox,
        pixel_deg=grid.step,
        pixel_m=grid.metres,
        space=maker.space.id,
        dims=maker.dims,
        seconds=round(time.monotonic() - began, 3),
        notes=_notes(grid, work.kept, dtype),
    )


@dataclass
class _Work:
    """One run: strips of vectors that go into the raster, and on to a table."""

    grid: PixelGrid
    meta: TableMeta
    rows: Rows
    shape: Any  # the boundary outside of which there is nothing, or None
    goal: Path
    progress: Progress | None
    kept: int = 0

    def strips(self) -> Iterator[tuple[NDArray[Any], NDArray[np.bool_], int]]:
        """Write the raster; each strip goes by as (vectors (R, W, d) as stored, which hold (R, W), first row)."""
        grid, lons, lats = self.grid, self.grid.lons, self.grid.lats
        with GridSink(self.goal, self.meta, bounds=grid.bounds, shape=(grid.height, grid.width)) as sink:
            tall = min(STRIP_ROWS, sink.side)
            for first in range(0, grid.height, tall):
                part = lats[first : first + tall]
                inside = self._inside(lons, part)
                stored = self._stored(part, inside)
                sink.write(stored)
                self.kept += int(inside.sum())
                yield stored, inside, first
                if self.progress is not None:
                    done = (first + len(part)) * grid.width
                    self.progress(done, grid.height * grid.width, {"embedded": self.kept})
            if not self.kept:
                raise DataError(
                    f"no pixel of the {grid.width} x {grid.height} has its centre in the area: give a finer "
                    "--resolution, or --no-mask"
                )

    def pieces(self) -> Iterator[pa.Table]:
        """Write the raster; the pixels that hold a vector go by as pieces of a table, one for each strip."""
        lons, lats = self.grid.lons, self.grid.lats
        for stored, inside, first in self.strips():
            row, column = np.nonzero(inside)
            if not len(row):
                continue
            places = Places.create(
                np.char.add(np.char.mod("r%d", row + first), np.char.mod("c%d", column)),
                LonLat(lons[column], lats[row + first]),
            )
            vectors = stored[row, column]
            if self.meta.dtype == "float16":
                vectors = vectors.astype(np.float16)
            piece = EmbeddingTable.of(
                places,
                vectors,
                self.meta.space,
                dtype=self.meta.dtype,
                codec=self.meta.codec,
                normalized=self.meta.normalized,
            )
            yield piece.data

    def _inside(self, lons: NDArray[np.float64], lats: NDArray[np.float64]) -> NDArray[np.bool_]:
        if self.shape is None:
            return np.ones((len(lats), len(lons)), dtype=bool)
        lon, lat = np.meshgrid(lons, lats)
        return in_polygon(lon.ravel(), lat.ravel(), self.shape).reshape(lon.shape)

    def _stored(self, lats: NDArray[np.float64], inside: NDArray[np.bool_]) -> NDArray[Any]:
        integer = self.meta.dtype == "int8"
        size = (*inside.shape, self.meta.space.dims)
        if not inside.any():
            return np.full(size, -128 if integer else np.nan, dtype=np.int8 if integer else np.float32)
        # The rows from the first to the last that the area reaches.
        reached = np.flatnonzero(inside.any(axis=1))
        used = slice(reached[0], reached[-1] + 1)
        found = np.full(size, np.nan, dtype=np.float32)
        found[used] = self.rows(lats[used])
        if self.meta.dtype == "float16":
            found = found.astype(np.float16).astype(np.float32)
        stored: NDArray[Any] = found
        if integer:
            flat, _ = encode(np.nan_to_num(found.reshape(-1, size[2])), "int8", self.meta.codec)
            stored = flat.reshape(size)
        stored[~inside] = -128 if integer else np.nan
        return stored


def region_share(square_degrees: float, grid: PixelGrid) -> float:
    """The share of the raster that a region of so many square degrees fills."""
    left, bottom, right, top = grid.bounds
    return square_degrees / ((right - left) * (top - bottom))


def _check_inputs(encoder: Encoder) -> None:
    if tuple(encoder.inputs) != ("lonlat",):
        wanted = ", ".join(name for name in encoder.inputs if name != "lonlat") or "nothing"
        raise UsageError(
            f"{name_of(encoder)} reads {wanted}, and a grid gives coordinates alone: use a location encoder, or "
            "--on cells with --raster"
        )


def _rows(encoder: Encoder, lons: NDArray[np.float64]) -> Rows:
    """What makes vectors of rows."""
    rows_at = getattr(encoder, "rows_at", None)
    if callable(rows_at):
        made: Rows = rows_at(lons)
        return made

    def points(lats: NDArray[np.float64]) -> Vectors:
        lon, lat = np.meshgrid(lons, lats)
        vectors = encoder.encode({"lonlat": np.column_stack([lon.ravel(), lat.ravel()])})
        return vectors.reshape(len(lats), len(lons), -1)

    return points


def _goals(out: str | Path, table: str | Path | None) -> tuple[Path, Path | None]:
    goal, side = Path(out), None if table is None else Path(table)
    if goal.suffix.lower() not in (".tif", ".tiff"):
        raise UsageError(f"{out}: a grid's name ends in .tif; for a table besides give --table NAME.parquet")
    if side is not None and side.suffix not in _TABLES:
        raise UsageError(f"{table}: a table's name ends in .parquet or .lance")
    return goal, side


def _check_room(goal: Path, grid: PixelGrid, dims: int, dtype: str, share: float) -> None:
    """UsageError for a raster that cannot fit the disk: vectors hardly compress."""
    size = grid.width * grid.height * dims * (1 if dtype == "int8" else 2 if dtype == "float16" else 4) * share
    folder = next(parent for parent in goal.absolute().parents if parent.exists())
    free = shutil.disk_usage(folder).free
    if size > free:
        raise UsageError(
            f"{grid.width:,} x {grid.height:,} pixels of {dims} {dtype} take about {size / 1e9:,.0f} GB, and "
            f"{folder} has {free / 1e9:,.0f} GB left: give a coarser --resolution or --dtype int8"
        )


def _notes(grid: PixelGrid, kept: int, dtype: str) -> tuple[str, ...]:
    (wide, tall), (east, north) = grid.step, grid.metres
    middle = (grid.bbox[1] + grid.bbox[3]) / 2.0
    size = f"{wide:.6g} x {tall:.6g} degrees ({east:,.0f} x {north:,.0f} m at {middle:.2f} degrees of latitude)"
    notes = [f"{grid.width:,} x {grid.height:,} pixels of {size}"]
    if kept < grid.width * grid.height:
        notes.append(f"{grid.width * grid.height - kept:,} pixels outside the area hold nothing")
    if dtype == "float16":
        notes.append("a GeoTIFF has no half floats: the raster keeps the rounded values as float32")
    return tuple(notes)
