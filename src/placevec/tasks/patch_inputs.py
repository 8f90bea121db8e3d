"""Layers of patches in words that fit a recipe and a command line, and the sources that they mean."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from placevec.errors import DataError, UsageError
from placevec.provenance import SourceRef
from placevec.sources.classes import TABLES, ClassTable, class_table
from placevec.table import Places

if TYPE_CHECKING:
    from placevec.sources.patches import Layer, PatchSource


class LayerOption(BaseModel):
    """A layer: ``{name = "cover", raster = "nlcd2011.tif", classes = "nlcd"}``. As text it is its raster.

    Attributes:
        name: what its arrays are called.
        raster: a file, an address, or a named dataset (dataset:blue-marble, dataset:etopo20).
        classes: for land cover: "nlcd", "worldcover", "lc100", "corine", a JSON file, or the table itself.
        resampling: of classes "nearest" or "mode", of values "bilinear" or "nearest"; by default the first.
        band: of a raster of several bands, from 1.
        unknown: what a code is that the class table does not have.
        empty: the code of a class that nodata within the raster stands for, such as 80, water, of a map that leaves
            out the open sea.
    """

    model_config = ConfigDict(extra="forbid")

    name: str
    raster: str
    classes: str | dict[str, Any] | None = None
    resampling: Literal["nearest", "mode", "bilinear"] | None = None
    band: int = Field(default=1, ge=1)
    unknown: Literal["error", "nodata"] = "error"
    empty: int | None = None

    def __str__(self) -> str:
        return self.raster

    @property
    def paths(self) -> tuple[str, ...]:
        """What is read, as recipes know it: the raster, and the file of a class table where one is named."""
        named = isinstance(self.classes, str) and self.classes.lower() not in TABLES
        return (self.raster, str(self.classes)) if named else (self.raster,)

    @property
    def table(self) -> ClassTable | None:
        """The class table, None for values."""
        if isinstance(self.classes, dict):
            return ClassTable.from_json(self.classes, self.name)
        return None if self.classes is None else class_table(self.classes)

    def open(self) -> Layer:
        """The layer; UsageError or DataError where raster, band or classes are not to be had."""
        from placevec.sources.patches import Layer
        from placevec.sources.rasters import Raster
        from placevec.sources.services import is_service
        from placevec.tasks.inputs import open_raster

        (raster, refs), band = open_raster(self.raster), self.band
        if raster.count > 1:
            if self.band not in raster.bands:
                raise DataError(f"{self.raster} has no band {self.band}; it has {min(raster.bands)} to {raster.count}")
            # The others need not be read, nor held in memory once for each layer.
            if is_service(self.raster):
                pass  # its bands come together
            elif raster.href == self.raster:
                raster, band = Raster(self.raster, bands=[self.band]), 1
            elif Path(raster.href).is_file() and raster.transform[1] == raster.transform[3] == 0:
                # Of a dataset: a picture may not know itself where it lies.
                (a, _, west, _, e, north), height, width = raster.transform, raster.height, raster.width
                bounds = (west, north + e * height, west + a * width, north)
                raster, band = Raster(raster.href, bounds=bounds, crs=raster.crs, bands=[self.band]), 1
        if not is_service(self.raster):  # its own name for itself leaves out the keys in an address
            # Messages and identities name the raster as the user wrote it.
            raster.href = self.raster
        return Layer(self.name, raster, self.table, self.resampling, band, self.unknown, self.empty, refs)


class Patches(BaseModel):
    """What is read at each place: several layers over one square of the ground.

    Attributes:
        layers: at least one, with names that differ.
        ground_m: side of the square in metres.
        pixels: side of the patches in pixels.
        min_valid: a place of which a layer has a smaller share of valid pixels is skipped.
    """

    model_config = ConfigDict(extra="forbid")

    layers: list[LayerOption] = Field(min_length=1)
    ground_m: float = Field(gt=0)
    pixels: int = Field(gt=0, le=1024)
    min_valid: float = Field(default=0.5, ge=0, le=1)

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [layer.name for layer in self.layers]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise UsageError(f"two layers are called {twice!r}: give each a name of its own")
        return self

    def open(self, places: Places) -> PatchSource:
        """The patches of places."""
        from placevec.sources.patches import PatchSource

        layers = [layer.open() for layer in self.layers]
        return PatchSource(places, layers, self.ground_m, self.pixels, min_valid=self.min_valid)

    def sources(self) -> tuple[SourceRef, ...]:
        """The rasters, for provenance."""
        return tuple(dict.fromkeys(ref for layer in self.layers for ref in layer.open().sources()))


def parse_layer(text: str) -> LayerOption:
    """The layer that ``cover=nlcd2011.tif,classes=nlcd`` writes; further keys are resampling, band, unknown and empty.

    Raises:
        UsageError: the text is none.
    """
    first, *rest = text.split(",")
    name, equals, raster = first.partition("=")
    given: dict[str, Any] = {"name": name.strip(), "raster": raster.strip()}
    known = ("classes", "resampling", "band", "unknown", "empty")
    for part in rest:
        key, sign, value = part.partition("=")
        if not sign or key.strip() not in known or not value.strip():
            raise UsageError(f"--layer {text}: {part!r} is not one of {', '.join(f'{one}=...' for one in known)}")
        given[key.strip()] = value.strip()
    if not equals or not given["name"] or not given["raster"]:
        raise UsageError(f"--layer {text}: write NAME=RASTER, such as cover=nlcd2011.tif,classes=nlcd")
    try:
        return LayerOption.model_validate(given)
    except ValueError as error:
        raise UsageError(f"--layer {text}: {_first(error)}") from None


def resolved(layer: LayerOption, place: Any) -> LayerOption:
    """The layer with the paths of its raster and class table as `place` has them (text -> text)."""
    classes = layer.classes
    if isinstance(classes, str) and classes.lower() not in TABLES:
        classes = place(classes)
    return layer.model_copy(update={"raster": place(layer.raster), "classes": classes})


def is_patch_set(path: str | Path) -> bool:
    """Whether a path is the folder of a patch set."""
    from placevec.sources.patches.write import MANIFEST

    return "://" not in str(path) and (Path(path) / MANIFEST).is_file()


def _first(error: ValueError) -> str:
    errors = getattr(error, "errors", None)
    if not callable(errors):
        return str(error)
    one = errors()[0]
    return f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}"
