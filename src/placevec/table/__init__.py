"""Places and the EmbeddingTable: the contract that every part of placevec reads and writes."""

from placevec.table.embeddings import EmbeddingTable
from placevec.table.filter import Filter, filter_of
from placevec.table.io import open_table, read_table, write_table
from placevec.table.places import Places
from placevec.table.skipped import Skipped, read_skipped, skipped_counts, write_skipped
from placevec.table.stored import StoredTable

__all__ = [
    "EmbeddingTable",
    "Filter",
    "Places",
    "Skipped",
    "StoredTable",
    "filter_of",
    "open_table",
    "read_skipped",
    "read_table",
    "skipped_counts",
    "write_skipped",
    "write_table",
]
