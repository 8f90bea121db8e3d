"""The keys of rows in stores whose keys are numbers or UUIDs, as those of Qdrant are."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from placevec.errors import DataError, SchemaError
from placevec.geo.cells import are_cells
from placevec.table import EmbeddingTable, Places, StoredTable

PointId: TypeAlias = int | str

# UUID5 of ids that are no H3 cells is made in a name space of placevec's own. Changing it orphans every store.
_SPACE = uuid.uuid5(uuid.NAMESPACE_URL, "placevec:id")
_LOW = (1 << 64) - 1
# 15 hexadecimal digits, the first of which is not 0: how `id` spells a cell.
_DIGITS = 15


def point_ids(table: EmbeddingTable | StoredTable | Places) -> list[PointId]:
    """The key of each row: the number of the cell where the id is an H3 cell in hexadecimal, else a UUID5 of the id.

    Raises:
        SchemaError: two rows have one key.
    """
    if isinstance(table, StoredTable):
        keys = [key for _, piece in table.scan(["id"]) for key in keys_of_ids(piece["id"].to_pylist())]
    else:
        keys = keys_of_ids(table.data["id"].to_pylist())
    numbers = key_numbers(keys)
    if len(np.unique(numbers)) != len(numbers):
        raise SchemaError("ids repeat among the rows of the table: ids are unique")
    return keys


def keys_of_ids(ids: Sequence[str]) -> list[PointId]:
    """The key of each id, see `point_ids`; nothing is said of repeated ones."""
    cells = cells_of_ids(ids)
    return [
        int(cell) if cell else str(uuid.uuid5(_SPACE, name)) for cell, name in zip(cells.tolist(), ids, strict=True)
    ]


def cells_of_ids(ids: Sequence[str]) -> NDArray[np.uint64]:
    """The H3 cell (n,) that each id spells, 0 where it spells none."""
    found = np.zeros(len(ids), dtype=np.uint64)
    for row, name in enumerate(ids):
        # Only the one spelling that placevec writes: two ids must not become one key.
        if len(name) == _DIGITS and name[0] != "0" and name == name.lower():
            try:
                found[row] = int(name, 16)
            except ValueError:
                continue
    some = np.flatnonzero(found)
    found[some[~are_cells(found[some])]] = 0
    return found


def key_numbers(keys: Iterable[PointId]) -> NDArray[np.uint64]:
    """A uint64 for each key by which it is found again: a cell itself, and the lower half of a UUID.

    A cell is below 2^63 and the lower half of a UUID begins with the bits 10 (RFC 9562), so they never meet.
    """
    numbers = [key if isinstance(key, int) else uuid.UUID(key).int & _LOW for key in keys]
    return np.array(numbers, dtype=np.uint64)


class RowsByKey:
    """Which row of a table a key belongs to: 16 bytes a row.

    Args:
        keys: of rows 0, 1, 2, …

    Raises:
        DataError: two keys cannot be told apart.
    """

    def __init__(self, keys: Sequence[PointId]) -> None:
        numbers = key_numbers(keys)
        self._order = np.argsort(numbers, kind="stable")
        self._sorted = numbers[self._order]
        if len(numbers) > 1 and (self._sorted[1:] == self._sorted[:-1]).any():
            raise DataError("two ids of the table have one key: rename one of them")

    def rows(self, keys: Iterable[PointId]) -> NDArray[np.int64]:
        """The row (n,) of each key, -1 where there is none."""
        wanted = key_numbers(keys)
        if not len(self._sorted):
            return np.full(len(wanted), -1, dtype=np.int64)
        at = np.minimum(np.searchsorted(self._sorted, wanted), len(self._sorted) - 1)
        return np.where(self._sorted[at] == wanted, self._order[at], -1).astype(np.int64)
