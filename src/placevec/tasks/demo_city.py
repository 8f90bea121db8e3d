"""`demo porto-alegre`: one city by one recipe, from its files to fused vectors and a report; or a generated one."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from placevec.area import StudyArea
from placevec.config import Recipe, load_recipe
from placevec.sources.catalog import fetch, is_here
from placevec.tasks.area import new_area
from placevec.tasks.run import StepProgress, run
from placevec.tasks.verbs import VERBS

if TYPE_CHECKING:
    from collections.abc import Callable

    from placevec.tasks.demo import Demo

CITY = "porto-alegre"
GENERATED_NOTE = "a generated city"
LEVELS = (9, 8, 7)
LAST_FILE = "boundary.geojson"  # that a generated city writes


def demo_city(
    out: str | Path | None = None,
    *,
    smoke: bool = False,
    progress: StepProgress | None = None,
    note: Callable[[str], None] | None = None,
) -> Demo:
    """Fuse a city: Porto Alegre where its files are on this machine, else a town of the generated country.

    Args:
        out: the folder; by default ``demo/porto-alegre``, of a generated city ``demo/arcadia-city``.
        smoke: small settings, for a trial.
        progress: told of the rows of each step.
        note: takes lines for people.

    Raises:
        UsageError: the folder holds another area.
    """
    from placevec.tasks.demo import Demo
    from placevec.tasks.demo_city_report import write_city_report

    say = note or (lambda text: None)
    generated = not is_here(CITY)
    folder = Path(out) if out is not None else Path("demo") / ("arcadia-city" if generated else CITY)
    if generated:
        say("No files of Porto Alegre here (PLACEVEC_DATA is not set): this runs on a generated city.")
        region, changes = _generated(folder, say)
    else:
        region, changes = new_area(CITY, folder, cells=fetch(CITY)["poa_hexgrid.csv"], resolutions=LEVELS), {}
    say(
        f"{region.name}: {region.area_km2:,.0f} km², {len(region.cells()):,} H3 cells of resolution {region.resolution}"
    )
    recipe = city_recipe(smoke, changes)
    done = run(recipe, VERBS, area=region, progress=progress, note=note)
    report = write_city_report(region, recipe, generated=generated)
    return Demo(region, report, generated, done, _further(region))


def city_recipe(smoke: bool, changes: dict[str, Any]) -> Recipe:
    """The recipe of a city, with some of its values changed."""
    with as_file(files("placevec.tasks") / "recipes" / "city.toml") as path:
        return load_recipe(path, smoke=smoke, overrides=changes)


def _generated(folder: Path, say: Callable[[str], None]) -> tuple[StudyArea, dict[str, Any]]:
    from placevec.sources.world import World

    sources = folder / "sources" / "city"
    if not (sources / LAST_FILE).exists():
        say("generating the city …")
        World(seed=0, size="small").city().write(sources)
    region = new_area("arcadia-city", folder, cells=sources / "cells.csv", resolutions=LEVELS)
    where = "sources/city"
    return region, {
        "vars.osm": f"{where}/osm.pbf",
        "vars.gtfs": f"{where}/buses.zip",
        "vars.gtfs_too": f"{where}/rail.zip",
        "vars.elevation": f"{where}/elevation.tif",
        "vars.cells": f"{where}/cells.csv",
        "vars.note": GENERATED_NOTE,
    }


def _further(region: StudyArea) -> tuple[str, ...]:
    folder = region.folder
    return (
        f"placevec area info {folder}",
        f"placevec search {folder}/tables/fused.parquet --like {int(region.cells()[0]):x} -k 8",
        f"placevec export {folder}/tables/landscapes.parquet --geometry cell -o landscapes.geojson",
        f"placevec info {folder}/tables/fused.parquet",
    )
