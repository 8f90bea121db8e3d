"""Lance: an approximate index of a table, and a store in a Lance dataset, on a disk or in an object store."""

from placevec.index.stores.lance.ann import AnnSettings
from placevec.index.stores.lance.index import LanceIndex
from placevec.index.stores.lance.store import LanceStore

__all__ = ["AnnSettings", "LanceIndex", "LanceStore"]
