"""How far an index has to look, found by trying: the least effort at which a sample finds 99 % of its true neighbours.

The right number of cells to look into, or of nodes to keep in sight, differs tenfold between data sets of one size. So
rows of the table, spread evenly, ask for their own neighbours (themselves left out) when an index is built; what the
structure proposes is compared with the exact answer.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from placevec.index.base import Rows, Vectors
from placevec.index.exact import ExactIndex
from placevec.index.faiss.common import one_thread, prepared
from placevec.index.stored.cells import Near, found_near
from placevec.index.stored.finders import CellFinder, GraphFinder
from placevec.index.stored.settings import IndexSettings
from placevec.provenance import Space, TableMeta
from placevec.registry import need
from placevec.table import EmbeddingTable
from placevec.table.embeddings import to_arrow

TARGET = 0.99
NEIGHBOURS = 10
OVERSAMPLE = 4.0
"""Candidates that are scored for each row that is wanted, where nothing was measured."""
# Queries of the sample, fewer where their exact answers would take more than so many products (some seconds).
_SAMPLE, _LEAST = 512, 64
_WORK = 1e11
# Of the neighbours under the filters that are tried so many are to be found: those that are asked later differ more.
_NEAR_TARGET = 0.995
# How many candidates for each neighbour are tried, and how much may be lost by fewer.
_OVERSAMPLES = (1.5, 2.0, 3.0)
_LOSS = 5e-4
_MOST_EF = 4096


@dataclass(frozen=True)
class Measured:
    """What was found out about an index when it was built."""

    recall: float  # share of the true neighbours that the sample found
    k: int  # neighbours of each
    queries: int  # rows that were asked for theirs
    oversample: float  # candidates scored for each neighbour
    near: Near = ()  # under a filter: which share of rows passes, and among how many of those the k best are

    def __post_init__(self) -> None:
        # JSON has no tuples.
        object.__setattr__(self, "near", tuple((float(share), int(rows)) for share, rows in self.near))

    def to_json(self) -> dict[str, Any]:
        """A JSON object; `Measured(**object)` reads it."""
        return asdict(self)


def tuned(structure: Any, vectors: Any, space: Space, settings: IndexSettings) -> tuple[IndexSettings, Measured | None]:
    """The settings with the least effort that reaches `TARGET`, and what it reached.

    Args:
        structure: of faiss, with all vectors in it.
        vectors: (n, d) those that the index keeps.
        space: their Space.
        settings: of a kind that has a structure. Where `probes` or `ef` is set, it stays and is measured.
    """
    queries, truth = _sample(vectors, space)
    if not len(queries):
        return settings, None
    trial = _Trial(structure, queries, truth, settings)
    with one_thread(need("faiss", extra="faiss", purpose="an index that is kept")):
        number = trial.number if trial.number is not None else trial.least()
        settings = settings.with_(**{trial.name: number})
        full, error = trial.recall(number, trial.most_oversample)
        for oversample in trial.oversamples:
            recall, _ = trial.recall(number, oversample)
            if recall >= full - _LOSS and recall - error >= min(TARGET, full - error):
                break
        near: Near = ()
        if settings.kind != "hnsw":
            near = found_near(structure, vectors, space, truth[:, 0], trial.k, _NEAR_TARGET)
    return settings, Measured(round(recall, 4), trial.k, len(queries), oversample, near)


class _Trial:
    """One structure, asked with more or less effort."""

    def __init__(self, structure: Any, queries: Vectors, truth: Rows, settings: IndexSettings) -> None:
        self.structure, self.queries, self.truth, self.settings = structure, queries, truth, settings
        self.k = truth.shape[1] - 1
        graph = settings.kind == "hnsw"
        self.name = "ef" if graph else "probes"
        self.number: int | None = settings.ef if graph else settings.probes
        self.most = min(_MOST_EF, structure.ntotal) if graph else int(structure.nlist)
        # Standard errors to spare: a graph finds its own nodes more easily than what is asked later.
        self.spare = 3.0 if graph else 1.0
        # A graph keeps at least the candidates in sight: fewer of them let it look less far.
        self.oversamples = _OVERSAMPLES[:2] if graph else (*_OVERSAMPLES, OVERSAMPLE)
        self.most_oversample = self.oversamples[-1]
        self._finder = GraphFinder if graph else CellFinder

    def recall(self, number: int, oversample: float) -> tuple[float, float]:
        """The share of true neighbours among the candidates, and its standard error."""
        finder = self._finder(self.structure, self.settings.with_(**{self.name: number}))
        # One more, for each row finds itself.
        count = min(self.structure.ntotal, int(np.ceil(oversample * (self.k + 1))))
        found = finder.find(self.queries, count, None)
        hit = (found[:, None, :] == self.truth[:, :, None]).any(axis=2)
        own = hit[:, 1:].mean(axis=1)
        return float(own.mean()), float(own.std() / np.sqrt(len(own)))

    def enough(self, number: int) -> bool:
        """Whether so much effort finds enough, with something to spare."""
        recall, error = self.recall(number, self.most_oversample)
        return recall - self.spare * error >= TARGET

    def least(self) -> int:
        """The least effort that finds enough, to about a tenth; the most there is where none does."""
        high = min(self.most, int(np.ceil(self.most_oversample * (self.k + 1))) if self.name == "ef" else 4)
        low = high - 1 if self.name == "ef" else 0
        while not self.enough(high):
            if high >= self.most:
                return self.most
            low, high = high, min(self.most, 2 * high)
        while high - low > max(1, high // 10):
            middle = (low + high) // 2
            low, high = (low, middle) if self.enough(middle) else (middle, high)
        return high


def _sample(vectors: Any, space: Space) -> tuple[Vectors, Rows]:
    """Rows of the table as queries (q, d), and their true neighbours (q, k + 1), each query itself the first."""
    rows = len(vectors)
    k = min(NEIGHBOURS, rows - 1)
    count = min(rows, max(_LEAST, min(_SAMPLE, int(_WORK / max(1, rows * space.dims)))))
    if k < 1:
        return np.empty((0, space.dims), np.float32), np.empty((0, 0), np.int64)
    own = np.arange(count) * rows // count
    queries = prepared(vectors[own], space)
    if space.metric == "cosine":  # a row of zeros has no neighbours
        own, queries = own[queries.any(axis=1)], queries[queries.any(axis=1)]
    if not len(own):
        return queries, np.empty((0, 0), np.int64)
    meta = TableMeta(space, dtype=str(vectors.dtype))
    scan = ExactIndex(EmbeddingTable(pa.table({"embedding": to_arrow(vectors)}), meta))
    near, _ = scan.search(queries, k + 1)
    # Among equal vectors the query may not be the first, or not even there: it is put in front.
    others = np.argsort(near == own[:, None], axis=1, kind="stable")[:, :k]
    return queries, np.column_stack([own, np.take_along_axis(near, others, axis=1)])


def sample_vectors(path: Path) -> Any:
    """The vectors that were just written, mapped."""
    return np.load(path, mmap_mode="r", allow_pickle=False)
