"""The vectors of a table as probes take them: at given places, and not too wide."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from placevec.table import EmbeddingTable, Places
from placevec.table.blocks import blocks_of

MAX_FEATURES = 1024


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
