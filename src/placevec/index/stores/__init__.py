"""Stores: tables kept in servers and datasets, behind one contract."""

from placevec.index.stores.base import (
    EXACT_ROWS,
    Loaded,
    Progress,
    Store,
    StoreCard,
    Table,
    admit,
    admit_removal,
    belongs,
    open_store,
)
from placevec.index.stores.keys import RowsByKey, point_ids
from placevec.index.stores.url import StoreUrl, is_store_url, parse_store_url

__all__ = [
    "EXACT_ROWS",
    "Loaded",
    "Progress",
    "RowsByKey",
    "Store",
    "StoreCard",
    "StoreUrl",
    "Table",
    "admit",
    "admit_removal",
    "belongs",
    "is_store_url",
    "open_store",
    "parse_store_url",
    "point_ids",
]
