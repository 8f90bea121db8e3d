"""The package psycopg, imported when a store in PostgreSQL is first opened; MissingExtra where it is not installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from placevec.registry import need

if TYPE_CHECKING:
    import psycopg
    from psycopg import sql
    from psycopg.types.json import Jsonb
else:
    _EXTRA = {"extra": "postgres", "purpose": "a store in PostgreSQL"}
    psycopg = need("psycopg", **_EXTRA)
    sql = need("psycopg.sql", **_EXTRA)
    Jsonb = need("psycopg.types.json", **_EXTRA).Jsonb

__all__ = ["Jsonb", "psycopg", "sql"]
