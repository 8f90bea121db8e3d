"""Qdrant: a server, Qdrant Cloud, or the memory of this process."""

from placevec.index.stores.qdrant.store import QdrantStore

__all__ = ["QdrantStore"]
