"""The gallery: what the training images look like to a locator, and where each was taken."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec.encoders.base import Vectors, unit_rows
from placevec.errors import CheckpointError, DataError, PlacevecError
from placevec.geo.sphere import LonLat
from placevec.provenance import Space
from placevec.table import EmbeddingTable, Places, read_table

Rows = NDArray[np.int64]

CELL = "cell"  # the column of the table that holds the row of an image's geocell
_VALUES = 1 << 22  # cosines that are held at once while neighbours are looked for: 16 MiB


@dataclass(frozen=True, eq=False)
class Gallery:
    """Training images by their vectors: evidence for a guess, and what refines it.

    Attributes:
        ids: (g,) unique names of the images.
        lonlat: (g) where they were taken.
        vectors: (g, d) float32 of length 1, as `Locator.encode` gives them.
        cells: (g,) row of the geocell of each.
        assets: (g,) addresses of their pixels, "" where unknown.
    """

    ids: NDArray[Any]
    lonlat: LonLat
    vectors: Vectors
    cells: Rows
    assets: NDArray[Any]

    def __post_init__(self) -> None:
        lengths = {len(self.ids), len(self.lonlat), len(self.vectors), len(self.cells), len(self.assets)}
        if len(lengths) != 1 or self.vectors.ndim != 2:
            raise DataError(f"ids, places, vectors, cells and assets of a gallery differ in length: {sorted(lengths)}")

    @classmethod
    def of(
        cls,
        ids: Sequence[str] | NDArray[Any],
        lonlat: LonLat,
        vectors: NDArray[Any],
        cells: NDArray[np.int64],
        assets: Sequence[str | None] | NDArray[Any] | None = None,
    ) -> Gallery:
        """A gallery of images; vectors are brought to length 1.

        Args:
            ids: n unique names.
            lonlat: n places.
            vectors: (n, d).
            cells: (n,) rows of geocells, see `geo.geocells.GeoCells.rows`; -1 for images outside of all cells.
            assets: n addresses of their pixels, None where unknown.
        """
        named = ["" if one is None else str(one) for one in assets] if assets is not None else [""] * len(ids)
        return cls(
            np.array([str(one) for one in ids], dtype=object),
            lonlat,
            unit_rows(np.asarray(vectors)),
            np.asarray(cells, dtype=np.int64),
            np.array(named, dtype=object),
        )

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return f"Gallery({len(self):,} images, {self.vectors.shape[1]} dims)"

    @cached_property
    def unit(self) -> NDArray[np.float64]:
        """The places (g, 3) as unit vectors."""
        return self.lonlat.unit()

    def nearest(self, vectors: NDArray[np.float32], k: int) -> tuple[Rows, NDArray[np.float32]]:
        """The images most like each query.

        Args:
            vectors: (n, d) of length 1.
            k: how many; all there are where the gallery has fewer.

        Returns:
            their rows (n, k) and cosines (n, k), the most similar first; of equal ones the first in the gallery.
        """
        count = min(k, len(self))
        rows = np.empty((len(vectors), count), dtype=np.int64)
        cosines = np.empty((len(vectors), count), dtype=np.float32)
        step = max(1, _VALUES // max(1, len(self)))
        for start in range(0, len(vectors), step):
            part = slice(start, start + step)
            found = vectors[part] @ self.vectors.T
            best = np.argpartition(-found, count - 1, axis=1)[:, :count] if count < len(self) else _all_rows(found)
            best.sort(axis=1)
            order = np.argsort(-np.take_along_axis(found, best, axis=1), axis=1, kind="stable")
            rows[part] = np.take_along_axis(best, order, axis=1)
            cosines[part] = np.take_along_axis(found, rows[part], axis=1)
        return rows, cosines

    def table(self, space: Space, **meta: Any) -> EmbeddingTable:
        """The gallery as a table of places with vectors, which `placevec search` reads."""
        places = Places.create(self.ids, self.lonlat, asset=self.assets, attributes={CELL: self.cells})
        return EmbeddingTable.of(places, self.vectors, space, **meta)

    def to_bytes(self, space: Space, **meta: Any) -> bytes:
        """The Parquet file of `table`, in the order of the gallery."""
        from placevec.table.parquet import write_parquet

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "gallery.parquet"
            write_parquet(self.table(space, **meta), path, order="keep")
            return path.read_bytes()

    @classmethod
    def read(cls, path: Path, space: Space) -> Gallery:
        """The gallery in a file of `to_bytes`.

        Raises:
            CheckpointError: it is damaged, or of another model.
        """
        try:
            table = read_table(path)
            space.require(table.space, f"reading {path}")
            # Not by `of`: to divide once more by a length of nearly 1 would move last digits.
            return cls(table.ids, table.lonlat(), table.vectors(), table.column(CELL), table.column("asset"))
        except PlacevecError as error:
            message = f"{path} is not the gallery of this locator ({error}): copy the folder again"
            raise CheckpointError(message) from error


def _all_rows(found: NDArray[Any]) -> Rows:
    return np.tile(np.arange(found.shape[1], dtype=np.int64), (len(found), 1))
