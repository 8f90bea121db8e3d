"""Arcadia: a whole small country from a seed, with its truth known."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from placevec.errors import UsageError
from placevec.registry import need
from placevec.sources.base import ArraySource
from placevec.sources.rasters import Raster
from placevec.sources.world.captions import Chips, make_chips
from placevec.sources.world.cover import CLASSES, Cover, make_cover
from placevec.sources.world.grid import Grid
from placevec.sources.world.ground import Ground
from placevec.sources.world.imagery import BANDS, FINER, draw_imagery, draw_lights
from placevec.sources.world.noise import stream
from placevec.sources.world.photo_facts import PhotoFacts, photo_facts
from placevec.sources.world.photos import Photos, take_photos
from placevec.sources.world.places import Pois, Transit, make_pois, make_transit
from placevec.sources.world.roads import Roads, make_roads
from placevec.sources.world.settlement import Towns, make_names, make_provinces, make_towns
from placevec.sources.world.streets import Streets, make_streets
from placevec.sources.world.targets import make_targets
from placevec.sources.world.terrain import Terrain, make_terrain
from placevec.sources.world.urban import RESOLUTIONS as URBAN
from placevec.sources.world.urban import make_urban
from placevec.table import Places

if TYPE_CHECKING:
    from placevec.sources.world.city import City

# columns, rows, metres a pixel, towns, provinces, places with photos, chips, H3 resolution of the targets
_SIZES = {
    "small": (512, 448, 600.0, 28, 6, 500, 400, 6),
    "medium": (1024, 896, 500.0, 64, 6, 2500, 2000, 6),
    "large": (2048, 1792, 400.0, 140, 7, 8000, 6000, 7),
}
YEARS = (2015, 2025)
RASTERS = ("dem", "landcover_2015", "landcover_2025", "imagery_2015", "imagery_2025", "lights")


class World:
    """A generated country. Everything is made from the seed when it is first asked for, and kept.

    Args:
        seed: which country.
        size: "small" (310 km wide), "medium" (510 km) or "large" (820 km).
        centre: longitude and latitude of its middle; 180 puts it across the antimeridian.

    Raises:
        UsageError: the size is none of those, or the middle lies where no such country fits.
    """

    def __init__(self, seed: int = 0, size: str = "small", *, centre: tuple[float, float] = (13.0, 43.5)) -> None:
        if size not in _SIZES:
            raise UsageError(f"no world has the size {size!r}; choose one of {', '.join(_SIZES)}")
        lon, lat = centre
        if not (-180 <= lon <= 180 and abs(lat) <= 70):
            raise UsageError(f"a world cannot lie around {centre}; give a longitude, and a latitude within 70 degrees")
        if seed < 0:
            raise UsageError(f"the seed is {seed}; give a whole number from 0")
        self.seed = int(seed)
        self.size = size
        columns, rows, metres, self._towns, self._provinces, self._photos, self._chips, self._resolution = _SIZES[size]
        self.grid = Grid(columns, rows, metres, float(lon), float(lat))
        self._streets: dict[int, Streets] = {}

    def __repr__(self) -> str:
        return f"World(seed={self.seed}, size={self.size!r}, centre=({self.grid.lon0:g}, {self.grid.lat0:g}))"

    @property
    def name(self) -> str:
        """The name of the country."""
        return "Arcadia"

    @cached_property
    def terrain(self) -> Terrain:
        """Coast, heights, rivers and climate."""
        rows = np.arange(self.grid.height) + 0.5
        return make_terrain(self.seed, self.grid.shape, self.grid.metres, self.grid.lats(rows))

    @cached_property
    def towns(self) -> Towns:
        """Towns, the largest first."""
        return make_towns(self.seed, self.terrain, self.grid.metres, self._towns)

    @cached_property
    def _regions(self) -> tuple[NDArray[np.int8], list[int]]:
        return make_provinces(self.seed, self.terrain, self.towns, self._provinces)

    @property
    def province(self) -> NDArray[np.int8]:
        """(rows, columns) the number of each pixel's province, -1 in the sea."""
        return self._regions[0]

    @property
    def capitals(self) -> list[int]:
        """The town that is the capital of each province."""
        return self._regions[1]

    @cached_property
    def province_names(self) -> list[str]:
        """The name of each province."""
        taken = set(self.towns.name)
        names = make_names(stream(self.seed, "province names"), self._provinces + len(taken))
        return [name for name in names if name not in taken][: self._provinces]

    @cached_property
    def cover(self) -> Cover:
        """Land cover in 2015 and 2025; `CLASSES` names the classes, `cover.changed` is the true change."""
        return make_cover(self.seed, self.terrain, self.towns, self.grid.metres)

    @cached_property
    def roads(self) -> Roads:
        """The road graph."""
        return make_roads(self.seed, self.grid, self.terrain, self.towns)

    @cached_property
    def imagery_2015(self) -> NDArray[np.uint8]:
        """The satellite image of 2015, (6, rows, columns) of half the terrain's pixel size; `BANDS` names the bands."""
        return draw_imagery(self.seed, 2015, self.grid, self.terrain, self.cover, self.roads)

    @cached_property
    def imagery_2025(self) -> NDArray[np.uint8]:
        """The satellite image of 2025, see `imagery_2015`."""
        return draw_imagery(self.seed, 2025, self.grid, self.terrain, self.cover, self.roads)

    @cached_property
    def lights(self) -> NDArray[np.uint8]:
        """Brightness at night in 2025, (rows, columns)."""
        return draw_lights(self.grid, self.terrain, self.cover, self.roads)

    @cached_property
    def chips(self) -> Chips:
        """Captioned chips of the image of 2025."""
        return make_chips(self.seed, self.grid, self.terrain, self.cover, self.roads, self.imagery_2025, self._chips)

    @cached_property
    def photos(self) -> Photos:
        """Pictures from the ground, several at each place."""
        return take_photos(self.seed, self.grid, self.terrain, self.cover, self.towns, self.province, self._photos)

    @cached_property
    def photo_facts(self) -> PhotoFacts:
        """What cameras and people say of the photos; much of it is missing."""
        return photo_facts(
            *(self.seed, self.grid, self.terrain, self.cover, self.towns, self.province_names, self.name, self.photos)
        )

    @cached_property
    def pois(self) -> Pois:
        """Points of interest."""
        return make_pois(self.seed, self.grid, self.terrain, self.cover, self.towns)

    @cached_property
    def transit(self) -> Transit:
        """Trains and buses."""
        return make_transit(self.seed, self.grid, self.towns, self.roads)

    @cached_property
    def ground(self) -> Ground:
        """What lies between the pixels: what streets, and everything finer than a pixel, follow."""
        return Ground(self.seed, self.grid, self.terrain, self.cover, self.towns)

    def streets(self, town: int) -> Streets:
        """The streets of a town, as an OpenStreetMap extract shows them; `roads` has only the widest."""
        if town not in self._streets:
            self._streets[town] = make_streets(self.ground, town)
        return self._streets[town]

    @cached_property
    def targets(self) -> dict[str, NDArray[Any]]:
        """Columns of targets per H3 cell, see `targets` for the functions that make them."""
        return make_targets(self.seed, self.grid, self.terrain, self.cover, self.towns, self.province, self._resolution)

    @cached_property
    def urban(self) -> dict[str, NDArray[Any]]:
        """Population and price of H3 cells in and around towns, see `urban`: some 1,000, 10,000 or 100,000 of them."""
        return make_urban(self.ground, URBAN[self.size])

    @cached_property
    def provinces(self) -> list[BaseGeometry]:
        """The outlines of the provinces in longitude and latitude; they share their borders exactly."""
        return [self.place_geometry(shape) for shape in self._outlines]

    @cached_property
    def boundary(self) -> BaseGeometry:
        """The outline of the country, its island included, cut at the antimeridian."""
        return self.place_geometry(shapely.union_all(self._outlines))

    @cached_property
    def _outlines(self) -> list[BaseGeometry]:
        """Provinces in positions (column, row), smoothed together so that neighbours still fit."""
        features = need("rasterio.features", extra="raster", purpose="outlining the generated country")
        found: dict[int, list[BaseGeometry]] = {}
        for shape, value in features.shapes(self.province.astype(np.int16), mask=self.province >= 0, connectivity=4):
            found.setdefault(int(value), []).append(shapely.geometry.shape(shape))
        rough = np.array([shapely.union_all(found[number]) for number in range(self._provinces)], dtype=object)
        simplify = getattr(shapely, "coverage_simplify", None)  # shapely 2.1
        return list(rough if simplify is None else simplify(rough, 0.9))

    def place_geometry(self, shape: BaseGeometry) -> BaseGeometry:
        """A geometry in positions (column, row) brought to longitude and latitude, cut at the antimeridian."""
        moved = shapely.transform(
            shape, lambda xy: np.stack([self.grid.lons(xy[:, 0]), self.grid.lats(xy[:, 1])], axis=1)
        )
        west, _, east, _ = moved.bounds if not moved.is_empty else (0.0, 0.0, 0.0, 0.0)
        if west >= -180 and east <= 180:
            return moved
        turn = -360.0 if east > 180 else 360.0
        inside = shapely.intersection(moved, shapely.box(-180, -90, 180, 90))
        beyond = shapely.difference(moved, shapely.box(-180, -90, 180, 90))
        shifted = shapely.transform(beyond, lambda xy: xy + np.array([turn, 0.0]))
        parts = [part for whole in (inside, shifted) for part in shapely.get_parts(whole) if not part.is_empty]
        parts = [part for part in parts if part.geom_type == moved.geom_type.removeprefix("Multi")]
        if len(parts) == 1:
            only: BaseGeometry = parts[0]
            return only
        gather: Any = {"Polygon": shapely.multipolygons, "LineString": shapely.multilinestrings}
        collected: BaseGeometry = gather.get(parts[0].geom_type, shapely.multipoints)(parts)
        return collected

    def array(self, name: str) -> NDArray[Any]:
        """The pixels of one of RASTERS, (rows, columns) or (bands, rows, columns)."""
        if name == "dem":
            return self.terrain.elevation
        if name == "landcover_2015":
            return self.cover.before
        if name == "landcover_2025":
            return self.cover.now
        if name in RASTERS:
            pixels: NDArray[Any] = getattr(self, name)
            return pixels
        raise UsageError(f"a world has no raster {name!r}; it has {', '.join(RASTERS)}")

    def raster(self, name: str) -> Raster:
        """One of RASTERS, in memory: no file is needed."""
        return Raster.from_array(
            self.array(name), bounds=self.grid.bounds, href=f"world:{self.seed}/{self.size}/{name}"
        )

    def chip_places(self) -> Places:
        """The chips as places, with `label`, `split` and the share of each class."""
        chips = self.chips
        attributes: dict[str, Any] = {
            "label": np.array([CLASSES[int(key)] for key in chips.label], dtype=object),
            "split": chips.split,
            "caption": np.array([captions[0] for captions in chips.captions], dtype=object),
        }
        attributes |= {f"{name}_share": chips.shares[:, key - 1] for key, name in CLASSES.items()}
        ids = [f"chip-{i:05d}" for i in range(len(chips.col))]
        return Places.create(ids, self.grid.lonlat(chips.col, chips.row), attributes=attributes)

    def chip_source(self) -> ArraySource:
        """The chips: "image" (n, 6, 64, 64) uint8, "text" one caption each, "lonlat"."""
        places = self.chip_places()
        return ArraySource(
            places, {"image": self.chips.image, "text": places.column("caption"), "lonlat": _columns(places)}
        )

    def photo_places(self) -> Places:
        """The photos as places; `place` groups those of one spot.

        `taken` (ISO 8601), `hour`, `month`, `focal_mm` (as on 35 mm film) and `tags` are None or NaN where unknown.
        """
        photos, facts = self.photos, self.photo_facts
        return Places.create(
            [f"photo-{i:06d}" for i in range(len(photos.col))],
            self.grid.lonlat(photos.col, photos.row),
            place=[f"spot-{i:05d}" for i in photos.place],
            attributes={
                "province": np.array([self.province_names[i] for i in photos.province], dtype=object),
                "heading": photos.heading,
                "land_cover": np.array([CLASSES[int(i)] for i in photos.cover], dtype=object),
                "taken": facts.taken,
                "hour": facts.hour,
                "month": facts.month,
                "focal_mm": facts.focal_mm,
                "tags": facts.tags,
            },
        )

    def photo_source(self) -> ArraySource:
        """The photos: "image" (n, 3, 64, 64) uint8, "lonlat", "metadata" (n, 6) as METADATA names it, and "tags"."""
        from placevec.sources.photos import photo_metadata

        places = self.photo_places()
        tags = np.array([text or "" for text in places.column("tags")], dtype=object)
        return ArraySource(
            places,
            {
                "image": self.photos.image,
                "lonlat": _columns(places),
                "metadata": photo_metadata(places),
                "tags": tags,
            },
        )

    def poi_places(self) -> Places:
        """The points of interest, with `category` ("group/kind") and `name`."""
        pois = self.pois
        return Places.create(
            [f"poi-{i:05d}" for i in range(len(pois.col))],
            self.grid.lonlat(pois.col, pois.row),
            attributes={"category": pois.category, "name": pois.name},
        )

    def target_places(self) -> Places:
        """The H3 cells as places, with every target as an attribute."""
        from placevec.geo.cells import H3Cells

        columns: dict[str, Any] = dict(self.targets)
        cells = columns.pop("h3")
        columns["province"] = np.array([self.province_names[i] for i in columns["province"]], dtype=object)
        return Places.create(
            [f"{cell:x}" for cell in cells], H3Cells(self._resolution).centre(cells), h3=cells, attributes=columns
        )

    def city(self, town: int = 0, radius_km: float = 6.5) -> City:
        """A town, the largest being 0, with all that is within `radius_km` of its middle: `City.write` writes it.

        Raises:
            UsageError: there is no such town, or the radius is none of 0.5 to 20 km.
        """
        from placevec.sources.world.city import City

        return City(self, town, radius_km)

    def write(self, folder: str | Path, *, crs: str | None = None) -> dict[str, Path]:
        """Write everything in the formats that such things have, the same bytes every time on one machine.

        Args:
            folder: where to; made if it is not there.
            crs: coordinate system of the rasters; by default longitude and latitude (EPSG:4326).

        Returns:
            The paths by name: boundary, provinces, towns, pois, roads (GeoJSON), the RASTERS (GeoTIFF), classes.json
            (of the land cover), photos and chips (folders), photos.csv, captions.json (the form of Karpathy's split
            files), gtfs.zip, targets.csv, urban.csv (population and price of the cells of towns), and country.osm.pbf,
            which is left out with a warning where osmium (the extra `osm`) is not installed.
        """
        from placevec.sources.world.write import write_world

        return write_world(self, Path(folder), crs)


def _columns(places: Places) -> NDArray[np.float64]:
    return np.stack([places.lon, places.lat], axis=1)


__all__ = ["BANDS", "CLASSES", "FINER", "RASTERS", "YEARS", "World"]
