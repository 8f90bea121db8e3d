"""What a verb reads, in words that fit a recipe and a command line: places, chips of a raster, images, captions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

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
    from placevec.sources.images import ImageFiles
    from placevec.sources.rasters import Raster

CELLS = "cells"
Stretched = Literal["auto", "joint", "bands", "none"] | tuple[float, float]
"""How values of more than 8 bits become 8; see `sources.images.read_image`."""

# Options that belong to one kind of input alone.
_OF_PLACES = ("on", "area", "resolution", "chips", "lon", "lat", "id")
_OF_FILES = ("split", "reads", "pixels", "fit", "bands", "stretch")


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
    """The places of a verb and what is read there; or image files, or captions, each of which is a place.

    Attributes:
        on: "cells" of the study area, or a file of places (table, CSV, GeoJSON).
        area: the folder of the study area.
        resolution: H3 resolution of the cells; by default the area's own.
        lon: the CSV's column of longitudes.
        lat: the CSV's column of latitudes.
        id: the column that names a row.
        chips: what is read at each place; without it the coordinates alone.
        limit: only the first so many places (of a caption set: images), for a trial.
        images: a folder of images, or one image; with `captions` the folder of theirs, where it is elsewhere.
        captions: images with captions, as `sources.captions.read_captions` reads them; or a Parquet file of captions.
        split: of the captions: these images alone.
        reads: what is read of a caption set: "image", one row an image, or "text", one row a caption.
        pixels: side to which images are read; by default what the encoder works at.
        fit: how images become squares; by default as the encoder does it, else "squash".
        bands: numbers of the images' bands, from 1.
        stretch: how values of more than 8 bits become 8.
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
    images: str | None = None
    captions: str | None = None
    split: str | None = None
    reads: Literal["image", "text"] = "image"
    pixels: int | None = Field(default=None, ge=1, le=8192)
    fit: Literal["squash", "crop"] | None = None
    bands: tuple[int, ...] | None = None
    stretch: Stretched = "auto"

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        fields = type(self).model_fields
        given = [name for name in fields if getattr(self, name) != fields[name].get_default()]
        if not self.files:
            odd = next((name for name in given if name in _OF_FILES), None)
            if odd is not None:
                raise UsageError(f"{odd} is for images and captions: give images or captions as well, or leave it out")
            return self
        odd = next((name for name in given if name in _OF_PLACES), None)
        if odd is not None:
            raise UsageError(f"{odd} is for places on a map, and image files are read: leave out the one or the other")
        if self.captions is None and (self.reads == "text" or self.split is not None):
            raise UsageError(f"{'texts' if self.reads == 'text' else 'a split'} of which captions? give captions")
        if self.captions is not None and self.captions.endswith(".parquet") and self.reads == "image":
            raise UsageError(f"{self.captions} holds captions without images: read the text (reads = text)")
        return self

    @property
    def files(self) -> bool:
        """Whether image files or captions are read, not places of a map."""
        return self.images is not None or self.captions is not None

    def places(self) -> Places:
        """The places: in Hilbert order of their cells, in the file's order, or one for each image or caption."""
        if self.files:
            return self.source().places()
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

    def band_count(self) -> int:
        """The number of bands of a chip or an image; 0 without either."""
        if self.files and self.reads == "image":
            return InputSource(self).images().count
        return 0 if self.chips is None else open_raster(self.chips.raster)[0].count

    def sources(self) -> tuple[SourceRef, ...]:
        """What provenance says was read, besides what the source itself says (`InputSource.refs`)."""
        return () if self.chips is None else open_raster(self.chips.raster)[1]

    def layout(self) -> dict[str, Any] | None:
        """The `emb:chip_layout` of a table made of this input; None for captions, which are no images."""
        if self.files:
            side = self.pixels
            return (
                None if self.reads == "text" or side is None else {"layout_type": "points", "chip_size": [side, side]}
            )
        grid = None
        if self.on == CELLS and self.area is not None:
            grid = f"h3:{self.resolution or StudyArea.open(self.area).resolution}"
        found: dict[str, Any] = {"layout_type": "named_grid", "grid_id": grid} if grid else {"layout_type": "points"}
        if self.chips is not None:
            found["chip_size"] = [self.chips.pixels, self.chips.pixels]
            found["ground_m"] = self.chips.ground_m
        return found


class InputSource:
    """The Source of an `Input`; another process builds its equal from the same words.

    Attributes:
        given: the words.
        refs: where image files and captions come from, for provenance.
        notes: what was left out of them, counted by reason.
    """

    def __init__(self, given: Input) -> None:
        self.given = given
        self.refs: tuple[SourceRef, ...] = ()
        self.notes: tuple[str, ...] = ()
        self._source: Source
        if given.files:
            from placevec.tasks.input_files import open_files

            opened = open_files(given)
            self._source, self._places = opened.source, opened.places
            self.refs, self.notes = opened.refs, opened.notes
            return
        places = given.places()
        self._source = LonLatSource(places)
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
        self._places = self._source.places()

    def places(self) -> Places:
        """All places of the source."""
        return self._places

    def images(self) -> ImageFiles:
        """The image files; UsageError where something else is read."""
        from placevec.sources.images import ImageFiles

        if not isinstance(self._source, ImageFiles):
            raise UsageError("no image files are read: give images, or captions with their images")
        return self._source

    def read(self, rows: NDArray[np.int64]) -> Batch:
        """The content of `rows`: images or texts; else chips where there are any, and the coordinates."""
        batch = self._source.read(rows)
        if self.given.files or "lonlat" in batch.data:
            return batch
        places = self._places
        lonlat = np.column_stack([places.lon[batch.rows], places.lat[batch.rows]])
        return Batch(batch.rows, {**batch.data, "lonlat": lonlat}, batch.skipped)

    def fingerprint(self) -> str:
        """What the files were when they were listed; "" for sources that do not say, see `embed.source_identity`."""
        own = getattr(self._source, "fingerprint", None)
        return str(own()) if callable(own) else ""

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
