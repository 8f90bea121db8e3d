"""`placevec train`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from placevec.cli.commands import reads
from placevec.cli.commands.options import Format, Quiet, Seed


class Objective(StrEnum):
    """What is learned."""

    image = "image"
    location = "location"
    image_text = "image-text"
    landscape = "landscape"
    locate = "locate"
    fuse = "fuse"


SOURCES = {
    Objective.image: "chips (--raster)",
    Objective.location: "the vectors of --table",
    Objective.image_text: "--captions",
    Objective.landscape: "patches (--on FOLDER)",
    Objective.locate: "photos (--on LIST) or chips (--raster) in --regions",
    Objective.fuse: "tables of hexagons (--modality NAME=TABLE)",
}


class Phase(StrEnum):
    """Of a locator."""

    province = "province"
    geography = "geography"
    tuning = "tuning"


class Precision(StrEnum):
    """Of the arithmetic."""

    full = "32-true"
    bf16 = "bf16-mixed"


def command(
    recipe: Annotated[
        Path | None,
        typer.Argument(help="A recipe; its steps up to the last train are run. Or an objective: image-text, ..."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The model folder to write.")] = None,
    objective: Annotated[
        Objective | None,
        typer.Option(
            help="image: from chips. location: against --table. image-text: from --captions. landscape: from patches. "
            "locate: from located images. fuse: from tables of modalities."
        ),
    ] = None,
    table: Annotated[
        list[Path] | None, typer.Option(help="Vectors with coordinates, for location; repeat it for more sources.")
    ] = None,
    captions: Annotated[
        str | None,
        typer.Option(help="Images with captions, for image-text: JSON, JSONL, CSV, a folder, or dataset:ucm."),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder of the images of --captions; of locate: photos, a folder or a list.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Train a pair of towers further: its folder, hf:NAME or hf:FOLDER (CLIP, SigLIP)."),
    ] = None,
    on: reads.On = "cells",
    area: reads.Area = None,
    resolution: reads.Resolution = None,
    lon: reads.Lon = "lon",
    lat: reads.Lat = "lat",
    id: reads.Id = None,
    limit: reads.Limit = None,
    raster: reads.RasterName = None,
    ground: reads.Ground = None,
    pixels: reads.Pixels = None,
    dims: Annotated[int | None, typer.Option(min=1, help="Components of a vector.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the training rows.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Rows of one step; of fuse cones.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="At its highest.")] = None,
    patience: Annotated[int | None, typer.Option(min=0, help="Stop after so many validations without gain.")] = None,
    config: Annotated[
        list[str] | None,
        typer.Option(help="Any other setting, SETTING=VALUE, such as position.kind=local; repeatable."),
    ] = None,
    sweep: Annotated[
        list[str] | None,
        typer.Option(help="SETTING=VALUE,VALUE,...: a run for each; repeat it for all combinations."),
    ] = None,
    rank_by: Annotated[
        str | None, typer.Option(help="The validation figure that ranks a sweep: mrr, recall_at_1, loss, ...")
    ] = None,
    block: Annotated[
        str | None,
        typer.Option(
            help="Blocks of the validation split; h3:3, of landscape h3:6, of fuse the coarsest level.",
            show_default=False,
        ),
    ] = None,
    folds: Annotated[
        int, typer.Option(min=0, help="One of so many folds of blocks is for validation; of fuse 0: none is.")
    ] = 10,
    test_folds: Annotated[
        int | None,
        typer.Option(min=0, help="Folds kept for a test: of landscape 0, of locate 1.", show_default=False),
    ] = None,
    calibration_folds: Annotated[int, typer.Option(min=0, help="Of locate: folds to calibrate on.")] = 1,
    split_seed: Annotated[int, typer.Option(min=0, help="Of locate: another one deals the blocks otherwise.")] = 0,
    buffer: Annotated[
        str | None, typer.Option(help="Of locate and fuse: around what is held out, such as 5km; a chip's diagonal.")
    ] = None,
    regions: Annotated[str | None, typer.Option(help="Of locate: GeoJSON of the provinces, or dataset:NAME.")] = None,
    region_column: Annotated[str | None, typer.Option(help="Its property that names them.")] = None,
    phase: Annotated[
        list[Phase] | None, typer.Option(help="Of locate: province, geography, tuning; by default all that are left.")
    ] = None,
    start: Annotated[Path | None, typer.Option(help="Of locate: the model that the phase before has written.")] = None,
    modality: reads.Modalities = None,
    levels: Annotated[
        str | None, typer.Option(help="Of fuse: H3 resolutions, such as 9,8,7; the tables' own and two above.")
    ] = None,
    graph: reads.Graphs = None,
    labels: Annotated[Path | None, typer.Option(help="Of fuse: targets by cell to learn from besides.")] = None,
    target: Annotated[list[str] | None, typer.Option("--target", "-t", help="A column of --labels.")] = None,
    log1p: Annotated[list[str] | None, typer.Option(help="A target of which ln(1 + x) is learned.")] = None,
    fold: Annotated[
        int | None, typer.Option(min=0, help="Of fuse with --labels: the fold of --test-folds [5] that stays unseen.")
    ] = None,
    precision: Annotated[Precision, typer.Option(help="bf16-mixed on machines that have it.")] = Precision.full,
    accelerator: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    devices: Annotated[int, typer.Option(min=1, help="Devices of a machine (DDP above 1).")] = 1,
    nodes: Annotated[int, typer.Option(min=1, help="Machines, under torchrun.")] = 1,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write TensorBoard events.")] = False,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Override of a recipe: steps.NAME.OPTION=VALUE or vars.NAME=VALUE."),
    ] = None,
    smoke: Annotated[bool, typer.Option("--smoke", help="With the recipe's small settings.")] = False,
    untrained: Annotated[Path | None, typer.Option(help="Write the untrained network too: a baseline.")] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Forget an earlier run.")] = False,
    seed: Seed = 0,
    quiet: Quiet = False,
    form: Format = None,
) -> None:
    """Learn a model. Killed at any moment, the same command goes on and ends with the same weights.

    Example: placevec train --area demo/iberia --raster dataset:blue-marble --ground 60km --pixels 16 -o models/image

    Example: placevec train --table clay.parquet --config position.degrees=30 -o models/location

    Example: placevec train --table clay.parquet --sweep nn.capacity=512,1024 --sweep nn.dropout=0.1,0.3 -o models/best

    Example: placevec train image-text --captions dataset:ucm -o models/ucm

    Example: placevec train landscape --on patches/pairs -o models/landscape

    Example: placevec train locate --on photos.parquet --regions provinces.geojson -o models/locator

    Example: placevec train fuse --modality roads.parquet --modality transit.parquet -o models/fuser

    Example: placevec train examples/retrieval/rsicd.toml --captions rsicd --model hf:openai/clip-vit-base-patch32
    """
    from placevec.cli.output import emit, note, progress
    from placevec.encoders.model import check_model_name
    from placevec.errors import UsageError
    from placevec.geo.boxes import parse_distance

    if recipe is not None and str(recipe) in list(Objective) and not recipe.exists():
        if objective not in (None, str(recipe)):
            raise UsageError(f"{recipe} and --objective {objective} contradict each other: give one of them")
        objective, recipe = Objective(str(recipe)), None
    if recipe is not None:
        from placevec.cli.commands.run import execute

        options = {"--out": out, "--table": table, "--config": config, "--sweep": sweep}
        for name, given in options.items():
            if given:
                raise UsageError(
                    f"{name} does not go with a recipe: set the option of its step by --set steps.NAME...."
                )
        variables = {"captions": captions, "images": images, "model": model}
        chosen_vars = [f"vars.{name}={absolute(str(given))}" for name, given in variables.items() if given]
        every = [*chosen_vars, *(set_ or [])]
        execute(recipe, area, smoke=smoke, overrides=every, until="train", force=restart, quiet=quiet, form=form)
        return
    if out is None:
        raise UsageError("where shall the model go? give --out FOLDER, or a recipe")
    check_model_name(out)
    if rank_by is not None and not sweep:
        raise UsageError(f"--rank-by {rank_by} ranks the runs of a sweep: give --sweep SETTING=VALUE,VALUE as well")
    guessed = Objective.location if table else Objective.fuse if modality else Objective.image
    kind = objective or (Objective.image_text if captions else guessed)
    located_only = {Objective.locate}
    fused: dict[str, Any] = {
        "--modality": modality,
        "--levels": levels,
        "--graph": graph,
        "--labels": labels,
        "--target": target,
    }
    fused |= {"--log1p": log1p, "--fold": None if fold is None else str(fold)}
    own: dict[str, tuple[Any, set[Objective]]] = {
        "--table": (table, {Objective.location}),
        "--captions": (captions, {Objective.image_text}),
        "--images": (images, {Objective.image_text, Objective.locate}),
        "--model": (model, {Objective.image_text}),
        "--test-folds": (test_folds, {Objective.landscape, Objective.locate, Objective.fuse}),
        "--regions": (regions, located_only),
        "--region-column": (region_column, located_only),
        "--phase": (phase, located_only),
        "--start": (start, located_only),
        "--buffer": (buffer, {Objective.locate, Objective.fuse}),
        "--split-seed": (split_seed, {Objective.locate, Objective.fuse}),
        **{name: (given, {Objective.fuse}) for name, given in fused.items()},
    }
    for option, (given, fits) in own.items():
        if given and kind not in fits:
            names = " or ".join(one.value for one in Objective if one in fits)
            raise UsageError(f"{option} is for --objective {names}: {kind} learns from {SOURCES[kind]}")
    from placevec.tasks import settings
    from placevec.tasks.photo_inputs import photos_of
    from placevec.tasks.sweep import sweep as train_all
    from placevec.tasks.train import train

    loop = {
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "patience": patience,
        "precision": precision.value,
        "accelerator": accelerator,
        "devices": devices,
        "nodes": nodes,
        "strategy": "ddp" if devices * nodes > 1 else "auto",
        "tensorboard": tensorboard,
        "seed": seed,
    }
    chosen: dict[str, Any] = {"loop": {name: value for name, value in loop.items() if value is not None}}
    if kind is Objective.landscape:
        chosen |= {} if dims is None else {"dims": dims}
    elif kind is Objective.locate:
        chosen = _of_phases(chosen["loop"], dims)
    elif kind is Objective.image_text:
        chosen |= {name: value for name, value in (("dims", dims), ("pixels", pixels)) if value is not None}
    elif kind is Objective.fuse:
        chosen |= {} if dims is None else {"part": dims}
    elif dims is not None:
        chosen["encoder"] = {"net": {"dims": dims}} if kind is Objective.image else {"dims": dims}
    if config:
        chosen = settings.with_settings(kind.value, chosen, settings.parse_settings(config))
    if kind is not Objective.fuse:
        block = block or ("h3:6" if kind is Objective.landscape else "h3:3")
        if folds < 2:
            raise UsageError(f"--folds {folds}: one of at least 2 folds is for validation")
    inputs: dict[str, Any] = {"block": block, "folds": folds, "untrained": untrained, "restart": restart}
    if kind is Objective.fuse:
        inputs |= {"modalities": reads.modalities_from(modality), "levels": levels, "graphs": graph or []}
        inputs |= {"supervision": _taught(labels, target, log1p, fold, test_folds, block, split_seed, buffer)}
    elif kind is Objective.landscape:
        if on == "cells":
            raise UsageError(
                "--on FOLDER: a landscape is learned from the patch set of pairs that `area patches` writes"
            )
        inputs |= {"input": reads.input_from(on, None, None, lon, lat, id, limit, None, None, None)}
        inputs |= {"test_folds": test_folds or 0}
    elif kind is Objective.locate:
        if regions is None:
            raise UsageError("--regions FILE: a locator tells the provinces of a region apart; give their GeoJSON")
        located = reads.input_from(*(on, area, resolution, lon, lat, id, limit, raster, ground, pixels), images=images)
        # The middle of a photo, in its own shape; a squashed one looks like no other.
        inputs |= {"input": photos_of(located.model_copy(update={"fit": "crop"}) if images else located, pixels)}
        inputs |= {"regions": regions, "region_column": region_column, "phases": phase or [], "start": start}
        inputs |= {"test_folds": test_folds, "calibration_folds": calibration_folds, "split_seed": split_seed}
        inputs |= {} if buffer is None else {"buffer_m": parse_distance(buffer)}
    elif kind is Objective.image:
        inputs["input"] = reads.input_from(on, area, resolution, lon, lat, id, limit, raster, ground, pixels)
    elif kind is Objective.image_text:
        inputs |= {"captions": captions, "images": images, "model": model}
    elif table:
        inputs["table"] = table[0] if len(table) == 1 else table
    notes: tuple[str, ...] = ()
    with progress("train", quiet=quiet) as told:
        if sweep:
            values = settings.parse_sweeps(sweep)
            say = None if quiet else note
            ranked = train_all(
                kind.value, out, values, config=chosen, rank_by=rank_by, progress=told, note=say, **inputs
            )
            records = ranked.records()
        else:
            made = train(kind.value, out, config=chosen, progress=told, **inputs)
            records = [{name: value for name, value in made.to_record().items() if name != "notes"}]
            notes = made.notes
    from placevec.train.objectives import first_process

    if first_process():
        for line in notes:
            note(line)
        emit(records, form)


def _taught(
    labels: Path | None,
    targets: list[str] | None,
    log1p: list[str] | None,
    fold: int | None,
    folds: int | None,
    block: str | None,
    seed: int,
    buffer: str | None,
) -> Any:
    """The targets that a fuser learns from, None where there are none."""
    from placevec.errors import UsageError
    from placevec.geo.boxes import parse_distance
    from placevec.tasks.train_fuse import Supervision

    if labels is None:
        if targets or log1p or fold is not None or folds is not None or buffer is not None:
            raise UsageError(
                "--target, --log1p, --fold, --test-folds and --buffer say how --labels FILE is learned from"
            )
        return None
    if fold is None or not targets:
        raise UsageError("--labels: say what is learned, --target COLUMN, and which fold stays unseen, --fold 0")
    buffer_m = 0.0 if buffer is None else parse_distance(buffer)
    return Supervision(
        *(labels, tuple(targets), fold, folds or 5, block or "", seed, buffer_m, tuple(log1p or ())),
    )


def _of_phases(loop: dict[str, Any], dims: int | None) -> dict[str, Any]:
    """Settings of a locator: what is said of the loop holds for each phase."""
    phases = {name.value: {"loop": dict(loop)} for name in Phase}
    return {"seed": loop["seed"], **phases, **({} if dims is None else {"head": {"dims": dims}})}


def absolute(name: str) -> str:
    """A path that exists from its root on, with ``hf:`` before it where it has that; other names as they are.

    What a recipe reads begins in the recipe's folder, what a command line names in the one that it is given in.
    """
    kind, colon, rest = name.rpartition(":")
    path = Path(rest)
    return f"{kind}{colon}{path.absolute()}" if kind in ("", "hf") and path.exists() else name
