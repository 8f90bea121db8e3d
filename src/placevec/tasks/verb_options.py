"""What the options of all verbs in a recipe share: strictness, places and chips, and paths of the folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from placevec.config import InPath, PathRole
from placevec.errors import UsageError
from placevec.tasks.digests import Digests
from placevec.tasks.inputs import CELLS, Chips, Input
from placevec.tasks.patch_inputs import LayerOption, Patches, resolved
from placevec.tasks.run import Context

GRID = "grid"
HF = "hf:"


def _listed(value: Any) -> Any:
    return ([value] if value else []) if isinstance(value, str) else value


Texts = Annotated[list[str], BeforeValidator(_listed)]
"""Texts; one alone needs no brackets."""

InPaths = Annotated[list[InPath], BeforeValidator(_listed)]
"""Paths that a step reads; one alone needs no brackets."""


class Options(BaseModel):
    """Options of a step: those that no verb knows are refused.

    An empty text stands for an option that may be left out: so a variable of the recipe can leave it out.
    """

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _empty_is_absent(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        optional = {name for name, field in cls.model_fields.items() if field.default is None}
        return {name: value for name, value in given.items() if value != "" or name not in optional}


class Reads(Options):
    """Places and, with a raster, the chips that are read there, or with layers the patches."""

    on: InPath | Literal["cells", "grid"] = CELLS
    resolution: int | str | None = None
    lon: str = "lon"
    lat: str = "lat"
    id: str | None = None
    limit: int | None = None
    raster: InPath | None = None
    layers: Annotated[list[LayerOption], PathRole("in")] = Field(default_factory=list)
    ground_m: float | None = None
    pixels: int | None = None
    resampling: Literal["bilinear", "nearest", "mode"] = "bilinear"
    nodata: Literal["keep", "skip"] = "keep"
    edge: Literal["pad", "skip"] = "pad"
    min_valid: float = 0.5
    mask_centre: int = Field(0, ge=0)

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
        patches = None
        if self.layers:
            if self.ground_m is None or self.pixels is None:
                raise UsageError("layers need ground_m and pixels: the side of a patch in metres and in pixels")
            for name in ("resampling", "nodata", "edge"):
                if name in self.model_fields_set:
                    raise UsageError(
                        f"{name} is for a raster; a layer has its own resampling, and patches have min_valid"
                    )
            patches = Patches(
                layers=[resolved(layer, lambda text: name_of(context, text)) for layer in self.layers],
                ground_m=self.ground_m,
                pixels=self.pixels,
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
            patches=patches,
            mask_centre=self.mask_centre,
        )


def name_of(context: Context, text: str) -> str:
    """A path of the folder, unless the text is an address or the name of something known.

    ``hf:FOLDER`` is a model of transformers in the folder, where there is one; else hf:NAME is a name of the hub.
    """
    if text.startswith(HF):
        beside = context.path(text.removeprefix(HF))
        return f"{HF}{beside}" if beside.is_dir() else text
    return text if ":" in text else str(context.path(text))


def optional_name(context: Context, text: str | None) -> str | None:
    """See `name_of`; None where nothing is named."""
    return None if text is None else name_of(context, text)


def optional_path(context: Context, text: str | None) -> Path | None:
    """A path of the folder; None where nothing is named."""
    return None if text is None else context.path(text)


def hf_weights(options: BaseModel, context: Context) -> dict[str, str] | None:
    """Digests of the folders that options name as ``hf:FOLDER``, for the step's key; None without any.

    Other paths are known by their roles; of a model of the hub the name is all that is known.
    """
    found: dict[str, str] = {}
    for _, value in options:
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and text.startswith(HF):
                digest = Digests().of(context.path(text.removeprefix(HF)))
                found |= {text: digest} if digest else {}
    return found or None


def paths_of(context: Context, given: str | list[str]) -> list[Path]:
    """One path or several, of the folder."""
    return [context.path(one) for one in ([given] if isinstance(given, str) else given)]
