"""What cameras and people say of the photos of the generated country: time, focal length, tags.

As in real collections it depends on the place, and much of it is missing or wrong: every fifth photo has lost its EXIF
data on the way, two in five have no tags, some clocks were never set, and some albums carry the name of another town.
It comes from a random stream of its own, so that the pictures are what they were without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from placevec.sources.world.cover import BARE, CROPLAND, FOREST, GRASS, URBAN, WATER, WETLAND, Cover
from placevec.sources.world.grid import Grid
from placevec.sources.world.noise import stream
from placevec.sources.world.photos import Photos
from placevec.sources.world.settlement import Towns
from placevec.sources.world.terrain import Terrain

_STRIPPED, _NO_FOCAL, _UNSET, _UNTAGGED, _MISTAKEN = 0.2, 0.1, 0.015, 0.4, 0.04  # shares of photos
_NEAR_KM = 9.0  # at this distance a town's name is e times rarer than in the town
_PHONES = ((24.0, 5.9), (26.0, 6.8), (28.0, 4.2))  # focal length on 35 mm film, and of the lens, in mm
_CROP = 1.5  # film to sensor of the other cameras

_LAND = {
    WATER: ("water", "boat", "lake"),
    FOREST: ("forest", "trees", "woods", "green"),
    CROPLAND: ("fields", "farm", "harvest", "countryside"),
    GRASS: ("meadow", "pasture", "hiking", "nature"),
    URBAN: ("street", "city", "architecture", "houses"),
    BARE: ("rocks", "desert", "hiking", "nature"),
    WETLAND: ("marsh", "birds", "reeds", "nature"),
}
_COAST, _MOUNTAIN, _SNOW = ("sea", "beach", "coast", "waves"), ("mountains", "peak", "view", "hiking"), ("snow", "ski")
_STYLE = (
    *("red roofs", "slate", "whitewash", "brick", "timber", "stucco", "yellow lines", "cobbles", "shutters", "arcades"),
    *("wine", "cider", "tea house", "goats", "horses", "trams", "windmill", "lace", "lantern festival", "fish soup"),
)
_STYLES_EACH = 4  # words of a province; most are those of another one as well
_NOISE = (
    *("holiday", "friends", "family", "travel", "summer", "weekend", "canon", "nikon", "iphone", "nofilter", "love"),
    *("photooftheday", "bw", "wedding", "cat", "food", "sunset", "me", "2019", "trip", "walk", "dog"),
)


@dataclass(frozen=True)
class PhotoFacts:
    """What is said of n photos; None or NaN where nothing is.

    Attributes:
        taken: (n,) time by the camera's clock, as ISO 8601, or None.
        hour: (n,) hour of the day of it, 0 to 24.
        month: (n,) month of it, 1 to 12.
        focal_mm: (n,) focal length that would see as wide on 35 mm film.
        lens_mm: (n,) focal length of the lens.
        tags: (n,) words, separated by commas, or None.
    """

    taken: NDArray[np.object_]
    hour: NDArray[np.float64]
    month: NDArray[np.float64]
    focal_mm: NDArray[np.float64]
    lens_mm: NDArray[np.float64]
    tags: NDArray[np.object_]


@dataclass(frozen=True)
class _Scene:
    """What stands around n photos."""

    cover: NDArray[np.uint8]
    coast: NDArray[np.bool_]
    mountain: NDArray[np.bool_]
    cold: NDArray[np.bool_]


def photo_facts(
    seed: int,
    grid: Grid,
    terrain: Terrain,
    cover: Cover,
    towns: Towns,
    provinces: Sequence[str],
    country: str,
    photos: Photos,
) -> PhotoFacts:
    """What is said of `photos`; `provinces` and `country` are names."""
    rng = stream(seed, "photo facts")
    at = (
        np.clip(photos.row.astype(int), 0, grid.height - 1),
        np.clip(photos.col.astype(int), 0, grid.width - 1),
    )
    scene = _Scene(photos.cover, terrain.coast_km[at] < 2.0, terrain.slope[at] > 0.15, terrain.temperature[at] < 4.0)
    n = len(photos.col)
    stripped = rng.random(n) < _STRIPPED
    focal, lens = _focal(rng, scene, stripped)
    taken = _times(rng, scene, photos.heading, southern=grid.lat0 < 0)
    kept = np.array([None if lost else when.isoformat() for lost, when in zip(stripped, taken, strict=True)], object)
    hour = np.array([when.hour + when.minute / 60.0 + when.second / 3600.0 for when in taken])
    month = np.array([float(when.month) for when in taken])
    tags = _tags(rng, grid, towns, provinces, country, photos, scene)
    return PhotoFacts(kept, np.where(stripped, np.nan, hour), np.where(stripped, np.nan, month), focal, lens, tags)


def _focal(
    rng: np.random.Generator, scene: _Scene, stripped: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Telephones in towns; in the mountains and by the sea more cameras with longer lenses."""
    n = len(stripped)
    open_land = scene.mountain | scene.coast | (scene.cover == BARE) | (scene.cover == WETLAND)
    phone = rng.random(n) < np.where(open_land, 0.5, 0.75)
    kind = rng.integers(len(_PHONES), size=n)
    typical = np.where(scene.mountain | (scene.cover == WETLAND), 85.0, np.where(scene.cover == URBAN, 30.0, 45.0))
    long = np.rint(np.clip(typical * np.exp(0.4 * rng.standard_normal(n)), 14.0, 600.0))
    film, lens = np.array(_PHONES).T
    focal = np.where(phone, film[kind], long)
    own = np.where(phone, lens[kind], np.round(long / _CROP, 1))
    lost = stripped | (rng.random(n) < _NO_FOCAL)
    return np.where(lost, np.nan, focal), np.where(lost, np.nan, own)


