"""What a verb reads, in words that fit a recipe and a command line: places, chips, patches, images, captions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
from placevec.table import Places, skipped_counts
from placevec.tasks.patch_inputs import Patches, is_patch_set
from placevec.tasks.photo_inputs import listed_places

if TYPE_CHECKING:
    from placevec.sources.chips import ChipSource
    from placevec.sources.images import ImageFiles
    from placevec.sources.patches import Layer
    from placevec.sources.rasters import Raster

CELLS = "cells"
Stretched = Literal["auto", "joint", "bands", "none"] | tuple[float, float]
"""How values of more than 8 bits become 8; see `sources.images.read_image`."""

# Options that belong to one kind of input alone.
_OF_PLACES = ("on", "area", "resolution", "chips", "patches", "lon", "lat", "id")
_OF_FILES = ("split", "reads", "pixels", "fit", "bands", "stretch")

_SAMPLE = 2048  # places of a stencil that are looked at, for what has to be known of the content beforehand


class Chips(BaseModel):
    """What is read at each place: a square of a raster, measured on the ground.

    Attributes:
        raster: a file, an address, a map service (XYZ, wms:…, wmts:…), or a named dataset (dataset:blue-marble,
            dataset:etopo20, dataset:earth-lights).
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

    def open(self, places: Places) -> ChipSource:
        """The chips of places."""
        from placevec.sources.chips import ChipSource
        from placevec.sources.services import is_service

        raster = open_raster(self.raster)[0]
        if not is_service(self.raster):  # its own name for itself leaves out the keys in an address
            # Addresses of pixels are written as the user wrote them: the name of a dataset holds on every machine.
            raster.href = self.raster
        return ChipSource(
            places,
            raster,
            self.ground_m,
            self.pixels,
            resampling=self.resampling,
            nodata=self.nodata,
            edge=self.edge,
            min_valid=self.min_valid,
        )


class Input(BaseModel):
    """The places of a verb and what is read there; or image files, or captions, each of which is a place.

    Attributes:
        on: "cells" of the study area, a file of places (table, CSV, GeoJSON, stencil), or the folder of a patch set.
        area: the folder of the study area.
        resolution: H3 resolution of the cells; by default the area's own.
        lon: the CSV's column of longitudes.
        lat: the CSV's column of latitudes.
        id: the column that names a row.
        chips: what is read at each place, of one raster; without it the coordinates alone.
        patches: what is read at each place, of several rasters.
        mask_centre: side in pixels of a square in the middle of all patches in which nothing is shown; 0: none.
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
    patches: Patches | None = None
    mask_centre: int = Field(default=0, ge=0)
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
            if self.chips is not None and self.patches is not None:
                raise UsageError("a raster and layers: give the one or the other (a raster may be a layer)")
            if (self.chips is not None or self.patches is not None) and self.stored:
                raise UsageError(f"{self.on} holds patches already: leave out the raster and the layers")
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

    @property
    def stored(self) -> bool:
        """Whether patches of a patch set are read."""
        return self.on != CELLS and is_patch_set(self.on)

    @property
    def parted(self) -> bool:
        """Whether the places are those of a stencil: read part by part, never all at once."""
        from placevec.sources.stencil import is_stencil

        return self.on != CELLS and Path(self.on).suffix == ".parquet" and is_stencil(self.on)

    def rasters(self) -> tuple[str, ...]:
        """The names of the rasters that are read."""
        if self.patches is not None:
            return tuple(layer.raster for layer in self.patches.layers)
        return () if self.chips is None else (self.chips.raster,)

    def places(self) -> Places:
        """The places: in Hilbert order of their cells, in the file's order, or one for each image or caption."""
        if self.files or self.stored:
            return self.source().places()
        if self.on == CELLS:
            if self.area is None:
                raise UsageError("the cells of which area? give --area FOLDER (made by `placevec area new`)")
            area = StudyArea.open(self.area)
            found = cell_places(area.cells(self.resolution), self.resolution or area.resolution)
        elif self.parted:
            from placevec.sources.stencil import open_stencil

            found = open_stencil(self.on).places()
        else:
            listed = listed_places(self.on)
            found = read_places(self.on, lon=self.lon, lat=self.lat, id=self.id) if listed is None else listed
        return found if self.limit is None else found.take(np.arange(min(self.limit, len(found))))

    def source(self) -> Source:
        """The places with their content, to be read by row, here or in a worker process."""
        if not self.files and self.parted:
            from placevec.tasks.parted_inputs import PartedInput

            return PartedInput(self)
        return InputSource(self)

    def content(self, places: Places) -> Source:
        """What is read at places: patches, chips, or where they are."""
        if self.patches is not None:
            return self.masked(self.patches.open(places))
        return LonLatSource(places) if self.chips is None else self.chips.open(places)

    def sample_layers(self) -> Source | None:
        """A source of some of the patches, from which their layers are known; None where none are read."""
        if self.files or (self.patches is None and not self.stored):
            return None
        if self.parted:
            from placevec.sources.stencil import open_stencil

            stored = open_stencil(self.on)
            return self.content(stored.read(0, min(stored.num_rows, _SAMPLE)))
        return self.source()

    def masked(self, patches: Source) -> Source:
        """Patches as they are, or with nothing in their middle."""
        if not self.mask_centre:
            return patches
        from placevec.features.signatures import MaskedCentre

        return MaskedCentre(patches, self.mask_centre)

    def band_count(self) -> int:
        """The number of bands of a chip or an image; 0 without either."""
        if self.files and self.reads == "image":
            return InputSource(self).images().count
        return 0 if self.chips is None else open_raster(self.chips.raster)[0].count

    def sources(self) -> tuple[SourceRef, ...]:
        """What provenance says was read, besides what the source itself says (`InputSource.refs`)."""
        if self.patches is not None:
            return self.patches.sources()
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
        read: Any = self.patches or self.chips
        if self.stored:
            from placevec.sources.patches import PatchSet

            read = PatchSet(self.on)
        if read is not None:
            found["chip_size"] = [read.pixels, read.pixels]
            found["ground_m"] = read.ground_m
        return found


