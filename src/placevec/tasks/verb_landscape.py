"""The steps of a recipe that make stencils and patches."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from placevec.config import InPath, OutPath, PathRole
from placevec.errors import UsageError
from placevec.sources.polygons import LAND
from placevec.tasks.inputs import CELLS
from placevec.tasks.patch_inputs import LayerOption, resolved
from placevec.tasks.run import Context
from placevec.tasks.verb_options import Options, name_of


class StencilOptions(Options):
    """Options of `stencil` in a recipe: the cells of the area, of all land, or of polygons in a file."""

    of: InPath | None = None  # "land", a file of polygons, or the folder of an area; by default the recipe's area
    resolution: int | None = Field(None, ge=0, le=15)
    out: OutPath


class PatchesOptions(Options):
    """Options of `patches` in a recipe; see `placevec area patches`."""

    layers: Annotated[list[LayerOption], PathRole("in")] = Field(min_length=1)
    ground_m: float = Field(gt=0)
    pixels: int = Field(ge=1)
    of: InPath | None = None  # with samples, the region of the pairs: "land", or a file of polygons
    on: InPath = CELLS
    resolution: int | None = Field(None, ge=0, le=15)
    lon: str = "lon"
    lat: str = "lat"
    id: str | None = None
    samples: int | None = Field(None, ge=1)
    inner_m: float | None = Field(None, ge=0)
    outer_m: float | None = Field(None, gt=0)
    limit: int | None = Field(None, ge=1)
    per_file: int = Field(4096, ge=1)
    workers: int = Field(1, ge=1)
    min_valid: float = Field(0.5, ge=0, le=1)
    out: OutPath


def stencil_step(options: StencilOptions, context: Context) -> Any:
    """Run the step."""
    from placevec.tasks.stencil import make_stencil

    target = context.folder if options.of is None else options.of if options.of == LAND else context.path(options.of)
    made = make_stencil(target, context.path(options.out), resolution=options.resolution, progress=context.progress)
    return made.to_record()


def patches_step(options: PatchesOptions, context: Context) -> Any:
    """Run the step."""
    from placevec.tasks.patches import area_patches

    area: Path | str | None = context.folder if options.on == CELLS and context.area is not None else None
    if options.of is not None:
        if options.samples is None:
            raise UsageError(f"of = {options.of!r} is the region of pairs: give samples, how many, or leave it out")
        area = LAND if options.of == LAND else context.path(options.of)
    words = options.model_dump(exclude={"layers", "of", "on", "per_file", "out", "limit"})
    made = area_patches(
        context.path(options.out),
        [resolved(layer, lambda text: name_of(context, text)) for layer in options.layers],
        area=area,
        on=CELLS if options.on == CELLS else context.path(options.on),
        limit=options.limit,
        samples_per_file=options.per_file,
        seed=context.seed,
        restart=context.restart,
        progress=context.progress,
        **words,
    )
    return made.to_record()
