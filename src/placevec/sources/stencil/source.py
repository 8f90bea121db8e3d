"""Content at places that are too many to list: read part by part by a job, or by row, a part at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from placevec.sources.base import Batch, PartedSource, Rows, Source, check_rows
from placevec.sources.places import LonLatSource
from placevec.table import Places
from placevec.table.stored_places import PlacesPart, StoredPlaces


class StencilSource(PartedSource):
    """What is read at the places of a stencil: `Partitioned` for jobs, and a Source of which one part is held.

    Args:
        stored: the places.
        content: makes the Source of some of them, such as chips of a raster; by default their coordinates.
        about: what tells this content from another, see `PartedSource`.
        limit: only the first so many places.
    """

    def __init__(
        self,
        stored: StoredPlaces,
        content: Callable[[Places], Source] = LonLatSource,
        about: str = "",
        *,
        limit: int | None = None,
    ) -> None:
        super().__init__(stored, content, about)
        self._rows = stored.num_rows if limit is None else min(limit, stored.num_rows)
        kept = [part for part in stored.parts if part.start < self._rows]
        self._parts = [part._replace(stop=min(part.stop, self._rows)) for part in kept]
        self._starts = np.array([part.start for part in self._parts], dtype=np.int64)
        self._held: tuple[PlacesPart, Source] | None = None

    @property
    def num_rows(self) -> int:
        """The number of places."""
        return self._rows

    def parts(self) -> Sequence[PlacesPart]:
        """The parts of the file, up to the limit."""
        return self._parts

    def template(self) -> Places:
        """No rows, and all columns, those that the content adds among them."""
        return self.content(self.stored.template()).places()

    def fingerprint(self) -> str:
        """That of the places, of the limit, and `about`."""
        own = super().fingerprint()
        return own if self._rows == self.stored.num_rows else f"{own} first {self._rows}"

    def places(self) -> Places:
        """All places, in memory: for those that fit."""
        return self.part(0, self._rows).places()

    def read(self, rows: Rows) -> Batch:
        """The content of `rows`, of whatever parts; the part that was last read is kept."""
        rows = check_rows(rows, self._rows)
        if len(rows) == 0:
            return self.content(self.stored.template()).read(rows)
        of = np.searchsorted(self._starts, rows, side="right") - 1
        runs = np.split(np.arange(len(rows)), np.flatnonzero(np.diff(of)) + 1)
        batches = [self._read(self._parts[int(of[run[0]])], rows[run]) for run in runs]
        return Batch(
            np.concatenate([batch.rows for batch in batches]),
            {name: np.concatenate([batch.data[name] for batch in batches]) for name in batches[0].data},
            [one for batch in batches for one in batch.skipped],
        )

    def _read(self, part: PlacesPart, rows: Rows) -> Batch:
        if self._held is None or self._held[0] != part:
            self._held = part, self.part(part.start, part.stop)
        found = self._held[1].read(rows - part.start)
        return Batch(found.rows + part.start, found.data, found.skipped)
