"""What modalities of vectors share: which pixels hold one, means of length 1, names of components, tables of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from placevec.encoders.base import unit_rows
from placevec.errors import FormatError, SchemaError
from placevec.features.rasters import Zones
from placevec.geo.cells import H3Cells, are_cells
from placevec.geo.sphere import LonLat
from placevec.grid import CellMeans
from placevec.provenance import SourceRef, Space
from placevec.sources.tables import read_foreign
from placevec.sources.tables.detect import form_of
from placevec.sources.tables.vectors import component_columns, from_components, from_lists, list_column

CELL_COLUMNS = ("h3", "cell", "region_id", "h3_index", "hex_id", "h3_id", "hex", "id")
"""Names under which a column of H3 cells is looked for, the clearest first."""

_SHORT = 1e-6  # a mean shorter than this has no direction


def any_pixel(values: NDArray[np.float32], valid: NDArray[np.bool_]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Vectors (m, d) as they are, and which pixels hold one: all bands valid and not all of them zero."""
    return values, np.asarray(valid.all(axis=1) & np.isfinite(values).all(axis=1) & values.any(axis=1))


def unit_pixels(values: NDArray[np.float32], valid: NDArray[np.bool_]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Vectors (m, d) of length 1, and which pixels hold one; see `any_pixel`."""
    values, good = any_pixel(values, valid)
    values = values if good.all() else np.where(good[:, None], values, np.float32(0))
    length = np.sqrt(np.einsum("ij,ij->i", values, values))
    units: NDArray[np.float32] = values / np.where(length > 0, length, 1.0).astype(np.float32)[:, None]
    return units, good


def unit_means(
    means: NDArray[np.float64], present: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.bool_], tuple[str, ...]]:
    """Mean vectors (n, d) brought to length 1, which cells have one, and a note on those that have none."""
    length = np.linalg.norm(means, axis=1)
    lost = present & ~(length > _SHORT)
    notes = (f"{int(lost.sum()):,} cells left out: their pixels cancel each other",) if lost.any() else ()
    return means / np.where(length > _SHORT, length, 1.0)[:, None], present & ~lost, notes


def component_names(dims: int) -> tuple[str, ...]:
    """Names of components that have no meaning of their own."""
    return tuple(f"dim_{i}" for i in range(dims))


@dataclass(frozen=True, eq=False)
class TableMeans:
    """Mean vectors of the rows of tables in n cells.

    Attributes:
        means: (n, d); rows of cells that are not `present` mean nothing.
        present: (n,) cells in which at least one row lies.
        space: that the tables name; None if they name none.
        sources: what was read.
        notes: lines for people.
    """

    means: NDArray[np.float64]
    present: NDArray[np.bool_]
    space: Space | None
    sources: tuple[SourceRef, ...]
    notes: tuple[str, ...] = field(default=())


def table_means(paths: Sequence[str], zones: Zones, *, prefix: str, dims: int, unit: bool) -> TableMeans:
    """Mean vectors, by cell, of the rows of CSV, Parquet or Lance tables.

    Rows are points, or cells: a table without coordinates that names H3 cells of the same or a finer resolution in one
    of `CELL_COLUMNS`. Rows are read in pieces; memory grows with the cells.

    Args:
        paths: the files.
        zones: the cells.
        prefix: what the names of component columns begin with, as "A" of A00 to A63.
        dims: components of a vector.
        unit: whether rows are brought to length 1 first.

    Raises:
        SchemaError: vectors of another length, or a table without places.
    """
    means = CellMeans(zones.system, dims)
    spaces: list[Space | None] = []
    refs: list[SourceRef] = []
    rows = outside = empty = 0
    for path in paths:
        keyed = _keyed(path, zones.system, prefix)
        pieces = _points(path, prefix, spaces, refs) if keyed is None else keyed
        if keyed is not None:
            spaces.append(None)
            refs.append(SourceRef(href=Path(path).name))
        for lonlat, vectors in pieces:
            if vectors.shape[1] != dims:
                raise SchemaError(f"{path}: vectors of {vectors.shape[1]} components where {dims} are expected")
            here = zones.rows(lonlat) >= 0
            there = here & vectors.any(axis=1)
            rows += len(here)
            outside += int((~here).sum())
            empty += int((here & ~there).sum())
            found = vectors[there]
            means.add(lonlat[np.flatnonzero(there)], unit_rows(found) if unit else found)
    first = spaces[0]
    for path, space in zip(paths, spaces, strict=True):
        if first is not None and space is not None:
            first.require(space, f"{path}: joining tables of vectors")
    known, vectors, _, _ = means.result(unit=False)
    out, present = np.zeros((len(zones), dims)), np.zeros(len(zones), dtype=bool)
    at = zones.rows(zones.system.centre(known))
    out[at], present[at] = vectors, True
    notes = [f"{outside:,} of {rows:,} rows lie in none of the cells"] if outside else []
    notes += [f"{empty:,} rows left out: their vector is zero"] if empty else []
    return TableMeans(out, present, first, tuple(dict.fromkeys(refs)), tuple(notes))


def _points(
    path: str, prefix: str, spaces: list[Space | None], refs: list[SourceRef]
) -> Iterator[tuple[LonLat, NDArray[np.float32]]]:
    imported = read_foreign(path, prefix=prefix)
    own = imported.meta.space
    spaces.append(None if own.origin == "unknown" else own)
    refs += imported.meta.sources
    for batch in imported.batches():
        if len(batch):
            places = batch.places()
            yield LonLat(places.lon, places.lat), batch.vectors()


def _keyed(path: str, system: H3Cells, prefix: str) -> Iterator[tuple[LonLat, NDArray[np.float32]]] | None:
    """The rows of a table that is keyed by cells: (their centres, vectors); None of a table that is not."""
    form = form_of(path)
    if form not in ("csv", "parquet"):
        return None
    schema = pq.read_schema(path) if form == "parquet" else _csv(path).schema
    names = schema.names
    has_place = bool({"geometry", "lon", "lat", "longitude", "latitude", "x", "y", "wkt"} & {n.lower() for n in names})
    column = next((name for name in CELL_COLUMNS if name in names), None)
    parts = component_columns(names, prefix, path)
    wanted = None if parts else list_column(schema, None, path)
    if has_place or column is None or (not parts and wanted is None):
        return None
    return _cell_rows(path, form, column, parts, wanted, system)


def _cell_rows(
    path: str, form: str, column: str, parts: list[str], wanted: str | None, system: H3Cells
) -> Iterator[tuple[LonLat, NDArray[np.float32]]]:
    reader = pq.ParquetFile(path).iter_batches(16_384) if form == "parquet" else _csv(path)
    first = 0
    for batch in reader:
        data = pa.Table.from_batches([batch])
        numbers = _numbers(data[column].combine_chunks(), path, column)
        resolution = (numbers >> np.uint64(52)).astype(np.int64) & 15
        coarse = np.flatnonzero(resolution < system.resolution)
        if len(coarse):
            raise SchemaError(
                f"{path}: the cell {int(numbers[coarse[0]]):x} is coarser than {system.name}: it says nothing of "
                "the single cells in it; take an area of its resolution"
            )
        if parts:
            vectors = from_components(data, parts, path, first)
        else:
            assert wanted is not None
            dims = int(pc.list_value_length(data[wanted]).combine_chunks().drop_null()[0].as_py())
            vectors, there = from_lists(data[wanted], dims, path, first)
            numbers, resolution = numbers[there], resolution[there]
        first += data.num_rows
        for level in np.unique(resolution):
            mine = resolution == level
            # The centre of a cell lies in each of its parents, by the way in which parents are numbered here.
            parents = H3Cells(int(level)).parent(numbers[mine], system.resolution)
            yield system.centre(parents), vectors[mine]


def _csv(path: str) -> pyarrow.csv.CSVStreamingReader:
    try:
        return pyarrow.csv.open_csv(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise FormatError(f"{path}: the CSV cannot be read ({str(error)[:120]})") from None


def _numbers(column: pa.Array, path: str, name: str) -> NDArray[np.uint64]:
    """Cells as numbers, from numbers or hexadecimal text."""
    try:
        if pa.types.is_integer(column.type):
            numbers = np.asarray(column.cast(pa.uint64()), dtype=np.uint64)
        else:
            numbers = np.array([int(text, 16) for text in column.cast(pa.string()).to_pylist()], dtype=np.uint64)
    except (ValueError, TypeError, OverflowError, pa.ArrowInvalid):
        raise SchemaError(f"{path}: the column {name!r} holds no H3 cells, and there are no coordinates") from None
    bad = np.flatnonzero(~are_cells(numbers))
    if len(bad):
        raise SchemaError(f"{path}: {int(numbers[bad[0]]):x} in the column {name!r} is no H3 cell")
    return numbers
