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
from placevec.tasks.export_vectors import VECTOR_FORMS, export_grid, export_vectors

_FORMS = {
    ".parquet": "parquet",
    ".geoparquet": "parquet",
    ".gpq": "parquet",
    ".lance": "lance",
    ".csv": "csv",
    ".csv.gz": "csv",
    ".geojson": "geojson",
    ".stac.json": "stac",
    ".fgb": "flatgeobuf",
    ".gpkg": "geopackage",
    ".npy": "npy",
    ".safetensors": "safetensors",
    ".pt": "torch",
    ".pth": "torch",
}
FORMS = tuple(dict.fromkeys(_FORMS.values()))


def export_table(
    table: str | Path,
    out: str | Path,
    *,
    form: str | None = None,
    geometry: GeometryOf = "stored",
    vectors: bool | None = None,
    filter: Filter | None = None,
    columns: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Write a stored table to `out` in another form.

    Args:
        table: a table (.parquet or .lance); or an EmbeddingGrid (.tif), which goes to npy alone.
        out: where to write; its ending says the form, where `form` does not.
        form: parquet, lance, csv, geojson, stac, flatgeobuf or geopackage; or npy, safetensors or torch, which hold
            vectors, ids and coordinates and nothing else (see `tasks.export_vectors`).
        geometry: as "stored", as a "point" each, or as the outline of its H3 "cell".
        vectors: whether vectors are written; by default in CSV, and not in GeoJSON, FlatGeobuf and GeoPackage. Parquet
            and Lance always hold them.
        filter: which rows; all by default.
        columns: which attributes; all by default. Ids and geometries always are.

    Returns:
        path, form, rows and bytes; for Parquet and Lance the fingerprint as well. The rows of a grid are its pixels.

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
    if used in VECTOR_FORMS and (vectors is False or geometry != "stored" or columns is not None):
        raise UsageError(f"{used} holds vectors, ids and points and nothing else: leave out the options, or choose csv")
    if str(table).lower().endswith((".tif", ".tiff")):
        if used != "npy" or filter is not None:
            raise UsageError(f"{table} is a grid: it goes to .npy as a whole; make a table of it by `embed --table`")
        return {"path": str(out), "form": used, "rows": export_grid(table, out), "bytes": _size(Path(out))}
    stored = open_table(table)
    if vectors is False and used in ("parquet", "lance"):
        raise UsageError(f"a table in {used} holds vectors: for places alone choose csv or geojson")
    _check_columns(stored, columns, geometry)
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
    summary["bytes"] = _size(Path(out))
    return summary


def form_of(out: str | Path) -> str:
    """The form that a name's ending says; UsageError, with those that exist, if it says none."""
    name = str(out).rstrip("/").lower()
    for suffix in sorted(_FORMS, key=len, reverse=True):
        if name.endswith(suffix):
            return _FORMS[suffix]
    raise UsageError(f"{out}: its ending says no form: end it in {', '.join(_FORMS)}, or say --form")


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


def _size(path: Path) -> int:
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size
