"""Graphs of cells: who can be reached from where."""

from __future__ import annotations

from placevec.features.graphs.access import BETA, access_graph
from placevec.features.graphs.cell_graph import CellGraph, load_graph

__all__ = ["BETA", "CellGraph", "access_graph", "load_graph"]
