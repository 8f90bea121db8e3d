"""Whether the ids of a table that is written piece by piece are unique, in little memory."""

from __future__ import annotations

import weakref
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from placevec.errors import SchemaError
from placevec.table.fingerprint import row_hashes

HELD_ROWS = 4 << 20  # hashes (8 bytes each) beyond these go to a temporary file


class UniqueIds:
    """Takes ids piece by piece; `check` says at the end whether one of them repeats.

    Pieces whose ranges of ids lie apart, as those of a sorted table do, cannot share an id: only ranges are compared.
    Otherwise 64-bit hashes of all ids are, of which few are in memory until then.
    """

    def __init__(self) -> None:
        self._held: list[NDArray[np.uint64]] = []
        self._folder: TemporaryDirectory[str] | None = None
        self._ranges: list[tuple[str, str]] = []
        self._repeats = False

    def add(self, ids: pa.ChunkedArray | pa.Array) -> None:
        """Take the ids of a piece."""
        if not len(ids):
            return
        hashes = row_hashes(pa.table({"id": ids}))
        self._repeats |= len(np.unique(hashes)) != len(hashes)
        ends = pc.min_max(ids)
        self._ranges.append((ends["min"].as_py(), ends["max"].as_py()))
        self._held.append(hashes)
        if sum(map(len, self._held)) > HELD_ROWS:
            self._spill()

    def check(self, name: str) -> None:
        """SchemaError, naming the table, if an id repeats."""
        apart = all(before[1] < after[0] for before, after in pairwise(sorted(self._ranges)))
        if not apart and not self._repeats:
            spilt = [] if self._folder is None else [np.fromfile(self._file, dtype=np.uint64)]
            hashes = np.concatenate([*spilt, *self._held])
            self._repeats = len(np.unique(hashes)) != len(hashes)
        if self._folder is not None:
            self._folder.cleanup()
        if self._repeats:
            raise SchemaError(f"ids repeat among the rows of {name}: ids are unique")

    @property
    def _file(self) -> Path:
        assert self._folder is not None
        return Path(self._folder.name) / "hashes"

    def _spill(self) -> None:
        if self._folder is None:
            self._folder = TemporaryDirectory(prefix="placevec-")
            weakref.finalize(self, self._folder.cleanup)
        with self._file.open("ab") as handle:
            for hashes in self._held:
                handle.write(hashes.tobytes())
        self._held = []
