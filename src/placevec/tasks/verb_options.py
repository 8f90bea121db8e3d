"""What the options of all verbs in a recipe share: strictness, places and chips, and paths of the folder."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from placevec.config import InPath
from placevec.errors import UsageError
from placevec.tasks.inputs import CELLS, Chips, Input
from placevec.tasks.run import Context

GRID = "grid"


class Options(BaseModel):
    """Options of a step: those that no verb knows are refused."""

    model_config = ConfigDict(extra="forbid")


class Reads(Options):
    """Places and, with a raster, the chips that are read there."""

    on: InPath | Literal["cells", "grid"] = CELLS
    resolution: int | str | None = None
    lon: str = "lon"
    lat: str = "lat"
    id: str | None = None
    limit: int | None = None
    raster: InPath | None = None
    ground_m: float | None = None
    pixels: int | None = None
    resampling: Literal["bilinear", "nearest", "mode"] = "bilinear"
    nodata: Literal["keep", "skip"] = "keep"
    edge: Literal["pad", "skip"] = "pad"
    min_valid: float = 0.5

    def input(self, context: Context) -> Input:
        """The Input that these options describe."""
        chips = None
        if self.raster is not None:
            if self.ground_m is None or self.pixels is None:
                raise UsageError("a raster needs ground_m and pixels: the side of a chip in metres and in pixels")
            chips = Chips(
                raster=name_of(context, self.raster),
                ground_m=self.ground_m,
                pixels=self.pixels,
                resampling=self.resampling,
                nodata=self.nodata,
                edge=self.edge,
                min_valid=self.min_valid,
            )
        if isinstance(self.resolution, str):
            raise UsageError(f"resolution = {self.resolution!r}: cells have an H3 resolution, from 0 to 15")
        return Input(
            on=self.on if self.on == CELLS else str(context.path(self.on)),
            area=str(context.folder) if self.on == CELLS else None,
            resolution=self.resolution,
            lon=self.lon,
            lat=self.lat,
            id=self.id,
            limit=self.limit,
            chips=chips,
        )


def name_of(context: Context, text: str) -> str:
    """A path of the folder, unless the text is an address or the name of something known."""
    return text if ":" in text else str(context.path(text))


def paths_of(context: Context, given: str | list[str]) -> list[Path]:
    """One path or several, of the folder."""
    return [context.path(one) for one in ([given] if isinstance(given, str) else given)]
