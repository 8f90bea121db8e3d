"""Indexes that are kept: a folder beside a table, built once, opened in milliseconds, brought up to date."""

from placevec.index.stored.card import IndexCard, read_card
from placevec.index.stored.index import StoredIndex, check_files
from placevec.index.stored.settings import KINDS, IndexSettings
from placevec.index.stored.write import Written, build_index, update_index

__all__ = [
    "KINDS",
    "IndexCard",
    "IndexSettings",
    "StoredIndex",
    "Written",
    "build_index",
    "check_files",
    "read_card",
    "update_index",
]
