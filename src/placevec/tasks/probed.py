"""The vectors of a table as probes take them, at given places and not too wide; and what a probe found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec.measure.probe_report import ProbeReport
from placevec.table import EmbeddingTable, Places
from placevec.table.blocks import blocks_of

MAX_FEATURES = 1024


@dataclass(frozen=True, eq=False)
class Answer:
    """What was found about one target, for what is drawn of it afterwards.

    Attributes:
        report: of the probe.
        y: the target of all places that the tables share, as it was given.
        keep: (m,) rows of these places that were probed; the report's rows are numbered within them.
    """

    report: ProbeReport
    y: NDArray[Any]
    keep: NDArray[np.int64]

    @property
    def rows(self) -> NDArray[np.int64]:
        """The rows of the places that have a target and were probed."""
        return self.keep[self.report.residuals.rows]


def vectors_at(table: EmbeddingTable, places: Places) -> tuple[NDArray[np.float32], tuple[tuple[str, int, int], ...]]:
    """The vectors (n, d) of a table at places, all of which it holds, and the (name, start, stop) of their blocks.

    Of more than 1,024 components a projection is taken, which has no blocks.
    """
    vectors = table.vectors(table.rows_of(places.ids))
    if vectors.shape[1] <= MAX_FEATURES:
        return vectors, blocks_of(table.meta)
    # A fixed random projection keeps distances (Johnson and Lindenstrauss 1984) and learns nothing from any row.
    matrix = np.random.default_rng(0).standard_normal((vectors.shape[1], MAX_FEATURES), dtype=np.float32)
    return vectors @ (matrix / np.float32(np.sqrt(MAX_FEATURES))), ()
