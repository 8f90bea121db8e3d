"""What is true of a tile, in words and numbers: its land, what stands there, what crosses it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from placevec.geo.sphere import EARTH_RADIUS_M
from placevec.sources.osm import Features
from placevec.sources.osm.words import Form
from placevec.sources.rasters import Raster
from placevec.sources.tag_captions.cover import LandClass, cover_shares

# A class of the map, or land, that covers less is not worth a word: mixed pixels at borders reach some per cent.
_LEAST_LAND = 0.05
# Nor is a line that merely cuts a corner: it has to be as long as this share of the tile's side.
_LEAST_LINE = 0.25
# A thing counts where half of it lies in the tile, or where it fills so much of it.
_LEAST_THING = 0.5
_FILLS = 0.1
_PAIRS = 1 << 14  # pairs of tile and feature that are cut at once
_DEGREE_M = float(np.radians(1.0)) * EARTH_RADIUS_M


@dataclass(frozen=True)
class Fact:
    """Something that is in a tile."""

    words: tuple[str, ...]  # what it is called; of things and lines one, in the singular
    many: str  # the plural; of land ""
    form: Form  # land, thing or line
    share: float  # of the tile's area, 0 to 1: how prominent it is
    count: int = 1  # how many things there are; of lines, how many times they cross the tile
    concept: str = ""  # of land, in broad terms


def tile_facts(
    tiles: NDArray[Any],
    *,
    osm: Features | None = None,
    cover: Raster | None = None,
    classes: Mapping[int, LandClass] | None = None,
) -> list[list[Fact]]:
    """The facts of each tile, the most prominent first.

    Args:
        tiles: (n,) shapely (Multi)Polygons in longitude and latitude, not across the antimeridian in one piece.
        osm: what OpenStreetMap knows.
        cover: a map of land cover, read at 32 x 32 points of each tile.
        classes: what the values of `cover` stand for.
    """
    facts: list[list[Fact]] = [[] for _ in tiles]
    if osm is not None and len(osm):
        _add_osm(facts, tiles, osm)
    if cover is not None and classes:
        _add_cover(facts, tiles, cover, classes)
    return [sorted(own, key=lambda fact: (-fact.share, fact.words)) for own in facts]


def _add_cover(facts: list[list[Fact]], tiles: NDArray[Any], cover: Raster, classes: Mapping[int, LandClass]) -> None:
    spoken = {value: one for value, one in classes.items() if one.words}
    shares = cover_shares(tiles, cover, tuple(spoken))
    for own, row in zip(facts, shares, strict=True):
        named = {fact.concept for fact in own if fact.form == "land"}
        for one, share in zip(spoken.values(), row.tolist(), strict=True):
            # OpenStreetMap's word for the same land says more: a park, an orchard.
            if share >= _LEAST_LAND and (not one.concept or one.concept not in named):
                own.append(Fact(one.words, "", "land", share, concept=one.concept))


def _add_osm(facts: list[list[Fact]], tiles: NDArray[Any], osm: Features) -> None:
    tree = shapely.STRtree(osm.geometry)
    tile, feature = tree.query(tiles, predicate="intersects")
    if not len(tile):
        return
    cut = _cut(tiles, osm, tile, feature)
    # Several tags may have one word: a road is a road.
    first = {(word.one, word.form): k for k, word in reversed(list(enumerate(osm.words)))}
    number = np.array([first[word.one, word.form] for word in osm.words])[osm.word]
    order = np.lexsort((number[feature], tile))
    group = np.stack([tile[order], number[feature[order]]], axis=1)
    starts = np.flatnonzero(np.r_[True, (np.diff(group, axis=0) != 0).any(axis=1)])
    for (row, k), pairs in zip(group[starts].tolist(), np.split(order, starts[1:]), strict=True):
        word = osm.words[k]
        if word.form == "land":
            share, count = float(min(1.0, cut.share[pairs].sum())), 1
            good = share >= _LEAST_LAND
        elif word.form == "line":
            sides = float(cut.sides[pairs].sum())
            share, count = float(min(1.0, cut.share[pairs].sum())), max(1, round(sides))
            good = sides >= _LEAST_LINE
        else:
            here = pairs[(cut.within[pairs] >= _LEAST_THING) | (cut.share[pairs] >= _FILLS)]
            share, count = float(min(1.0, cut.share[here].sum())), len(here)
            good = count > 0
        if good:
            many = "" if word.form == "land" else word.many
            facts[row].append(Fact((word.one,), many, word.form, share, count, word.concept))


@dataclass(frozen=True)
class _Cut:
    """Of each pair of tile and feature (m,)."""

    share: NDArray[np.float64]  # the feature's part of the tile's area
    within: NDArray[np.float64]  # the part of the feature that lies in the tile
    sides: NDArray[np.float64]  # of a line, its length in the tile in sides of the tile


def _cut(tiles: NDArray[Any], osm: Features, tile: NDArray[np.int64], feature: NDArray[np.int64]) -> _Cut:
    share, within, sides = (np.zeros(len(tile)) for _ in range(3))
    shapely.prepare(tiles)
    metres = np.array([word.metres for word in osm.words])[osm.word]
    # A tile is small: within it a degree of longitude is as long everywhere.
    squeeze = np.cos(np.radians(shapely.get_y(shapely.centroid(tiles))))
    tile_m2 = shapely.area(tiles) * squeeze * _DEGREE_M**2
    for first in range(0, len(tile), _PAIRS):
        part = slice(first, first + _PAIRS)
        t, f = tile[part], feature[part]
        inside = shapely.intersection(tiles[t], osm.geometry[f])
        kind = osm.kind[f]
        area = shapely.area(inside) * squeeze[t] * _DEGREE_M**2
        length, whole = _length_m(inside, squeeze[t]), _length_m(osm.geometry[f], squeeze[t])
        size = np.select([kind == 0, kind == 1], [metres[f], length * metres[f]], area)
        all_area = shapely.area(osm.geometry[f]) * squeeze[t] * _DEGREE_M**2
        full = np.select([kind == 0, kind == 1], [metres[f], whole * metres[f]], all_area)
        share[part] = size / np.maximum(tile_m2[t], 1e-9)
        within[part] = size / np.maximum(full, 1e-9)
        sides[part] = length / np.sqrt(np.maximum(tile_m2[t], 1e-9))
    return _Cut(np.minimum(share, 1.0), within, sides)


def _length_m(lines: NDArray[Any], squeeze: NDArray[np.float64]) -> NDArray[np.float64]:
    """Length (m,) in metres of lines, 0 of anything else."""
    out = np.zeros(len(lines))
    parts, owner = shapely.get_parts(lines, return_index=True)
    straight = shapely.get_type_id(parts) == 1
    parts, owner = parts[straight], owner[straight]
    xy, line = shapely.get_coordinates(parts, return_index=True)
    if len(xy):
        step = np.diff(xy, axis=0)
        same = np.diff(line) == 0
        along = np.hypot(step[:, 0] * squeeze[owner[line[:-1]]], step[:, 1]) * _DEGREE_M
        np.add.at(out, owner[line[:-1][same]], along[same])
    return out
