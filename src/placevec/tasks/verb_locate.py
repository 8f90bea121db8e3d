"""The verb `locate`, as recipes know it."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from placevec.config import InPath, OutPath
from placevec.errors import RecipeError
from placevec.tasks.run import Context
from placevec.tasks.verb_options import InPaths, Reads, paths_of


class LocateOptions(Reads):
    """Options of `locate` in a recipe: photos, or with a raster the chips at places; see `placevec locate`.

    Sizes of chips are those of the model's training where they are not given.
    """

    model: InPath
    out: OutPath
    photos: InPaths = Field(default_factory=list)
    k: int = Field(10, ge=1)
    evidence: int = Field(5, ge=0)
    regions: bool = True
    point: Literal["mode", "argmax", "median", "geoscore", "flat"] | None = None
    compare: bool = False
    batch: int = Field(32, ge=1)

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if bool(self.photos) == (self.raster is not None):
            raise RecipeError("locate: give photos, or a raster with the places at which it is cut")
        if self.layers:
            raise RecipeError("locate: a locator reads one raster, not layers")
        return self


def locate_step(options: LocateOptions, context: Context) -> Any:
    """Run the step."""
    from placevec.tasks.locate import chip_size, locate, open_locator, photos

    locator = open_locator(context.path(options.model), point=options.point)
    from placevec.encoders.locator import Shown  # needs torch, which opening the locator has asked for

    if options.photos:
        source = photos(paths_of(context, options.photos), locator)
    else:
        ground_m, pixels = chip_size(locator, options.ground_m, options.pixels)
        source = options.model_copy(update={"ground_m": ground_m, "pixels": pixels}).input(context).source()
    done = locate(
        source,
        locator,
        out=context.path(options.out),
        shown=Shown(k=options.k, evidence=options.evidence, regions=options.regions),
        batch=options.batch,
        compare=options.compare,
        limit=options.limit,
        progress=context.progress,
    ).some_located()
    return {name: value for name, value in done.to_record().items() if name not in ("seconds", "out")}
