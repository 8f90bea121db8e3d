"""The verbs that group and draw, as recipes know them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from placevec.config import InPath, OutPath
from placevec.tasks.run import Context
from placevec.tasks.verb_options import Options, optional_path


class ClusterOptions(Options):
    """Options of `cluster` in a recipe."""

    table: InPath
    out: OutPath
    k: int = Field(8, ge=2)
    method: Literal["kmeans", "hierarchical"] = "kmeans"
    resolutions: list[int] | None = None


class MapOptions(Options):
    """Options of `map` in a recipe."""

    tables: list[InPath]
    out: list[OutPath]
    by: str = "pca"
    like: str | None = None
    at: tuple[float, float] | None = None
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


def cluster_step(options: ClusterOptions, context: Context) -> Any:
    """Run the step."""
    from placevec.tasks.cluster import cluster

    finest = cluster(
        context.path(options.table),
        context.path(options.out),
        k=options.k,
        method=options.method,
        resolutions=options.resolutions,
        seed=context.seed,
    ).levels[0]
    return {"sizes": [int(size) for size in finest.sizes], "silhouette": finest.silhouette}


def map_step(options: MapOptions, context: Context) -> Any:
    """Run the step."""
    from placevec.tasks.map import map_tables

    drawn = map_tables(
        [context.path(table) for table in options.tables],
        [context.path(out) for out in options.out],
        by=options.by,
        like=options.like,
        at=options.at,
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
