"""The verbs that group, compare dates, draw and hand on, as recipes know them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from placevec.config import InPath, OutPath
from placevec.table import Filter, filter_of
from placevec.tasks.run import Context
from placevec.tasks.verb_options import Options, Texts, optional_path


class Part(Options):
    """Which rows of a table are meant."""

    bbox: tuple[float, float, float, float] | None = None
    near: tuple[float, float, float] | None = None
    where: str | None = None

    def filter(self) -> Filter | None:
        """The filter that these options describe."""
        return filter_of(bbox=self.bbox, near=self.near, where=self.where)


class ClusterOptions(Options):
    """Options of `cluster` in a recipe."""

    table: InPath
    out: OutPath
    k: int = Field(8, ge=2)
    method: Literal["kmeans", "hierarchical"] = "kmeans"
    resolutions: list[int] | None = None
    profile: list[InPath] = Field(default_factory=list)
    map: OutPath | None = None


class MapOptions(Part):
    """Options of `map` in a recipe; `by` is "similarity" where an example or a coverage is given, else "pca"."""

    tables: list[InPath]
    out: list[OutPath]
    by: str | None = None
    like: Texts = Field(default_factory=list)
    unlike: Texts = Field(default_factory=list)
    at: tuple[float, float] | None = None
    coverage: float | None = Field(None, gt=0, le=1)
    layer: OutPath | None = None
    scale: Literal["linear", "log"] = "linear"
    projection: Literal["equal-area", "lonlat"] = "equal-area"
    basis: OutPath | None = None
    align: InPath | None = None
    title: str | None = None
    subtitle: str | None = None
    units: str = ""
    scheme: Literal["rgb", "opponent"] = "rgb"
    narrow: bool = False
    note: str = ""


class ChangeOptions(Options):
    """Options of `change` in a recipe; `stable` is a condition on attributes of places that did not change."""

    before: InPath
    after: InPath
    out: OutPath
    by: Literal["auto", "place", "h3", "id"] = "auto"
    measure: Literal["auto", "cosine", "l2"] = "auto"
    floor: float | None = Field(None, gt=0, lt=1)
    stable: str | None = None


class ExportOptions(Part):
    """Options of `export` in a recipe."""

    table: InPath
    out: OutPath
    to: str | None = None
    geometry: Literal["stored", "point", "cell"] = "stored"
    vectors: bool | None = None
    columns: Texts | None = None
    pixel_m: float | None = Field(None, gt=0)
    projection: Literal["lonlat", "mercator", "equal-area"] = "lonlat"
    layer: str | None = None


def cluster_step(options: ClusterOptions, context: Context) -> Any:
    """Run the step."""
    from placevec.tasks.cluster import describe

    found = describe(
        context.path(options.table),
        context.path(options.out),
        profile=[context.path(one) for one in options.profile],
        map=optional_path(context, options.map),
        k=options.k,
        method=options.method,
        resolutions=options.resolutions,
        seed=context.seed,
        said=context.note,
    )
    finest = found.clusters.levels[0]
    words = {"words": found.profiles[0].words} if found.profiles else {}
    return {"sizes": [int(size) for size in finest.sizes], "silhouette": finest.silhouette, **words}


def map_step(options: MapOptions, context: Context) -> Any:
    """Run the step."""
    from placevec.tasks.map import map_tables

    asked = options.like or options.unlike or options.at or options.coverage is not None
    drawn = map_tables(
        [context.path(table) for table in options.tables],
        [context.path(out) for out in options.out],
        by=options.by or ("similarity" if asked else "pca"),
        like=options.like,
        unlike=options.unlike,
        at=options.at,
        filter=options.filter(),
        coverage=options.coverage,
        layer=optional_path(context, options.layer),
        scale=options.scale,
        projection=options.projection,
        basis=optional_path(context, options.basis),
        align=optional_path(context, options.align),
        area=context.folder if context.area is not None else None,
        title=options.title,
        subtitle=options.subtitle,
        units=options.units,
        scheme=options.scheme,
        layouts=("wide", "narrow") if options.narrow else ("wide",),
        note=options.note,
    )
    return {str(one.png): one.rows for one in drawn}


def change_step(options: ChangeOptions, context: Context) -> Any:
    """Run the step."""
    from placevec.tasks.change import change

    found = change(
        context.path(options.before),
        context.path(options.after),
        context.path(options.out),
        by=options.by,
        measure=options.measure,
        floor=options.floor,
        stable=filter_of(where=options.stable),
        progress=context.progress,
    )
    return {name: value for name, value in found.to_record().items() if name != "path"}


def export_step(options: ExportOptions, context: Context) -> Any:
    """Run the step."""
    from placevec.tasks.export import export_table

    return export_table(
        context.path(options.table),
        context.path(options.out),
        form=options.to,
        geometry=options.geometry,
        vectors=options.vectors,
        filter=options.filter(),
        columns=options.columns,
        pixel_m=options.pixel_m,
        projection=options.projection,
        layer=options.layer,
        progress=context.progress,
    )
