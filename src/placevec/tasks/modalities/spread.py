"""The modality `table`: vectors of any table of ours, brought to the cells of an area."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec.errors import DataError
from placevec.features.modality import CellFeatures, Told
from placevec.geo.cells import H3Cells
from placevec.provenance import SourceRef
from placevec.sources.targets.keys import resolutions
from placevec.table import open_table
from placevec.tasks.modalities.base import Modality, option


@dataclass(frozen=True)
class Table(Modality):
    """A table of embeddings of other places or cells: the mean of the vectors in each cell.

    Vectors of length 1 are brought back to length 1. Vectors of coarser cells are copied to all cells in them, and
    the table then keeps a buffer of as much. Labels that the vectors have seen stay seen.
    """

    example = "placevec area features table porto-alegre --table points.parquet -o poa/tables/points.parquet"
    inputs = ("table",)

    table: str = option("A table: .parquet or .lance")
    least: int = option("Vectors that a cell needs; one with fewer has no row", 1)

    def compute(self, cells: NDArray[np.uint64], told: Told | None = None) -> CellFeatures:
        """The features of `cells` (n,), H3 cells of one resolution, distinct, in any order."""
        stored, name = open_table(self.table), Path(self.table).name
        meta = stored.meta
        order = np.argsort(cells)
        wanted = cells[order]
        level = int(resolutions(cells[:1])[0]) if len(cells) else 0
        # Float64 sums: millions of float32 added up one after the other would lose digits.
        total, count = np.zeros((len(cells), meta.space.dims)), np.zeros(len(cells), dtype=np.int64)
        coarsest, outside, unlocated, done = level, 0, 0, 0
        for batch in stored.batches(columns=["id", "geometry", "h3"]):
            own, coarse = _own_level(batch, level)
            coarsest = min(coarsest, own)
            if coarse:
                at, rows = _spread(batch.column("h3").astype(np.uint64), wanted, own)
            else:
                located = np.flatnonzero(batch.located)
                unlocated += len(batch) - len(located)
                at, inside = _rows(wanted, batch.cells(level, located))
                at, rows = at[inside], located[inside]
                outside += int((~inside).sum())
            np.add.at(total, at, batch.vectors(rows).astype(np.float64))
            np.add.at(count, at, 1)
            done += len(batch)
            if told is not None:
                told("vectors", done, stored.num_rows)
        present = count >= max(1, self.least)
        mean = np.divide(total, count[:, None], out=np.zeros_like(total), where=count[:, None] > 0)
        if meta.normalized:
            length = np.linalg.norm(mean, axis=1)
            present &= length > 0  # vectors that cancel out have no direction
            mean /= np.where(length > 0, length, 1.0)[:, None]
        back = np.empty(len(cells), dtype=np.int64)
        back[order] = np.arange(len(cells))
        ground = float((meta.chip_layout or {}).get("ground_m", 0.0))
        if not present.any():
            raise DataError(f"{self.table} has no vector in any of the {len(cells):,} cells: is it of another region?")
        return CellFeatures(
            meta.dims or tuple(f"dim_{i}" for i in range(meta.space.dims)),
            mean[back].astype(np.float32),
            present[back],
            f"{name} has {'no vector' if self.least <= 1 else f'fewer than {self.least} vectors'} there",
            sources=(SourceRef(name, stored.fingerprint()), *meta.sources),
            space=meta.space,
            reach_m=max(ground, 2.0 * H3Cells(coarsest).edge_m if coarsest < level else 0.0),
            recipe={"encoder": meta.encoder},
            notes=_notes(outside, unlocated, coarsest, level),
            saw=meta.saw,
        )


def _own_level(batch: Any, level: int) -> tuple[int, bool]:
    """The resolution of a batch's cells, and whether they are coarser than `level`; `level` where it has none."""
    if not batch.has("h3") or batch.data["h3"].null_count:
        return level, False
    levels = np.unique(resolutions(batch.column("h3").astype(np.uint64)))
    return int(levels.min(initial=level)), len(levels) == 1 and int(levels[0]) < level


def _spread(
    coarse: NDArray[np.uint64], wanted: NDArray[np.uint64], own: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which of the cells wanted lie in coarser cells, and in which rows of those."""
    level = int(resolutions(wanted[:1])[0])
    order = np.argsort(coarse)
    at, found = _rows(coarse[order], H3Cells(level).parent(wanted, own))
    return np.flatnonzero(found), order[at[found]]


def _rows(ordered: NDArray[np.uint64], asked: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    at = np.minimum(np.searchsorted(ordered, asked), len(ordered) - 1)
    return at, ordered[at] == asked


def _notes(outside: int, unlocated: int, coarsest: int, level: int) -> tuple[str, ...]:
    found = []
    if outside:
        found.append(f"{outside:,} vectors lie in none of the cells")
    if unlocated:
        found.append(f"{unlocated:,} vectors have no place")
    if coarsest < level:
        found.append(f"vectors of cells of resolution {coarsest} were copied to the cells in them")
    return tuple(found)
