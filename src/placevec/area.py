"""StudyArea: the region that a project is about, and the folder in which the project lives."""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from numpy.typing import ArrayLike, NDArray
from pyproj import Geod
from shapely.geometry import MultiPolygon, Polygon, shape
from shapely.geometry.base import BaseGeometry

from placevec.errors import DataError, FormatError, UsageError
from placevec.files import whole, write_text
from placevec.geo.boxes import Box, box_polygon, check_box, unwrap_polygon
from placevec.geo.cells import H3Cells, are_cells
from placevec.geo.frames import LocalFrame
from placevec.geo.outline import outline
from placevec.geo.sphere import LonLat, spherical_mean

SUBFOLDERS = ("sources", "tables", "grids", "models", "results", "figures")
"""The folders that every study area has."""

CELLS_FILE = "cells.parquet"
"""Where an area that is a list of cells keeps them."""

MAINLAND_KM = 500.0
"""Of an alias for a mainland (``iberia``), the parts farther than this from the largest part are left out."""

_ALIASES = {"iberia": "Spain+Portugal"}
_COUNTRY_KEYS = ("NAME", "ADMIN", "NAME_LONG", "ISO_A3", "ISO_A2", "ISO_A3_EH", "ISO_A2_EH", "ADM0_A3")
_GEOD = Geod(ellps="WGS84")


