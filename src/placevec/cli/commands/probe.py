"""`placevec probe`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from placevec.cli.commands.options import Format, Probes, Quiet, Seed, estimators_of


class Transform(StrEnum):
    """What is done to the target."""

    none = "none"
    log1p = "log1p"


class Kind(StrEnum):
    """What the target is."""

    auto = "auto"
    regression = "regression"
    classification = "classification"


def command(
    tables: Annotated[list[Path], typer.Argument(help="Tables of the same places.", show_default=False)],
    target: Annotated[
        list[str], typer.Option("--target", "-t", help="A column, or NAME=RASTER; may be repeated.", show_default=False)
    ],
    labels: Annotated[Path | None, typer.Option(help="Table or CSV with the target columns, by id.")] = None,
    raw: Annotated[Path | None, typer.Option(help="Table of raw features: a compulsory baseline.")] = None,
    untrained: Annotated[list[Path] | None, typer.Option(help="Table of an untrained network: a baseline.")] = None,
    transform: Annotated[Transform, typer.Option(help="Predict log(1 + target).")] = Transform.none,
    kind: Annotated[Kind, typer.Option(help="Value or class.")] = Kind.auto,
    block: Annotated[str | None, typer.Option(help="Blocks such as h3:3; by default from the variogram.")] = None,
    buffer: Annotated[
        str | None, typer.Option(help="Around test rows, such as 50km; by default a chip's width.")
    ] = None,
    probes: Probes = None,
    k: Annotated[int, typer.Option("-k", min=3, help="Folds.")] = 5,
    shuffles: Annotated[int, typer.Option(min=1, help="Repetitions with other folds.")] = 3,
    unseen: Annotated[bool, typer.Option("--unseen", help="Only rows whose label nothing has seen.")] = False,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="JSON file for the whole report.")] = None,
    coefficients: Annotated[
        Path | None, typer.Option(help="JSON file for coefficients of linear probes; CSV and figures beside it.")
    ] = None,
    residuals: Annotated[
        Path | None, typer.Option(help="GeoJSON file for residuals in dissolved bins; a map beside it.")
    ] = None,
    seed: Seed = 0,
    quiet: Quiet = False,
    form: Format = None,
) -> None:
    """Ask what vectors know about a target, under random and block splits, beside the compulsory baselines.

    Example: placevec probe demo/iberia/tables/image.parquet -t elevation=dataset:etopo20 --shuffles 5

    Example: placevec probe tables/roads.parquet tables/transit.parquet --labels targets.parquet -t jobs
    --transform log1p --probe ridge --probe ols --coefficients results/jobs.json --residuals results/jobs.geojson
    """
    import sys

    from placevec.cli.output import emit, note, progress
    from placevec.geo.boxes import parse_distance
    from placevec.tasks.probe import probe

    with progress("probe", quiet=quiet) as told:
        reports = probe(
            tables,
            target,
            labels=labels,
            raw=raw,
            untrained=untrained,
            transform=transform.value,
            kind=kind.value,
            block=block,
            buffer_m=None if buffer is None else parse_distance(buffer),
            estimators=estimators_of(probes),
            k=k,
            shuffles=shuffles,
            unseen=unseen,
            seed=seed,
            out=out,
            coefficients=coefficients,
            residuals=residuals,
            said=note,
            progress=lambda label, done, total: told(done, total, {"": label}),
        )
    for report in reports:
        dropped = f", {report.n_missing:,} without a value left out" if report.n_missing else ""
        note(f"{report.target}: {report.n:,} places{dropped}")
        for split in report.splits:
            blocks = f"blocks {split.block}, buffer {split.buffer_m / 1000:g} km" if split.block else "random folds"
            note(f"  {split.kind}: {blocks}; {split.n_train:,.0f} rows train, {split.n_buffered:,.0f} in the buffer")
        if report.absent:
            note(f"  compulsory baselines that were not given: {', '.join(report.absent)}")
    shown = ("target", "split", "features", "learned", "metric", "mean", "sd", "low", "high", "verdict")
    records = [record for report in reports for record in report.to_records()]
    if form is None and sys.stdout.isatty():
        records = [{name: record[name] for name in shown} for record in records]
    emit(records, form)
