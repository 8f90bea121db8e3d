"""The approximate index that Lance keeps of vectors: cells of scalar-quantised vectors, prefiltered, re-ranked.

Chosen by measurement (see docs of the index): cells with 8 bits a component (IVF_SQ) find as much as a graph of the
same vectors (IVF_HNSW_SQ) at the same speed and are built some forty times faster; product quantisation (IVF_PQ)
needs more probes for the same recall.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from placevec.errors import UsageError
from placevec.index.stores.lance.dataset import VECTOR
from placevec.provenance import Metric

NAME = "placevec"
KINDS = ("IVF_SQ", "IVF_HNSW_SQ", "IVF_PQ")
# k-means in Lance wants so many vectors for each cell.
_LEAST_ROWS = 256


@dataclass(frozen=True)
class AnnSettings:
    """How an approximate index is built and asked."""

    kind: str = "IVF_SQ"  # of Lance
    cells: int | None = None  # how many; None: about twice the root of the rows
    share: float = 0.2  # of the cells that a query looks into
    least: int = 64  # cells that it looks into at least
    ef: int = 200  # nodes that a query keeps in sight, of IVF_HNSW_SQ

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError(f"Lance has no index of the kind {self.kind!r} here; known: {', '.join(KINDS)}")
        if self.cells is not None and self.cells < 1:
            raise UsageError(f"{self.cells} cells cannot be: give at least 1")

    def cells_of(self, rows: int) -> int:
        """How many cells an index of so many rows has."""
        if self.cells is not None:
            return self.cells
        if self.kind == "IVF_HNSW_SQ":
            # A graph for each million rows: more of them are more to be asked.
            return max(1, rows >> 20)
        # Lance trains more than 256 cells in two steps, which is several times faster.
        return int(2 ** np.round(np.log2(max(1.0, 2.0 * np.sqrt(rows)))))

    def asked(self, k: int, allowed: float) -> dict[str, Any]:
        """The settings of a query for k rows among a share of all; of an index whose number of cells is known."""
        assert self.cells is not None
        if self.kind == "IVF_HNSW_SQ":
            return {"nprobes": self.cells, "ef": max(self.ef, k)}
        # Where few rows may be found, the nearest of them lie in more cells.
        wanted = max(self.least, self.share * self.cells) / max(allowed, 1e-9)
        return {"nprobes": int(min(self.cells, np.ceil(wanted)))}


def ann_of(dataset: Any) -> tuple[str, AnnSettings] | None:
    """Name and settings of the approximate index that placevec made of a dataset; None if there is none."""
    for index in dataset.describe_indices():
        found = re.fullmatch(rf"{NAME}-(\w+)-(\d+)", index.name)
        if found is not None and list(index.field_names) == [VECTOR] and found[1] in KINDS:
            return index.name, AnnSettings(found[1], int(found[2]))
    return None


def build_ann(dataset: Any, metric: Metric, settings: AnnSettings) -> None:
    """Build the approximate index of a dataset, in place of one that is there; a commit of its own."""
    rows, old = dataset.count_rows(), ann_of(dataset)
    cells = min(settings.cells_of(rows), max(1, rows // 4))
    more: dict[str, Any] = {}
    if settings.kind == "IVF_HNSW_SQ":
        more = {"m": 16, "ef_construction": 100}
    elif settings.kind == "IVF_PQ":
        dims = dataset.schema.field(VECTOR).type.list_size
        more = {"num_sub_vectors": next(parts for parts in range(max(1, dims // 4), 0, -1) if dims % parts == 0)}
    dataset.create_index(
        VECTOR,
        settings.kind,
        # Asking Lance for the number of cells reads all of them; the name says it at no cost.
        name=f"{NAME}-{settings.kind}-{cells}",
        metric=str(metric),
        num_partitions=cells,
        replace=True,
        **more,
    )
    if old is not None and old[0] != f"{NAME}-{settings.kind}-{cells}":
        dataset.drop_index(old[0])


def can_have_ann(rows: int) -> bool:
    """Whether there are enough rows for an approximate index to be trained on."""
    return rows >= _LEAST_ROWS
