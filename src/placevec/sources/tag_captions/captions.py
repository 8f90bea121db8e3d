"""Captions for tiles that nobody has described."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from placevec.errors import UsageError
from placevec.geo.boxes import unwrap_polygons
from placevec.geo.frames import square_window
from placevec.geo.sphere import LonLat
from placevec.sources.base import ArraySource
from placevec.sources.osm import Features, tagged
from placevec.sources.rasters import Raster
from placevec.sources.tag_captions.cover import legend
from placevec.sources.tag_captions.facts import tile_facts
from placevec.sources.tag_captions.sentences import sentences
from placevec.table import Places, Skipped

_TILES = 512  # tiles that are looked at together


@dataclass(frozen=True)
class TagCaptions:
    """Captions of tiles."""

    places: Places  # one row a caption: id "TILE#K", place the tile's, its geometry, `text`
    skipped: list[Skipped] = field(default_factory=list)  # tiles without a caption

    def source(self) -> ArraySource:
        """The captions as a Source, for a text encoder: batch key "text"."""
        return ArraySource(self.places, {"text": self.places.column("text")})


def tag_captions(
    places: Places,
    *,
    osm: Features | str | Path | None = None,
    cover: Raster | str | Path | None = None,
    classes: str | Path | Mapping[Any, Any] | None = None,
    ground_m: float | None = None,
    count: int = 5,
    seed: int = 0,
) -> TagCaptions:
    """Captions composed from what maps know of each tile, the most prominent first, in several wordings.

    Nothing is said of what is not there. The captions of a tile depend on its id, its facts and the seed alone, not on
    the other tiles.

    Args:
        places: tiles with polygons; or points, with `ground_m`.
        osm: an OpenStreetMap file, or what was read of one; it should hold all of the tiles' surroundings.
        cover: a map of land cover: a raster of classes in its first band.
        classes: what its values stand for, see `cover.legend`.
        ground_m: side of the square around each point, in metres.
        count: captions of a tile; fewer where little is known.
        seed: of the wordings.

    Returns:
        The captions, and the tiles that have none, with the reason.

    Raises:
        UsageError: there is neither map, a map without its classes, points without a size, or no caption is asked for.
        FormatError: a map cannot be read.
    """
    if osm is None and cover is None:
        raise UsageError("captions are made of maps: give osm, cover, or both")
    if (cover is None) != (classes is None):
        raise UsageError("a map of land cover goes with its classes: give both, such as classes='worldcover'")
    if count < 1:
        raise UsageError(f"count is {count}: give at least 1")
    rows, tiles, skipped = _tiles(places, ground_m)
    names = None if classes is None else legend(classes)
    raster = cover if cover is None or isinstance(cover, Raster) else Raster(cover)
    features = tagged(osm, box=_around(tiles)) if isinstance(osm, str | Path) and len(tiles) else osm
    texts: list[str] = []
    ids: list[str] = []
    owners: list[int] = []
    for first in range(0, len(rows), _TILES):
        some = rows[first : first + _TILES]
        known = tile_facts(
            tiles[first : first + _TILES],
            osm=features if isinstance(features, Features) else None,
            cover=raster,
            classes=names,
        )
        for row, facts in zip(some.tolist(), known, strict=True):
            name = str(places.ids[row])
            told = sentences(facts, count, np.random.default_rng([seed, zlib.crc32(name.encode())]))
            if not told:
                skipped.append(_skipped(places, row, "the maps know nothing of it"))
            texts += told
            ids += [f"{name}#{k}" for k in range(len(told))]
            owners += [row] * len(told)
    owner = np.array(owners, dtype=np.int64)
    captions = Places.create(
        ids,
        geometry=places.geometries()[owner],
        place=places.keys[owner],
        attributes={"text": np.array(texts, dtype=object)},
    )
    return TagCaptions(captions, skipped)


def _tiles(places: Places, ground_m: float | None) -> tuple[NDArray[np.int64], NDArray[Any], list[Skipped]]:
    """The rows that are tiles, their polygons, and the rows that are none."""
    geometry = places.geometries()
    kind = shapely.get_type_id(geometry)
    if (kind == 0).any():
        if ground_m is None:
            raise UsageError("the places are points: give ground_m, the side of their tiles in metres")
        points = np.flatnonzero(kind == 0)
        geometry[points] = square_window(LonLat(places.lon[points], places.lat[points]), ground_m)
    kind = shapely.get_type_id(geometry)
    good = np.isin(kind, (3, 6))
    skipped = [
        _skipped(places, row, "no geometry" if kind[row] < 0 else "its geometry has no area")
        for row in np.flatnonzero(~good).tolist()
    ]
    rows = np.flatnonzero(good).astype(np.int64)
    return rows, unwrap_polygons(geometry[rows]), skipped


def _skipped(places: Places, row: int, reason: str) -> Skipped:
    return Skipped(str(places.ids[row]), "caption", reason, places.data["geometry"][row].as_py())


def _around(tiles: NDArray[Any]) -> tuple[float, float, float, float]:
    west, south, east, north = shapely.total_bounds(tiles).tolist()
    return west, south, east, north
