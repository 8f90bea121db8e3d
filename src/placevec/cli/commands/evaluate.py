"""`placevec evaluate`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from placevec.cli.commands.evaluate_evidence import command as evidence
from placevec.cli.commands.evaluate_fusion import command as fusion
from placevec.cli.commands.evaluate_geolocation import command as geolocation
from placevec.cli.commands.evaluate_landscape import command as landscape
from placevec.cli.commands.evaluate_retrieval import retrieval
from placevec.cli.commands.evaluate_transfer import command as transfer
from placevec.cli.commands.options import Format, Probes, Quiet, Seed, estimators_of

app = typer.Typer(no_args_is_help=True, help="Measure encoders by the whole protocol, in one report.")


class Splits(StrEnum):
    """Which splits are made."""

    both = "both"
    random = "random"
    block = "block"


@app.command("location")
def location(
    compared: Annotated[
        list[str],
        typer.Argument(help="Model folders, tables, sincos, harmonics:L; NAME= may stand before.", show_default=False),
    ],
    target: Annotated[
        list[str],
        typer.Option(
            "--target",
            "-t",
            help="COLUMN, NAME=RASTER, NAME=FILE.csv:COLUMN@LON,LAT or NAME=FILE.geojson:PROPERTY; may be repeated.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="A JSON file; .md and .html beside it.", show_default=False)],
    area: Annotated[Path | None, typer.Option(help="Folder of a study area: its cells are the places.")] = None,
    on: Annotated[Path | None, typer.Option(help="A file of places: table, CSV, GeoJSON.")] = None,
    resolution: Annotated[int | None, typer.Option(help="H3 resolution of the area's cells.")] = None,
    lon: Annotated[str, typer.Option(help="Column of longitudes in CSVs.")] = "lon",
    lat: Annotated[str, typer.Option(help="Column of latitudes in CSVs.")] = "lat",
    id: Annotated[str | None, typer.Option("--id", help="Column that names a row in CSVs.")] = None,
    raw: Annotated[Path | None, typer.Option(help="Table of raw features: a compulsory baseline.")] = None,
    untrained: Annotated[list[str] | None, typer.Option(help="Table or model of an untrained network.")] = None,
    bank: Annotated[Path | None, typer.Option(help="Table that is looked up: further rows, by --mode.")] = None,
    mode: Annotated[list[str] | None, typer.Option("--mode", help="As of augment; may be repeated.")] = None,
    bank_from_train: Annotated[
        list[str] | None,
        typer.Option(help="Column of a target's CSV, looked up among the training rows of each fold; may be repeated."),
    ] = None,
    splits: Annotated[Splits, typer.Option(help="Random and spatial blocks, or one alone.")] = Splits.both,
    block: Annotated[
        list[str] | None, typer.Option(help="Blocks such as h3:3, or NAME=h3:6; by default from the variogram.")
    ] = None,
    buffer: Annotated[
        str | None, typer.Option(help="Around test rows, such as 50km; by default a chip's width.")
    ] = None,
    probes: Probes = None,
    log1p: Annotated[list[str] | None, typer.Option(help="A target of which log(1 + y) is predicted.")] = None,
    classes: Annotated[list[str] | None, typer.Option("--class", help="A target whose numbers are classes.")] = None,
    min_places: Annotated[int, typer.Option(min=9, help="Skip targets with a value at fewer places.")] = 100,
    limit: Annotated[int, typer.Option(min=0, help="At most so many places of a target, at random; 0: all.")] = 0,
    k: Annotated[int, typer.Option("-k", min=3, help="Folds.")] = 5,
    shuffles: Annotated[int, typer.Option(min=1, help="Repetitions with other folds.")] = 3,
    html: Annotated[bool, typer.Option(help="Write the HTML report, which needs matplotlib.")] = True,
    restart: Annotated[bool, typer.Option("--restart", help="Forget finished targets.")] = False,
    seed: Seed = 0,
    quiet: Quiet = False,
    form: Format = None,
) -> None:
    """Evaluate encoders of coordinates and tables on targets, beside every compulsory baseline.

    Finished targets are kept beside the output: the same command goes on from there.

    Example: placevec evaluate location demo/iberia/models/location demo/iberia/tables/image.parquet --area demo/iberia
    -t elevation=dataset:etopo20 -t country=dataset:natural-earth-110m:NAME -o results/location.json
    """
    import sys

    from placevec.cli.output import emit, note, progress
    from placevec.tasks.evaluate_location import evaluate_location
    from placevec.tasks.evaluate_protocol import Protocol
    from placevec.tasks.evaluate_targets import Columns

    rules = Protocol(
        splits=splits.value,
        k=k,
        shuffles=shuffles,
        block=_blocks(block or []),
        buffer_m=None if buffer is None else _metres(buffer),
        estimators=estimators_of(probes),
        log1p=tuple(log1p or ()),
        classes=tuple(classes or ()),
        min_places=min_places,
        limit=limit,
        seed=seed,
    )
    with progress("evaluate", quiet=quiet) as told:
        found = evaluate_location(
            compared,
            target,
            on=on,
            area=area,
            resolution=resolution,
            columns=Columns(lon, lat, id),
            raw=raw,
            untrained=untrained or (),
            bank=bank,
            modes=mode or (),
            bank_from_train=bank_from_train or (),
            protocol=rules,
            out=out,
            html=html,
            restart=restart,
            progress=lambda name, label, done, total: told(done, total, {"": f"{name}, {label}"}),
        )
    if found.resumed:
        note(f"{found.resumed} of {len(found.targets)} targets were done before and are unchanged")
    for name, why in found.skipped.items():
        note(f"{name} was skipped: {why}")
    for line in found.notes:
        note(line)
    for report in found.targets:
        if report["absent_baselines"]:
            absent = ", ".join(report["absent_baselines"])
            note(f"{report['target']}: compulsory baselines that were not given: {absent}")
    written = [out, out.with_suffix(".md"), *([out.with_suffix(".html")] if html else [])]
    note(", ".join(str(path) for path in written))
    records = found.to_records()
    if form is None and sys.stdout.isatty():
        shown = ("target", "split", "features", "metric", "mean", "sd", "low", "high", "verdict")
        records = [{name: record[name] for name in shown} for record in records]
    emit(records, form)


app.command("retrieval")(retrieval)
app.command("evidence")(evidence)
app.command("landscape")(landscape)
app.command("geolocation")(geolocation)
app.command("fusion")(fusion)
app.command("transfer")(transfer)


def _blocks(given: list[str]) -> str | dict[str, str] | None:
    """Blocks for all targets, or by the names of targets."""
    from placevec.errors import UsageError

    named = dict(text.split("=", 1) for text in given if "=" in text)
    rest = [text for text in given if "=" not in text]
    if len(rest) > 1 or (rest and named):
        raise UsageError(f"--block {' --block '.join(given)}: give one for all targets, or NAME=BLOCKS for each")
    return named or (rest[0] if rest else None)


def _metres(text: str) -> float:
    """A distance with its unit."""
    from placevec.errors import UsageError
    from placevec.geo.boxes import parse_distance

    try:
        return parse_distance(text)
    except UsageError:
        raise UsageError(f"--buffer {text}: write a distance like 60km or 800m") from None
