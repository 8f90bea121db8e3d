"""Foreign tables in: CSV, Parquet of any maker, rasters of vectors; what they are is told by their content."""

from placevec.sources.tables.imported import Imported, read_foreign

__all__ = ["Imported", "read_foreign"]
