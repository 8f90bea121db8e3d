"""`cluster`: groups of places by their vectors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from placevec.measure.clusters import Clusters, Method
from placevec.measure.clusters import cluster as cluster_vectors
from placevec.table import EmbeddingTable, StoredTable, open_table, write_table


def cluster(
    table: str | Path | StoredTable | EmbeddingTable,
    out: str | Path | None = None,
    *,
    k: int = 8,
    method: Method = "kmeans",
    resolutions: Sequence[int] | None = None,
    seed: int = 0,
) -> Clusters:
    """Divide the rows of a table into k clusters; see `measure.clusters.cluster`.

    Args:
        table: the table.
        out: where to write it again with the column `cluster` (for a hierarchy also `cluster_RES`).
        k: how many clusters.
        method: "kmeans" or "hierarchical".
        resolutions: H3 resolutions of a hierarchy, coarse to fine.
        seed: of k-means.
    """
    found = table if isinstance(table, EmbeddingTable) else _stored(table).read()
    cells = found.column("h3").astype(np.uint64) if found.has("h3") else None
    clusters = cluster_vectors(found.vectors(), k, seed, method, h3=cells, resolutions=resolutions)
    if out is not None:
        labelled = found.with_column("cluster", clusters.labels)
        for level in clusters.levels:
            if level.resolution is not None:
                labelled = labelled.with_column(f"cluster_{level.resolution}", level.labels)
        write_table(labelled, out)
    return clusters


def _stored(table: str | Path | StoredTable) -> StoredTable:
    return table if isinstance(table, StoredTable) else open_table(table)
