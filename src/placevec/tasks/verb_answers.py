"""The verbs that ask, measure and draw, as recipes know them."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any, Literal

from pydantic import Field

from placevec.config import InPath, OutPath, refuse_unknown
from placevec.files import write_text
from placevec.table import Filter, filter_of
from placevec.tasks.run import Context
from placevec.tasks.verb_options import Options, name_of


class SearchOptions(Options):
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


class ProbeOptions(Options):
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
    estimators: tuple[Literal["ridge", "knn", "gp"], ...] = ("ridge", "knn")
    k: int = Field(5, ge=3)
    shuffles: int = Field(3, ge=1)


class EvaluateOptions(Options):
    """Options of `evaluate` in a recipe."""

    what: Literal["location"] = "location"
    compared: list[InPath]
    targets: list[str]
    out: OutPath
    on: InPath | None = None
    raw: InPath | None = None
    untrained: list[InPath] = Field(default_factory=list)
    bank: InPath | None = None
    modes: list[str] = Field(default_factory=list)
    bank_from_train: list[str] = Field(default_factory=list)
    protocol: dict[str, Any] = Field(default_factory=dict)


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


def search_step(options: SearchOptions, context: Context) -> Any:
    """Run the step."""
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


def probe_step(options: ProbeOptions, context: Context) -> Any:
    """Run the step."""
    from placevec.tasks.probe import probe

    targets = []
    for target in options.targets:
        name, equals, raster = target.partition("=")
        targets.append(f"{name}={name_of(context, raster)}" if equals else target)
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
        estimators=options.estimators,
        k=options.k,
        shuffles=options.shuffles,
        seed=context.seed,
        out=context.path(options.out),
        progress=lambda label, done, total: context.progress(done, total, {}),
    )
    return {report.target: best.features for report in reports if (best := report.best("block", learned=True))}


def evaluate_step(options: EvaluateOptions, context: Context) -> Any:
    """Run the step."""
    from placevec.tasks.evaluate_location import evaluate_location
    from placevec.tasks.evaluate_protocol import Protocol

    given = options.protocol.items()
    rules: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in given}
    refuse_unknown(rules, [field.name for field in fields(Protocol)], "protocol")
    found = evaluate_location(
        [_model(context, one) for one in options.compared],
        options.targets,
        on=None if options.on is None else context.path(options.on),
        area=context.folder if context.area is not None and options.on is None else None,
        raw=None if options.raw is None else context.path(options.raw),
        untrained=[_model(context, one) for one in options.untrained],
        bank=None if options.bank is None else context.path(options.bank),
        modes=options.modes,
        bank_from_train=options.bank_from_train,
        out=context.path(options.out),
        protocol=Protocol(**({"seed": context.seed} | rules)),
        restart=context.restart,
        progress=lambda target, label, done, total: context.progress(done, total, {}),
    )
    return {rank.features: rank.rank for rank in found.mean_ranks("block")[:5]}


def _model(context: Context, text: str) -> str:
    """NAME=PATH with the path in the folder; sincos and harmonics:L as they are."""
    name, equals, path = text.rpartition("=")
    return f"{name}{equals}{path if path == 'sincos' else name_of(context, path)}"


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
        basis=None if options.basis is None else context.path(options.basis),
        align=None if options.align is None else context.path(options.align),
        area=context.folder if context.area is not None else None,
        title=options.title,
        subtitle=options.subtitle,
        units=options.units,
        scheme=options.scheme,
        layouts=("wide", "narrow") if options.narrow else ("wide",),
        note=options.note,
    )
    return {str(one.png): one.rows for one in drawn}
