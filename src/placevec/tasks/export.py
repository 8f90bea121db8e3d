"""``placevec export``: a table in the forms of others, streamed, written whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from placevec.errors import UsageError
from placevec.sources.exports import (
    GEOMETRIES,
    GeometryOf,
    OgrDriver,
    with_geometry,
    write_csv,
    write_geojson,
    write_ogr,
    write_stac,
    write_tables,
)
from placevec.table import EmbeddingTable, Filter, StoredTable, open_table
from placevec.tasks.export_cog import Projection
from placevec.tasks.export_forms import FORMS, form_of, size_of
from placevec.tasks.export_places import DRAWN_FORMS, export_places
from placevec.tasks.export_tiles import Progress
from placevec.tasks.export_vectors import VECTOR_FORMS, export_grid, export_vectors


def export_table(
    table: str | Path,
    out: str | Path,
    *,
    form: str | None = None,
    geometry: GeometryOf = "stored",
    vectors: bool | None = None,
    filter: Filter | None = None,
    columns: Sequence[str] | None = None,
    pixel_m: float | None = None,
    projection: Projection = "lonlat",
    layer: str | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write a stored table to `out` in another form.

    Args:
        table: a table (.parquet or .lance); or an EmbeddingGrid (.tif), which goes to npy alone.
        out: where to write; its ending says the form, where `form` does not.
        form: parquet, lance, csv, geojson, stac, flatgeobuf or geopackage; cog (a raster of attributes), pmtiles or
            mvt (vector tiles of them, as a file or a folder), which hold no vectors; or npy, safetensors or torch,
            which hold vectors, ids and coordinates and nothing else (see `tasks.export_vectors`).
        geometry: as "stored", as a "point" each, or as the outline of its H3 "cell".
        vectors: whether vectors are written; by default in CSV, and not in GeoJSON, FlatGeobuf and GeoPackage. Parquet
            and Lance always hold them.
        filter: which rows; all by default.
        columns: which attributes; all by default. Ids and geometries always are.
        pixel_m: of a raster, the side of a pixel in metres; see `export_cog`.
        projection: of a raster: "lonlat", "mercator" or "equal-area".
        layer: the name of the layer of tiles; by default that of `out`.
        progress: of a raster and of tiles.

    Returns:
        path, form, rows and bytes; for Parquet and Lance the fingerprint as well, for rasters and tiles what
        `export_cog` and `export_tiles` tell. The rows of a grid are its pixels.

    Raises:
        UsageError: an unknown form, cells asked of a table without `h3`, attributes asked of a form without any, or
            `out` is the table itself.
    """
    used = form or form_of(out)
    if used not in FORMS:
        raise UsageError(f"there is no form {used!r}; choose one of {', '.join(FORMS)}")
    if geometry not in GEOMETRIES:
        raise UsageError(f"there is no geometry {geometry!r}; choose one of {', '.join(GEOMETRIES)}")
    if Path(out).resolve() == Path(table).resolve():
        raise UsageError(f"{out} is the table itself: export to another name")
    if used in DRAWN_FORMS and vectors:
        raise UsageError(f"{used} holds attributes and no vectors: leave out --vectors, or choose csv or geojson")
    if used != "cog" and (pixel_m is not None or projection != "lonlat"):
        raise UsageError(f"{used} has no pixels: leave out their size and projection, or choose a name ending in .tif")
    if used in VECTOR_FORMS and (vectors is False or geometry != "stored" or columns is not None):
        raise UsageError(f"{used} holds vectors, ids and points and nothing else: leave out the options, or choose csv")
    if str(table).lower().endswith((".tif", ".tiff")):
        if used != "npy" or filter is not None:
            raise UsageError(f"{table} is a grid: it goes to .npy as a whole; make a table of it by `embed --table`")
        return {"path": str(out), "form": used, "rows": export_grid(table, out), "bytes": size_of(Path(out))}
    stored = open_table(table)
    if vectors is False and used in ("parquet", "lance"):
        raise UsageError(f"a table in {used} holds vectors: for places alone choose csv or geojson")
    _check_columns(stored, columns, geometry)
    if used in DRAWN_FORMS:
        rows = None if filter is None else stored.resolve(filter)[0]
        return export_places(
            stored.places(None if columns is None else [*columns, "h3"], rows),
            out,
            form=used,
            geometry=geometry,
            columns=columns,
            pixel_m=pixel_m,
            projection=projection,
            layer=layer,
            attribution="; ".join(dict.fromkeys(one.attribution for one in stored.meta.sources if one.attribution)),
            progress=progress,
        )
    summary: dict[str, Any] = {"path": str(out), "form": used}
    batches = _batches(stored, geometry, filter, columns)
    if used == "stac":
        if filter is not None or geometry != "stored" or columns is not None:
            raise UsageError("a STAC item describes the whole table: export a part as a table first")
        write_stac(stored, out)
        summary["rows"] = stored.num_rows
    elif used in ("parquet", "lance"):
        if used == "lance" and not str(out).rstrip("/").endswith(".lance"):
            raise UsageError(f"{out}: the name of a Lance dataset ends in .lance")
        summary["rows"] = write_tables(batches, out, stored.meta)
        summary["fingerprint"] = open_table(out).fingerprint()
    elif used in VECTOR_FORMS:
        summary["rows"] = export_vectors(stored, out, used, filter)
    elif used == "csv":
        summary["rows"] = write_csv(batches, out, vectors=vectors is not False)
    elif used == "geojson":
        summary["rows"] = write_geojson(batches, out, vectors=bool(vectors))
    else:
        driver: OgrDriver = "FlatGeobuf" if used == "flatgeobuf" else "GPKG"
        indexed = used == "geopackage" or stored.unlocated == 0
        summary["rows"] = write_ogr(batches, out, driver, vectors=bool(vectors), indexed=indexed)
    summary["bytes"] = size_of(Path(out))
    return summary


def _check_columns(stored: StoredTable, columns: Sequence[str] | None, geometry: str) -> None:
    for name in columns or ():
        if not stored.has(name):
            known = ", ".join(stored.attributes) or "none"
            raise UsageError(f"{stored.path} has no column {name!r}; its attributes are: {known}")
    if geometry == "cell" and not stored.has("h3"):
        raise UsageError(f"{stored.path} has no column `h3`, so its rows are no cells: export --geometry point")


def _batches(
    stored: StoredTable, geometry: GeometryOf, filter: Filter | None, columns: Sequence[str] | None
) -> Iterator[EmbeddingTable]:
    """The rows wanted; at least one batch, so that an empty table has its columns."""
    wanted = None if columns is None else list(dict.fromkeys(("id", "geometry", *columns)))
    # Outlines are made of a column that need not be wanted itself.
    read = wanted if wanted is None or geometry != "cell" else list(dict.fromkeys((*wanted, "h3")))
    some = False
    for batch in stored.batches(read, filter):
        some = True
        yield _only(with_geometry(batch, geometry), wanted)
    if not some:
        empty = EmbeddingTable(stored.schema.empty_table(), stored.meta)
        yield _only(with_geometry(empty, geometry), wanted)


def _only(batch: EmbeddingTable, wanted: list[str] | None) -> EmbeddingTable:
    if wanted is None:
        return batch
    names = [name for name in batch.data.schema.names if name in {*wanted, "embedding"}]
    return EmbeddingTable(batch.data.select(names), batch.meta)
