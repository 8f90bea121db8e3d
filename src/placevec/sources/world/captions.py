"""Chips of the generated country with captions that say truly what is in them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from placevec.sources.world.cover import BARE, CROPLAND, FOREST, GRASS, URBAN, WATER, WETLAND, Cover
from placevec.sources.world.grid import Grid
from placevec.sources.world.imagery import FINER
from placevec.sources.world.noise import stream
from placevec.sources.world.roads import Roads
from placevec.sources.world.terrain import Terrain

CHIP = 64  # pixels of the imagery

_WORDS = {
    WATER: ("water", "open water", "blue water"),
    FOREST: ("forest", "woodland", "dense trees", "woods"),
    CROPLAND: ("farmland", "crop fields", "cultivated fields", "arable land"),
    GRASS: ("grassland", "meadows", "pasture"),
    URBAN: ("buildings", "a built-up area", "houses"),
    BARE: ("bare rock", "bare ground", "rocky ground"),
    WETLAND: ("wetland", "marsh", "swampy land"),
}


@dataclass(frozen=True)
class _Facts:
    """What is true of a chip: its classes, the largest first, and what else is in it."""

    classes: list[int]
    coast: bool
    lake: bool
    river: bool
    mountain: bool
    hilly: bool
    snow: bool
    road: bool
    city: bool
    town: bool


@dataclass(frozen=True)
class Chips:
    """Captioned chips.

    Attributes:
        image: (n, 6, 64, 64) uint8.
        col: (n,) columns of the centres, on the terrain's grid.
        row: (n,) rows of the centres.
        captions: n tuples of five sentences.
        label: (n,) the class that covers most.
        shares: (n, 7) share of each class, 1 to 7.
        split: (n,) "train", "val" or "test".
    """

    image: NDArray[np.uint8]
    col: NDArray[np.float64]
    row: NDArray[np.float64]
    captions: list[tuple[str, ...]]
    label: NDArray[np.uint8]
    shares: NDArray[np.float64]
    split: NDArray[np.object_]


def make_chips(
    seed: int, grid: Grid, terrain: Terrain, cover: Cover, roads: Roads, imagery: NDArray[np.uint8], count: int
) -> Chips:
    """`count` chips of the later image: towns and shores more often than their share of the land."""
    rng = stream(seed, "chips")
    half = CHIP // FINER // 2
    middle = np.zeros(grid.shape, dtype=bool)
    middle[half:-half, half:-half] = True
    weight = np.where(
        terrain.land & middle, 1 + 6 * (cover.now == URBAN) + 2 * (terrain.coast_km < 5) + 3 * (cover.now == WETLAND), 0
    )
    spot = rng.choice(weight.size, count, replace=False, p=weight.ravel() / weight.sum())
    rows, cols = spot // grid.width, spot % grid.width
    highway = _highways(grid, roads)
    image = np.empty((count, len(imagery), CHIP, CHIP), dtype=np.uint8)
    shares = np.zeros((count, 7))
    captions = []
    for k, (r, c) in enumerate(zip(rows, cols, strict=True)):
        image[k] = imagery[:, (r - half) * FINER : (r + half) * FINER, (c - half) * FINER : (c + half) * FINER]
        window = np.s_[r - half : r + half, c - half : c + half]
        shares[k] = np.bincount(cover.now[window].ravel(), minlength=8)[1:] / cover.now[window].size
        facts = _facts(terrain, cover, highway, window, shares[k])
        captions.append(_sentences(rng, facts))
    split = np.array(["train", "val", "test"], dtype=object)[rng.choice(3, count, p=[0.8, 0.1, 0.1])]
    label = (shares.argmax(axis=1) + 1).astype(np.uint8)
    return Chips(image, cols.astype(np.float64), rows.astype(np.float64), captions, label, shares, split)


def _highways(grid: Grid, roads: Roads) -> NDArray[np.bool_]:
    on = np.zeros(grid.shape, dtype=bool)
    for line, kind in zip(roads.lines, roads.kind, strict=True):
        if kind <= 2:
            on[
                np.clip(line[:, 1].astype(int), 0, grid.height - 1), np.clip(line[:, 0].astype(int), 0, grid.width - 1)
            ] = True
    return on


def _facts(
    terrain: Terrain, cover: Cover, highway: NDArray[np.bool_], window: tuple[slice, slice], shares: NDArray[np.float64]
) -> _Facts:
    sea = float((~terrain.land[window]).mean())
    height = terrain.elevation[window][terrain.land[window]]
    relief = float(np.ptp(height)) if len(height) else 0.0
    built = cover.urban[window] > 0.62
    return _Facts(
        classes=[int(i) + 1 for i in np.argsort(-shares, kind="stable") if shares[i] > 0.06],
        coast=0.05 < sea < 0.95,
        lake=bool(terrain.lake[window].mean() > 0.012),
        river=bool((terrain.flow[window] > 500).sum() > 9) and sea < 0.6,
        mountain=relief > 700,
        hilly=relief > 250,
        snow=bool((terrain.temperature[window] < -1.5).mean() > 0.03),
        road=bool(highway[window].sum() > 8),
        city=bool(built.mean() > 0.16),
        town=bool(built.mean() > 0.025),
    )


def _sentences(rng: np.random.Generator, facts: _Facts) -> tuple[str, ...]:
    def pick(*words: str) -> str:
        return str(words[int(rng.integers(len(words)))])

    def word(key: int) -> str:
        return pick(*_WORDS[key])

    classes = [key for key in facts.classes if not (key == WATER and facts.coast)]
    lands = [key for key in classes if key != URBAN] or [FOREST]
    first, second = lands[0], lands[1] if len(lands) > 1 else None
    extras = []
    if facts.coast:
        extras.append(pick("beside the sea", "on the coast", "along the shore"))
    if facts.river:
        extras.append(pick("with a river", "crossed by a river", "on the banks of a river"))
    if facts.lake:
        extras.append(pick("with a lake", "beside a lake"))
    if facts.snow:
        extras.append(pick("under snow", "with snow on the peaks"))
    elif facts.mountain:
        extras.append(pick("in the mountains", "among steep mountains"))
    elif facts.hilly:
        extras.append(pick("in the hills", "on rolling hills"))
    if facts.road:
        extras.append(pick("with a road", "crossed by a highway"))
    rng.shuffle(extras)
    place = ""
    if facts.city:
        place = pick("a large city", "a city", "a dense city")
    elif facts.town:
        place = pick("a town", "a small town", "a settlement")
    subject = f"{place} surrounded by {word(first)}" if place else word(first)
    tail = " ".join(extras[:2])
    seen = pick("there is", "we can see", "the picture shows")
    view = pick("an aerial view of", "a satellite image of")
    much = pick("large areas of", "wide stretches of", "a lot of")
    out = [
        f"{subject} {tail}",
        f"{seen} {place or word(first)} {extras[0] if extras else ''}",
        f"{word(first)} and {word(second)}" if second else f"mostly {word(first)}",
        f"{view} {word(first)} {f'near {place}' if place else ''} {tail}",
        f"{much} {word(first)} {f'with some {word(second)}' if second else ''} {f'around {place}' if place else ''}",
    ]
    out[2] += f" {extras[-1]}" if extras else ""
    return tuple(" ".join(sentence.split()) + " ." for sentence in out)
