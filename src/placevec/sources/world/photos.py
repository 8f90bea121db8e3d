"""Pictures as if taken in the streets and fields of the generated country, 64 x 64 pixels.

What is seen follows the place: the skyline is that of the terrain in the direction of view, the ground that of the land
cover, roofs, walls and road marks follow the style of the province. Weather, camera and the arrangement are chance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from placevec.sources.world.cover import BARE, CROPLAND, FOREST, URBAN, WATER, WETLAND, Cover
from placevec.sources.world.grid import Grid
from placevec.sources.world.noise import stream
from placevec.sources.world.settlement import Towns
from placevec.sources.world.terrain import Terrain

SIDE = 64
_ROOFS = ((178, 74, 52), (96, 100, 112), (206, 178, 96), (64, 104, 128), (146, 112, 82), (196, 196, 198), (120, 60, 92))
_WALLS = (
    (236, 222, 196),
    (202, 150, 122),
    (244, 244, 240),
    (226, 206, 120),
    (186, 196, 208),
    (210, 184, 168),
    (150, 122, 104),
)
_WHITE, _YELLOW = (240, 240, 235), (238, 200, 60)
_MARKS = (_WHITE, _YELLOW, _WHITE, _YELLOW, (200, 220, 240), _WHITE, (230, 150, 60))
_PART = 2048  # pictures drawn at once


@dataclass(frozen=True)
class Photos:
    """Pictures and the truth about them.

    Attributes:
        image: (n, 3, 64, 64) uint8.
        col: (n,) columns of the position.
        row: (n,) rows of the position.
        heading: (n,) degrees from north, clockwise.
        province: (n,) number of the province.
        place: (n,) number of the place; several pictures are taken at each.
        cover: (n,) land cover class at the position.
    """

    image: NDArray[np.uint8]
    col: NDArray[np.float64]
    row: NDArray[np.float64]
    heading: NDArray[np.float64]
    province: NDArray[np.int8]
    place: NDArray[np.int64]
    cover: NDArray[np.uint8]


def take_photos(
    seed: int, grid: Grid, terrain: Terrain, cover: Cover, towns: Towns, province: NDArray[np.int8], places: int
) -> Photos:
    """Two to four pictures at each of `places` places: most of them where people are."""
    rng = stream(seed, "photos")
    land = terrain.land & (cover.now != WATER)
    weight = np.where(
        land,
        0.02 + np.minimum(cover.urban, 1.5) ** 1.2 + 0.08 * (terrain.slope > 0.15) + 0.1 * (terrain.coast_km < 1.5),
        0.0,
    )
    spot = rng.choice(weight.size, places, p=weight.ravel() / weight.sum())
    row, col = spot // grid.width + rng.random(places), spot % grid.width + rng.random(places)
    place = np.repeat(np.arange(places), rng.integers(2, 5, places))
    n = len(place)
    col = col[place] + rng.normal(0, 40, n) / grid.metres
    row = row[place] + rng.normal(0, 40, n) / grid.metres
    i = np.clip(row.astype(int), 0, grid.height - 1), np.clip(col.astype(int), 0, grid.width - 1)
    heading = rng.uniform(0, 360, n)
    here = np.where(province[i] >= 0, province[i], province.ravel()[spot[place]]).astype(np.int8)
    seen = cover.now[i]
    picture = np.empty((n, 3, SIDE, SIDE), dtype=np.uint8)
    for first in range(0, n, _PART):
        part = np.arange(first, min(first + _PART, n))
        image = _backgrounds(rng, grid, terrain, col[part], row[part], heading[part])
        painter = _Painter(rng, image)
        for k, photo in enumerate(part):
            at = i[0][photo], i[1][photo]
            painter.paint(
                k,
                int(seen[photo]),
                int(here[photo]) % len(_ROOFS),
                float(cover.urban[at]),
                float(terrain.temperature[at]),
                float(terrain.rain[at]),
                bool(terrain.coast_km[at] < 2.0),
            )
        light = rng.normal(1.0, 0.06, (len(part), 1, 1, 1)) * rng.normal(1.0, 0.03, (len(part), 1, 1, 3))
        image *= light.astype(np.float32)
        image += np.float32(3.5) * rng.standard_normal(image.shape, dtype=np.float32)
        picture[part] = np.clip(np.rint(image, out=image), 0, 255).astype(np.uint8).transpose(0, 3, 1, 2)
    return Photos(picture, col, row, heading, here, place, seen)


def _backgrounds(
    rng: np.random.Generator,
    grid: Grid,
    terrain: Terrain,
    col: NDArray[np.float64],
    row: NDArray[np.float64],
    heading: NDArray[np.float64],
) -> NDArray[np.float32]:
    """Sky, and the skyline of the terrain within 25 km as far as a view of 70 degrees reaches."""
    n = len(col)
    grey = rng.random((n, 1, 1)) ** 1.6
    down = np.linspace(0, 1, SIDE)[None, :, None]
    zenith, haze, cloud = np.array([88, 140, 214]), np.array([206, 222, 236]), np.array([190, 194, 200])
    t = np.clip(down * 1.7, 0, 1)
    sky = (1 - t[..., None]) * zenith + t[..., None] * haze
    sky = sky * (1 - 0.85 * grey[..., None]) + 0.85 * grey[..., None] * cloud
    image = np.broadcast_to(sky, (n, SIDE, SIDE, 3)).astype(np.float32).copy()
    angle = np.radians(heading[:, None] + np.linspace(-35, 35, SIDE)[None])
    eye = _height(terrain, grid, col, row) + 12
    rows = np.arange(40)[None, :, None]  # the ground hides the rest
    for far, tint in ((22_000, 0.8), (12_000, 0.62), (6_000, 0.42), (3_000, 0.25)):
        top = np.full((n, SIDE), -1.0)
        for part in (0.7, 0.85, 1.0):
            reach = far * part
            x = col[:, None] + reach * np.sin(angle) / grid.metres
            y = row[:, None] - reach * np.cos(angle) / grid.metres
            top = np.maximum(top, (np.maximum(_height(terrain, grid, x, y), 0) - eye[:, None]) / reach)
        line = 38 - top * 150
        x = col[:, None] + far * np.sin(angle) / grid.metres
        y = row[:, None] - far * np.cos(angle) / grid.metres
        j = np.clip(y.astype(int), 0, grid.height - 1), np.clip(x.astype(int), 0, grid.width - 1)
        high, wet = terrain.elevation[j] > 1700, ~terrain.land[j]
        tone = np.where(high[..., None], [168, 166, 170], np.where(wet[..., None], [84, 122, 158], [72, 98, 70]))
        tone = (1 - tint) * tone + tint * np.array([176, 194, 214])
        # Below the skyline: pictures, rows and columns of the pixels that a range covers.
        k, y_pixel, x_pixel = np.nonzero(rows >= line[:, None, :])
        image[k, y_pixel, x_pixel] = tone.astype(np.float32)[k, x_pixel]
    return image


def _height(terrain: Terrain, grid: Grid, col: NDArray[np.float64], row: NDArray[np.float64]) -> NDArray[np.float32]:
    height: NDArray[np.float32] = terrain.elevation[
        np.clip(row.astype(int), 0, grid.height - 1), np.clip(col.astype(int), 0, grid.width - 1)
    ]
    return height


class _Painter:
    """Draws what stands on the ground into pictures (n, 64, 64, 3)."""

    def __init__(self, rng: np.random.Generator, image: NDArray[np.float32]) -> None:
        self._rng = rng
        self._image = image
        y = np.arange(40, SIDE)
        self._depth = ((y - 39) / 25.0)[:, None, None].astype(np.float32)  # 0 at the horizon, 1 at the feet
        self._x = np.arange(SIDE, dtype=np.float32)[None, :]

    def paint(self, k: int, cover: int, style: int, urban: float, warmth: float, rain: float, coast: bool) -> None:
        picture, rng = self._image[k], self._rng
        dry = float(np.clip((800 - rain) / 500, 0, 1))
        grass = np.array([112 + 70 * dry, 146 - 4 * dry, 74 + 14 * dry])
        ground = {CROPLAND: np.array([176, 158, 92]), BARE: np.array([150, 144, 136]), URBAN: np.array([128, 126, 124]),
                  WETLAND: np.array([96, 124, 104]), FOREST: np.array([70, 84, 52])}.get(cover, grass)  # fmt: skip
        picture[40:] = ground * (0.82 + 0.3 * self._depth) + 5 * rng.standard_normal((24, SIDE, 1))
        if cover == CROPLAND:
            self._rows(picture, dry)
        if coast and cover != URBAN:
            picture[40:47] = np.array([70, 118, 152]) + 9 * np.sin(
                np.arange(7)[:, None, None] * 2.1 + self._x[..., None] / 5
            )
            picture[47:50] = (226, 210, 166)
        if cover == WETLAND:
            for _ in range(4):
                y, x, w = rng.integers(42, 60), rng.integers(-6, 50), rng.integers(8, 26)
                picture[y : y + 2, max(x, 0) : x + w] = (110, 140, 160)
        if cover == BARE:
            for _ in range(9):
                y, x, size = rng.integers(40, 60), rng.integers(0, 60), rng.integers(2, 7)
                picture[y : y + size // 2 + 1, x : x + size] = 120 + 40 * rng.random()
        if cover == URBAN:
            self._street(picture, style, urban)
            return
        trees = {FOREST: 16, WETLAND: 4, BARE: 0, CROPLAND: 2}.get(cover, 3)
        for _ in range(int(rng.poisson(trees))):
            self._tree(picture, warmth < 6.5 or (warmth < 9.5 and rng.random() < 0.4))
        if urban > 0.12 and rng.random() < 0.7:
            self._house(picture, int(rng.integers(4, 46)), int(rng.integers(8, 14)), int(rng.integers(6, 10)), style)
        if rng.random() < 0.5:
            self._road(picture, style, 5)

    def _rows(self, picture: NDArray[np.float32], dry: float) -> None:
        phase, vanish = self._rng.uniform(0, 9), self._rng.uniform(16, 48)
        green = np.array([104, 150, 66]) * (1 - dry) + np.array([212, 186, 104]) * dry
        across = (self._x - vanish) / (0.12 + self._depth[:, :, 0]) / 4.5 + phase
        on = (np.sin(across) > 0.1)[..., None]
        picture[40:] = np.where(on, green * (0.8 + 0.3 * self._depth), picture[40:])

    def _tree(self, picture: NDArray[np.float32], conifer: bool) -> None:
        rng = self._rng
        foot, x = int(rng.integers(41, 60)), int(rng.integers(0, SIDE))
        height = int((foot - 34) * rng.uniform(0.9, 1.5)) + 5
        shade = (np.array([36, 66, 44]) if conifer else np.array([62, 104, 46])) * rng.uniform(0.8, 1.25)
        half = max(1.5, height * (0.2 if conifer else 0.3))
        top = max(0, foot - height)
        rows = np.arange(top, foot)[:, None]
        t = (rows - top) / max(1, foot - top)
        width = half * t if conifer else half * np.sqrt(np.clip(1 - ((t - 0.42) / 0.45) ** 2, 0, 1))
        crown = np.abs(self._x - x) <= width
        part = picture[top:foot]
        part[crown] = shade * rng.uniform(0.85, 1.15, (int(crown.sum()), 1))
        picture[max(foot - max(2, height // 5), 0) : foot + 1, x : x + 1] = (78, 60, 44)

    def _house(self, picture: NDArray[np.float32], x: int, width: int, height: int, style: int) -> None:
        rng = self._rng
        foot = int(rng.integers(42, 50))
        wall = np.array(_WALLS[style]) * rng.uniform(0.88, 1.08)
        top = max(2, foot - height)
        picture[top:foot, x : x + width] = wall
        for step in range(4):  # a pitched roof
            picture[top - step - 1, x + step : max(x + width - step, x + step)] = np.array(_ROOFS[style]) * rng.uniform(
                0.95, 1.05
            )
        picture[top + 2 : top + 4, x + 2 : x + width - 1 : 3] = (62, 72, 88)
        picture[foot - 4 : foot, x + width // 2 : x + width // 2 + 2] = (92, 66, 50)

    def _street(self, picture: NDArray[np.float32], style: int, urban: float) -> None:
        rng = self._rng
        tall = 8 + 26 * float(np.clip(urban / 2.0, 0, 1))
        for side in (0, 1):
            at = 0
            while at < 27:
                width = int(rng.integers(6, 12))
                height = int(tall * rng.uniform(0.6, 1.2) * (1 - at / 48)) + 5
                x0 = at if side == 0 else SIDE - at - width
                top, foot = max(5, 44 - height), 50 - at // 4
                x0, x1 = max(x0, 0), min(x0 + width, SIDE)
                other = int(rng.integers(len(_WALLS))) if rng.random() < 0.2 else style
                picture[top:foot, x0:x1] = np.array(_WALLS[other]) * rng.uniform(0.78, 1.05)
                picture[top - (4 if height < 22 else 1) : top, x0:x1] = _ROOFS[style]
                picture[top + 2 : foot - 3 : 4, x0 + 1 : x1 - 1 : 3] = (70, 80, 98)
                picture[top + 3 : foot - 3 : 4, x0 + 1 : x1 - 1 : 3] = (70, 80, 98)
                at += width
        self._road(picture, style, 13)
        if rng.random() < 0.5:
            self._tree(picture, False)
        for _ in range(int(rng.poisson(1.2))):  # cars
            x, y = int(rng.integers(18, 42)), int(rng.integers(46, 56))
            picture[y : y + 4, x : x + 7] = rng.uniform(40, 220, 3)
            picture[y + 4 : y + 5, x + 1 : x + 6 : 4] = 25

    def _road(self, picture: NDArray[np.float32], style: int, width: int) -> None:
        vanish = 32 + float(self._rng.normal(0, 4))
        half = 1 + width * self._depth[:, :, 0] * 1.5
        middle = vanish + (32 - vanish) * self._depth[:, :, 0]
        on = np.abs(self._x - middle) < half
        picture[40:][on] = (92, 92, 96)
        line = (np.abs(self._x - middle) < 0.3 + 1.0 * self._depth[:, :, 0]) & (np.arange(24)[:, None] // 3 % 2 == 0)
        picture[40:][line] = _MARKS[style]
        if style % 2:  # some provinces mark the rims as well
            rim = np.abs(np.abs(self._x - middle) - half) < 0.7
            picture[40:][rim] = _MARKS[style]
