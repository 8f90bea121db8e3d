"""Named regions, such as the provinces of a country: which of them holds a point, and how large they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from placevec.errors import DataError, FormatError
from placevec.geo.boxes import unwrap_polygon
from placevec.geo.sphere import EARTH_RADIUS_M, LonLat

_EARTH = "Earth"


@dataclass(frozen=True, eq=False)
class Regions:
    """Regions of one kind, each with its name and its outline.

    Attributes:
        names: (P,) different names.
        polygons: (P,) valid shapely (Multi)Polygons in lon, lat, cut at the antimeridian.

    Raises:
        DataError: no region, names that are empty or not unique, as many polygons as names are missing, or one of
            them is no polygon with an area.
        CoordinateError: a latitude is out of range or a coordinate is not finite.
    """

    names: tuple[str, ...]
    polygons: NDArray[np.object_]

    def __post_init__(self) -> None:
        names = tuple(str(name).strip() for name in self.names)
        if not names:
            raise DataError("there is no region; give at least one polygon with a name")
        if len(names) != len(self.polygons):
            raise DataError(f"{len(names)} names and {len(self.polygons)} polygons of regions; give as many of each")
        twice = next((name for at, name in enumerate(names) if name in names[:at]), None)
        if twice is not None:
            raise DataError(f"two regions are called {twice!r}; unite their polygons, or give them names of their own")
        if "" in names:
            raise DataError(f"region {names.index('') + 1} of {len(names)} has no name; give each one")
        polygons = np.empty(len(names), dtype=object)
        for row, polygon in enumerate(self.polygons):
            try:
                # A vertex at least every 90 degrees: so the outline means the same whenever it is read again.
                polygons[row] = shapely.segmentize(unwrap_polygon(polygon), 90.0)
            except DataError as error:
                raise type(error)(f"region {names[row]!r}: {error}") from None
        shapely.prepare(polygons)
        polygons.flags.writeable = False
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "polygons", polygons)

    @classmethod
    def of(cls, items: Mapping[str, BaseGeometry]) -> Regions:
        """The regions {name: polygon}, in that order."""
        return cls(tuple(items), _column(items.values()))

    @classmethod
    def single(cls, polygon: BaseGeometry, name: str = "area") -> Regions:
        """One region."""
        return cls((name,), _column([polygon]))

    @classmethod
    def whole_earth(cls) -> Regions:
        """One region that holds every point."""
        return cls.single(shapely.box(-180.0, -90.0, 180.0, 90.0), _EARTH)

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[tuple[str, BaseGeometry]]:
        return iter(zip(self.names, self.polygons, strict=True))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Regions):
            return NotImplemented
        return self.names == other.names and list(shapely.to_wkb(self.polygons)) == list(shapely.to_wkb(other.polygons))

    def __hash__(self) -> int:
        return hash(self.names)

    def __repr__(self) -> str:
        few = ", ".join(self.names[:4]) + (", ..." if len(self) > 4 else "")
        return f"Regions(<{len(self)}: {few}>)"

    def assign(self, p: LonLat) -> NDArray[np.int64]:
        """The row (n,) of the region that holds each point; -1 outside of all.

        Borders belong to their region; on a border that two regions share, it is the first of them.
        """
        rows = np.full(len(p), -1, dtype=np.int64)
        # A point on the antimeridian is at 180 as much as at -180.
        edge = p.lon == -180.0
        for row, polygon in enumerate(self.polygons):
            west, south, east, north = polygon.bounds
            near = (p.lat >= south) & (p.lat <= north) & (((p.lon >= west) & (p.lon <= east)) | edge)
            todo = np.flatnonzero(near & (rows < 0))
            held = shapely.intersects_xy(polygon, p.lon[todo], p.lat[todo])
            turned = todo[edge[todo] & ~held]
            rows[todo[held]] = row
            rows[turned[shapely.intersects_xy(polygon, np.full(len(turned), 180.0), p.lat[turned])]] = row
        return rows

    @property
    def areas_m2(self) -> NDArray[np.float64]:
        """The area (P,) of each region in square metres, see `spherical_areas_m2`."""
        return spherical_areas_m2(self.polygons)

    def overlaps(self, share: float = 0.01) -> list[tuple[str, str, float]]:
        """Pairs of regions with their common area in square metres, where that is over `share` of the smaller one.

        Points there are in the first of the two. Borders of real regions overlap a little: they were drawn apart.
        """
        one, other = shapely.STRtree(self.polygons).query(self.polygons, predicate="intersects")
        once = one < other
        one, other = one[once], other[once]
        common = spherical_areas_m2(shapely.intersection(self.polygons[one], self.polygons[other]))
        smaller = np.minimum(self.areas_m2[one], self.areas_m2[other])
        order = np.lexsort((other, one))
        large = order[common[order] > share * smaller[order]]
        return [(self.names[one[at]], self.names[other[at]], float(common[at])) for at in large.tolist()]

    def warnings(self) -> list[str]:
        """What is odd about the regions, in words: pairs that overlap."""
        return [
            f"{one} and {other} overlap in {common / 1e6:,.0f} km²: what lies there counts for {one} alone"
            for one, other, common in self.overlaps()
        ]

    def row(self, name: str) -> int:
        """The row of the region called `name`; DataError if there is none."""
        if name not in self.names:
            raise DataError(f"there is no region {name!r}; there are: {', '.join(self.names)}")
        return self.names.index(name)

    def to_geojson(self) -> dict[str, Any]:
        """A FeatureCollection; the property `name` of a feature is the name of the region."""
        features = [
            {"type": "Feature", "properties": {"name": name}, "geometry": shapely.geometry.mapping(polygon)}
            for name, polygon in self
        ]
        return {"type": "FeatureCollection", "features": features}

    @classmethod
    def from_geojson(cls, value: Mapping[str, Any]) -> Regions:
        """Read what `to_geojson` gave; FormatError if it is not that."""
        try:
            features = value["features"]
            names = [feature["properties"]["name"] for feature in features]
            shapes = [shapely.geometry.shape(feature["geometry"]) for feature in features]
        except (KeyError, TypeError, AttributeError, ValueError, IndexError, shapely.errors.ShapelyError) as error:
            raise FormatError(
                f"not a FeatureCollection of regions with the property name ({type(error).__name__}: {error})"
            ) from None
        if not all(isinstance(name, str) for name in names):
            raise FormatError("a region's property name is not a text; write each as a text")
        return cls(tuple(names), _column(shapes))


def spherical_areas_m2(polygons: Sequence[BaseGeometry] | NDArray[np.object_]) -> NDArray[np.float64]:
    """The areas (n,) in square metres, on the sphere, of polygons (n,) whose edges are straight in lon and lat.

    Exact for such edges, so that parts add up to their whole, a box along parallels and the whole Earth included:
    the area is the sum over edges of the integral of sin(lat) d lon (Green's theorem), which is
    (lon2 - lon1) sin((lat1 + lat2) / 2) sin(h) / h with h = (lat2 - lat1) / 2. What is no polygon has the area 0.
    """
    column = _column(polygons)
    areas = np.zeros(len(column))
    parts, owner = shapely.get_parts(column, return_index=True)
    rings, part = shapely.get_rings(parts, return_index=True)
    if len(rings) == 0:
        return areas
    xy, ring = shapely.get_coordinates(rings, return_index=True)
    lon, lat = np.radians(xy).T
    half = (lat[1:] - lat[:-1]) / 2.0
    edge = (lon[1:] - lon[:-1]) * np.sin((lat[1:] + lat[:-1]) / 2.0) * np.sinc(half / np.pi)
    same = ring[1:] == ring[:-1]
    each = np.abs(np.bincount(ring[1:][same], edge[same], minlength=len(rings)))
    # The first ring of a part is its shell, the others are its holes.
    shell = np.concatenate([[True], part[1:] != part[:-1]])
    np.add.at(areas, owner[part], np.where(shell, each, -each) * EARTH_RADIUS_M**2)
    return areas


def _column(geometries: Any) -> NDArray[np.object_]:
    """An object array of geometries; numpy alone would take a MultiPolygon for a sequence."""
    found = list(geometries)
    column = np.empty(len(found), dtype=object)
    column[:] = found
    return column
