"""A town of the generated country as a city to fuse: all that its embeddings are made of, and targets that are known.

``World(0).city()`` is the largest town within 6.5 km of its middle: a thousand H3 cells of resolution 9. Its files have
the form in which real cities come: an OpenStreetMap extract, two feeds of GTFS, an elevation model, and a CSV of cells
with population, schools, jobs and healthcare.

Where the numbers come from (means over a cell of A km² of land; u built-up intensity, b share of business, g share of
parks, s slope in metres per metre; over the cell and its neighbours D departures an hour and M km of main roads per
cell; `Ground` has the fields, and none of them is written):

    people   = A·5200·u^1.3·(1 − 0.7·b)·(1 − 0.9·g)·exp(−4·s)
    jobs     = A·900·u·(0.15 + 3·b²)·(1 − 0.8·g)·((1 + D) / 10)^0.3·(0.5 + M)^0.3

What a cell has is drawn around that: log-normal with σ 0.3 for people and 0.4 for jobs, then Poisson. Schools and
healthcare are the places of these kinds that stand in the extract. `City.truth` holds the two expectations: what they
predict of ln(1 + x) is the most that anything can.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from shapely.geometry import MultiPolygon, Polygon

from placevec.errors import UsageError
from placevec.geo.areas import cell_areas
from placevec.geo.boxes import box_polygon, circle_box, in_circle
from placevec.geo.cells import H3Cells, ring_index
from placevec.geo.outline import outline
from placevec.geo.sphere import LonLat, distance_m
from placevec.sources.world.ground import Ground
from placevec.sources.world.noise import stream
from placevec.sources.world.osm_ways import Window
from placevec.sources.world.places import Pois, Transit
from placevec.sources.world.streets import SECONDARY, TERTIARY, Streets
from placevec.sources.world.town_plan import town_pois, town_transit

if TYPE_CHECKING:
    from placevec.sources.world.country import World

Floats = NDArray[np.float64]

RESOLUTION = 9
_FINE = 11  # 49 cells in one of resolution 9: fields are averaged over their centres
_RIM_KM = 1.0  # of streets, stops and places around the cells, so that those at the border lack nothing


@dataclass(frozen=True, eq=False)
class City:
    """A town, see `World.city`."""

    world: World
    town: int
    radius_km: float

    def __post_init__(self) -> None:
        count = len(self.world.towns)
        if not 0 <= self.town < count:
            raise UsageError(f"the world has no town {self.town}: give a number from 0, the largest, to {count - 1}")
        if not 0.5 <= self.radius_km <= 20:
            raise UsageError(f"a city of {self.radius_km:g} km radius: give 0.5 to 20")

    @property
    def name(self) -> str:
        """What the town is called."""
        return self.world.towns.name[self.town]

    @property
    def centre(self) -> LonLat:
        """Its middle."""
        towns = self.world.towns
        return self.world.grid.lonlat(towns.col[[self.town]], towns.row[[self.town]])

    @cached_property
    def cells(self) -> NDArray[np.uint64]:
        """(n,) its H3 cells of resolution 9, sorted: those that are land for the better part."""
        share = self._fields["land"]
        return self._all[share > 0.5]

    @cached_property
    def boundary(self) -> Polygon | MultiPolygon:
        """The outline of the cells, in longitude and latitude."""
        # The rings of an outline begin anywhere.
        return outline(self.cells, RESOLUTION)

    @cached_property
    def window(self) -> Window:
        """(left, top, right, bottom) in columns and rows of the world's grid: the cells, and 1 km around them."""
        grid, half = self.world.grid, 1000.0 * (self.radius_km + _RIM_KM)
        col, row = float(self.world.towns.col[self.town]), float(self.world.towns.row[self.town])
        # Columns are `metres` wide at the middle of the country.
        wide = grid.metres * float(np.cos(np.radians(self.centre.lat[0])) / np.cos(np.radians(grid.lat0)))
        return col - half / wide, row - half / grid.metres, col + half / wide, row + half / grid.metres

    @cached_property
    def streets(self) -> Streets:
        """The streets of the town; those of its neighbours may reach into the window."""
        return self.world.streets(self.town)

    @cached_property
    def transit(self) -> Transit:
        """Trains and buses of the country that call here, and local buses."""
        return town_transit(self._ground, self.streets, self.world.transit, self.window, self.town)

    @cached_property
    def pois(self) -> Pois:
        """Places, beside those of the country."""
        return town_pois(self._ground, self.town, self.window)

    @cached_property
    def targets(self) -> dict[str, NDArray[np.int64]]:
        """(n,) each, in the order of `cells`: population, schools, jobs, healthcare."""
        rng = stream(self.world.seed, f"targets of town {self.town}")
        n = len(self.cells)
        people = rng.poisson(self.truth["population"] * np.exp(0.3 * rng.standard_normal(n)))
        jobs = rng.poisson(self.truth["jobs"] * np.exp(0.4 * rng.standard_normal(n)))
        return {
            "population": people,
            "schools": self._places("education/school"),
            "jobs": jobs,
            "healthcare": self._places("health/"),
        }

    @cached_property
    def truth(self) -> dict[str, Floats]:
        """(n,) each: what population and jobs are without chance."""
        f = {name: values[self._fields["land"] > 0.5] for name, values in self._fields.items()}
        near = ring_index(self.cells, 1)
        departures = self._around(self._departures(), near)
        main_km = self._around(self._main_km(), near)
        people = f["km2"] * 5200 * f["urban"] ** 1.3 * (1 - 0.7 * f["business"]) * (1 - 0.9 * f["park"])
        jobs = f["km2"] * 900 * f["urban"] * (0.15 + 3 * f["business"] ** 2) * (1 - 0.8 * f["park"])
        return {
            "population": people * np.exp(-4 * f["slope"]),
            "jobs": jobs * ((1 + departures) / 10) ** 0.3 * (0.5 + main_km) ** 0.3,
        }

    def best_r2(self) -> dict[str, float]:
        """The R² that the truth has for ln(1 + x) of population and of jobs: nothing that can be learned has more."""
        found = {}
        for name, truth in self.truth.items():
            seen = np.log1p(self.targets[name])
            found[name] = float(1 - ((seen - np.log1p(truth)) ** 2).sum() / ((seen - seen.mean()) ** 2).sum())
        return found

    def write(self, folder: str | Path) -> dict[str, Path]:
        """Write what is known of the city, the same bytes every time on one machine.

        Returns:
            The paths by name: osm (roads and places, .osm.pbf), gtfs and rail (feeds of the buses and of the trains,
            .zip), elevation (GeoTIFF, metres), cells (CSV: id, lon, lat, population, schools, jobs, healthcare), truth
            (CSV: id, population, jobs as expected) and boundary (GeoJSON).

        Raises:
            MissingExtra: osmium or rasterio is not installed.
        """
        from placevec.sources.world.write_city import write_city

        return write_city(self, Path(folder))

    @property
    def _ground(self) -> Ground:
        return self.world.ground

    @cached_property
    def _all(self) -> NDArray[np.uint64]:
        """Cells whose centre is in the circle, on land or not."""
        system = H3Cells(RESOLUTION)
        box = circle_box(float(self.centre.lon[0]), float(self.centre.lat[0]), 1000.0 * self.radius_km)
        cells = np.unique(system.cover(box_polygon(box)))
        where = system.centre(cells)
        return cells[in_circle(where.lon, where.lat, self.centre, 1000.0 * self.radius_km)]

    @cached_property
    def _fields(self) -> dict[str, Floats]:
        """Means over the land of cells, and how much of it there is."""
        fine = H3Cells(RESOLUTION).children(self._all, _FINE)
        owner = np.repeat(np.arange(len(self._all)), np.diff(fine.offsets))
        col, row = self.world.grid.position(H3Cells(_FINE).centre(fine.cells))
        ground, step = self._ground, 30.0 / self.world.grid.metres
        land = ground.land(col, row)
        size = np.bincount(owner).astype(np.float64)
        dry = np.maximum(np.bincount(owner, land), 1.0)

        def mean(values: NDArray[np.generic]) -> Floats:
            return np.asarray(np.bincount(owner, np.where(land, values, 0.0)) / dry)

        rise = ground.elevation(col + step, row) - ground.elevation(col - step, row)
        climb = ground.elevation(col, row + step) - ground.elevation(col, row - step)
        share = np.bincount(owner, land) / size
        return {
            "land": share,
            "km2": share * cell_areas(self._all) / 1e6,
            "urban": mean(ground.urban(col, row)),
            "business": mean(ground.business(col, row)),
            "park": mean(ground.park(col, row)),
            "slope": mean(np.hypot(rise, climb) / 60.0),
        }

    def _departures(self) -> Floats:
        """Departures an hour, in both directions, of the stops of each cell."""
        hourly = np.zeros(len(self.transit.stop_col))
        for _, _, stops, _, every in self.transit.lines:
            hourly[stops] += 2.0 * 3600.0 / every
        return self._sum(self.transit.stop_col, self.transit.stop_row, hourly)

    def _places(self, category: str) -> NDArray[np.int64]:
        total = np.zeros(len(self.cells))
        for pois in (self.world.pois, self.pois):
            kept = np.array([str(one).startswith(category) for one in pois.category])
            total += self._sum(pois.col[kept], pois.row[kept], np.ones(int(kept.sum())))
        return total.astype(np.int64)

    def _main_km(self) -> Floats:
        """Kilometres of secondary and tertiary streets, each segment counted to the cell of its middle."""
        s = self.streets
        a, b = s.ends[(s.kind == SECONDARY) | (s.kind == TERTIARY)].T
        ends = [self.world.grid.lonlat(s.col[k], s.row[k]) for k in (a, b)]
        return self._sum((s.col[a] + s.col[b]) / 2, (s.row[a] + s.row[b]) / 2, distance_m(*ends) / 1000)

    def _sum(self, col: Floats, row: Floats, weight: Floats) -> Floats:
        """Weights of positions, added up for each of `cells`."""
        own = H3Cells(RESOLUTION).assign(self.world.grid.lonlat(col, row))
        at = np.minimum(np.searchsorted(self.cells, own), len(self.cells) - 1)
        hit = self.cells[at] == own
        return np.bincount(at[hit], weight[hit], minlength=len(self.cells)).astype(np.float64)

    def _around(self, values: Floats, near: NDArray[np.int64]) -> Floats:
        """Means over cells and those of their neighbours that are there."""
        there = near >= 0
        found: Floats = np.where(there, values[near], 0.0).sum(axis=1) / there.sum(axis=1)
        return found
