"""`placevec import`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from placevec.cli.commands.options import Bbox, Format, Out, Quiet


class Storage(StrEnum):
    """How a component is stored."""

    float32 = "float32"
    float16 = "float16"
    int8 = "int8"


class Order(StrEnum):
    """The order of rows in the table written."""

    auto = "auto"
    hilbert = "hilbert"
    keep = "keep"


def command(
    files: Annotated[list[str], typer.Argument(help="Files or patterns.", show_default=False)],
    out: Out,
    as_: Annotated[
        str, typer.Option("--as", help="What the files are: table, satclip, geoclip, open-clip, places365.")
    ] = "table",
    basis: Annotated[
        str | None,
        typer.Option(help="satclip, where the file does not say: analytic, closed-form, analytic-corrected."),
    ] = None,
    tokenizer: Annotated[
        str | None, typer.Option(help="open-clip: a folder with CLIP's tokenizer, or bpe_simple_vocab_16e6.txt.gz.")
    ] = None,
    activation: Annotated[
        str | None, typer.Option(help="open-clip: quick_gelu (of OpenAI's kin) or gelu (of LAION's).")
    ] = None,
    crs: Annotated[str | None, typer.Option(help="Of the coordinates, such as EPSG:25830.")] = None,
    space: Annotated[str | None, typer.Option(help="Name of the Space; you vouch that it is one.")] = None,
    id: Annotated[str | None, typer.Option(help="Column of ids.")] = None,
    lon: Annotated[str | None, typer.Option(help="Column of longitudes (or x in --crs).")] = None,
    lat: Annotated[str | None, typer.Option(help="Column of latitudes (or y in --crs).")] = None,
    geometry: Annotated[str | None, typer.Option(help="Column of geometries.")] = None,
    vector: Annotated[str | None, typer.Option(help="Column of vectors (Parquet).")] = None,
    prefix: Annotated[str, typer.Option(help="What names of component columns begin with (CSV).")] = "dim_",
    dtype: Annotated[Storage | None, typer.Option(help="How vectors are stored.")] = None,
    cells: Annotated[str | None, typer.Option(help="Rasters: take the mean of each cell, such as h3:9.")] = None,
    bbox: Bbox = None,
    order: Annotated[Order, typer.Option(help="Of rows; keep needs little memory.")] = Order.auto,
    quiet: Quiet = False,
    form: Format = None,
) -> None:
    """Bring foreign tables in as one table: CSV with dim_0 … dim_n, GeoParquet 1.0 to 2.0, AlphaEarth rasters.

    With --as, bring a checkpoint of another project in as a model folder: SatCLIP's (.ckpt), GeoCLIP's (.pth),
    Places365's (.pth.tar), or one in the layout of open_clip (RemoteCLIP, GeoRSCLIP, SkyCLIP: .pt). What is made is
    written whole or not at all; what was found, dropped or mended is said on stderr.

    Example: placevec import 'runs/*.csv' --crs EPSG:25830 -o spain.parquet

    Example: placevec import satclip-vit16-l40.ckpt --as satclip -o models/satclip

    Example: placevec import RemoteCLIP-ViT-B-32.pt --as open-clip -o models/remoteclip

    Example: placevec import resnet50_places365.pth.tar IO_places365.txt --as places365 -o models/places365
    """
    from placevec.cli.output import emit, note, progress
    from placevec.errors import UsageError
    from placevec.geo.boxes import parse_bbox
    from placevec.geo.cells import parse_cells
    from placevec.tasks.import_ import TABLE, import_model, import_tables

    of_tables: dict[str, Any] = {
        "crs": crs,
        "space": space,
        "id": id,
        "lon": lon,
        "lat": lat,
        "geometry": geometry,
        "vector": vector,
        "dtype": None if dtype is None else dtype.value,
        "cells": cells,
        "bbox": bbox,
    }
    of_models = {"basis": basis, "tokenizer": tokenizer, "activation": activation}
    if as_ != TABLE:
        others = {"prefix": prefix if prefix != "dim_" else None, "order": order if order != Order.auto else None}
        for name, value in (of_tables | others).items():
            if value is not None:
                raise UsageError(f"--{name} belongs to tables, not to a checkpoint of {as_}: leave it out")
        summary = import_model(files, out, as_, **of_models)
        for text in summary.pop("notes"):
            note(text)
        emit([summary], form)
        return
    if basis is not None:
        raise UsageError("--basis belongs to a checkpoint of SatCLIP: say --as satclip too")
    for name in ("tokenizer", "activation"):
        if of_models[name] is not None:
            raise UsageError(f"--{name} belongs to a checkpoint of open_clip: say --as open-clip too")
    of_tables |= {
        "cells": None if cells is None else parse_cells(cells),
        "bbox": None if bbox is None else parse_bbox(bbox),
    }
    with progress("import", quiet=quiet) as told:
        summary = import_tables(
            files,
            out,
            order=order.value,
            progress=lambda done, total: told(done, total, {}),
            prefix=prefix,
            **of_tables,
        )
    for text in summary.pop("notes"):
        note(text)
    emit([summary], form)
