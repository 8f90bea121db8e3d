"""Regions by whatever names them: a GeoJSON file, a named dataset, or a study area."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from placevec.area import StudyArea
from placevec.errors import UsageError
from placevec.geo.regions import Regions
from placevec.sources.regions import read_regions

_JSON = (".geojson", ".json")


def open_regions(name: str | Path, *, column: str | None = None, rename: Mapping[str, str] | None = None) -> Regions:
    """The regions that a text names.

    Args:
        name: a GeoJSON file, ``dataset:NAME`` (``dataset:NAME/FILE`` where it has several), or the folder of a study
            area, which is one region.
        column: the property that names a region, see `read_regions`.
        rename: what regions are called instead, by the name in the file.

    Raises:
        UsageError: there is no such dataset, or it has several files.
        FormatError: the file is absent or no GeoJSON.
        SchemaError: no property, or more than one, could name the regions.
    """
    from placevec.sources.catalog import fetch

    kind, colon, rest = str(name).partition(":")
    if colon and kind == "dataset":
        dataset, _, file = rest.partition("/")
        files = [path for path in fetch(dataset).values() if path.suffix in _JSON and path.name.endswith(file)]
        if len(files) != 1:
            raise UsageError(f"{name} has {len(files)} GeoJSON files: name one, dataset:{dataset}/FILE")
        return read_regions(files[0], column=column, rename=rename)
    if Path(name).is_dir():
        if column is not None or rename:
            raise UsageError(f"{name} is a study area, which is one region: leave out its column and new names")
        area = StudyArea.open(name)
        return Regions.single(area.boundary, area.name)
    return read_regions(name, column=column, rename=rename)


def parse_renames(texts: list[str]) -> dict[str, str]:
    """The mapping that "OLD=NEW" texts write; UsageError where one is not that."""
    found: dict[str, str] = {}
    for text in texts:
        old, equals, new = (part.strip() for part in text.partition("="))
        if not (old and equals and new):
            raise UsageError(f"{text!r} renames nothing: write OLD=NEW, the name in the file and the one wanted")
        found[old] = new
    return found
