"""`area`: make a study area."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from placevec.area import StudyArea
from placevec.config import Recipe
from placevec.errors import UsageError
from placevec.geo.boxes import parse_bbox


def new_area(
    name: str,
    folder: str | Path,
    *,
    boundary: str | Path | None = None,
    country: str | None = None,
    bbox: str | None = None,
    resolutions: Sequence[int] = (6,),
) -> StudyArea:
    """Make the folder of a study area.

    Args:
        name: what it is called.
        folder: where it is kept.
        boundary: a GeoJSON file with a polygon.
        country: a country of Natural Earth, or several joined by ``+``.
        bbox: "west,south,east,north" in degrees.
        resolutions: H3 resolutions, the main one first.

    Raises:
        UsageError: more than one boundary is given, no country has the name, or another area is there already.
    """
    given = [option for option in (boundary, country, bbox) if option is not None]
    if len(given) > 1:
        raise UsageError("give one of --boundary, --country and --bbox, not several")
    if boundary is not None:
        area = StudyArea.from_geojson(boundary, name=name, resolutions=resolutions)
    elif bbox is not None:
        area = StudyArea.from_bbox(parse_bbox(bbox), name=name, resolutions=resolutions)
    else:
        from dataclasses import replace

        from placevec.sources.catalog import fetch

        countries = fetch("natural-earth-110m")["ne_110m_admin_0_countries.geojson"]
        area = replace(StudyArea.from_country(country or name, countries, resolutions=resolutions), name=name)
    return area.save(folder)


def recipe_area(recipe: Recipe, beside: Path) -> StudyArea:
    """The study area that a recipe describes, in a folder of the recipe's name; made, if it is not there yet.

    Args:
        recipe: with an `area`.
        beside: the folder of the recipe, where the file of a boundary stands.

    Raises:
        UsageError: the folder holds another area, or the description is none.
    """
    wanted = recipe.area
    if wanted is None:
        raise UsageError(f"the recipe {recipe.name!r} describes no area: give --area FOLDER")
    boundary: str | Path | None = wanted.boundary
    if wanted.boundary is not None:
        kind, colon, name = wanted.boundary.partition(":")
        if colon and kind == "dataset":
            from placevec.sources.catalog import fetch

            boundary = next(path for file, path in fetch(name).items() if file.endswith(".geojson"))
        else:
            boundary = beside / wanted.boundary
    return new_area(
        recipe.name,
        recipe.name,
        boundary=boundary,
        country=wanted.country,
        bbox=wanted.bbox,
        resolutions=(wanted.resolution,),
    )
