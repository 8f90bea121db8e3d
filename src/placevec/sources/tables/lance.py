"""Lance datasets that placevec wrote, so that tables of both forms are imported together."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from placevec.provenance import SourceRef
from placevec.sources.tables.piece import ForeignFile, Piece, rows_per_piece
from placevec.table.lance import LanceTable


class LanceSource(ForeignFile):
    """A table of placevec in a Lance dataset; foreign datasets have no footer and are refused by its reader."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.notes = []
        self._table = LanceTable(path)
        self.own = self._table.meta
        self.dims = self.own.space.dims
        self.kind = self.own.kind
        self.chip_layout = None if self.own.chip_layout is None else dict(self.own.chip_layout)
        self.codec = None if self.own.codec is None else dict(self.own.codec)
        self.schema = pa.schema([field for field in self._table.schema if field.name != "embedding"])

    @property
    def bytes(self) -> int:
        """About how much memory all rows take."""
        return self._table.num_rows * (4 * self.dims + 256)

    def pieces(self) -> Iterator[Piece]:
        """The rows in the order of the dataset."""
        for batch in self._table.batches(batch_rows=rows_per_piece(self.dims)):
            yield Piece(batch.places().data, batch.raw if self.codec is not None else batch.vectors())

    def source(self) -> SourceRef:
        """Where the rows come from."""
        return SourceRef(self.path)

    def parents(self) -> tuple[str, ...]:
        """The fingerprint of the table."""
        return (self._table.fingerprint(),)