class InputSource:
    """The Source of an `Input`; another process builds its equal from the same words.

    Attributes:
        given: the words.
        refs: where image files, captions and the rasters of a patch set come from, for provenance.
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
        if given.stored:
            from placevec.sources.patches import PatchSet

            patches = PatchSet(given.on)
            places = patches.places()
            self._source = given.masked(patches)
            self.refs = patches.refs
            self._places = places if given.limit is None else places.take(np.arange(min(given.limit, len(places))))
            lost = skipped_counts(patches.skipped())
            self.notes = tuple(f"{count:,} places have no patch in {given.on}: {why}" for why, count in lost.items())
            return
        if given.patches is not None:
            source = given.patches.open(given.places())
            source.check_places()
            self._source = given.masked(source)
        else:
            self._source = given.content(given.places())
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

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers of patches; none where something else is read."""
        return tuple(getattr(self._source, "layers", ()))

    @property
    def pixels(self) -> int:
        """Side of a patch in pixels; 0 where something else is read."""
        return int(getattr(self._source, "pixels", 0)) if self.layers else 0

    @property
    def ground_m(self) -> float:
        """Side of a patch on the ground in metres; 0 where something else is read."""
        return float(getattr(self._source, "ground_m", 0.0)) if self.layers else 0.0

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

    Of a dataset of several files one is named as ``dataset:zion/nlcd2011.tif``. A map service is an address with
    {z}, {x} and {y}, or one behind ``wms:`` or ``wmts:``, see `sources.services.open_service`.

    Raises UsageError if it is neither a dataset of rasters nor a file that exists.
    """
    from placevec.sources.services import is_service, open_service

    if is_service(name):
        service = open_service(name)
        return service, (service.ref,)
    from placevec.sources import earth
    from placevec.sources.catalog import fetch, list_datasets, source_refs
    from placevec.sources.rasters import Raster
    from placevec.sources.remote import named as remote

    named: dict[str, Callable[[], Raster]] = {
        "blue-marble": earth.blue_marble,
        "etopo20": earth.etopo,
        "earth-lights": earth.night_lights,
    }
    kind, colon, rest = name.partition(":")
    wanted = rest if colon and kind == "dataset" else name
    if wanted in named:
        return named[wanted](), source_refs(wanted)
    if wanted in remote.REMOTE_RASTERS:
        return Raster(f"{remote.PREFIX}{wanted}"), remote.source_refs(wanted)
    dataset, _, file = rest.partition("/")
    if colon and kind == "dataset" and dataset in {one.name for one in list_datasets()}:
        files = fetch(dataset)
        if file not in files:
            raise UsageError(f"the dataset {dataset!r} has no raster {file!r}; its files: {', '.join(sorted(files))}")
        return Raster(files[file]), tuple(ref for ref in source_refs(dataset) if ref.href.endswith(file))
    if "://" not in name and not Path(name).exists():
        known = ", ".join(sorted({*named, *remote.REMOTE_RASTERS}))
        raise UsageError(f"{name!r} is no raster: give a file, an address, or one of {known}")
    return Raster(name), (SourceRef(href=Path(name).name if "://" not in name else name),)


def refresh(rasters: Sequence[str]) -> None:
    """Drop what is kept on disk of rasters that are read over the network: whoever opens one fetches it again.

    UsageError if none is.
    """
    from placevec.sources.remote import forget, is_remote
    from placevec.sources.remote.named import PREFIX, REMOTE_RASTERS

    named = {name: f"{PREFIX}{name.removeprefix(PREFIX)}" for name in rasters}
    kept = [
        named[name] if named[name].removeprefix(PREFIX) in REMOTE_RASTERS else name
        for name in named
        if is_remote(name) or named[name].removeprefix(PREFIX) in REMOTE_RASTERS
    ]
    if not kept:
        raise UsageError(
            f"--refresh is for rasters that are read over the network, and {', '.join(rasters) or 'no raster'} "
            f"{'are files' if len(rasters) > 1 else 'is a file' if rasters else 'is read'}: leave it out"
        )
    for address in kept:
        forget(address)


def sample(name: str, lonlat: LonLat, *, band: int = 1) -> NDArray[np.float64]:
    """The values (n,) of a raster at points, bilinear, NaN where there are none."""
    from placevec.sources import earth

    if name.removeprefix("dataset:") == "earth-lights":
        return earth.lights(lonlat)
    return open_raster(name)[0].sample(lonlat)[:, band - 1].astype(np.float64)
