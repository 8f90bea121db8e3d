"""Open, read and write a table by its path: ``.parquet`` is GeoParquet, ``.lance`` a Lance dataset."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from placevec.errors import UsageError
from placevec.objects import Remote, located
from placevec.table.embeddings import EmbeddingTable
from placevec.table.filter import Filter
from placevec.table.stored import StoredTable


def open_table(path: str | Path | Remote) -> StoredTable:
    """A table of which only the parts asked for are read; it may stand in object storage (s3://).

    Raises FormatError if there is none, if it was cut short or was not written by placevec.
    """
    if _is_lance(path):
        from placevec.table.lance import LanceTable

        return LanceTable(path)
    from placevec.table.parquet import ParquetTable

    return ParquetTable(path)


def read_table(
    path: str | Path | Remote, filter: Filter | None = None, columns: Sequence[str] | None = None
) -> EmbeddingTable:
    """The rows of a table that pass `filter`, with `columns` (all by default), in memory."""
    return open_table(path).read(filter, columns)


def write_table(table: EmbeddingTable, path: str | Path | Remote, *, order: str = "hilbert") -> None:
    """Write a table whole or not at all, rows in Hilbert order ("keep" leaves them as they are)."""
    if _is_lance(path):
        from placevec.geo.hilbert import hilbert_order
        from placevec.table.lance import write_lance

        data = table.data if order == "keep" else table.take(hilbert_order(table.lon, table.lat)).data
        write_lance([data], path, table.meta)
        return
    if located(path).suffix not in (".parquet", ".geoparquet", ".gpq"):
        raise UsageError(f"{path}: a table's name ends in .parquet or .lance; other forms are written by `export`")
    from placevec.table.parquet import write_parquet

    write_parquet(table, path, order=order)


def _is_lance(path: str | Path | Remote) -> bool:
    return str(path).rstrip("/").endswith(".lance")
