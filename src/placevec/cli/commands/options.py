"""Options that several verbs share, and how their texts are read."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from placevec.cli.output import Form

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

    from placevec.table import Filter

TablePath = Annotated[Path, typer.Argument(help="A table: .parquet or .lance.", show_default=False)]
Out = Annotated[Path, typer.Option("--out", "-o", help="Where to write.", show_default=False)]
Format = Annotated[Form | None, typer.Option("--format", help="Table on a terminal, else JSON lines.")]
Bbox = Annotated[
    str | None, typer.Option(help="WEST,SOUTH,EAST,NORTH in degrees; west > east crosses the antimeridian.")
]
Near = Annotated[str | None, typer.Option(help="LON,LAT,RADIUS such as -3.7,40.4,25km.")]
Within = Annotated[Path | None, typer.Option(help="A GeoJSON file with a polygon (lon, lat).")]
Where = Annotated[str | None, typer.Option(help="Attributes, such as \"elevation > 500 and cover == 'forest'\".")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
Seed = Annotated[int, typer.Option(help="Random seed.")]


class Probe(StrEnum):
    """An estimator on frozen vectors."""

    ridge = "ridge"
    ols = "ols"
    knn = "knn"
    gp = "gp"


Probes = Annotated[list[Probe] | None, typer.Option("--probe", help="May be repeated; by default ridge and knn.")]


def estimators_of(probes: list[Probe] | None) -> tuple[str, ...]:
    """The estimators that are meant; without any, those of the field."""
    return tuple(one.value for one in probes) if probes else ("ridge", "knn")


def filter_from(bbox: str | None, near: str | None, within: Path | None, where: str | None) -> Filter | None:
    """The filter that the options describe, or None without any."""
    from placevec.geo.boxes import parse_bbox, parse_near
    from placevec.table import filter_of

    return filter_of(
        bbox=None if bbox is None else parse_bbox(bbox),
        near=None if near is None else parse_near(near),
        within=None if within is None else read_polygon(within),
        where=where,
    )


def read_polygon(path: Path) -> BaseGeometry:
    """The (Multi)Polygon of a GeoJSON file."""
    from placevec.area import StudyArea

    return StudyArea.from_geojson(path).boundary


def lonlat_from(text: str | None) -> tuple[float, float] | None:
    """LON,LAT in degrees; UsageError if it is not that."""
    if text is None:
        return None
    from placevec.errors import CoordinateError, UsageError
    from placevec.geo.sphere import LonLat

    try:
        lon, lat = (float(part) for part in text.split(","))
        LonLat.of(lon, lat)
    except CoordinateError as error:
        raise UsageError(f"{text}: {str(error).removeprefix('row 0: ')}") from None
    except ValueError as error:
        raise UsageError(f"{text!r} is no LON,LAT: write it like -3.7,40.4") from error
    return lon, lat
