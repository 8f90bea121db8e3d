"""`demo`: a whole region by one recipe, from imagery to a report, on real data or on a generated country."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from placevec.area import StudyArea
from placevec.config import Recipe, load_recipe
from placevec.errors import DataError, UsageError
from placevec.sources.catalog import fetch, is_here
from placevec.tasks.run import RunSummary, StepProgress, run
from placevec.tasks.verbs import VERBS

if TYPE_CHECKING:
    from shapely import MultiPolygon

NEEDED = ("blue-marble", "etopo20", "earth-lights", "natural-earth-110m")
GENERATED = "arcadia"
CELLS = 2_500
# Mean area of an H3 cell in km² by resolution (h3geo.org, table of cell statistics).
CELL_KM2 = {2: 86_801.8, 3: 12_393.4, 4: 1_770.3, 5: 252.9, 6: 36.1}
BLOCKS = 40
# Below this, blocks with a buffer as wide as a chip leave nothing to learn from.
SMALL_KM2 = 40_000
GROUND_M = ((100_000, 60_000), (10_000, 30_000), (0, 15_000))


@dataclass(frozen=True)
class Demo:
    """What the demo has made.

    Attributes:
        area: the study area.
        report: the report, one HTML file.
        generated: whether the country is a generated one.
        run: what became of the steps.
        further: commands with which to look further.
    """

    area: StudyArea
    report: Path
    generated: bool
    run: RunSummary
    further: tuple[str, ...]


def demo(
    area: str = "iberia",
    out: str | Path | None = None,
    *,
    resolution: int | None = None,
    smoke: bool = False,
    progress: StepProgress | None = None,
    note: Callable[[str], None] | None = None,
) -> Demo:
    """Make a region from imagery to a report.

    Args:
        area: "iberia", a country of Natural Earth, "arcadia", the generated country, or "porto-alegre", one city
            (see `demo_city`).
        out: the folder; by default ``demo/AREA``.
        resolution: H3 resolution of the cells; by default the finest with about 2,500 of them.
        smoke: small settings, for a trial.
        progress: told of the rows of each step.
        note: takes lines for people.

    Raises:
        UsageError: no country has that name, or the folder holds another area.
    """
    from placevec.tasks.demo_city import CITY, demo_city

    if _slug(area) == CITY:
        if resolution is not None:
            raise UsageError(f"{CITY} has its own cells, of resolution 9: leave --resolution out")
        return demo_city(out, smoke=smoke, progress=progress, note=note)
    say = note or (lambda text: None)
    missing = [name for name in NEEDED if not is_here(name)]
    generated = _slug(area) == GENERATED or bool(missing)
    if generated and _slug(area) != GENERATED:
        if _slug(area) != "iberia":
            raise DataError(
                f"{area!r} needs the datasets {', '.join(missing)}, which are not on this machine: set PLACEVEC_DATA "
                "to their folder, `placevec data fetch` them, or take the generated country: placevec demo arcadia"
            )
        say("No real data here (PLACEVEC_DATA is not set): this runs on a generated country, Arcadia.")
    folder = Path(out) if out is not None else Path("demo") / (GENERATED if generated else _slug(area))
    if generated:
        region, changes = _arcadia(folder, resolution, say)
    else:
        region, changes = _country(area, folder, resolution)
    say(
        f"{region.name}: {region.area_km2:,.0f} km², {len(region.cells()):,} H3 cells of resolution {region.resolution}"
    )
    recipe = _recipe(smoke, changes)
    done = run(recipe, VERBS, area=region, progress=progress, note=note)
    from placevec.tasks.demo_report import write_report

    report = write_report(region, recipe, generated=generated)
    return Demo(region, report, generated, done, _further(region))


def _country(area: str, folder: Path, resolution: int | None) -> tuple[StudyArea, dict[str, Any]]:
    countries = fetch("natural-earth-110m")["ne_110m_admin_0_countries.geojson"]
    region = StudyArea.from_country(area, countries, resolutions=(resolution or 5,))
    region = replace(region, name=area.strip().title() if area.islower() else area.strip())
    if resolution is None:
        region = replace(region, resolutions=(_resolution(region),))
    # Chips, and the buffers as wide as they are, must leave places to learn from in a small country.
    ground_m = next(metres for km2, metres in GROUND_M if region.area_km2 >= km2)
    changes = {"vars.block": _block(region), "vars.ground_m": ground_m}
    if region.area_km2 < SMALL_KM2:
        changes["vars.splits"] = "random"
    return region.save(folder), changes


def _resolution(region: StudyArea) -> int:
    """The finest resolution with about `CELLS` cells at most; beyond 6 cells are smaller than Blue Marble's pixels."""
    for resolution in range(6, 2, -1):
        # The mean area of a cell is known: large countries are not filled with fine cells to be counted.
        if region.area_km2 / CELL_KM2[resolution] <= CELLS:
            return resolution
    return 2


def _block(region: StudyArea) -> str:
    """Blocks of the validation split: the coarsest of which the region holds some dozens."""
    for resolution, km2 in CELL_KM2.items():
        if region.area_km2 / km2 >= BLOCKS:
            return f"h3:{resolution}"
    return f"h3:{max(CELL_KM2)}"


def _arcadia(folder: Path, resolution: int | None, say: Callable[[str], None]) -> tuple[StudyArea, dict[str, Any]]:
    from placevec.sources.world import World

    world = World(seed=0, size="small")
    boundary = cast("MultiPolygon", world.boundary)
    region = StudyArea("Arcadia", boundary, (resolution or 6,)).save(folder)
    sources = folder / "sources" / "arcadia"
    if not (sources / "imagery_2025.tif").exists():
        say("generating the country …")
        world.write(sources)
    where = "sources/arcadia"
    return region, {
        "vars.raster": f"{where}/imagery_2025.tif",
        "vars.elevation": f"{where}/dem.tif",
        "vars.lights": f"{where}/lights.tif",
        "vars.ground_m": 8000,
        "vars.pixels": 24,
        "vars.block": "h3:4",
        "vars.note": "Arcadia, a generated country",
    }


def _recipe(smoke: bool, changes: Mapping[str, Any]) -> Recipe:
    with as_file(files("placevec.tasks") / "recipes" / "region.toml") as path:
        return load_recipe(path, smoke=smoke, overrides=changes)


def _further(region: StudyArea) -> tuple[str, ...]:
    folder = region.folder
    west, south, east, north = region.bbox
    lon = west + ((east - west) % 360.0) / 2
    at = f"{(lon + 180.0) % 360.0 - 180.0:.1f},{(south + north) / 2:.1f}"
    return (
        f"placevec search {folder}/tables/image.parquet --at={at} -k 8",
        f"placevec map {folder}/tables/image.parquet --scheme opponent --area {folder} -o opponent.png",
        f"placevec export {folder}/results/clusters.parquet --geometry cell -o clusters.geojson",
        f"placevec info {folder}/tables/location.parquet",
    )


def _slug(name: str) -> str:
    kept = "".join(c if c.isalnum() else "-" for c in name.casefold()).strip("-")
    if not kept:
        raise UsageError(f"{name!r} is no name of an area")
    return kept