def _times(rng: np.random.Generator, scene: _Scene, heading: NDArray[np.float64], southern: bool) -> list[datetime]:
    """Beaches in summer, snow in winter, evenings in town, sunsets over the sea."""
    n = len(heading)
    month = np.arange(12)
    summer = np.exp(-(((month - 6.5 + 6) % 12 - 6) ** 2) / 4.0)  # most in July
    winter = np.roll(summer, 6)
    seasons = np.stack([0.5 + summer, 0.06 + summer, 0.1 + 0.7 * summer + winter])
    seasons = np.roll(seasons, 6, axis=1) if southern else seasons
    season = np.where(scene.cold, 2, np.where(scene.coast & (scene.cover != URBAN), 1, 0))
    cumulative = np.cumsum(seasons / seasons.sum(axis=1, keepdims=True), axis=1)
    months = (rng.random(n)[:, None] > cumulative[season]).sum(axis=1).clip(max=11)
    evening = rng.random(n) < np.where(scene.cover == URBAN, 0.4, 0.1)
    west = scene.coast & (np.abs(heading - 270.0) < 50.0) & (rng.random(n) < 0.6)
    # The sun sets earlier in winter: by about two and a half hours either side of 18:30.
    sunset = 18.5 + 2.5 * np.cos(2 * np.pi * (months - 5.5) / 12.0) * (-1.0 if southern else 1.0)
    middle = np.where(west, sunset - 0.3, np.where(evening, 19.5, 12.5))
    width = np.where(west, 0.5, np.where(evening, 1.5, 2.6))
    hours = np.clip(middle + width * rng.standard_normal(n), 0.0, 23.99)
    years, days = rng.integers(2015, 2026, n), rng.integers(1, 29, n)
    unset = rng.random(n) < _UNSET
    start = datetime(2000, 1, 1)
    return [
        start + timedelta(seconds=int(3600 * hours[i]) % 900)
        if unset[i]
        else datetime(int(years[i]), int(months[i]) + 1, int(days[i])) + timedelta(seconds=int(3600 * hours[i]))
        for i in range(n)
    ]


def _tags(
    rng: np.random.Generator,
    grid: Grid,
    towns: Towns,
    provinces: Sequence[str],
    country: str,
    photos: Photos,
    scene: _Scene,
) -> NDArray[np.object_]:
    """Names of towns, the fewer the farther; words of the landscape and of the province; and much else."""
    styles = [rng.choice(len(_STYLE), _STYLES_EACH, replace=False) for _ in provinces]
    near = min(3, len(towns))
    found = cKDTree(np.stack([towns.col, towns.row], axis=1)).query(
        np.stack([photos.col, photos.row], axis=1), k=np.arange(1, near + 1)
    )
    away, which = np.asarray(found[0]), np.asarray(found[1])
    # In a large town its name is used as far out as it is built up.
    reach_km = _NEAR_KM * (towns.people[which] / 50_000.0) ** 0.25
    named = rng.random(away.shape) < 0.6 * np.exp(-away * grid.metres / 1000.0 / reach_km)
    out = np.empty(len(photos.col), dtype=object)
    for i in range(len(out)):
        chances = (_UNTAGGED, _MISTAKEN, 0.18, 0.12, 0.35)
        silent, mistaken, of_province, of_country, of_style = rng.random(len(chances)) < chances
        words: list[str] = []
        if mistaken:
            words.append(towns.name[int(rng.integers(len(towns)))])
        else:
            words += [towns.name[town] for town, used in zip(which[i], named[i], strict=True) if used]
        province = int(photos.province[i])
        if of_province:
            words.append(provinces[province])
        if of_country:
            words.append(country)
        words += _some(rng, _LAND[int(scene.cover[i])], 0.3)
        for there, their in ((scene.coast, _COAST), (scene.mountain, _MOUNTAIN), (scene.cold, _SNOW)):
            if there[i]:
                words += _some(rng, their, 0.3)
        if of_style:
            words.append(_STYLE[int(rng.choice(styles[province]))])
        words += [_NOISE[int(k)] for k in rng.integers(len(_NOISE), size=int(rng.poisson(1.3)))]
        rng.shuffle(words)
        out[i] = None if silent or not words else ",".join(dict.fromkeys(word.lower() for word in words))
    return out


def _some(rng: np.random.Generator, words: Sequence[str], share: float) -> list[str]:
    return [word for word, used in zip(words, rng.random(len(words)) < share, strict=True) if used]