@dataclass(frozen=True, eq=False)
class StudyArea:
    """A region of the Earth with a name, the resolutions of its H3 cells, and, once saved, its folder.

    Args:
        name: what people call it.
        boundary: shapely Polygon or MultiPolygon in longitude and latitude; made valid and cut at the
            antimeridian.
        resolutions: H3 resolutions, the main one first.
        folder: where it is kept; None until it is saved or opened.
        given: (n,) the H3 cells that the area is made of, sorted, where it is a list of cells and no region: then these
            are its cells at their resolution, their parents at coarser ones and their children at finer ones.

    Raises:
        DataError: the boundary is no area.
        UsageError: the name is empty, or a resolution is not one of H3's.
    """

    name: str
    boundary: Polygon | MultiPolygon
    resolutions: tuple[int, ...] = (6,)
    folder: Path | None = None
    given: NDArray[np.uint64] | None = None

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise UsageError("a study area needs a name; give one such as 'porto-alegre'")
        if not self.resolutions:
            raise UsageError(f"the study area {self.name!r} has no resolution; give one such as 6")
        object.__setattr__(self, "boundary", unwrap_polygon(self.boundary))
        object.__setattr__(self, "resolutions", tuple(H3Cells(r).resolution for r in self.resolutions))

    @classmethod
    def from_geojson(cls, path: str | Path, *, name: str | None = None, resolutions: Sequence[int] = (6,)) -> StudyArea:
        """The area of all polygons in a GeoJSON file; its name is that of the file unless given.

        Raises:
            FormatError: the file is not GeoJSON.
            DataError: it holds no polygon.
        """
        source = Path(path)
        geometries = [geometry for _, geometry in _features(source)]
        polygons = [g for g in geometries if isinstance(g, Polygon | MultiPolygon) and not g.is_empty]
        if not polygons:
            raise DataError(f"{source} holds no polygon; a study area is a Polygon or a MultiPolygon")
        return cls(name or source.stem, _union(polygons), tuple(resolutions))

    @classmethod
    def from_bbox(cls, box: Box, *, name: str = "area", resolutions: Sequence[int] = (6,)) -> StudyArea:
        """The area of a box (west, south, east, north); west > east crosses the antimeridian.

        Raises:
            CoordinateError: it is no box.
            DataError: it has no width or height.
        """
        west, south, east, north = check_box(box)
        if west == east or south == north:
            raise DataError(f"the box {tuple(box)} has no area; give west < east and south < north")
        return cls(name, box_polygon(box), tuple(resolutions))

    @classmethod
    def from_country(cls, name: str, countries_geojson: str | Path, *, resolutions: Sequence[int] = (6,)) -> StudyArea:
        """The area of a country, or of several ("Spain+Portugal"), from a file of Natural Earth's countries.

        Args:
            name: the NAME, ADMIN, NAME_LONG, ISO A2 or ISO A3 code, in any case. The alias ``iberia`` is
                Spain+Portugal without the parts farther than `MAINLAND_KM` from the mainland (the Canaries,
                the Azores, Madeira, where the file has them).
            countries_geojson: a file such as ``ne_110m_admin_0_countries.geojson``.
            resolutions: H3 resolutions, the main one first.

        Raises:
            UsageError: no country has that name; the message gives the three nearest.
            FormatError: the file is not GeoJSON, or not one of countries.
        """
        source = Path(countries_geojson)
        lookup: dict[str, BaseGeometry] = {}
        shown: list[str] = []
        # Names before codes, so that a code never hides the name of another country.
        features = _features(source)
        for key in _COUNTRY_KEYS:
            for properties, geometry in features:
                text = str(properties.get(key) or "").strip()
                if text and text != "-99":
                    lookup.setdefault(text.casefold(), geometry)
                    if key == "NAME":
                        shown.append(text)
        if not shown:
            raise FormatError(f"{source} has no property NAME; give Natural Earth's admin_0_countries")
        alias = _ALIASES.get(name.strip().casefold())
        parts = []
        for part in (alias or name).split("+"):
            found = lookup.get(part.strip().casefold())
            if found is None:
                raise UsageError(f"no country is called {part.strip()!r}; nearest: {_nearest(part, shown)}")
            parts.append(found)
        boundary = _union(parts)
        return cls(name.strip(), _mainland(boundary) if alias else boundary, tuple(resolutions))

    @classmethod
    def from_cells(cls, cells: ArrayLike, *, name: str = "area", resolutions: Sequence[int] = ()) -> StudyArea:
        """The area of given H3 cells of one resolution, which stay its cells; its boundary is their outline.

        Args:
            cells: (n,) in any order; one that stands there twice counts once.
            name: what people call it.
            resolutions: the main one first; by default that of the cells.

        Raises:
            DataError: there is none, one is no cell, or they are of several resolutions.
        """
        own = np.unique(np.ascontiguousarray(cells, dtype=np.uint64))
        if len(own) == 0:
            raise DataError("there are no cells: a study area has one at least")
        level = _level(own)
        return cls(name, outline(own, level), tuple(resolutions) or (level,), None, own)

    @classmethod
    def open(cls, folder: str | Path) -> StudyArea:
        """The area that was saved in `folder`.

        Raises:
            UsageError: there is none.
            FormatError: its files cannot be read.
        """
        place = _local(folder)
        listing = place / "area.toml"
        try:
            kept = tomllib.loads(listing.read_text(encoding="utf-8"))
            name, resolutions = kept["name"], tuple(kept["resolutions"])
        except FileNotFoundError:
            raise UsageError(f"{place} holds no study area (no area.toml); make one with `placevec area`") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
            raise FormatError(f"{listing} is not the listing of a study area ({error}); save the area again") from None
        given = _read_cells(place / str(kept["cells"])) if "cells" in kept else None
        return cls(name, _union([g for _, g in _features(place / "boundary.geojson")]), resolutions, place, given)

    def save(self, folder: str | Path) -> StudyArea:
        """Write area.toml and boundary.geojson into `folder`, make its subfolders, and return the area kept there.

        Saving the same area again changes nothing. area.toml is written last, in one move: a folder with it
        is whole.

        Raises:
            UsageError: a different area is already there.
        """
        place = _local(folder)
        kept = replace(self, folder=place)
        if (place / "area.toml").exists():
            there = StudyArea.open(place)
            if there != kept:
                raise UsageError(f"{place} already holds the study area {there.name!r}; choose another folder")
            kept = there
        place.mkdir(parents=True, exist_ok=True)
        for sub in SUBFOLDERS:
            (place / sub).mkdir(exist_ok=True)
        feature = {
            "type": "Feature",
            "properties": {"name": self.name},
            "geometry": json.loads(shapely.to_geojson(self.boundary)),
        }
        write_text(
            place / "boundary.geojson",
            json.dumps({"type": "FeatureCollection", "features": [feature]}) + "\n",
        )
        box = ", ".join(repr(v) for v in self.bbox)
        listing = (
            f"name = {_toml(self.name)}\n"
            f"resolutions = {list(self.resolutions)}\n"
            f"bbox = [{box}]\n"
            f"area_km2 = {self.area_km2!r}\n"
            'boundary = "boundary.geojson"\n'
            'crs = "OGC:CRS84"\n'
        )
        if self.given is not None:
            with whole(place / CELLS_FILE) as part:
                pq.write_table(pa.table({"h3": self.given}), part, compression="zstd")
            listing += f"cells = {_toml(CELLS_FILE)}\n"
        write_text(place / "area.toml", listing)
        return kept

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, StudyArea):
            return NotImplemented
        same = (self.name, self.resolutions) == (other.name, other.resolutions)
        if self.given is not None or other.given is not None:
            # The outline follows from the cells.
            return same and np.array_equal(_or_none(self.given), _or_none(other.given))
        return same and bool(shapely.equals_exact(self.boundary, other.boundary, 1e-9, normalize=True))

    @property
    def resolution(self) -> int:
        """The main H3 resolution: the first."""
        return self.resolutions[0]

    def cells(self, resolution: int | None = None) -> NDArray[np.uint64]:
        """All H3 cells that share any point with the area, sorted; at the main resolution unless given.

        Of an area of given cells these, their parents or their children.
        """
        wanted = H3Cells(self.resolution if resolution is None else resolution)
        if self.given is None:
            return wanted.cover(self.boundary)
        own = H3Cells(_level(self.given))
        if wanted.resolution <= own.resolution:
            return np.unique(own.parent(self.given, wanted.resolution))
        return np.sort(own.children(self.given, wanted.resolution).cells)

    @cached_property
    def bbox(self) -> Box:
        """The smallest box (west, south, east, north) around the area; west > east across the antimeridian."""
        bounds = shapely.bounds(shapely.get_parts(self.boundary))
        south, north = float(bounds[:, 1].min()), float(bounds[:, 3].max())
        spans = bounds[np.argsort(bounds[:, 0])][:, [0, 2]]
        reach = np.maximum.accumulate(spans[:, 1])
        # The widest gap between parts is what the box leaves out; the last gap is the one across the
        # antimeridian.
        gaps = np.append(spans[1:, 0] - reach[:-1], spans[0, 0] + 360.0 - reach[-1])
        gap = int(np.argmax(gaps)) if gaps.max() > gaps[-1] else len(gaps) - 1
        west, east = spans[(gap + 1) % len(spans), 0], reach[gap]
        return (float(west), south, float(east), north)

    @cached_property
    def area_km2(self) -> float:
        """The area in km² on the WGS84 ellipsoid; edges are straight in longitude and latitude."""
        return _area_km2(self.boundary)

    @cached_property
    def box_km2(self) -> float:
        """The area of `bbox` in km² on the WGS84 ellipsoid."""
        return _area_km2(box_polygon(self.bbox))

    @cached_property
    def frame(self) -> LocalFrame:
        """Local metres around the mean of the boundary (equal-area)."""
        inner = shapely.get_coordinates(shapely.point_on_surface(shapely.get_parts(self.boundary)))
        weights = shapely.area(shapely.get_parts(self.boundary))
        return LocalFrame.at(spherical_mean(LonLat(inner[:, 0], inner[:, 1]), weights))


