"""StoredIndex: an index in a folder, opened for one table in milliseconds and read by mapping it into memory."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from placevec.errors import MissingExtra, StaleIndex
from placevec.index.base import Found, Index, Rows, Vectors, exact_scores
from placevec.index.exact import ExactIndex
from placevec.index.exact_each import find_each
from placevec.index.faiss.common import in_order, prepared
from placevec.index.stored.card import REMEDY, UPDATE, IndexCard, read_card, state_of
from placevec.index.stored.cells import Cells
from placevec.index.stored.finders import STRUCTURE, Finder, FlatFinder, read_finder, read_structure
from placevec.index.stored.slots import IDS, Slots
from placevec.index.stored.tune import OVERSAMPLE
from placevec.index.stored.vectors import VECTORS, keeps_all, map_vectors, widened
from placevec.provenance import TableMeta
from placevec.table import EmbeddingTable, StoredTable
from placevec.table.embeddings import to_arrow

# Up to this share of rows that may be found, and above this share that is wanted, all of them are scored.
_FEW = 1 / 16
_MANY = 1 / 8
_PAIRS_BYTES = 1 << 20
# So many candidates beyond the k best are scored in float64: rounding in float32 does not reach farther.
_SPARE = 6


class StoredIndex(Index):
    """An index in a folder, for one table.

    What is found is scored by the vectors kept, `float16` for cosine: the scores are right to about 1e-4, whatever
    the kind. A row can be missed.

    Args:
        folder: what `build_index` wrote.
        table: the table it was made from; its rows may stand in another order since.
        probes: cells that a query looks into, instead of what was set when it was built.
        ef: nodes that a query keeps in sight, likewise.

    Raises:
        UsageError: there is no index, or a number that its kind does not have.
        CheckpointError: a file is missing, cut short or damaged.
        SpaceMismatch: the table is of another Space.
        StaleIndex: the table has changed since, or is another one.
        MissingExtra: faiss is not installed, and the kind needs it.
    """

    exact = False
    reranks = True

    def __init__(
        self,
        folder: str | Path,
        table: EmbeddingTable | StoredTable,
        *,
        probes: int | None = None,
        ef: int | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.card = card = read_card(self.folder)
        self.table = table
        self.settings = card.settings.with_(probes=probes, ef=ef)
        # So many candidates for each row wanted are scored by the vectors kept: 8 bits a component rank roughly.
        self._oversample = card.measured.oversample if card.measured is not None else OVERSAMPLE
        self.name = card.settings.kind
        self.space = card.space
        self.tower = card.tower
        self.num_rows = card.rows
        card.belongs(table)
        check_files(self.folder, card)
        self._written = Slots.read(self.folder / IDS, card.slots, REMEDY)
        self._rows = self._rows_in(table)
        shape = (card.slots, self.space.dims)
        self.vectors = map_vectors(self.folder / VECTORS, shape, np.dtype(card.dtype), REMEDY)
        self._flat, self._finder = self._open()
        self.keeps = "vectors" if keeps_all(table.meta) else "rounded"
        self.narrows = card.measured is not None and len(card.measured.near) > 0

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the table."""
        return self.card.fingerprint

    def check(self, table: Any) -> None:
        """See `Index.check`; a table whose file is as it was is not read for it."""
        if table is self.table:
            return
        self.card.belongs(table)
        if not np.array_equal(self._rows_in(table), self._rows):
            raise StaleIndex(
                f"the rows of the table stand in another order than when the index of kind {self.name!r} was opened: "
                "open it with this table"
            )

    def _rows_in(self, table: EmbeddingTable | StoredTable) -> Rows:
        """The row of each slot in `table`; StaleIndex unless it has the content that the index was made from."""
        state = state_of(table)
        if state and state == self.card.state:
            return self._written.rows
        now = table.fingerprint()
        if now != self.fingerprint:
            raise StaleIndex(
                f"the index of kind {self.name!r} was made from another state of the table ({self.fingerprint}, now "
                f"{now}): {UPDATE}"
            )
        return self._written.rows_in(table)

    def _open(self) -> tuple[Finder | None, Finder | None]:
        """What compares all vectors, and what this kind of index finds by; None: numpy, slower and not worse."""
        try:
            flat = FlatFinder(self.vectors, self.space)
        except MissingExtra:
            if self.name != "flat":
                raise
            return None, None
        if self.name == "flat" or not self.card.slots:
            return flat, flat
        path = self.folder / STRUCTURE
        return flat, read_finder(path, self.vectors, self.num_rows, self.space, self.settings, REMEDY)

    @cached_property
    def _scan(self) -> ExactIndex:
        """Exact search in the vectors kept, row numbers being slots."""
        meta = TableMeta(self.space, dtype=str(self.vectors.dtype))
        return ExactIndex(EmbeddingTable(pa.table({"embedding": to_arrow(self.vectors)}), meta))

    @cached_property
    def _slot_of(self) -> Rows:
        """The slot of each row of the table."""
        slots = np.empty(self.num_rows, dtype=np.int64)
        slots[self._rows[self._written.live]] = self._written.live
        return slots

    @cached_property
    def _living(self) -> NDArray[np.bool_]:
        """Which slots belong to rows that are there."""
        return self._rows >= 0

    @cached_property
    def _cells(self) -> Cells:
        """The cell of each row."""
        measured = self.card.measured
        assert measured is not None
        structure = read_structure(self.folder / STRUCTURE, self.settings, REMEDY, mapped=True)
        # Who asks for more cells than were found to be enough gets more of them under a filter too.
        more = (self.settings.probes or 1) / (self.card.settings.probes or 1)
        near = tuple((share, max(1, round(more * rows))) for share, rows in measured.near)
        return Cells(structure, self._rows, self.space, near, measured.k)

    def narrow(self, queries: Vectors, k: int, rows: Sequence[Rows]) -> list[Rows | None]:
        """See `Index.narrow`: those in the cells that are near."""
        if not self.narrows:
            return [None] * len(rows)
        return self._cells.narrow(prepared(queries, self.space), k, rows)

    def scan_each(self, queries: Vectors, k: int, rows: Sequence[Rows]) -> list[Found]:
        """See `Index.scan_each`."""
        slots = [np.sort(self._slot_of[own]) for own in rows]
        pairs = find_each(self._scan, queries, k, slots)
        return [in_order(np.where(found < 0, found, self._rows[found]), scores) for found, scores in pairs]

    def _search(self, queries: Vectors, k: int, rows: Rows | None) -> Found:
        slots = None
        if rows is not None:
            slots = np.sort(self._slot_of[rows])
        elif self.num_rows < len(self._rows):
            slots = self._written.live
        count = self.num_rows if slots is None else len(slots)
        wanted = min(max(int(np.ceil(self._oversample * k)), k + _SPARE), count)
        if (
            self._flat is None
            or self._finder is None
            or count <= _FEW * len(self._rows)
            or wanted > _MANY * len(self._rows)
        ):
            found, scores = self._scan.search(queries, k, slots)
            return in_order(self._rows[found], scores)
        allowed = None if slots is None else self._living
        if rows is not None:
            allowed = np.zeros(len(self._rows), dtype=bool)
            allowed[slots] = True
        finder = self._finder if rows is None or self._finder.filters else self._flat
        probes = prepared(queries, self.space)
        found, scores = self._rank(queries, finder.find(probes, wanted, allowed), k)
        short = np.flatnonzero(found[:, -1] < 0)
        if len(short):
            # Cells that hold too few rows, a graph that leads nowhere: all are compared then.
            near = self._flat.find(probes[short], wanted, allowed)
            found[short], scores[short] = self._rank(queries[short], near, k)
        return found, scores

    def _rank(self, queries: Vectors, candidates: Rows, k: int) -> Found:
        """The k best of the candidates (q, m) by the vectors kept; -1 and NaN where there are fewer."""
        # A damaged structure may name slots that do not exist.
        known = (candidates >= 0) & (candidates < len(self._rows))
        slots = candidates if known.all() else np.where(known, candidates, 0)
        rows = self._rows[slots]
        known &= rows >= 0
        width = candidates.shape[1]
        few = min(k + _SPARE, width)
        lines = np.arange(len(queries))[:, None]
        if few < width:
            # float32 says who is near enough; those few are scored in a way that no company changes.
            rough = np.empty(candidates.shape, dtype=np.float32)
            step = max(1, _PAIRS_BYTES // (4 * width * self.space.dims))
            for start in range(0, len(queries), step):
                part = slice(start, start + step)
                rough[part] = self._rough(queries[part], slots[part])
            rough[~known] = -np.inf
            at = np.argpartition(rough, width - few, axis=1)[:, width - few :] + lines * width
            slots, rows, known = (values.reshape(-1)[at] for values in (slots, rows, known))
        own: Vectors = np.empty((len(queries), few), dtype=np.float32)
        step = max(1, _PAIRS_BYTES // (8 * few * self.space.dims))
        for start in range(0, len(queries), step):
            part = slice(start, start + step)
            vectors = widened(self.vectors.take(slots[part], axis=0))
            own[part] = exact_scores(queries[part, None], vectors, self.space)
        rows, known, scores = rows.reshape(-1), known.reshape(-1), own.reshape(-1)
        if not known.all():
            scores[~known] = -np.inf
            rows[~known] = np.iinfo(np.int64).max
        order = np.lexsort((rows.reshape(-1, few), -scores.reshape(-1, few)), axis=1)[:, :k]
        at = order + lines * few
        rows, scores, known = rows[at], scores[at], known[at]
        if not known.all():
            rows[~known], scores[~known] = -1, np.nan
        return rows, scores

    def _rough(self, queries: Vectors, slots: Rows) -> Vectors:
        """The scores (q, m) of the vectors in `slots` (q, m) by sums in float32; of dot and l2 what ranks alike."""
        shape = (*slots.shape, self.space.dims)
        vectors = widened(self.vectors.take(slots.reshape(-1), axis=0)).reshape(shape)
        products: Vectors = np.matmul(vectors, queries[:, :, None])[:, :, 0]
        if self.space.metric == "l2":
            products -= np.einsum("qmd,qmd->qm", vectors, vectors) * np.float32(0.5)
        return products  # vectors of a Space compared by cosine are kept with length 1


def check_files(folder: Path, card: IndexCard, *, fully: bool = False) -> None:
    """Raise CheckpointError unless the files of an index are those that were written; `fully` compares every byte."""
    for name, digest in card.files.items():
        digest.check(folder / name, REMEDY, fully=fully)
