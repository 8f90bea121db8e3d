"""The verbs that measure, as recipes know them: probe and the evaluations."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from placevec.config import InPath, NamedInPath, OutPath, refuse_unknown
from placevec.errors import RecipeError
from placevec.files import write_text
from placevec.tasks.run import Context
from placevec.tasks.verb_options import InPaths, Options, Reads, Texts, name_of, optional_name, optional_path

# The options of each evaluation besides `what` and `out`; the second list are those it cannot do without.
_LOCATION = ("compared", "targets", "on", "raw", "untrained", "bank", "modes", "bank_from_train", "protocol")
_RETRIEVAL = (
    *("model", "captions", "images", "split", "baselines", "protocol", "ties", "pixels"),
    *("duplicates", "turned", "draws"),
)
_LANDSCAPE = (
    *("tables", "untrained", "masked", "untrained_masked", "patches", "targets", "signature_layers"),
    *("neighbours", "mask_pixels", "rules"),
)
_CHIPS = ("on", "raster", "ground_m", "pixels", "resolution", "resampling", "nodata", "edge", "min_valid")
_GEOLOCATION = ("model", "untrained_model", "predictions", "rules", *_CHIPS)
_FUSION = ("modalities", "fused", "untrained", "labels", "targets", "rules")
_EVIDENCE = ("model", "captions", "images", "split", "names", "methods", "sides", "count", "tile", "cut", "draws")
_NEEDED = {
    "location": (_LOCATION, ("compared", "targets")),
    "retrieval": (_RETRIEVAL, ("model",)),
    "evidence": (_EVIDENCE, ("model", "captions")),
    "landscape": (_LANDSCAPE, ()),
    "geolocation": (_GEOLOCATION, ()),
    "fusion": (_FUSION, ("modalities", "labels", "targets")),
}


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
    estimators: tuple[Literal["ridge", "ols", "knn", "gp"], ...] = ("ridge", "knn")
    k: int = Field(5, ge=3)
    shuffles: int = Field(3, ge=1)
    coefficients: OutPath | None = None
    residuals: str | None = None  # of several targets a file each, NAME-TARGET


class EvaluateOptions(Options):
    """Options of `evaluate` in a recipe; which of them go with which `what` is checked.

    Attributes:
        what: "location" compares encoders of coordinates on targets; "retrieval" measures how well images and captions
            find each other; "evidence" measures which method of evidence points at the right place; "landscape"
            measures representations of patches by their neighbours and by what they were not shown; "geolocation"
            measures how far off a locator is; "fusion" measures fused tables beside all that learns nothing.
        out: a JSON file; beside it .md and .html, of landscape .md alone, of evidence neither.
        tables: landscape: learned tables by name; untrained, masked and untrained_masked likewise.
        patches: landscape: a patch set; signatures are counted and targets measured on it.
        rules: landscape: see `tasks.evaluate_landscape.LandscapeRules`; geolocation: `GeolocationRules`; fusion:
            `tasks.evaluate_fusion_rules.FusionProtocol`.
        modalities: fusion: tables of cells by name; untrained likewise.
        fused: fusion: learned tables by name, or folders of one table for each fold.
        labels: fusion: the file whose columns are the targets.
        compared: location: models and tables; NAME= may stand before.
        targets: location: a column, or NAME=RASTER and the like. Landscape: LAYER:mean and the like, or a column.
        protocol: location: rules, see `tasks.evaluate_protocol.Protocol`. Retrieval: "augmented-captions".
        model: retrieval and evidence: a pair of towers, or hf:NAME; retrieval also two tables, of images and captions.
        captions: retrieval: by default those of the model's training.
        images: the folder of their images, where it is elsewhere.
        split: that is tested.
        baselines: retrieval: further models, called by the names of their folders.
        raster: geolocation: what chips are cut from, as of training, see `verb_options.Reads`; without it `on` lists
            photos.
        untrained_model: geolocation: a locator before its first step.
        predictions: geolocation: points that anybody has given, with their truth, instead of a model.
        duplicates: retrieval: bits by which near-duplicates of other splits differ; -1: they are not looked for.
    """

    what: Literal["location", "retrieval", "evidence", "landscape", "geolocation", "fusion"] = "location"
    out: OutPath
    compared: list[NamedInPath] = Field(default_factory=list)
    targets: list[str] = Field(default_factory=list)
    on: InPath | None = None
    raw: InPath | None = None
    untrained: list[NamedInPath] | dict[str, InPath] = Field(default_factory=list)
    bank: InPath | None = None
    modes: list[str] = Field(default_factory=list)
    bank_from_train: list[str] = Field(default_factory=list)
    protocol: dict[str, Any] | Literal["official", "augmented-captions"] | None = None
    model: InPath | list[InPath] | None = None
    captions: InPath | None = None
    images: InPath | None = None
    split: str = "test"
    baselines: InPaths = Field(default_factory=list)
    ties: Literal["expected", "pessimistic", "optimistic"] = "expected"
    pixels: int | None = Field(None, ge=1)
    duplicates: int = Field(6, ge=-1, le=16)
    turned: bool = False
    draws: int = Field(1000, ge=1)
    names: InPath | None = None
    methods: Texts = Field(default_factory=list)
    sides: list[int] = Field(default_factory=lambda: [2, 3, 4], min_length=1)
    count: int = Field(30, ge=1)
    tile: int = Field(256, ge=8)
    cut: float = Field(0.5, ge=0, lt=1)
    tables: dict[str, InPath] = Field(default_factory=dict)
    masked: dict[str, InPath] = Field(default_factory=dict)
    untrained_masked: dict[str, InPath] = Field(default_factory=dict)
    patches: InPath | None = None
    signature_layers: Texts = Field(default_factory=list)
    neighbours: Literal[4, 8] = 4
    mask_pixels: int | None = Field(None, ge=1)
    rules: dict[str, Any] = Field(default_factory=dict)
    raster: InPath | None = None
    ground_m: float | None = None
    resolution: int | None = None
    resampling: Literal["bilinear", "nearest", "mode"] = "bilinear"
    nodata: Literal["keep", "skip"] = "keep"
    edge: Literal["pad", "skip"] = "pad"
    min_valid: float = 0.5
    untrained_model: InPath | None = None
    predictions: InPath | None = None
    modalities: dict[str, InPath] = Field(default_factory=dict)
    fused: dict[str, InPath] = Field(default_factory=dict)
    labels: InPath | None = None

    @model_validator(mode="after")
    def _of_its_kind(self) -> Self:
        known, needed = _NEEDED[self.what]
        refuse_unknown(sorted(self.model_fields_set), ("what", "out", *known), f"evaluate with what = {self.what!r}")
        absent = next((name for name in needed if not getattr(self, name)), None)
        if absent is not None:
            raise RecipeError(f"evaluate with what = {self.what!r} needs {absent!r}")
        if isinstance(self.protocol, str if self.what == "location" else dict):
            raise RecipeError("evaluate: protocol is a table of rules for location, and a name for retrieval")
        if isinstance(self.untrained, dict) != (self.what in ("landscape", "fusion")) and self.untrained:
            form = "a table of names and paths" if self.what in ("landscape", "fusion") else "a list of paths"
            raise RecipeError(f"evaluate with what = {self.what!r}: untrained is {form}")
        if self.what == "geolocation" and (self.model is None) == (self.predictions is None):
            raise RecipeError("evaluate with what = 'geolocation' needs either a model or predictions")
        if isinstance(self.model, list) and (self.what != "retrieval" or len(self.model) != 2):
            raise RecipeError("evaluate: model is one pair of towers or for retrieval two tables (images, captions)")
        return self


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
        labels=optional_path(context, options.labels),
        raw=optional_path(context, options.raw),
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
        coefficients=optional_path(context, options.coefficients),
        residuals=optional_path(context, options.residuals),
        said=context.note,
        progress=lambda label, done, total: context.progress(done, total, {}),
    )
    return {report.target: best.features for report in reports if (best := report.best("block", learned=True))}


def evaluate_step(options: EvaluateOptions, context: Context) -> Any:
    """Run the step."""
    steps = {
        "location": _location,
        "retrieval": _retrieval,
        "evidence": _evidence,
        "landscape": _landscape,
        "geolocation": _geolocation,
        "fusion": _fusion,
    }
    return steps[options.what](options, context)


def _location(options: EvaluateOptions, context: Context) -> Any:
    from placevec.tasks.evaluate_location import evaluate_location
    from placevec.tasks.evaluate_protocol import Protocol

    given = options.protocol if isinstance(options.protocol, dict) else {}
    rules: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}
    refuse_unknown(rules, [field.name for field in fields(Protocol)], "protocol")
    found = evaluate_location(
        [_model(context, one) for one in options.compared],
        options.targets,
        on=optional_path(context, options.on),
        area=context.folder if context.area is not None and options.on is None else None,
        raw=optional_path(context, options.raw),
        untrained=[_model(context, one) for one in options.untrained],
        bank=optional_path(context, options.bank),
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


def _retrieval(options: EvaluateOptions, context: Context) -> Any:
    from placevec.tasks.evaluate_retrieval import evaluate_retrieval
    from placevec.tasks.evaluate_retrieval_page import headline

    assert options.model is not None
    given = [options.model] if isinstance(options.model, str) else options.model
    models = [name_of(context, one) for one in given]
    baselines = [name_of(context, one) for one in options.baselines]
    found = evaluate_retrieval(
        models[0] if len(models) == 1 else tuple(models),
        captions=optional_name(context, options.captions),
        images=optional_path(context, options.images),
        split=options.split,
        # By their whole names: models/ucm.untrained is not the ucm that it stands beside.
        baselines={one if one.startswith("hf:") else Path(one).name: one for one in baselines},
        protocol=options.protocol if isinstance(options.protocol, str) else "official",
        ties=options.ties,
        pixels=options.pixels,
        duplicates=None if options.duplicates < 0 else options.duplicates,
        turned=options.turned,
        draws=options.draws,
        seed=context.seed,
        out=context.path(options.out),
        progress=lambda what, done, total: context.progress(done, total, {"": what}),
    )
    for line in [*found.notes, *headline(found)]:
        context.note(line)
    rows = [record for record in found.to_records() if record["definition"] == "official"]
    return {f"{row['measure']} ({row['direction']})": round(row["value"], 4) for row in rows}


def _evidence(options: EvaluateOptions, context: Context) -> Any:
    from placevec.tasks.evaluate_evidence import evaluate_captions
    from placevec.tasks.explain_mosaics import Plan

    assert isinstance(options.model, str)
    assert options.captions is not None
    found = evaluate_captions(
        name_of(context, options.captions),
        name_of(context, options.model),
        images=optional_path(context, options.images),
        split=options.split,
        names=optional_path(context, options.names),
        methods=options.methods or None,
        plan=Plan(
            sides=tuple(options.sides),
            count=options.count,
            tile=options.tile,
            cut=options.cut,
            draws=options.draws,
            seed=context.seed,
        ),
        progress=lambda done, total: context.progress(done, total, {}),
    )
    for line in found.notes:
        context.note(line)
    write_text(context.path(options.out), json.dumps(found.to_json(), indent=1, allow_nan=False) + "\n")
    return {f"{row['method']} ({row['side']})": round(row["pointing"], 4) for row in found.records}


def _landscape(options: EvaluateOptions, context: Context) -> Any:
    from placevec.tasks.evaluate_landscape import LandscapeRules, evaluate_landscape

    rules: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in options.rules.items()
    }
    refuse_unknown(rules, [field.name for field in fields(LandscapeRules)], "rules")

    def paths(given: dict[str, str]) -> dict[str, Path]:
        return {name: context.path(path) for name, path in given.items()}

    found = evaluate_landscape(
        paths(options.tables),
        untrained=paths(options.untrained) if isinstance(options.untrained, dict) else (),
        masked=paths(options.masked),
        untrained_masked=paths(options.untrained_masked),
        patches=optional_path(context, options.patches),
        targets=options.targets or None,
        signature_layers=options.signature_layers or None,
        neighbours=options.neighbours,
        mask_pixels=options.mask_pixels,
        rules=LandscapeRules(**({"seed": context.seed} | rules)),
        out=context.path(options.out),
        progress=lambda label, done, total: context.progress(done, total, {"": label}),
    )
    for line in [*found.notes, *found.headline()]:
        context.note(line)
    return {
        f"{row['representation']}: {row['task']}, {row['measure']}": round(row["value"], 4)
        for row in found.to_records()
        if row["outcome"] and row["value"] is not None
    }


def _geolocation(options: EvaluateOptions, context: Context) -> Any:
    from placevec.tasks.evaluate_geolocation import GeolocationRules, evaluate_geolocation, headlines
    from placevec.tasks.evaluate_geolocation_given import read_predictions

    rules: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in options.rules.items()
    }
    refuse_unknown(rules, [field.name for field in fields(GeolocationRules)], "rules")
    assert not isinstance(options.model, list)
    given = {name: getattr(options, name) for name in _CHIPS if name in options.model_fields_set}
    on = Reads(**given).input(context)
    predictions = None
    if options.predictions is not None:
        places = on.places() if given else None
        predictions = read_predictions(context.path(options.predictions), places)
    found = evaluate_geolocation(
        optional_path(context, options.model),
        None if predictions is not None else on,
        untrained=optional_path(context, options.untrained_model),
        predictions=predictions,
        rules=GeolocationRules(**({"seed": context.seed} | rules)),
        out=context.path(options.out),
        progress=lambda label, done, total: context.progress(done, total, {"": label}),
    )
    for line in headlines(found):
        context.note(line)
    return {record["method"]: round(record["median_km"], 3) for record in found.to_records()}


def _fusion(options: EvaluateOptions, context: Context) -> Any:
    from placevec.tasks.evaluate_fusion import FusionProtocol, evaluate_fusion
    from placevec.tasks.evaluate_fusion_words import headline

    rules: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in options.rules.items()
    }
    refuse_unknown(rules, [field.name for field in fields(FusionProtocol)], "rules")

    def paths(given: dict[str, str]) -> dict[str, Path]:
        return {name: context.path(path) for name, path in given.items()}

    assert options.labels is not None
    found = evaluate_fusion(
        paths(options.modalities),
        context.path(options.labels),
        options.targets,
        fused=paths(options.fused),
        untrained=paths(options.untrained) if isinstance(options.untrained, dict) else (),
        rules=FusionProtocol(**({"seed": context.seed} | rules)),
        out=context.path(options.out),
        restart=context.restart,
        progress=lambda target, label, done, total: context.progress(done, total, {"": f"{target}, {label}"}),
    )
    for line in [*found.notes, *headline(found)]:
        context.note(line)
    records = [record for record in found.to_records() if record["split"] == found.splits[-1] and record["learned"]]
    return {f"{record['target']}: {record['features']}": record["verdict"] for record in records}
