"""The verbs that find and explain, as recipes know them: index, search, classify, explain."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from placevec.config import InPath, OutPath
from placevec.errors import RecipeError
from placevec.files import write_text
from placevec.results import jsonable
from placevec.table import Filter, filter_of
from placevec.tasks.inputs import Stretched
from placevec.tasks.run import Context
from placevec.tasks.verb_options import InPaths, Options, Texts, optional_name, optional_path, paths_of


class IndexOptions(Options):
    """Options of `index` in a recipe.

    Without `out` the index stands beside the table, where search looks for it. With `to`, the address of a store, the
    table is loaded there instead, and `out` is the receipt.
    """

    table: InPath
    out: OutPath | None = None
    to: str | None = None
    replace: bool = False
    quantize: Literal["int8", "none"] | None = None
    test: int | None = Field(None, ge=1)
    kind: Literal["flat", "hnsw", "ivf-sq8", "ivf"] | None = None
    cells: int | None = Field(None, ge=1)
    probes: int | None = Field(None, ge=1)
    m: int | None = Field(None, ge=2)
    ef: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _beside(self) -> Self:
        from placevec.tasks.index import index_path
        from placevec.tasks.store_receipt import receipt_path

        if self.to is None:
            if self.replace or self.quantize is not None or self.test is not None:
                raise RecipeError("index: replace, quantize and test go with to, the address of a store")
            # Named here, so that the recipe knows what the step makes.
            self.out = self.out or str(index_path(self.table))
            return self
        odd = [name for name in ("kind", "cells", "probes", "m", "ef") if getattr(self, name) is not None]
        if odd:
            raise RecipeError(f"index: to loads a store, which has settings of its own: leave out {odd[0]}")
        self.out = self.out or receipt_path(self.to, self.test)
        return self


class SearchOptions(Options):
    """Options of `search` in a recipe."""

    table: InPath | list[InPath]
    out: OutPath
    text: Texts = Field(default_factory=list)
    image: InPaths = Field(default_factory=list)
    like: Texts = Field(default_factory=list)
    not_text: Texts = Field(default_factory=list)
    not_image: InPaths = Field(default_factory=list)
    unlike: Texts = Field(default_factory=list)
    at: tuple[float, float] | None = None
    model: InPath | None = None
    k: int = Field(10, ge=1)
    bbox: tuple[float, float, float, float] | None = None
    near: tuple[float, float, float] | None = None
    where: str | None = None
    min_distance_m: float | None = None

    def filter(self) -> Filter | None:
        """The filter that these options describe."""
        return filter_of(bbox=self.bbox, near=self.near, where=self.where)


class ClassifyOptions(Options):
    """Options of `classify` in a recipe.

    `scores` is a JSON file of the figures where `truth` is known, or of those of the head that `examples` fit.
    """

    table: InPath
    out: OutPath
    classes: Texts | None = None
    classes_file: InPath | None = None
    templates: Texts = Field(default_factory=list)
    model: InPath | None = None
    truth: str | None = None
    examples: InPath | None = None
    label: str = "class"
    ask: int = Field(10, ge=0)
    map: OutPath | None = None
    block: str | None = None
    buffer_m: float | None = Field(None, ge=0)
    where: str | None = None
    scores: OutPath | None = None

    @model_validator(mode="after")
    def _once(self) -> Self:
        if self.examples is not None:
            words = [name for name in ("classes", "classes_file", "templates", "model", "truth") if getattr(self, name)]
            if words:
                raise RecipeError(f"classify: examples say what the classes are: leave out {words[0]}")
            return self
        if self.map is not None or self.block is not None or self.buffer_m is not None:
            raise RecipeError("classify: map, block and buffer_m go with examples")
        if self.classes is not None and self.classes_file is not None:
            raise RecipeError("classify: classes and classes_file say the same: give one of them")
        if self.scores is not None and self.truth is None:
            raise RecipeError("classify: scores are of known classes: give truth, the column that holds them")
        return self


class ExplainOptions(Options):
    """Options of `explain` in a recipe: an image file, or a table and the `id` of a row. JSON stands beside `out`."""

    image: InPath
    out: OutPath
    text: str | None = None
    like_image: InPath | None = None
    id: str | None = None
    model: InPath | None = None
    method: Literal["dense", "crops", "grid"] = "dense"
    tile: int = Field(0, ge=0)
    pool: float = Field(0.15, ge=0, lt=1)
    cells: int = Field(4, ge=1)
    attention: Literal["value", "self"] = "value"
    debias: float = Field(0.3, ge=0, le=1)
    top: int = Field(4, ge=1)
    share: float = Field(0.9, gt=0, le=1)
    most: int = Field(8, ge=1)
    bands: tuple[int, ...] | None = None
    stretch: Stretched = "auto"

    @model_validator(mode="after")
    def _one_query(self) -> Self:
        if (self.text is None) == (self.like_image is None):
            raise RecipeError("explain: give one query: text, or like_image")
        return self


def index_step(options: IndexOptions, context: Context) -> Any:
    """Run the step."""
    from placevec.tasks.index import index_table

    assert options.out is not None  # its validator has seen to that
    if options.to is not None:
        return _load(options, options.to, context.path(options.out), context)
    summary = index_table(
        context.path(options.table),
        context.path(options.out),
        kind=options.kind,
        cells=options.cells,
        probes=options.probes,
        m=options.m,
        ef=options.ef,
        progress=context.progress,
    )
    return {name: value for name, value in summary.to_record().items() if name != "seconds"}


def _load(options: IndexOptions, to: str, receipt: Path, context: Context) -> Any:
    from placevec.tasks.index_to import index_to
    from placevec.tasks.store_receipt import within, write_receipt

    url = within(context.folder, to)
    loaded = index_to(
        context.path(options.table),
        url,
        replace=options.replace,
        quantize=options.quantize,
        test=options.test,
        progress=context.progress,
    )
    write_receipt(receipt, loaded, url, options.test)
    return {name: value for name, value in loaded.to_record().items() if name != "seconds"}


def index_standing(options: IndexOptions, context: Context) -> str:
    """Why the step has to be done again though its files are what they were: the store holds something else."""
    from placevec.tasks.store_receipt import missing, within

    if options.to is None or options.out is None:
        return ""
    return missing(context.path(options.out), within(context.folder, options.to), options.test)


def search_step(options: SearchOptions, context: Context) -> Any:
    """Run the step."""
    from placevec.tasks.search import search

    tables = paths_of(context, options.table)
    hits = search(
        tables if len(tables) > 1 else tables[0],
        text=options.text or None,
        image=[str(path) for path in paths_of(context, options.image)] or None,
        like=options.like or None,
        not_text=options.not_text or None,
        not_image=[str(path) for path in paths_of(context, options.not_image)] or None,
        unlike=options.unlike or None,
        at=options.at,
        model=optional_name(context, options.model),
        k=options.k,
        filter=options.filter(),
        min_distance_m=options.min_distance_m,
    )
    found = {"hits": hits.to_records(), "plan": hits.plan.to_record()}
    write_text(context.path(options.out), json.dumps(found, indent=1, default=jsonable) + "\n")
    return {"hits": len(hits), "plan": str(hits.plan)}


def classify_step(options: ClassifyOptions, context: Context) -> Any:
    """Run the step."""
    from placevec.tasks.classify import classify, parse_classes, read_classes

    if options.examples is not None:
        return _classify_by_example(options, options.examples, context)
    given = options.classes
    if options.classes_file is not None:
        given = read_classes(context.path(options.classes_file))
    found = classify(
        context.path(options.table),
        None if given is None else parse_classes(given),
        templates=options.templates,
        model=optional_name(context, options.model),
        out=context.path(options.out),
        truth=options.truth,
        filter=filter_of(where=options.where),
        seed=context.seed,
    )
    for line in found.notes:
        context.note(line)
    summary: dict[str, Any] = {
        "rows": {name: int(count) for name, count in zip(found.classes, found.counts, strict=True)}
    }
    if found.scores is not None:
        summary["scores"] = found.scores.to_records()
        if options.scores is not None:
            text = json.dumps(summary["scores"], indent=1, default=jsonable)
            write_text(context.path(options.scores), text + "\n")
    return summary


def _classify_by_example(options: ClassifyOptions, examples: str, context: Context) -> Any:
    from placevec.tasks.classify_examples import classify_by_example

    found = classify_by_example(
        context.path(options.table),
        context.path(examples),
        label=options.label,
        out=context.path(options.out),
        map_out=optional_path(context, options.map),
        ask=options.ask,
        block=options.block,
        buffer_m=options.buffer_m,
        filter=filter_of(where=options.where),
        seed=context.seed,
    )
    for line in (*found.notes, *([f"accuracy under blocks: {found.verdict}"] if found.verdict else [])):
        context.note(line)
    summary: dict[str, Any] = {
        "rows": {name: int(count) for name, count in zip(found.classes, found.counts, strict=True)},
        "ask": [str(one) for one in found.table.ids[found.ask]],
        "scores": [] if found.scores is None else found.scores.to_records(),
    }
    if options.scores is not None:
        text = json.dumps(summary["scores"], indent=1, default=jsonable)
        write_text(context.path(options.scores), text + "\n")
    return summary


def explain_step(options: ExplainOptions, context: Context) -> Any:
    """Run the step."""
    from placevec.features.evidence import Selection
    from placevec.tasks.explain import explain
    from placevec.tasks.explain_methods import Method

    found = explain(
        context.path(options.image),
        text=options.text,
        like_image=None if options.like_image is None else context.path(options.like_image),
        id=options.id,
        model=optional_name(context, options.model),
        method=Method(
            kind=options.method,
            tile=options.tile,
            pool=options.pool,
            cells=options.cells,
            attention=options.attention,
            debias=options.debias,
        ),
        selection=Selection(top=options.top, share=options.share, most=max(options.most, options.top)),
        bands=options.bands,
        stretch=options.stretch,
        out=context.path(options.out),
    )
    for line in found.notes:
        context.note(line)
    return {"summary": found.summary(), "regions": found.to_records()}
