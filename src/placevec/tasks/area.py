"""`area`: make a study area."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from placevec.area import StudyArea
from placevec.config import AreaOptions, Recipe
from placevec.errors import UsageError
from placevec.geo.boxes import parse_bbox
from placevec.sources.catalog import dataset_file, fetch


def new_area(
    name: str,
    folder: str | Path,
    *,
    boundary: str | Path | None = None,
    country: str | None = None,
    bbox: str | None = None,
    cells: str | Path | None = None,
    resolutions: Sequence[int] | None = None,
) -> StudyArea:
    """Make the folder of a study area.

    Args:
        name: what it is called.
        folder: where it is kept.
        boundary: a GeoJSON file with a polygon.
        country: a country of Natural Earth, or several joined by ``+``.
        bbox: "west,south,east,north" in degrees.
        cells: a CSV or Parquet with a column of H3 cells of one resolution: the area is those, and they stay its cells.
        resolutions: H3 resolutions, the main one first; by default 6, or that of `cells`.

    Raises:
        UsageError: more than one boundary is given, no country has the name, or another area is there already.
    """
    given = [option for option in (boundary, country, bbox, cells) if option is not None]
    if len(given) > 1:
        raise UsageError("give one of --boundary, --country, --bbox and --cells, not several")
    levels = tuple(resolutions or (6,))
    if cells is not None:
        from placevec.sources.targets import cells_of_file

        area = StudyArea.from_cells(cells_of_file(cells), name=name, resolutions=resolutions or ())
    elif boundary is not None:
        area = StudyArea.from_geojson(boundary, name=name, resolutions=levels)
    elif bbox is not None:
        area = StudyArea.from_bbox(parse_bbox(bbox), name=name, resolutions=levels)
    else:
        from dataclasses import replace

        from placevec.sources.catalog import fetch

        countries = fetch("natural-earth-110m")["ne_110m_admin_0_countries.geojson"]
        area = replace(StudyArea.from_country(country or name, countries, resolutions=levels), name=name)
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
            boundary = next(path for file, path in fetch(name).items() if file.endswith(".geojson"))
        else:
            boundary = beside / wanted.boundary
    return new_area(
        recipe.name,
        recipe.name,
        boundary=boundary,
        country=wanted.country,
        bbox=wanted.bbox,
        cells=None if wanted.cells is None else dataset_file(wanted.cells) or beside / wanted.cells,
        resolutions=_resolutions(wanted),
    )


def _resolutions(wanted: AreaOptions) -> tuple[int, ...] | None:
    """The resolutions that a recipe asks for; None where it leaves them to the cells that it names."""
    if wanted.cells is not None and "resolution" not in wanted.model_fields_set:
        return None
    return tuple(wanted.resolution) if isinstance(wanted.resolution, list) else (wanted.resolution,)
