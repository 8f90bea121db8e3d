"""A store in PostgreSQL with pgvector: one table with HNSW, a point with GiST, and a card in `placevec_tables`."""

from placevec.index.stores.postgres.index import PostgresIndex
from placevec.index.stores.postgres.store import PostgresStore

__all__ = ["PostgresIndex", "PostgresStore"]
