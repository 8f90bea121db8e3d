"""The file of a stencil: places in parts, one for each parent cell, and a footer that says what it is of."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import h3ronpy
import numpy as np
import pyarrow as pa

from placevec.errors import FormatError
from placevec.geo.cells import CellArray, H3Cells
from placevec.objects import Remote, is_remote, located
from placevec.provenance import SourceRef
from placevec.sources.polygons import Mask
from placevec.sources.stencil.cover import Bools, cover_parts, part_level
from placevec.table import Places
from placevec.table.parquet import open_parquet
from placevec.table.stored_places import PlacesSink, StoredPlaces

FOOTER = "placevec-stencil"

Progress = Callable[[int, int, Mapping[str, Any]], None]


@dataclass(frozen=True)
class StencilCard:
    """What a stencil is of.

    Attributes:
        mask: the name of its mask, such as "land".
        resolution: H3 resolution of the cells.
        parent: H3 resolution of the parts' parents.
        cells: how many there are.
        whole: how many of them lie wholly in the mask.
        polygons: of how many separate polygons the mask consists.
        sources: where the mask comes from.
    """

    mask: str
    resolution: int
    parent: int
    cells: int
    whole: int
    polygons: int
    sources: tuple[SourceRef, ...] = ()

    def to_json(self) -> str:
        """A JSON object, as it stands in the footer."""
        return json.dumps({"version": 1, **asdict(self)})

    @classmethod
    def from_json(cls, text: str | bytes) -> StencilCard:
        """The card of a footer.

        Raises:
            FormatError: it is none.
        """
        try:
            kept = json.loads(text)
            sources = tuple(SourceRef(**ref) for ref in kept.pop("sources"))
            if kept.pop("version") != 1:
                raise FormatError("the stencil was written by a newer placevec; update, or make it again")
            return cls(**kept, sources=sources)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise FormatError(f"the footer {FOOTER} is damaged ({error}); make the stencil again") from None


class Stencil(StoredPlaces):
    """The places of a stencil, sorted by cell.

    `id` is the cell in hexadecimal, `geometry` its centre, `h3` the cell, and `land` says whether it lies in the mask
    as a "whole" or in "part".

    Args:
        path: the file.

    Attributes:
        card: what it is of.

    Raises:
        FormatError: it is no stencil.
    """

    def __init__(self, path: str | Path | Remote) -> None:
        super().__init__(path)
        if FOOTER.encode() not in self.footer:
            raise FormatError(f"{path} is no stencil; make one with `placevec area stencil`")
        self.card = StencilCard.from_json(self.footer[FOOTER.encode()])

    def __reduce__(self) -> tuple[Any, ...]:
        return Stencil, (str(self.path),)


def open_stencil(path: str | Path | Remote) -> Stencil:
    """The stencil in a file; FormatError if it is none."""
    return Stencil(path)


def is_stencil(path: str | Path | Remote) -> bool:
    """Whether there is a file, here or on s3://, and it is a stencil; only its end is read."""
    where = located(path) if isinstance(path, Remote) or is_remote(path) else Path(path)
    if where.suffix != ".parquet" or not where.is_file():
        return False
    try:
        return FOOTER.encode() in open_parquet(where)[1]
    except FormatError:
        return False


def write_stencil(mask: Mask, path: str | Path, resolution: int, *, progress: Progress | None = None) -> StencilCard:
    """Write the stencil of all cells that share any point with a mask; whole or not at all.

    Args:
        mask: the polygons.
        path: a Parquet file.
        resolution: H3 resolution of the cells.
        progress: told the coarsest parents done, how many there are, and the cells and parts so far.

    Raises:
        UsageError: H3 has no such resolution.
    """
    cells = whole = 0
    with PlacesSink(path) as sink:
        sink.write(cell_rows(np.empty(0, dtype=np.uint64), np.empty(0, dtype=bool), resolution))
        for part in cover_parts(mask, resolution):
            if len(part.cells):
                sink.write(cell_rows(part.cells, part.whole, resolution), f"{part.key:x}")
                cells, whole = cells + len(part.cells), whole + int(part.whole.sum())
            if progress is not None:
                progress(part.done, part.total, {"cells": cells, "parts": sink.parts})
        card = StencilCard(
            mask.name, resolution, part_level(resolution), cells, whole, len(mask.polygons), mask.sources
        )
        sink.footers[FOOTER] = card.to_json()
    return card


def cell_rows(cells: CellArray, whole: Bools, resolution: int) -> Places:
    """The places of cells (n,), named by the cell, at its centre; with `land` by whether it lies in the mask."""
    land = np.where(whole, "whole", "part").astype(object)
    ids = pa.array(h3ronpy.cells_to_string(cells), pa.string())
    return Places.create(
        ids, H3Cells(resolution).centre(cells), h3=cells, attributes={"land": pa.array(land, pa.string())}
    )
