"""What the readers of foreign tables have in common: a file that is read piece by piece."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from placevec.provenance import SourceRef, TableMeta
from placevec.table.skipped import Skipped

# Vectors held at a time while a file is read.
PIECE_BYTES = 32 << 20


@dataclass
class Piece:
    """Some rows of a file.

    Attributes:
        places: (n) rows with the columns of `Places`.
        vectors: (n, d) float32, or int8 in stored form.
        skipped: rows that have no vector.
        counts: what was left out and is no row (pixels without data), by name.
    """

    places: pa.Table
    vectors: NDArray[Any]
    skipped: list[Skipped] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)


class ForeignFile(ABC):
    """One file to import: known by its header, read in pieces as often as needed.

    Attributes:
        path: as the user gave it.
        dims: components of a vector.
        schema: the columns of the pieces' places.
        own: the footer `emb` that placevec wrote, None in a truly foreign file.
        model: what the file says made its vectors, "" if it does not.
        kind: "chip" or "pixel".
        codec: the codec of int8 vectors in stored form, None where pieces hold floats.
        order: names whose order must agree among the files of one import.
        notes: what was understood, mapped or left out, for people.
    """

    path: str
    dims: int
    schema: pa.Schema
    own: TableMeta | None = None
    model: str = ""
    kind: str = "chip"
    codec: dict[str, Any] | None = None
    normalize = False
    chip_layout: dict[str, Any] | None = None
    order: tuple[str, ...] = ()
    notes: list[str]

    @abstractmethod
    def pieces(self) -> Iterator[Piece]:
        """The rows in the order of the file."""

    @property
    @abstractmethod
    def bytes(self) -> int:
        """About how much memory all rows take."""

    def source(self) -> SourceRef:
        """Where the rows come from."""
        from placevec.provenance import sha256_file

        where = Path(self.path)
        return SourceRef(self.path, sha256_file(where) if where.is_file() else "")

    def parents(self) -> tuple[str, ...]:
        """Fingerprints of the tables that this file is."""
        return ()


def rows_per_piece(dims: int) -> int:
    """How many rows are held at a time."""
    return int(np.clip(PIECE_BYTES // (4 * max(1, dims)), 256, 65_536))
