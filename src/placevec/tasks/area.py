"""`area`: make a study area."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from placevec.area import StudyArea
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
