"""What a verb reads, said in words that fit a recipe and a command line: places, a raster, chips."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from placevec.area import StudyArea
from placevec.engine.work import Spec
from placevec.errors import UsageError
from placevec.geo.cells import H3Cells
from placevec.geo.sphere import LonLat
from placevec.provenance import SourceRef
from placevec.sources.base import Batch, Source
from placevec.sources.places import LonLatSource, read_places
from placevec.table import Places

if TYPE_CHECKING:
    from placevec.sources.rasters import Raster

CELLS = "cells"


class Chips(BaseModel):
    """What is read at each place: a square of a raster, measured on the ground.

    Attributes:
        raster: a file, an address, or a named dataset (dataset:blue-marble, dataset:etopo20, dataset:earth-lights).
        ground_m: side of the square in metres.
        pixels: side of the square in pixels.
    """

    model_config = ConfigDict(extra="forbid")

    raster: str
    ground_m: float = Field(gt=0)
    pixels: int = Field(gt=0)
    resampling: Literal["bilinear", "nearest", "mode"] = "bilinear"
    nodata: Literal["keep", "skip"] = "keep"
    edge: Literal["pad", "skip"] = "pad"
    min_valid: float = Field(default=0.5, ge=0, le=1)


class Input(BaseModel):
    """The places of a verb and what is read there.

    Attributes:
        on: "cells" of the study area, or a file of places (table, CSV, GeoJSON).
        area: the folder of the study area.
        resolution: H3 resolution of the cells; by default the area's own.
        lon: the CSV's column of longitudes.
        lat: the CSV's column of latitudes.
        id: the column that names a row.
        chips: what is read at each place; without it the coordinates alone.
        limit: only the first so many places, for a trial.
    """

    model_config = ConfigDict(extra="forbid")

    on: str = CELLS
    area: str | None = None
    resolution: int | None = Field(default=None, ge=0, le=15)
    lon: str = "lon"
    lat: str = "lat"
    id: str | None = None
    chips: Chips | None = None
    limit: int | None = Field(default=None, gt=0)

    def places(self) -> Places:
        """The places, in Hilbert order of their cells or in the file's order."""
        if self.on == CELLS:
            if self.area is None:
                raise UsageError("the cells of which area? give --area FOLDER (made by `placevec area new`)")
            area = StudyArea.open(self.area)
            found = cell_places(area.cells(self.resolution), self.resolution or area.resolution)
        else:
            found = read_places(self.on, lon=self.lon, lat=self.lat, id=self.id)
        return found if self.limit is None else found.take(np.arange(min(self.limit, len(found))))

    def source(self) -> Source:
        """The places with their content, to be read by row, here or in a worker process."""
        return InputSource(self)

    def bands(self) -> int:
        """The number of bands of a chip; 0 without chips."""
        return 0 if self.chips is None else open_raster(self.chips.raster)[0].count

    def sources(self) -> tuple[SourceRef, ...]:
        """What provenance says was read."""
        return () if self.chips is None else open_raster(self.chips.raster)[1]

    def layout(self) -> dict[str, Any] | None:
        """The `emb:chip_layout` of a table made of this input."""
        grid = None
        if self.on == CELLS and self.area is not None:
            grid = f"h3:{self.resolution or StudyArea.open(self.area).resolution}"
        found: dict[str, Any] = {"layout_type": "named_grid", "grid_id": grid} if grid else {"layout_type": "points"}
        if self.chips is not None:
            found["chip_size"] = [self.chips.pixels, self.chips.pixels]
            found["ground_m"] = self.chips.ground_m
        return found


class InputSource:
    """The Source of an `Input`; another process builds its equal from the same words."""

    def __init__(self, given: Input) -> None:
        self.given = given
        places = given.places()
        self._source: Source = LonLatSource(places)
        if given.chips is not None:
            from placevec.sources.chips import ChipSource

            chips = given.chips
            raster = open_raster(chips.raster)[0]
            # Addresses of pixels are written as the user wrote them: the name of a dataset holds on every machine.
            raster.href = chips.raster
            self._source = ChipSource(
                places,
                raster,
                chips.ground_m,
                chips.pixels,
                resampling=chips.resampling,
                nodata=chips.nodata,
                edge=chips.edge,
                min_valid=chips.min_valid,
            )

    def places(self) -> Places:
        """All places of the source."""
        return self._source.places()

    def read(self, rows: NDArray[np.int64]) -> Batch:
        """The content of `rows`: chips where there are any, and the coordinates."""
        batch = self._source.read(rows)
        if "lonlat" in batch.data:
            return batch
        places = self._source.places()
        lonlat = np.column_stack([places.lon[batch.rows], places.lat[batch.rows]])
        return Batch(batch.rows, {**batch.data, "lonlat": lonlat}, batch.skipped)

    def spec(self) -> Spec:
        """How a worker process builds the same source."""
        return Spec("placevec.tasks.inputs:source_from", {"spec": self.given.model_dump()})


def source_from(spec: dict[str, Any]) -> Source:
    """The Source that a JSON spec of `Input` describes; what a worker process builds for itself."""
    return Input.model_validate(spec).source()


def cell_places(cells: NDArray[np.uint64], resolution: int) -> Places:
    """One place for each H3 cell: named by the cell in hexadecimal, at its centre."""
    from placevec.geo.hilbert import hilbert_order

    centre = H3Cells(resolution).centre(cells)
    order = hilbert_order(centre.lon, centre.lat)
    ids = [f"{int(cell):x}" for cell in cells[order]]
    return Places.create(ids, centre[order], h3=cells[order])


def open_raster(name: str) -> tuple[Raster, tuple[SourceRef, ...]]:
    """A raster by the name of a dataset, by file or by address, and what provenance says of it.

    Raises UsageError if it is neither a dataset of rasters nor a file that exists.
    """
    from placevec.sources import earth
    from placevec.sources.catalog import source_refs
    from placevec.sources.rasters import Raster

    named: dict[str, Callable[[], Raster]] = {
        "blue-marble": earth.blue_marble,
        "etopo20": earth.etopo,
        "earth-lights": earth.night_lights,
    }
    kind, colon, rest = name.partition(":")
    wanted = rest if colon and kind == "dataset" else name
    if wanted in named:
        return named[wanted](), source_refs(wanted)
    if "://" not in name and not Path(name).exists():
        raise UsageError(f"{name!r} is no raster: give a file, an address, or one of {', '.join(sorted(named))}")
    return Raster(name), (SourceRef(href=Path(name).name if "://" not in name else name),)


def sample(name: str, lonlat: LonLat, *, band: int = 1) -> NDArray[np.float64]:
    """The values (n,) of a raster at points, bilinear, NaN where there are none."""
    from placevec.sources import earth

    if name.removeprefix("dataset:") == "earth-lights":
        return earth.lights(lonlat)
    return open_raster(name)[0].sample(lonlat)[:, band - 1].astype(np.float64)
