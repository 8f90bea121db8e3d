"""Which row of the table a vector of an index belongs to.

A vector has a slot: its place in the file of vectors, and its number in faiss. Slots are never renumbered; the slot of
a row that is gone or changed is dead until the index is built again. `ids.arrow` holds for each slot the id, a hash of
the id, a hash of id and vector (has the row changed?), and the number of the row in the table as it was written.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from placevec.errors import CheckpointError, StaleIndex
from placevec.index.base import Rows
from placevec.table import EmbeddingTable, StoredTable
from placevec.table.fingerprint import row_hashes

IDS = "ids.arrow"
DEAD = -1
_SCHEMA = pa.schema([("id", pa.large_string()), ("key", pa.uint64()), ("hash", pa.uint64()), ("row", pa.int64())])
Hashes = NDArray[np.uint64]


def keys_of(ids: pa.ChunkedArray | pa.Array) -> Hashes:
    """A 64-bit hash of each id; by it ids are unique in a table, and are matched here."""
    return row_hashes(pa.table({"id": ids}))


def row_states(data: pa.Table) -> Hashes:
    """A hash of id and vector of each row: what else stands in a row does not matter to an index."""
    return row_hashes(data.select(["id", "embedding"]))


@dataclass(frozen=True)
class Slots:
    """The slots of an index, in the order of its vectors."""

    ids: pa.ChunkedArray  # (n,) large_string: whose vector it is
    keys: Hashes  # (n,) hash of the id
    hashes: Hashes  # (n,) hash of id and vector
    rows: Rows  # (n,) row number in the table as it was written; DEAD where there is none any more

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def live(self) -> Rows:
        """The slots of rows that are there, sorted."""
        return np.flatnonzero(self.rows >= 0)

    @cached_property
    def _sorted(self) -> tuple[Hashes, Rows]:
        """The keys of live slots in order, and their slots."""
        order = np.argsort(self.keys[self.live], kind="stable")
        return self.keys[self.live][order], self.live[order]

    def find(self, keys: Hashes) -> Rows:
        """The live slot (m,) of each key, -1 where there is none."""
        known, slots = self._sorted
        if not len(known):
            return np.full(len(keys), -1, dtype=np.int64)
        at = np.minimum(np.searchsorted(known, keys), len(known) - 1)
        return np.where(known[at] == keys, slots[at], -1)

    def rows_in(self, table: EmbeddingTable | StoredTable) -> Rows:
        """The row number (n,) of each slot in `table`, which holds the same rows in any order."""
        rows = np.full(len(self), DEAD, dtype=np.int64)
        start = 0
        for ids in _ids_of(table):
            slots = self.find(keys_of(ids))
            if (slots < 0).any():
                strange = ids[int(np.argmax(slots < 0))]
                raise StaleIndex(f"the index does not know the id {strange!s}: bring it up to date with --update")
            rows[slots] = start + np.arange(len(ids))
            start += len(ids)
        return rows

    def write(self, path: Path) -> None:
        """Write the slots as one Arrow file, which can be mapped."""
        ids = self.ids.combine_chunks() if len(self.ids) else pa.array([], pa.large_string())
        columns = [ids, pa.array(self.keys), pa.array(self.hashes), pa.array(self.rows)]
        with pa.OSFile(str(path), "wb") as out, pa.ipc.new_file(out, _SCHEMA) as writer:
            writer.write_batch(pa.record_batch(columns, schema=_SCHEMA))

    @classmethod
    def read(cls, path: Path, count: int, remedy: str) -> Slots:
        """Read what `write` wrote, mapped; CheckpointError if it is not that, or has not `count` slots."""
        try:
            data = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
            if data.schema != _SCHEMA or data.num_rows != count:
                raise ValueError(f"{data.num_rows} slots, {count} are expected")
        except (pa.ArrowException, OSError, ValueError) as error:
            raise CheckpointError(f"{path} cannot be read ({str(error).splitlines()[0][:120]}): {remedy}") from None
        return cls(data["id"], *(_numbers(data[name]) for name in ("key", "hash", "row")))


def _numbers(column: pa.ChunkedArray) -> NDArray[Any]:
    if column.num_chunks == 1:
        return np.asarray(column.chunk(0).to_numpy(zero_copy_only=True))
    return np.asarray(column.to_numpy())


def _ids_of(table: EmbeddingTable | StoredTable) -> Any:
    if isinstance(table, EmbeddingTable):
        return [table.data["id"]]
    return (piece["id"] for _, piece in table.scan(["id"], batch_rows=131_072))