def _level(cells: NDArray[np.uint64]) -> int:
    """The one resolution of cells; DataError if there are several, or one is no cell."""
    valid = are_cells(cells)
    if not valid.all():
        raise DataError(f"{int(cells[np.argmin(valid)]):x} is no H3 cell")
    levels = np.unique(cells >> np.uint64(52) & np.uint64(15))
    if len(levels) > 1:
        raise DataError(f"the cells have the resolutions {', '.join(map(str, levels))}: give those of one")
    return int(levels[0])


def _read_cells(path: Path) -> NDArray[np.uint64]:
    try:
        return np.unique(np.asarray(pq.read_table(path, columns=["h3"])["h3"].to_numpy(), dtype=np.uint64))
    except (OSError, pa.ArrowException, KeyError, ValueError):
        raise FormatError(f"{path} does not hold the cells of the study area; make the area again") from None


def _or_none(cells: NDArray[np.uint64] | None) -> NDArray[np.uint64]:
    return np.zeros(0, dtype=np.uint64) if cells is None else cells


def _features(path: Path) -> list[tuple[dict[str, Any], BaseGeometry]]:
    """The (properties, geometry) of a GeoJSON file, be it a collection, a feature or a bare geometry."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"there is no file {path}; give the path of a GeoJSON file") from None
    except (json.JSONDecodeError, UnicodeDecodeError, IsADirectoryError):
        raise FormatError(f"{path} is not GeoJSON; export it as GeoJSON in longitude and latitude") from None
    try:
        kind = data["type"]
        items = data["features"] if kind == "FeatureCollection" else [data]
        pairs = [(i.get("properties") or {}, i["geometry"] if i["type"] == "Feature" else i) for i in items]
        return [(properties, shape(geometry)) for properties, geometry in pairs if geometry]
    except (KeyError, TypeError, AttributeError, ValueError, IndexError, shapely.errors.ShapelyError):
        raise FormatError(f"{path} is JSON but not GeoJSON; export it as GeoJSON in longitude and latitude") from None


def _union(polygons: Sequence[BaseGeometry]) -> Polygon | MultiPolygon:
    if not polygons:
        raise DataError("there is no polygon; a study area is a Polygon or a MultiPolygon")
    if len(polygons) == 1:
        return unwrap_polygon(polygons[0])
    return unwrap_polygon(shapely.union_all([unwrap_polygon(p) for p in polygons]))


def _mainland(boundary: Polygon | MultiPolygon) -> Polygon | MultiPolygon:
    """The largest part and those whose border comes within `MAINLAND_KM` of it."""
    parts = shapely.get_parts(boundary)
    largest = int(np.argmax([_area_km2(p) for p in parts]))
    frame = LocalFrame.at(LonLat.of(*shapely.get_coordinates(shapely.point_on_surface(parts[largest]))[0]))

    def local(xy: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.stack(frame.forward(LonLat(xy[:, 0], xy[:, 1])), axis=1)

    metres = shapely.transform(parts, local)
    near = shapely.distance(metres, metres[largest]) <= MAINLAND_KM * 1000.0
    return parts[near][0] if near.sum() == 1 else MultiPolygon(list(parts[near]))


def _area_km2(geometry: BaseGeometry) -> float:
    """The area on the ellipsoid, on its cylindrical equal-area map (Snyder, 1987, equations 3-12 and 10-15).

    Geodesic polygon areas (pyproj's Geod) take the short way round and give 0 for the whole world; here edges along
    parallels and meridians are exact, and others are cut short to follow their straight course in degrees.
    """
    e = np.sqrt(_GEOD.es)

    def equal_area(lonlat: NDArray[np.float64]) -> NDArray[np.float64]:
        sine = np.sin(np.radians(lonlat[:, 1]))
        q = (1.0 - _GEOD.es) * (sine / (1.0 - _GEOD.es * sine**2) + np.arctanh(e * sine) / e)
        return np.stack([_GEOD.a * np.radians(lonlat[:, 0]), _GEOD.a * q / 2.0], axis=1)

    return float(shapely.transform(shapely.segmentize(geometry, 0.02), equal_area).area) / 1e6


def _nearest(part: str, names: list[str]) -> str:
    folded = {n.casefold(): n for n in names}
    close = difflib.get_close_matches(part.strip().casefold(), list(folded), n=3, cutoff=0.0)
    return ", ".join(folded[c] for c in close)


def _local(folder: str | Path) -> Path:
    if "://" in str(folder):
        raise UsageError(f"a study area is kept in a local folder, not at {folder}; copy it there afterwards")
    return Path(folder)


def _toml(text: str) -> str:
    # JSON's escapes are TOML's for basic strings, once non-ASCII is left as it is.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
