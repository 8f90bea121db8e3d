"""Shares of land-cover classes in tiles, and what people say for the classes of public maps."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from placevec.errors import FormatError, UsageError
from placevec.geo.sphere import LonLat
from placevec.sources.classes import TABLES
from placevec.sources.rasters import Raster

_SIDE = 32  # samples along each side of a tile
_PARTS = 256  # tiles that are sampled at once


@dataclass(frozen=True)
class LandClass:
    """A class of a land-cover map."""

    name: str  # as the map's legend has it
    words: tuple[str, ...]  # what people say for it, as in "there is ..."; none: it is not spoken of
    concept: str = ""  # in broad terms, as `osm.Word` has it


def _legend(table: str, *rows: tuple[int, str, tuple[str, ...]]) -> dict[int, LandClass]:
    """What is said of the classes of a table; their names are the table's."""
    said = {code: (concept, words) for code, concept, words in rows}
    found = TABLES[table]
    return {
        code: LandClass(name, said[code][1], said[code][0]) for code, name in zip(found.codes, found.names, strict=True)
    }


_NLCD = _legend(
    "nlcd",
    (11, "water", ("water", "open water")),
    (12, "snow", ("snow and ice", "snow")),
    (21, "park", ("developed open space", "lawns and roadsides")),
    (22, "built", ("scattered houses", "a sparse residential area")),
    (23, "built", ("houses", "a residential area")),
    (24, "built", ("dense buildings", "a dense built-up area")),
    (31, "bare", ("bare rock and sand", "barren land")),
    (41, "trees", ("deciduous forest", "broad-leaved forest")),
    (42, "trees", ("evergreen forest", "conifer forest")),
    (43, "trees", ("mixed forest", "mixed woodland")),
    (51, "shrubs", ("dwarf scrub",)),
    (52, "shrubs", ("shrubland", "scrub", "bushes")),
    (71, "grass", ("grassland", "dry grass")),
    (72, "grass", ("sedges",)),
    (73, "moss", ("lichens",)),
    (74, "moss", ("moss",)),
    (81, "grass", ("pasture", "hay meadows")),
    (82, "crops", ("farmland", "crop fields", "cultivated fields")),
    (90, "wetland", ("wooded wetland", "a swamp")),
    (95, "wetland", ("marsh", "wetland")),
)
_WORLDCOVER = _legend(
    "worldcover",
    (10, "trees", ("trees", "forest", "woodland")),
    (20, "shrubs", ("shrubland", "scrub")),
    (30, "grass", ("grassland", "meadows")),
    (40, "crops", ("farmland", "crop fields", "cropland")),
    (50, "built", ("buildings", "a built-up area")),
    (60, "bare", ("bare ground", "bare land")),
    (70, "snow", ("snow and ice", "snow")),
    (80, "water", ("water", "open water")),
    (90, "wetland", ("wetland", "marsh")),
    (95, "trees", ("mangroves",)),
    (100, "moss", ("moss and lichen",)),
)
LEGENDS: Mapping[str, Mapping[int, LandClass]] = {"nlcd": _NLCD, "worldcover": _WORLDCOVER}


def legend(classes: str | Path | Mapping[Any, Any]) -> dict[int, LandClass]:
    """What the values of a land-cover map stand for.

    Args:
        classes: "nlcd", "worldcover", a mapping from value to name or `LandClass`, or a JSON file with such names:
            ``{"1": "rice fields", "2": ["a village", "houses"]}`` (of a list, the first is the name, all are said).

    Raises:
        UsageError: there is no such legend.
        FormatError: the file is none.
    """
    if isinstance(classes, str) and classes.lower() in LEGENDS:
        return dict(LEGENDS[classes.lower()])
    if isinstance(classes, str | Path):
        if not Path(classes).is_file():
            known = ", ".join(LEGENDS)
            raise UsageError(f"{str(classes)!r} is no legend of land cover: give {known}, or a JSON file of names")
        try:
            read = json.loads(Path(classes).read_text(encoding="utf-8-sig"))
        except ValueError as error:
            raise FormatError(f"{classes}: this is no JSON ({error}); write value and name of each class") from error
        if not isinstance(read, dict):
            raise FormatError(f"{classes}: no JSON object; write value and name of each class")
        classes = read
    if not classes:
        raise UsageError("the legend has no class; give value and name of each")
    found: dict[int, LandClass] = {}
    for key, value in classes.items():
        names = (value,) if isinstance(value, str) else value
        try:
            number = int(key)
        except (TypeError, ValueError):
            raise UsageError(f"the class {key!r} is no whole number; give the values of the map") from None
        if isinstance(value, LandClass):
            found[number] = value
        elif names and all(isinstance(name, str) and name.strip() for name in names):
            found[number] = LandClass(names[0], tuple(name.strip().lower() for name in names))
        else:
            raise UsageError(f"the class {key!r} has the name {value!r}; give a word, or a list of words")
    return found


def cover_shares(
    tiles: NDArray[Any], raster: Raster, values: NDArray[np.int64] | tuple[int, ...]
) -> NDArray[np.float64]:
    """The share (n, classes) of each class in each tile; what the raster does not know belongs to none.

    Args:
        tiles: (n,) shapely (Multi)Polygons in longitude and latitude, at most some degrees wide.
        raster: classes in its first band.
        values: the classes.
    """
    known = np.asarray(values, dtype=np.int64)
    order = np.argsort(known)
    whole = np.zeros(len(tiles))
    shares = np.zeros((len(tiles), len(known)))
    parts, owner = shapely.get_parts(tiles, return_index=True)
    step = (np.arange(_SIDE) + 0.5) / _SIDE
    for first in range(0, len(parts), _PARTS):
        some, tile = parts[first : first + _PARTS], owner[first : first + _PARTS]
        west, south, east, north = (edge[:, None, None] for edge in shapely.bounds(some).T)
        x, y = np.broadcast_arrays(west + (east - west) * step, south + (north - south) * step[:, None])
        inside = shapely.contains_xy(some[:, None, None], x, y)
        at = np.nonzero(inside)[0]
        weight = ((east - west) * (north - south))[:, 0, 0][at]  # of a sample, in units that all parts share
        found = raster.sample(LonLat(x[inside], y[inside]), resampling="nearest")[:, 0]
        place = np.searchsorted(known, np.nan_to_num(found, nan=-1.0).astype(np.int64), sorter=order)
        column = order[np.minimum(place, len(known) - 1)]
        good = np.isfinite(found) & (known[column] == found)
        np.add.at(whole, tile[at], weight)
        np.add.at(shares, (tile[at][good], column[good]), weight[good])
    return np.divide(shares, whole[:, None], out=shares, where=whole[:, None] > 0)
