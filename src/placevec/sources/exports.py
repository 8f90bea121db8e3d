"""Tables out, in the forms of others: CSV, GeoJSON, FlatGeobuf and GeoPackage, streamed in batches.

A batch is of an EmbeddingTable, or Places alone, such as hits with their scores: those have no vectors to write, and
their GeoParquet is that of `write_geoparquet`. GeoParquet and Lance with vectors, the forms of a table itself, go
through the writers of `table`; a STAC item describes a table.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, Literal, TypeVar, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely
from numpy.typing import NDArray

from placevec.errors import SchemaError, UsageError
from placevec.files import remove, whole, write_text
from placevec.geo.cells import H3Cells
from placevec.provenance import TableMeta
from placevec.registry import need
from placevec.table.embeddings import EmbeddingTable
from placevec.table.geometry import (
    BBOX_TYPE,
    covering,
    geometries_to_wkb,
    geometry_types,
    points_of_wkb,
    points_to_wkb,
)
from placevec.table.parquet import geo_footer
from placevec.table.places import Places
from placevec.table.stored import StoredTable

P = TypeVar("P", bound=Places)
GeometryOf = Literal["stored", "point", "cell"]
OgrDriver = Literal["FlatGeobuf", "GPKG"]
GEOMETRIES = ("stored", "point", "cell")
_EXTRA = {"extra": "geopandas", "purpose": "writing FlatGeobuf and GeoPackage"}
# SQLite takes 2000 columns; beside the components there are others.
_MOST_COMPONENTS = {"GPKG": 1900}


def with_geometry(batch: P, geometry: GeometryOf) -> P:
    """The batch with its geometries as they are, as points, or as the outlines of its H3 cells.

    Raises UsageError if outlines are asked for and there is no column `h3`.
    """
    if geometry == "stored":
        return batch
    if geometry not in GEOMETRIES:
        raise UsageError(f"there is no geometry {geometry!r}; choose one of {', '.join(GEOMETRIES)}")
    if geometry == "point":
        located = batch.located
        column = points_to_wkb(batch.lonlat(np.flatnonzero(located)), located)
    else:
        column = _outlines(batch)
    at = batch.data.schema.get_field_index("geometry")
    data = batch.data.set_column(at, "geometry", column)
    # The covering is that of the geometry before.
    data = data.drop_columns(["bbox"]) if "bbox" in data.schema.names else data
    return cast(P, EmbeddingTable(data, batch.meta) if isinstance(batch, EmbeddingTable) else Places(data))


def _outlines(batch: Places) -> pa.Array:
    if not batch.has("h3"):
        raise UsageError("the table has no column `h3`, so its rows are no cells: export points, or stored geometries")
    cells = batch.data["h3"].combine_chunks()
    numbers = np.asarray(cells.fill_null(0).to_numpy(zero_copy_only=False), dtype=np.uint64)
    outlines = np.full(len(numbers), None, dtype=object)
    levels = numbers >> np.uint64(52) & np.uint64(0xF)  # where H3 keeps the resolution of a cell
    for level in np.unique(levels[numbers > 0]):
        rows = np.flatnonzero((levels == level) & (numbers > 0))
        outlines[rows] = H3Cells(int(level)).polygons(numbers[rows])
    return geometries_to_wkb(outlines)


def write_csv(batches: Iterable[Places], path: str | Path, *, vectors: bool = True) -> int:
    """Write CSV (gzipped where the name ends in .gz): columns, geometry as WKT, and dim_0, dim_1 …; returns the rows.

    Numbers are written with as many digits as bring them back exactly. int8 is written decoded.
    """
    import pyarrow.csv as pacsv

    rows = 0
    with whole(path) as part, ExitStack() as stack:
        sink: IO[bytes] = stack.enter_context(part.open("wb"))
        if str(path).endswith(".gz"):
            # No name and no time in the header: equal tables give equal files.
            sink = cast(IO[bytes], stack.enter_context(gzip.GzipFile("", "wb", 6, sink, mtime=0)))
        writer = None
        for batch in batches:
            data = _flat(batch, vectors)
            if writer is None:
                writer = stack.enter_context(pacsv.CSVWriter(sink, data.schema))
            writer.write_table(data)
            rows += len(batch)
        if writer is None:
            raise SchemaError(f"nothing was written to {Path(path).name}: an empty table still has columns")
    return rows


def write_geojson(batches: Iterable[Places], path: str | Path, *, vectors: bool = False) -> int:
    """Write a GeoJSON FeatureCollection (RFC 7946: lon, lat in WGS84); returns the rows.

    `vectors` adds them as the property `embedding`. Values that JSON has no word for (NaN) become null.
    """
    rows = 0
    with whole(path) as part, part.open("w", encoding="utf-8", newline="\n") as out:
        out.write('{"type":"FeatureCollection","features":[')
        for batch in batches:
            for feature in _features(batch, vectors):
                out.write(",\n" if rows else "\n")
                json.dump(feature, out, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
                rows += 1
        out.write("\n]}\n")
    return rows


def write_ogr(
    batches: Iterable[Places],
    path: str | Path,
    driver: OgrDriver,
    *,
    vectors: bool = False,
    indexed: bool = True,
) -> int:
    """Write FlatGeobuf or GeoPackage by pyogrio; `vectors` adds columns dim_0, dim_1 …; returns the rows.

    `indexed` makes a spatial index; that of FlatGeobuf takes no rows without geometry. Raises MissingExtra without
    pyogrio.
    """
    pyogrio = need("pyogrio", **_EXTRA)
    pieces = iter(batches)
    first = next(pieces, None)
    if first is None:
        raise SchemaError(f"nothing was written to {Path(path).name}: an empty table still has columns")
    most = _MOST_COMPONENTS.get(driver)
    if vectors and most is not None and (dims := _vectors(first).shape[1]) > most:
        raise UsageError(f"{path}: {dims} components do not fit into {driver}: leave out --vectors")
    schema = _ogr(first, vectors).schema
    rows = 0

    def stream() -> Iterator[pa.RecordBatch]:
        nonlocal rows
        for piece in (first, *pieces):
            rows += len(piece)
            yield from _ogr(piece, vectors).cast(schema).to_batches()

    with whole(path) as part:
        # GDAL looks at the ending, and GeoPackage puts files beside it: a folder of its own holds all of that.
        part.mkdir()
        file = part / f"layer{Path(path).suffix}"
        pyogrio.write_arrow(
            pa.RecordBatchReader.from_batches(schema, stream()),
            file,
            layer=Path(path).stem,
            driver=driver,
            geometry_name="geometry",
            geometry_type="Unknown",
            crs="EPSG:4326",
            layer_options={"SPATIAL_INDEX": "YES" if indexed else "NO"},
        )
        data = part.with_name(f"{part.name}-file")
        file.replace(data)
        remove(part)
        data.replace(part)
    return rows


def write_stac(table: StoredTable, path: str | Path) -> None:
    """Write the STAC item of a stored table; its asset leads from the item to the table."""
    from placevec.table.stac import stac_item

    item = stac_item(table)
    goal = Path(path).resolve()
    if "://" not in str(table.path):
        relative = Path(os.path.relpath(Path(str(table.path)).resolve(), goal.parent)).as_posix()
        item["assets"]["embeddings"]["href"] = relative if relative.startswith("..") else f"./{relative}"
    write_text(goal, json.dumps(item, indent=2, ensure_ascii=False) + "\n")


def write_tables(batches: Iterable[EmbeddingTable], path: str | Path, meta: TableMeta) -> int:
    """Write a table of ours (.parquet or .lance) from batches, in their order; returns the rows."""
    rows = 0

    def data() -> Iterator[pa.Table]:
        nonlocal rows
        for batch in batches:
            rows += len(batch)
            yield batch.data.drop_columns(["bbox"]) if batch.has("bbox") else batch.data

    if str(path).rstrip("/").endswith(".lance"):
        from placevec.table.lance import write_lance

        write_lance(data(), path, meta)
        return rows
    from placevec.table.parquet import ParquetSink

    with ParquetSink(path, meta) as sink:
        for piece in data():
            sink.write(piece)
    return rows


def write_geoparquet(batches: Iterable[Places], path: str | Path) -> int:
    """Write GeoParquet 1.1 of places without vectors, with a covering of boxes; returns the rows."""
    import pyarrow.parquet as pq

    rows, bounds, kinds = 0, np.array([np.inf, np.inf, -np.inf, -np.inf]), set[str]()
    with whole(path) as part, ExitStack() as stack:
        writer = None
        for batch in batches:
            data = batch.data.drop_columns([name for name in ("bbox", "embedding") if batch.has(name)])
            boxes = covering(data["geometry"])
            located = np.asarray(boxes.is_valid())
            if located.any():
                sides = [np.asarray(boxes.field(side))[located] for side in range(4)]
                bounds[:2] = np.minimum(bounds[:2], [sides[0].min(), sides[1].min()])
                bounds[2:] = np.maximum(bounds[2:], [sides[2].max(), sides[3].max()])
                kinds |= geometry_types(data["geometry"])
            data = data.add_column(data.schema.get_field_index("geometry") + 1, pa.field("bbox", BBOX_TYPE), boxes)
            data = data.replace_schema_metadata(None)
            if writer is None:
                writer = stack.enter_context(pq.ParquetWriter(part, data.schema, compression="zstd"))
            writer.write_table(data)
            rows += len(batch)
        if writer is None:
            raise SchemaError(f"nothing was written to {Path(path).name}: an empty table still has columns")
        writer.add_key_value_metadata({"geo": json.dumps(geo_footer(bounds, kinds))})
    return rows


def _vectors(batch: Places) -> NDArray[np.float32]:
    if not isinstance(batch, EmbeddingTable):
        raise UsageError("these places have no vectors to write: leave out --vectors")
    return batch.vectors()


def _flat(batch: Places, vectors: bool) -> pa.Table:
    """One column for each thing: text for geometries and bytes, numbers for components."""
    columns: dict[str, Any] = {"id": batch.data["id"], "geometry": _wkt(batch.data["geometry"])}
    for name in batch.data.schema.names:
        if name in ("id", "geometry", "bbox", "embedding"):
            continue
        column = batch.data[name]
        if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
            texts = [None if value is None else value.hex() for value in column.to_pylist()]
            column = pa.array(texts, pa.string())
        columns[name] = column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column
    if vectors:
        # float16 is widened exactly; what is written is what comes back.
        stored = _vectors(batch)
        for i in range(stored.shape[1]):
            name = f"dim_{i}"
            if name in columns:
                raise SchemaError(
                    f"the attribute {name!r} has the name of a component: drop or rename it before export"
                )
            columns[name] = pa.array(np.ascontiguousarray(stored[:, i]))
    return pa.table(columns)


def _wkt(column: pa.ChunkedArray) -> pa.Array:
    points = points_of_wkb(column)
    if points is not None:
        lon, lat = (pa.array(axis, from_pandas=True).cast(pa.string()) for axis in points)
        inner = pc.binary_join_element_wise(lon, lat, " ")
        return pc.binary_join_element_wise(pa.scalar("POINT ("), inner, pa.scalar(")"), "")
    geometries = shapely.from_wkb(column.to_numpy(zero_copy_only=False))
    # Decimals at most, of which as few are written as bring the number back; the default, 16, loses the last of many.
    return pa.array(shapely.to_wkt(geometries, rounding_precision=50, trim=True), type=pa.string())


def _features(batch: Places, vectors: bool) -> Iterator[dict[str, Any]]:
    names = [name for name in batch.data.schema.names if name not in ("id", "geometry", "bbox", "embedding")]
    rows = batch.data.select(names).to_pylist()
    shapes = _geojson(batch.data["geometry"])
    stored = _vectors(batch) if vectors else None
    for i, (name, shape, row) in enumerate(zip(batch.ids, shapes, rows, strict=True)):
        properties = {key: _plain(key, value) for key, value in row.items()}
        if stored is not None:
            # The shortest text of a float32, not that of the double next to it.
            properties["embedding"] = [float(str(value)) for value in stored[i]]
        yield {"type": "Feature", "id": name, "geometry": shape, "properties": properties}


def _geojson(column: pa.ChunkedArray) -> list[Any]:
    points = points_of_wkb(column)
    if points is not None:
        pairs = zip(*(axis.tolist() for axis in points), strict=True)
        return [None if x != x else {"type": "Point", "coordinates": [x, y]} for x, y in pairs]
    geometries = shapely.from_wkb(column.to_numpy(zero_copy_only=False))
    # RFC 7946 asks for counter-clockwise shells.
    geometries = shapely.orient_polygons(geometries) if hasattr(shapely, "orient_polygons") else geometries
    texts: NDArray[Any] = np.asarray(shapely.to_geojson(geometries), dtype=object)
    return [None if text is None else json.loads(text) for text in texts]


def _plain(name: str, value: Any) -> Any:
    if name == "h3" and value is not None:
        return f"{value:x}"  # beyond 2^53, which JavaScript would round
    if isinstance(value, float) and not np.isfinite(value):
        return None
    if isinstance(value, bytes):
        return value.hex()
    if hasattr(value, "isoformat"):
        return value.isoformat().replace("+00:00", "Z")
    return value


def _ogr(batch: Places, vectors: bool) -> pa.Table:
    """Columns of types that OGR knows: no unsigned integers of 64 bits, no half floats."""
    columns: dict[str, Any] = {}
    for name in batch.data.schema.names:
        column = batch.data[name]
        kind = column.type
        if name in ("bbox", "embedding"):
            continue
        if name == "h3":
            column = pa.array([None if cell is None else f"{cell:x}" for cell in column.to_pylist()], pa.string())
        elif pa.types.is_uint64(kind):
            column = column.cast(pa.string())
        elif pa.types.is_unsigned_integer(kind):
            column = column.cast(pa.int64())
        elif pa.types.is_int8(kind):
            column = column.cast(pa.int16())
        elif pa.types.is_dictionary(kind):
            column = column.cast(pa.string())
        elif pa.types.is_timestamp(kind):
            column = column.cast(pa.timestamp("ms", kind.tz), safe=False)
        columns[name] = column
    if vectors:
        stored = _vectors(batch)
        for i in range(stored.shape[1]):
            columns[f"dim_{i}"] = pa.array(np.ascontiguousarray(stored[:, i]))
    table = pa.table(columns)
    field = pa.field("geometry", pa.binary(), metadata={"ARROW:extension:name": "geoarrow.wkb"})
    at = table.schema.get_field_index("geometry")
    return table.set_column(at, field, table["geometry"])
