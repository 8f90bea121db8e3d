"""`area stencil`: the H3 cells of an area, of all land or of a file of polygons, written with the memory of a part."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from placevec.area import StudyArea
from placevec.errors import UsageError
from placevec.sources.polygons import LAND, Mask, read_mask
from placevec.sources.stencil import StencilCard, open_stencil, write_stencil

Progress = Callable[[int, int, Mapping[str, Any]], None]


@dataclass(frozen=True)
class Made:
    """What was written.

    Attributes:
        path: the file.
        card: what it is of.
        parts: how many parts it has.
        fingerprint: of its content.
        seconds: how long it took.
    """

    path: Path
    card: StencilCard
    parts: int
    fingerprint: str
    seconds: float

    def to_record(self) -> dict[str, Any]:
        """For the command line."""
        facts = asdict(self.card)
        facts.pop("sources")
        return {
            "stencil": str(self.path),
            **facts,
            "parts": self.parts,
            "seconds": round(self.seconds, 2),
            "fingerprint": self.fingerprint,
        }


def make_stencil(
    target: str | Path,
    out: str | Path,
    *,
    resolution: int | None = None,
    allow_network: bool = False,
    progress: Progress | None = None,
) -> Made:
    """Write the stencil of an area, of all land, or of the polygons of a file.

    Args:
        target: the folder of a study area, "land", or a file of polygons.
        out: a Parquet file.
        resolution: H3 resolution of the cells; by default the area's own.
        allow_network: fetch the outlines of the land, if they are not on this machine.
        progress: told the coarsest parents done, how many there are, and the cells so far.

    Raises:
        UsageError: there is no such area or file, or no resolution.
        DataError: the mask holds no polygon, or the land is not on this machine.
    """
    if Path(out).suffix != ".parquet":
        raise UsageError(f"{out}: a stencil's name ends in .parquet")
    mask, own = mask_of(target, allow_network)
    level = own if resolution is None else resolution
    if level is None:
        raise UsageError(f"cells of which size? give --resolution, from 0 to 15: {target} has none of its own")
    began = time.monotonic()
    card = write_stencil(mask, out, level, progress=progress)
    made = open_stencil(out)
    return Made(Path(out), card, len(made.parts), made.fingerprint(), time.monotonic() - began)


def mask_of(target: str | Path, allow_network: bool = False) -> tuple[Mask, int | None]:
    """The mask that `target` names, and the resolution that it has of its own; see `make_stencil`."""
    where = Path(target)
    # The word stands for the land even where a folder has its name; ./land is the folder.
    if str(target) != LAND and where.is_dir():
        area = StudyArea.open(where)
        return Mask.of([area.boundary], area.name), area.resolution
    return read_mask(target, allow_network), None
