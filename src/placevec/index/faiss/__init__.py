"""Approximate search by faiss: what is common to the index in memory and to those that are kept in a folder."""

from placevec.index.faiss.common import default_cells
from placevec.index.faiss.inverted import PROBES, FaissIndex

__all__ = ["PROBES", "FaissIndex", "default_cells"]
