"""The options by which a command line says what is read: places, chips of a raster, image files, captions."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from placevec.sources.images import Stretch
    from placevec.tasks.inputs import Input
    from placevec.tasks.patch_inputs import Patches


class Content(StrEnum):
    """What is read of images with captions."""

    image = "image"
    text = "text"


On = Annotated[str, typer.Option(help="cells (of --area), or a file: table, CSV, GeoJSON.")]
OnGrid = Annotated[
    str,
    typer.Option(
        help="cells (of --area), grid (its pixels, or those of --bbox), a file (table, CSV, GeoJSON, stencil), or a "
        "folder of patches."
    ),
]
Area = Annotated[Path | None, typer.Option(help="The folder of a study area.")]
Resolution = Annotated[
    str | None, typer.Option("--resolution", "-r", metavar="<int>", help="H3 resolution; by default the area's.")
]
GridResolution = Annotated[
    str | None,
    typer.Option(
        "--resolution",
        "-r",
        help="Of cells: H3, by default the area's. Of a grid: 1km, 500m, 0.01deg or 800x600; by default 1km.",
    ),
]
Lon = Annotated[str, typer.Option(help="The CSV's column of longitudes.")]
Lat = Annotated[str, typer.Option(help="The CSV's column of latitudes.")]
Id = Annotated[str | None, typer.Option(help="The column that names a row.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Only the first so many places.")]
RasterName = Annotated[
    str | None, typer.Option("--raster", help="File, address or dataset:NAME (blue-marble, etopo20, earth-lights).")
]
Layers = Annotated[
    list[str] | None,
    typer.Option(
        "--layer",
        help="NAME=RASTER, several times: rasters over one square of the ground. Of land cover with its classes: "
        "cover=nlcd2011.tif,classes=nlcd (worldcover, lc100, corine, or a JSON file); further keys: resampling, "
        "band, unknown.",
        show_default=False,
    ),
]
Refresh = Annotated[
    bool, typer.Option("--refresh", help="Fetch again what is kept of rasters that are read over the network.")
]
Images = Annotated[
    Path | None, typer.Option(help="A folder of images, or one image; with --captions the folder of theirs.")
]
Captions = Annotated[
    str | None,
    typer.Option(help="Images with captions: JSON, JSONL, CSV, a folder, dataset:ucm; or captions in a Parquet file."),
]
Split = Annotated[str | None, typer.Option(help="With --captions: these images alone, such as test.")]
Bands = Annotated[str | None, typer.Option(help="Of image files: numbers of the bands from 1, such as 4,3,2.")]
StretchText = Annotated[
    str, typer.Option(help="Of image files: how more than 8 bits become 8: auto, joint, bands, none, or LOW,HIGH.")
]
Ground = Annotated[str | None, typer.Option(help="Side of a chip on the ground, such as 60km.")]
Pixels = Annotated[int | None, typer.Option(min=1, help="Side of a chip in pixels.")]
SidePixels = Annotated[
    int | None,
    typer.Option(min=1, help="Side of a chip in pixels. Of image files: by default what the encoder works at."),
]
Modalities = Annotated[
    list[str] | None,
    typer.Option(
        "--modality",
        "-m",
        help="Table of hexagons of one modality, several times; NAME= may stand before.",
        show_default=False,
    ),
]
Graphs = Annotated[
    list[Path] | None, typer.Option("--graph", help="Of `placevec area graph`: how near neighbours are, one a level.")
]


def modalities_from(texts: list[str] | None) -> dict[str, Path]:
    """The tables that `--modality` names; without NAME= a table is called by its file.

    Raises:
        UsageError: two of one name.
    """
    from placevec.errors import UsageError

    found: dict[str, Path] = {}
    for text in texts or []:
        name, equals, path = text.partition("=")
        if not equals or "/" in name:
            name, path = Path(text).stem, text
        if name in found:
            raise UsageError(f"two modalities are called {name!r}: put another NAME= before one of them")
        found[name] = Path(path)
    return found


def cell_resolution(text: str | None) -> int | None:
    """The H3 resolution that a text says, 0 to 15; UsageError if it is none."""
    if text is None:
        return None
    from placevec.errors import UsageError

    if not text.strip().isdecimal() or int(text) > 15:
        raise UsageError(
            f"--resolution {text}: cells have an H3 resolution from 0 to 15; a length such as 1km is for --on grid"
        )
    return int(text)


def bands_from(text: str | None) -> tuple[int, ...] | None:
    """Numbers of bands, such as 4,3,2; UsageError if the text is none."""
    if text is None:
        return None
    from placevec.errors import UsageError

    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--bands {text}: give numbers of bands from 1, such as 4,3,2") from None


def stretch_from(text: str) -> Stretch:
    """A stretch by name, or LOW,HIGH; UsageError if the text is none."""
    from placevec.sources.images.stretch import check_stretch

    return check_stretch(tuple(text.split(",")) if "," in text else text)


def patches_from(layers: list[str], ground: str | None, pixels: int | None, min_valid: float = 0.5) -> Patches:
    """The patches that --layer, --ground and --pixels describe; UsageError where a size is missing."""
    from placevec.errors import UsageError
    from placevec.geo.boxes import parse_distance
    from placevec.tasks.patch_inputs import Patches, parse_layer

    if ground is None or pixels is None:
        raise UsageError("--layer needs --ground and --pixels: the side of a patch, such as --ground 2km --pixels 32")
    if pixels > 1024:
        raise UsageError(f"--pixels {pixels}: a patch has 1 to 1024 pixels along its side")
    return Patches(
        layers=[parse_layer(text) for text in layers],
        ground_m=parse_distance(ground),
        pixels=pixels,
        min_valid=min_valid,
    )


def input_from(
    on: str,
    area: Path | None,
    resolution: str | None,
    lon: str,
    lat: str,
    id: str | None,
    limit: int | None,
    raster: str | None,
    ground: str | None,
    pixels: int | None,
    min_valid: float = 0.5,
    *,
    images: Path | None = None,
    captions: str | None = None,
    split: str | None = None,
    content: Content = Content.image,
    bands: str | None = None,
    stretch: str = "auto",
    layers: list[str] | None = None,
    mask_centre: int = 0,
) -> Input:
    """The Input that the options describe.

    Raises:
        UsageError: a raster lacks the size of its chips, or options do not go together.
    """
    from placevec.errors import UsageError
    from placevec.geo.boxes import parse_distance
    from placevec.tasks.inputs import Chips, Input

    files = images is not None or captions is not None
    placed = {"--raster": raster, "--layer": layers, "--ground": ground}
    odd = next((name for name, value in placed.items() if value), None)
    if files and odd is not None:
        raise UsageError(f"{odd} is for places on a map, and image files are read: leave out the one or the other")
    chips = None
    if raster is not None:
        if ground is None or pixels is None:
            raise UsageError(
                "--raster needs --ground and --pixels: the side of a chip, such as --ground 60km --pixels 16"
            )
        chips = Chips(raster=raster, ground_m=parse_distance(ground), pixels=pixels, min_valid=min_valid)
    patches = patches_from(layers, ground, pixels, min_valid) if layers else None
    return Input(
        on=on,
        area=None if area is None else str(area),
        resolution=cell_resolution(resolution),
        lon=lon,
        lat=lat,
        id=id,
        limit=limit,
        chips=chips,
        patches=patches,
        mask_centre=mask_centre,
        images=None if images is None else str(images),
        captions=captions,
        split=split,
        reads=content.value,
        pixels=pixels if files else None,
        bands=bands_from(bands),
        stretch=stretch_from(stretch),
    )
