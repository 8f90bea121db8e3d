"""LanceIndex: an approximate index that Lance keeps, in the table itself where that is a Lance dataset of floats.

Such a table needs no second copy of its vectors: an index is one more version of the dataset, its rows and its
fingerprint stay as they are, every other reader of Lance can use it, and a kill leaves the version before. A table in
memory, in Parquet or of int8 gets a dataset of its vectors beside it.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from placevec.errors import StaleIndex
from placevec.files import whole
from placevec.index.base import Found, Index, Rows, Vectors
from placevec.index.exact import ExactIndex
from placevec.index.stores.base import EXACT_ROWS, StoreCard, Table
from placevec.index.stores.lance.ann import AnnSettings, build_ann, can_have_ann
from placevec.index.stores.lance.dataset import VECTOR, Addresses, addresses_of, package, speaking
from placevec.index.stores.lance.finder import Finder
from placevec.table import StoredTable
from placevec.table.embeddings import to_arrow

_SIDE = "vectors.lance"


class LanceIndex(Index):
    """Approximate search by Lance. What it finds is scored by the vectors; a row can be missed.

    Up to `exact_rows` allowed rows are all compared, in the table. Above, Lance is told the rows that may be found
    before it looks for neighbours, and asked for more than k, which are ranked by their vectors.

    Args:
        table: in memory, or in a file; a Lance dataset of floats gets the index itself, if it has none.
        folder: where the vectors of any other table are kept; for the life of the index if absent.
        settings: of an index that is built.
        exact_rows: up to so many rows that may be found are all compared.

    Raises:
        MissingExtra: Lance is not installed.
        DataError: the disk is full, or a dataset cannot be written.
    """

    name = "lance"
    exact = False
    reranks = True

    def __init__(
        self,
        table: Table,
        *,
        folder: str | Path | None = None,
        settings: AnnSettings | None = None,
        exact_rows: int = EXACT_ROWS,
    ) -> None:
        self.table = table
        self.space = table.space
        self.tower = table.meta.tower
        self.num_rows = table.num_rows
        self.exact_rows = exact_rows
        self._card: StoreCard | None = None
        self._known: str | None = None
        self._exact = ExactIndex(table)
        self.finder: Finder | None = None
        if can_have_ann(self.num_rows):
            package()
            self.finder, self._addresses = self._make(folder, settings or AnnSettings())

    @classmethod
    def over(cls, card: StoreCard, finder: Finder, addresses: Addresses, table: Table, exact_rows: int) -> LanceIndex:
        """The index of a store.

        Args:
            card: of the store, which belongs to `table`.
            finder: of its dataset.
            addresses: (n,) where the dataset has each row of the table.
            table: as it is now.
            exact_rows: up to so many rows that may be found are all compared.
        """
        index = cls.__new__(cls)
        index.table = table
        index.space, index.tower, index.num_rows = card.space, card.tower, card.rows
        index.exact_rows = exact_rows
        index._card, index._known = card, None
        index._exact = ExactIndex(table)
        index.finder, index._addresses = finder, addresses
        return index

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the table that it was made from."""
        if self._card is not None:
            return self._card.fingerprint
        if self._known is None:
            self._known = self.table.fingerprint()
        return self._known

    def check(self, table: Any) -> None:
        """See `Index.check`; its own table is never stale."""
        if table is not self.table:
            super().check(table)

    def _make(self, folder: str | Path | None, settings: AnnSettings) -> tuple[Finder, Addresses]:
        own = own_dataset(self.table)
        uri = str(self.table.path) if own and isinstance(self.table, StoredTable) else str(self._side(folder))
        with speaking(uri, "indexing"):
            dataset = package().dataset(uri)
            if Finder(dataset, self.space).ann is None:
                build_ann(dataset, self.space.metric, settings)
                dataset = package().dataset(uri)
            addresses = addresses_of(dataset)
        if len(addresses) != self.num_rows:
            raise StaleIndex(f"{uri} was written to since the table was opened: open it again")
        return Finder(dataset, self.space), addresses

    def _side(self, folder: str | Path | None) -> Path:
        """A dataset of the vectors, row for row as in the table."""
        if folder is None:
            folder = tempfile.mkdtemp(prefix="placevec-lance-")
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        goal = Path(folder) / _SIDE
        schema = pa.schema([(VECTOR, pa.list_(pa.float32(), self.space.dims))])
        batches = (
            pa.record_batch([to_arrow(piece.vectors())], schema=schema) for piece in self.table.batches(columns=[])
        )
        with speaking(str(goal), "writing"), whole(goal) as part:
            reader = pa.RecordBatchReader.from_batches(schema, batches)
            package().write_dataset(reader, str(part), schema=schema, mode="create")
        return goal

    @cached_property
    def _by_address(self) -> tuple[Addresses, NDArray[np.int64]]:
        """The addresses in order, and the row of each."""
        order = np.argsort(self._addresses, kind="stable")
        return self._addresses[order], order

    def _search(self, queries: Vectors, k: int, rows: Rows | None) -> Found:
        few = rows is not None and len(rows) <= self.exact_rows
        if self.finder is None or self.finder.ann is None or few or 4 * k > self.num_rows:
            return self._exact.search(queries, k, rows)
        allowed = None if rows is None else self._addresses[rows]
        with speaking(str(self.finder.dataset.uri), "searching"):
            near = self.finder.near(queries, k, allowed)
        found = np.full((len(queries), k), -1, dtype=np.int64)
        scores = np.full((len(queries), k), np.nan, dtype=np.float32)
        known, order = self._by_address
        short = []
        for at, (addresses, score) in enumerate(near):
            if len(addresses) < k:
                short.append(at)
                continue
            place = np.minimum(np.searchsorted(known, addresses), len(known) - 1)
            if (known[place] != addresses).any():
                raise StaleIndex(f"{self.finder.dataset.uri} holds rows that the table has not: open its index again")
            row = order[place]
            best = np.lexsort((row, -score))
            found[at], scores[at] = row[best], score[best]
        if short:
            # Cells that hold too few rows that may be found: all of those are compared.
            found[short], scores[short] = self._exact.search(queries[short], k, rows)
        return found, scores


def own_dataset(table: Table) -> bool:
    """Whether a table is a Lance dataset that can hold an index of its own: int8 has a codec that Lance cannot read."""
    return (
        isinstance(table, StoredTable)
        and str(table.path).rstrip("/").endswith(".lance")
        and table.meta.dtype in ("float32", "float16")
    )
