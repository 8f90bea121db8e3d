"""`placevec explain`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from placevec.cli.commands.options import Format
from placevec.cli.commands.reads import bands_from, stretch_from


class Kind(StrEnum):
    """How evidence is found."""

    dense = "dense"
    crops = "crops"
    grid = "grid"


class Attention(StrEnum):
    """What stands for the last attention of a transformer."""

    value = "value"
    own = "self"


def command(
    image: Annotated[Path, typer.Argument(help="An image, or with --id a table: .parquet or .lance.")],
    text: Annotated[str | None, typer.Option(help="What is looked for, in words.")] = None,
    like_image: Annotated[Path | None, typer.Option(help="Instead of --text: an image that shows it.")] = None,
    id: Annotated[str | None, typer.Option("--id", help="The row of the table; its asset leads to the pixels.")] = None,
    model: Annotated[
        str | None, typer.Option(help="Folder of a pair of towers, or hf:NAME; found beside a table by itself.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="A PNG; .json, and .geojson where it lies, beside it.")
    ] = None,
    method: Annotated[
        Kind, typer.Option(help="Positions of one forward pass, windows for any model, or a plain grid.")
    ] = Kind.dense,
    tile: Annotated[
        int, typer.Option(min=0, help="Pixels of the image that the model reads as one image; 0: all of it.")
    ] = 0,
    pool: Annotated[
        float, typer.Option(min=0, max=0.99, help="dense: width of the soft crops, in tiles; 0: parts of the score.")
    ] = 0.15,
    cells: Annotated[int, typer.Option(min=1, help="grid: rows and columns.")] = 4,
    attention: Annotated[
        Attention, typer.Option(help="dense, CLIP and SigLIP: values alone, or self-self attention.")
    ] = Attention.value,
    debias: Annotated[
        float, typer.Option(min=0, max=1, help="dense, CLIP and SigLIP: share of the image taken from each token.")
    ] = 0.3,
    top: Annotated[int, typer.Option(min=1, help="Regions that are always given.")] = 4,
    share: Annotated[
        float, typer.Option(min=0.01, max=1, help="Further ones reach this share of the best one's height.")
    ] = 0.9,
    most: Annotated[int, typer.Option(min=1, help="Regions at most.")] = 8,
    bands: Annotated[str | None, typer.Option(help="Numbers of the image's bands, such as 4,3,2.")] = None,
    stretch: Annotated[
        str, typer.Option(help="How more than 8 bits become 8: auto, joint, bands, none, or LOW,HIGH.")
    ] = "auto",
    form: Format = None,
) -> None:
    """Show where in a picture the evidence for a text lies.

    Heights are deviations above what background phrases score at the same place: 0 is the background. A GeoTIFF's
    boxes are also written as GeoJSON in longitude and latitude.

    Example: placevec explain ucm/images/tenniscourt91.jpg --text "two tennis courts" --model models/ucm -o evidence.png
    """
    from placevec.cli.output import emit, note
    from placevec.features.evidence import Selection
    from placevec.tasks.explain import explain
    from placevec.tasks.explain_methods import Method

    found = explain(
        image,
        text=text,
        like_image=like_image,
        id=id,
        model=model,
        method=Method(
            kind=method.value,
            tile=tile,
            pool=pool,
            cells=cells,
            attention="self" if attention is Attention.own else "value",
            debias=debias,
        ),
        selection=Selection(top=top, share=share, most=max(most, top)),
        bands=bands_from(bands),
        stretch=stretch_from(stretch),
    )
    for line in found.notes:
        note(line)
    note(found.summary())
    if out is not None:
        note(", ".join(str(path) for path in found.write(out)))
    emit(found.to_records(), form)
