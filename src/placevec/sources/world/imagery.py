"""What a satellite sees of the generated country: six bands at two dates, and the lights at night."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from placevec.sources.world.cover import BARE, CROPLAND, FOREST, GRASS, URBAN, WATER, WETLAND, Cover
from placevec.sources.world.grid import Grid
from placevec.sources.world.noise import Field, fractal, rank01, smoothstep, stream
from placevec.sources.world.roads import Roads
from placevec.sources.world.terrain import Terrain

BANDS = ("blue", "green", "red", "nir", "swir1", "swir2")
FINER = 2  # the imagery has pixels half as wide as the terrain's

# Brightness (0 to 255, stretched for the eye) of each class in each band.
_SPECTRA = {
    WATER: (84, 58, 26, 12, 8, 6),
    FOREST: (30, 58, 34, 150, 62, 28),
    CROPLAND: (70, 104, 96, 158, 110, 70),
    GRASS: (58, 104, 84, 140, 112, 66),
    URBAN: (120, 122, 126, 124, 136, 128),
    BARE: (122, 128, 138, 150, 170, 150),
    WETLAND: (48, 80, 62, 98, 50, 28),
}
# Fields: green, ripe, ploughed, rape in flower, vineyard.
_CROPS = np.array(
    [
        (48, 112, 62, 190, 92, 46),
        (92, 158, 186, 178, 170, 120),
        (84, 104, 132, 138, 158, 138),
        (62, 176, 174, 196, 118, 66),
        (66, 98, 92, 142, 118, 80),
    ],
    dtype=np.float32,
)


def draw_imagery(seed: int, year: int, grid: Grid, terrain: Terrain, cover: Cover, roads: Roads) -> NDArray[np.uint8]:
    """The image of a year, (6, rows, columns) uint8 on `grid` refined by FINER.

    Colours follow land cover, crops field by field, sun on slopes, water depth and snow; a light haze, the brightness
    of the day and noise of the sensor differ between years.
    """
    fine = grid.finer(FINER)
    rng, weather = stream(seed, "imagery"), stream(seed, f"imagery {year}")
    shape = fine.shape
    classes = cover.now if year >= 2025 else cover.before
    urban = cover.urban if year >= 2025 else cover.urban_before
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32)
    # Rims of classes wander within a pixel of the terrain instead of following its squares.
    sway = [0.9 * fractal(rng, shape, 6, 1.5) for _ in range(2)]
    at = (
        np.clip((y + sway[0]) // FINER, 0, grid.height - 1).astype(int),
        np.clip((x + sway[1]) // FINER, 0, grid.width - 1).astype(int),
    )
    label = classes[at]
    shore = terrain.land[(y // FINER).astype(int), (x // FINER).astype(int)]
    smooth_land = ndimage.zoom(terrain.land.astype(np.float32), FINER, order=1, mode="nearest", grid_mode=True) > 0.5
    label = np.where(smooth_land, np.where((label == WATER) & ~_near_water(classes, at), GRASS, label), WATER)
    label = np.where(smooth_land & ~shore & (label == WATER), GRASS, label)
    elevation = ndimage.zoom(terrain.elevation, FINER, order=1, mode="nearest", grid_mode=True)
    flow = ndimage.zoom(np.log10(terrain.flow + 1), FINER, order=1, mode="nearest", grid_mode=True)
    temperature = ndimage.zoom(terrain.temperature, FINER, order=1, mode="nearest", grid_mode=True)
    rain = ndimage.zoom(terrain.rain, FINER, order=1, mode="nearest", grid_mode=True)

    table = np.zeros((8, 6), dtype=np.float32)
    for key, spectrum in _SPECTRA.items():
        table[key] = spectrum
    image = table[label]
    broad = fractal(rng, shape, 40, 2.4)
    grain = rng.standard_normal(shape, dtype=np.float32)
    leaf = ndimage.gaussian_filter(grain, 0.7) * 2.2
    forest, crop, grass, bare, town = (label == key for key in (FOREST, CROPLAND, GRASS, BARE, URBAN))
    conifer = smoothstep(-temperature, -8.0, -3.5)
    image[forest] *= ((1 + 0.13 * leaf + 0.09 * broad) * (1 - 0.28 * conifer))[forest, None]
    dry = smoothstep(-rain, -800, -420)
    parched = np.array([1.25, 1.22, 1.62, 0.92, 1.25, 1.4], dtype=np.float32)
    for plants, share in ((grass, 1.0), (forest, 0.45)):
        image[plants] *= 1 + (parched - 1) * np.float32(share) * dry[plants, None]
    image[grass] *= (1 + 0.08 * broad + 0.05 * leaf)[grass, None]
    image[crop] = _fields(seed, year, shape, dry, crop) * (1 + 0.03 * leaf)[crop, None]
    dense = ndimage.zoom(urban, FINER, order=1, mode="nearest", grid_mode=True)
    blocks = 1 + (0.13 + 0.1 * smoothstep(dense, 0.6, 1.6)) * grain + 0.05 * broad
    green = smoothstep(-dense, -1.1, -0.5)[town, None] * np.float32(0.4)
    image[town] = image[town] * blocks[town, None] * (1 - green) + green * table[GRASS]
    image[bare] *= (1 + 0.12 * broad + 0.06 * leaf)[bare, None]
    snow = smoothstep(-temperature + 0.6 * broad, 1.0, 3.6) * smooth_land
    _blend(image, snow, (238, 238, 236, 190, 40, 32))

    drawn = _draw(roads, fine, FINER)
    _blend(image, drawn[0] * 0.55, (150, 148, 150, 140, 150, 140))
    _shade(image, elevation, smooth_land, fine.metres)
    water = ~smooth_land
    depth = smoothstep(-elevation, 4, 160)[water, None]
    shallow = np.array([118, 110, 58, 20, 10, 8], dtype=np.float32)
    deep = np.array([74, 42, 16, 8, 6, 5], dtype=np.float32)
    image[water] = (shallow * (1 - depth) + deep * depth) * (1 + 0.02 * leaf + 0.03 * broad)[water, None]
    inland = (label == WATER) & smooth_land
    image[inland] = np.array([88, 72, 40, 14, 9, 6], dtype=np.float32) * (1 + 0.04 * broad[inland, None])
    stream_share = smoothstep(flow, 2.05, 2.9) * smooth_land * ~town * 0.75
    _blend(image, stream_share, (86, 74, 44, 22, 12, 8))

    haze = rank01(fractal(weather, shape, shape[1] / 3, 3.2)) * weather.uniform(0.03, 0.07)
    glow = np.array([1.0, 0.8, 0.65, 0.25, 0.1, 0.05], dtype=np.float32) * 190
    image += haze[..., None].astype(np.float32) * (glow - image)
    image *= weather.normal(1.0, 0.025, 6).astype(np.float32)
    image += np.float32(2.0) * weather.standard_normal(image.shape, dtype=np.float32)
    np.clip(np.rint(image, out=image), 1, 255, out=image)
    return np.ascontiguousarray(image.astype(np.uint8).transpose(2, 0, 1))


def draw_lights(grid: Grid, terrain: Terrain, cover: Cover, roads: Roads) -> NDArray[np.uint8]:
    """Brightness at night (rows, columns): town centres, with a halo, and a thread of light along highways."""
    drawn = _draw(roads, grid, 1)[1]
    light = 1.25 * np.maximum(cover.urban, 0) ** 1.3 + 0.1 * drawn
    near = ndimage.gaussian_filter(light, 900 / grid.metres)
    halo = ndimage.gaussian_filter(light, 4500 / grid.metres)
    value = 255 * (1 - np.exp(-(1.0 * near + 0.55 * halo)))
    lights: NDArray[np.uint8] = np.clip(np.rint(value), 0, 255).astype(np.uint8)
    return lights


def _near_water(classes: NDArray[np.uint8], at: tuple[NDArray[np.int64], NDArray[np.int64]]) -> NDArray[np.bool_]:
    near: NDArray[np.bool_] = ndimage.binary_dilation(classes == WATER)[at]
    return near


def _blend(image: Field, share: NDArray[np.floating], colour: tuple[int, ...]) -> None:
    """Mix a colour into an image (rows, columns, bands) where its share is not 0."""
    some = share > 0
    part = image[some]
    image[some] = part + share[some, None].astype(np.float32) * (np.array(colour, dtype=np.float32) - part)


def _fields(seed: int, year: int, shape: tuple[int, int], dry: Field, crop: NDArray[np.bool_]) -> Field:
    """Colours (n, 6) of the pixels with crops: fields are cells of a bent lattice, each split in two.

    What grows in a field changes from year to year; dry land is riper.
    """
    rng, sowing = stream(seed, "fields"), stream(seed, f"sowing {year}")
    size = 6.0
    rows, cols = int(shape[0] / size) + 3, int(shape[1] / size) + 3
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32)
    bend = 2.0 * fractal(rng, shape, 60, 3.2)
    u, v = (0.94 * x + 0.34 * y * 0.5 + bend) / size * 0.98, (0.94 * y - 0.17 * x + bend) / size
    v = v - v.min()
    i, j = np.floor(v).astype(int), np.floor(u).astype(int)
    # The lattice cell itself shifted by a share of its own: hedges stay straight, sizes differ.
    big = (2 * rows + 9, 2 * cols + 9)
    shift = rng.uniform(0, 1, big).astype(np.float32)
    i, j = i % big[0], j % big[1]
    half = (u - np.floor(u)) > 0.3 + 0.4 * shift[i, j]
    number = ((i * big[1] + j) * 2 + half)[crop]
    count = big[0] * big[1] * 2
    kind = sowing.choice(len(_CROPS), size=count, p=[0.34, 0.22, 0.2, 0.06, 0.18])[number]
    ripe = sowing.random(count)[number] < dry[crop] * 0.75
    tone = sowing.normal(1.0, 0.09, count).astype(np.float32)[number]
    picture: Field = _CROPS[np.where(ripe, 1, kind)] * tone[:, None]
    return picture


def _shade(image: Field, elevation: Field, land: NDArray[np.bool_], metres: float) -> None:
    """Sun from the south-east at 45 degrees (Lambert), softened by the light of the sky."""
    gy, gx = np.gradient(elevation, metres)
    # Rows run south: a slope that faces the south-east falls along columns and rows.
    sun = (1.0 - 2.2 * gx - 2.2 * gy) / np.sqrt(1 + 4.8 * (gx**2 + gy**2))
    factor = np.clip(0.4 + 0.6 * sun, 0.45, 1.45).astype(np.float32)
    image *= np.where(land, factor, np.float32(1))[..., None]


def _draw(roads: Roads, grid: Grid, factor: int) -> tuple[Field, Field]:
    """Cover of pixels by any road, and by highways, from 0 to 1."""
    from placevec.registry import need

    pil = need("PIL.Image", extra="raster", purpose="drawing the generated country")
    draw = need("PIL.ImageDraw", extra="raster", purpose="drawing the generated country")
    out = []
    for highest in (4, 2):
        sheet = pil.new("L", (grid.width, grid.height))
        pen = draw.Draw(sheet)
        for line, kind in zip(roads.lines, roads.kind, strict=True):
            if kind <= highest:
                shade = (255, 225, 170, 110, 60)[kind]
                pen.line([(float(c) * factor, float(r) * factor) for c, r in line], fill=shade, width=1)
        out.append(np.asarray(sheet, dtype=np.float32) / 255.0)
    return out[0], out[1]
