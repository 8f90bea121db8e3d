"""The verbs as recipes know them: the options of each step, checked, and the function behind it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from placevec.config import InPath, OutPath
from placevec.errors import UsageError
from placevec.files import write_text
from placevec.table import Filter, filter_of
from placevec.tasks.inputs import CELLS, Chips, Input
from placevec.tasks.run import Context, Verb


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Reads(_Options):
    """Places and, with a raster, the chips that are read there."""

    on: InPath | Literal["cells"] = CELLS
    resolution: int | None = None
    lon: str = "lon"
    lat: str = "lat"
    id: str | None = None
    limit: int | None = None
    raster: InPath | None = None
    ground_m: float | None = None
    pixels: int | None = None
    resampling: Literal["bilinear", "nearest", "mode"] = "bilinear"
    nodata: Literal["keep", "skip"] = "keep"
    edge: Literal["pad", "skip"] = "pad"
    min_valid: float = 0.5

    def input(self, context: Context) -> Input:
        """The Input that these options describe."""
        chips = None
        if self.raster is not None:
            if self.ground_m is None or self.pixels is None:
                raise UsageError("a raster needs ground_m and pixels: the side of a chip in metres and in pixels")
            chips = Chips(
                raster=_name(context, self.raster),
                ground_m=self.ground_m,
                pixels=self.pixels,
                resampling=self.resampling,
                nodata=self.nodata,
                edge=self.edge,
                min_valid=self.min_valid,
            )
        return Input(
            on=self.on if self.on == CELLS else str(context.path(self.on)),
            area=str(context.folder) if self.on == CELLS else None,
            resolution=self.resolution,
            lon=self.lon,
            lat=self.lat,
            id=self.id,
            limit=self.limit,
            chips=chips,
        )


class TrainOptions(_Reads):
    """Options of `train` in a recipe."""

    objective: Literal["image", "location"]
    table: InPath | list[InPath] | None = None
    out: OutPath
    untrained: OutPath | None = None
    block: str = "h3:3"
    folds: int = Field(10, ge=2)
    buffer_m: float | None = None
    config: dict[str, Any] = Field(default_factory=dict)
    sweep: dict[str, Any] = Field(default_factory=dict)
    rank_by: str | None = None

    @field_validator("sweep")
    @classmethod
    def _lists(cls, value: dict[str, Any]) -> dict[str, Any]:
        from placevec.tasks.settings import flat_sweeps

        try:
            return dict(flat_sweeps(value))
        except UsageError as error:  # pydantic reports a ValueError with the name of the step
            raise ValueError(str(error)) from error


class EmbedOptions(_Reads):
    """Options of `embed` in a recipe."""

    encoder: InPath
    out: OutPath
    dtype: Literal["float32", "float16", "int8"] = "float32"
    batch: int = Field(256, ge=1)
    workers: int = Field(1, ge=1)


class ImportOptions(_Options):
    """Options of `import` in a recipe."""

    files: list[InPath]
    out: OutPath
    crs: str | None = None
    space: str | None = None
    id: str | None = None
    lon: str | None = None
    lat: str | None = None
    vector: str | None = None
    prefix: str = "dim_"
    dtype: Literal["float32", "float16", "int8"] | None = None
    as_: str = Field("table", alias="as")
    basis: str | None = None


class ExportOptions(_Options):
    """Options of `export` in a recipe."""

    table: InPath
    out: OutPath
    geometry: Literal["stored", "point", "cell"] = "stored"


class SearchOptions(_Options):
    """Options of `search` in a recipe."""

    table: InPath
    out: OutPath
    like: list[str] = Field(default_factory=list)
    unlike: list[str] = Field(default_factory=list)
    at: tuple[float, float] | None = None
    k: int = Field(10, ge=1)
    bbox: tuple[float, float, float, float] | None = None
    near: tuple[float, float, float] | None = None
    where: str | None = None
    min_distance_m: float | None = None

    def filter(self) -> Filter | None:
        """The filter that these options describe."""
        return filter_of(bbox=self.bbox, near=self.near, where=self.where)


class ProbeOptions(_Options):
    """Options of `probe` in a recipe. A target is a column, or name=raster."""

    tables: list[InPath]
    targets: list[str]
    out: OutPath
    raw: InPath | None = None
    untrained: list[InPath] = Field(default_factory=list)
    labels: InPath | None = None
    transform: Literal["none", "log1p"] = "none"
    block: str | None = None
    buffer_m: float | None = None
    splits: Literal["both", "random", "block"] = "both"
    k: int = Field(5, ge=3)
    shuffles: int = Field(3, ge=1)


class ClusterOptions(_Options):
    """Options of `cluster` in a recipe."""

    table: InPath
    out: OutPath
    k: int = Field(8, ge=2)
    method: Literal["kmeans", "hierarchical"] = "kmeans"
    resolutions: list[int] | None = None


class MapOptions(_Options):
    """Options of `map` in a recipe."""

    tables: list[InPath]
    out: list[OutPath]
    by: str = "pca"
    like: str | None = None
    title: str | None = None
    subtitle: str | None = None
    units: str = ""
    scheme: Literal["rgb", "opponent"] = "rgb"
    narrow: bool = False
    note: str = ""


def _train(options: TrainOptions, context: Context) -> Any:
    from placevec.tasks.train import train

    settings = dict(options.config)
    settings["loop"] = {"seed": context.seed, **settings.get("loop", {})}
    tables = [options.table] if isinstance(options.table, str) else options.table
    words: dict[str, Any] = {
        "input": options.input(context) if options.objective == "image" else None,
        "table": None if tables is None else [context.path(table) for table in tables],
        "config": settings,
        "block": options.block,
        "folds": options.folds,
        "buffer_m": options.buffer_m,
        "untrained": None if options.untrained is None else context.path(options.untrained),
        "restart": context.restart,
        "progress": context.progress,
    }
    out = context.path(options.out)
    if options.sweep:
        from placevec.tasks.sweep import sweep

        return sweep(options.objective, out, options.sweep, rank_by=options.rank_by, note=context.note, **words)
    return train(options.objective, out, **words)


def _embed(options: EmbedOptions, context: Context) -> Any:
    from placevec.tasks.embed import embed
    from placevec.tasks.encoders import encoder_spec

    given = options.input(context)
    encoder = encoder_spec(_name(context, options.encoder), bands=given.bands())
    summary = embed(
        given.source(),
        encoder,
        context.path(options.out),
        batch=options.batch,
        workers=options.workers,
        dtype=options.dtype,
        seed=context.seed,
        sources=given.sources(),
        chip_layout=given.layout(),
        restart=context.restart,
        progress=context.progress,
    )
    return summary.some_rows()


def _import(options: ImportOptions, context: Context) -> Any:
    from placevec.tasks.import_ import import_model, import_tables

    files, out = [context.path(file) for file in options.files], context.path(options.out)
    if options.as_ != "table":
        return import_model(files, out, options.as_, basis=options.basis)
    words = options.model_dump(exclude={"files", "out", "as_", "basis"}, exclude_none=True)
    return import_tables(files, out, **words)


def _export(options: ExportOptions, context: Context) -> Any:
    from placevec.tasks.export import export_table

    return export_table(context.path(options.table), context.path(options.out), geometry=options.geometry)


def _search(options: SearchOptions, context: Context) -> Any:
    from placevec.results import jsonable
    from placevec.tasks.search import search

    hits = search(
        context.path(options.table),
        like=options.like or None,
        unlike=options.unlike or None,
        at=options.at,
        k=options.k,
        filter=options.filter(),
        min_distance_m=options.min_distance_m,
    )
    found = {"hits": hits.to_records(), "plan": hits.plan.to_record()}
    write_text(context.path(options.out), json.dumps(found, indent=1, default=jsonable) + "\n")
    return {"hits": len(hits), "plan": str(hits.plan)}


def _probe(options: ProbeOptions, context: Context) -> Any:
    from placevec.tasks.probe import probe

    targets = []
    for target in options.targets:
        name, equals, raster = target.partition("=")
        targets.append(f"{name}={_name(context, raster)}" if equals else target)
    reports = probe(
        [context.path(table) for table in options.tables],
        targets,
        labels=None if options.labels is None else context.path(options.labels),
        raw=None if options.raw is None else context.path(options.raw),
        untrained=[context.path(table) for table in options.untrained],
        transform=options.transform,
        block=options.block,
        buffer_m=options.buffer_m,
        splits=options.splits,
        k=options.k,
        shuffles=options.shuffles,
        seed=context.seed,
        out=context.path(options.out),
        progress=lambda label, done, total: context.progress(done, total, {}),
    )
    return {report.target: best.features for report in reports if (best := report.best("block", learned=True))}


def _cluster(options: ClusterOptions, context: Context) -> Any:
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


def _map(options: MapOptions, context: Context) -> Any:
    from placevec.tasks.map import map_tables

    drawn = map_tables(
        [context.path(table) for table in options.tables],
        [context.path(out) for out in options.out],
        by=options.by,
        like=options.like,
        area=context.folder if context.area is not None else None,
        title=options.title,
        subtitle=options.subtitle,
        units=options.units,
        scheme=options.scheme,
        layouts=("wide", "narrow") if options.narrow else ("wide",),
        note=options.note,
    )
    return {str(one.png): one.rows for one in drawn}


def _name(context: Context, text: str) -> str:
    """A path of the folder, unless the text is an address or the name of something known."""
    return text if ":" in text else str(context.path(text))


VERBS: Mapping[str, Verb] = {
    "train": Verb(_train, TrainOptions),
    "embed": Verb(_embed, EmbedOptions),
    "import": Verb(_import, ImportOptions),
    "export": Verb(_export, ExportOptions),
    "search": Verb(_search, SearchOptions),
    "probe": Verb(_probe, ProbeOptions),
    "cluster": Verb(_cluster, ClusterOptions),
    "map": Verb(_map, MapOptions),
}
