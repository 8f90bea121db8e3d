"""Directed, weighted edges between cells, and their Parquet file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import ArrayLike, NDArray

from placevec.errors import DataError, FormatError
from placevec.features.roads.placing import CellRows
from placevec.files import whole
from placevec.geo.cells import CellArray

_FOOTER = b"placevec:graph"
_COLUMNS = ("from", "to", "seconds", "weight")


@dataclass(frozen=True, eq=False)
class CellGraph:
    """Edges (e) between cells (n), sorted by rows and then cols.

    Attributes:
        cells: (n,) H3 cells of one resolution; a cell without an edge is one too.
        rows: (e,) the row of the cell that an edge comes from.
        cols: (e,) the row of the cell that it leads to.
        seconds: (e,) how long it takes.
        weight: (e,) exp(-beta seconds) times the mass of the destination.
        mode: how one moves.
        beta: per second.
    """

    cells: CellArray
    rows: NDArray[np.int64]
    cols: NDArray[np.int64]
    seconds: NDArray[np.float32]
    weight: NDArray[np.float32]
    mode: str
    beta: float

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def resolution(self) -> int:
        """The H3 resolution of the cells."""
        return CellRows(self.cells).system.resolution

    def on(self, cells: ArrayLike) -> CellGraph:
        """The edges between other cells (m,), in their order; edges of cells that are none of them are left out."""
        own = CellRows(cells)
        to = own.rows(self.cells)
        rows, cols = to[self.rows], to[self.cols]
        keep = np.flatnonzero((rows >= 0) & (cols >= 0))
        keep = keep[np.lexsort((cols[keep], rows[keep]))]
        return CellGraph(own.cells, rows[keep], cols[keep], self.seconds[keep], self.weight[keep], self.mode, self.beta)

    def save(self, path: str | Path) -> None:
        """Write the edges as Parquet: from, to (H3 cells), seconds, weight; the cells without an edge go to the footer.

        See `load`.
        """
        alone = np.ones(len(self.cells), dtype=bool)
        alone[self.rows] = alone[self.cols] = False
        facts = {
            "mode": self.mode,
            "beta": self.beta,
            "resolution": self.resolution,
            "cells": len(self.cells),
            "alone": [f"{int(cell):x}" for cell in self.cells[alone]],
        }
        table = pa.table(
            [self.cells[self.rows], self.cells[self.cols], self.seconds, self.weight], names=list(_COLUMNS)
        ).replace_schema_metadata({_FOOTER: json.dumps(facts).encode()})
        with whole(path) as part:
            pq.write_table(table, part, compression="zstd")


def load_graph(path: str | Path, cells: ArrayLike | None = None) -> CellGraph:
    """The graph that was saved at `path`.

    Args:
        path: a Parquet file.
        cells: (n,) the cells that the rows shall be of, in their order; by default all of the graph, sorted.

    Raises:
        FormatError: it is no file of edges.
        DataError: the cells are of another resolution.
    """
    try:
        table = pq.read_table(path)
        facts = json.loads(table.schema.metadata[_FOOTER])
        start, to, seconds, weight = (table[name].to_numpy() for name in _COLUMNS)
        alone = np.array([int(cell, 16) for cell in facts["alone"]], dtype=np.uint64)
        mode, beta, resolution = str(facts["mode"]), float(facts["beta"]), int(facts["resolution"])
    except FileNotFoundError:
        raise FormatError(f"{path}: no such file; make it with `placevec area graph`") from None
    except (pa.ArrowException, KeyError, TypeError, ValueError, OSError) as error:
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise FormatError(f"{path} is no graph of cells ({reason}); make it with `placevec area graph`") from None
    own = CellRows(np.unique(np.concatenate([start, to, alone])))
    rows, cols = own.rows(start), own.rows(to)
    order = np.lexsort((cols, rows))
    graph = CellGraph(own.cells, rows[order], cols[order], seconds[order], weight[order], mode, beta)
    if cells is None:
        return graph
    found = CellRows(cells)
    if len(found) and found.system.resolution != resolution:
        raise DataError(
            f"{path} is a graph of cells of resolution {resolution}, not {found.system.resolution}: make one for these"
        )
    return graph.on(found.cells)
