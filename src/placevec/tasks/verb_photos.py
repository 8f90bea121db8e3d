"""The verb `photos`, as recipes know it."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from placevec.config import InPath, OutPath, refuse_unknown
from placevec.errors import RecipeError
from placevec.tasks.run import Context
from placevec.tasks.verb_options import Reads, name_of, optional_path


class PhotosOptions(Reads):
    """Options of `photos` in a recipe: a folder or a list of photos, or with a raster its chips; see `data photos`."""

    photos: InPath | None = None  # a folder, a list, or a collection's metadata; None: chips of the raster
    out: OutPath
    layout: Literal["flickr", "gldv2", "osv5m"] | None = None
    file: str | None = None  # the list's column of files
    images: InPath | None = None  # the folder of the files of a list
    landmarks: InPath | None = None
    regions: InPath | None = None
    region_column: str | None = None
    rename: dict[str, str] = Field(default_factory=dict)  # names of regions, from that in the file to that wanted
    near_m: float = Field(25.0, ge=0)  # photos so near to each other share a place
    by: Literal["near", "h3"] = "near"
    together: list[list[str]] = Field(default_factory=list)
    rules: dict[str, Any] = Field(default_factory=dict)  # see `sources.photos.QualityRules`
    alike: bool = True  # whether photos that look alike are kept once
    scenes: InPath | None = None
    report: OutPath | None = None
    threads: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.photos is None) == (self.raster is None):
            raise RecipeError("photos: give photos, or a raster with the places at which it is cut")
        if self.layers:
            raise RecipeError("photos: chips are of one raster, not of layers")
        if self.regions is None and (self.region_column is not None or self.rename):
            raise RecipeError("photos: names of which regions? give regions, a GeoJSON")
        return self


def photos_step(options: PhotosOptions, context: Context) -> Any:
    """Run the step."""
    from placevec.sources.photos import Columns, QualityRules
    from placevec.tasks.photos import default_rules, photos
    from placevec.tasks.regions import open_regions

    given = options.input(context) if options.photos is None else context.path(options.photos)
    refuse_unknown(options.rules, [field.name for field in fields(QualityRules)], "rules")
    rules = replace(default_rules(given), **options.rules)
    columns = Columns(lon=options.lon, lat=options.lat, file=options.file, id=options.id)
    regions = None
    if options.regions is not None:
        named = name_of(context, options.regions)
        regions = open_regions(named, column=options.region_column, rename=options.rename)
    made = photos(
        given,
        context.path(options.out),
        layout=options.layout,
        columns=columns,
        images=optional_path(context, options.images),
        landmarks=optional_path(context, options.landmarks),
        regions=regions,
        rules=rules if options.alike else replace(rules, near_bits=None),
        metres=options.near_m,
        by=options.by,
        together=options.together,
        scenes=optional_path(context, options.scenes),
        report=optional_path(context, options.report),
        threads=options.threads,
        progress=context.progress,
    )
    for line in made.notes:
        context.note(line)
    return {name: getattr(made.report, name) for name in ("photos", "kept", "skipped", "skipped_because", "places")}
