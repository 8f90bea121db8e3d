"""Land cover of the generated country at two dates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from placevec.sources.world.noise import Field, fractal, rank01, smoothstep, stream
from placevec.sources.world.settlement import Towns, urban_intensity
from placevec.sources.world.terrain import Terrain

WATER, FOREST, CROPLAND, GRASS, URBAN, BARE, WETLAND = range(1, 8)
CLASSES = {1: "water", 2: "forest", 3: "cropland", 4: "grass", 5: "urban", 6: "bare", 7: "wetland"}
COLOURS = {
    1: (58, 110, 175),
    2: (38, 110, 58),
    3: (222, 196, 108),
    4: (156, 194, 112),
    5: (205, 60, 55),
    6: (168, 158, 148),
    7: (92, 168, 160),
}


@dataclass(frozen=True)
class Cover:
    """Land cover before (2015) and now (2025), and how built-up the land is at each date."""

    before: NDArray[np.uint8]
    now: NDArray[np.uint8]
    urban_before: Field
    urban: Field

    @property
    def changed(self) -> NDArray[np.bool_]:
        """Where the two dates differ."""
        changed: NDArray[np.bool_] = self.before != self.now
        return changed


def make_cover(seed: int, terrain: Terrain, towns: Towns, metres: float) -> Cover:
    """Land cover that follows height, slope, rain, warmth, soil and people; then ten years of change.

    Known changes: towns grow over what lies around them; forest is cleared where it borders on fields and is easy
    to reach; poor fields far from towns are given up to grass.
    """
    rng = stream(seed, "cover")
    shape = terrain.land.shape
    soil = fractal(rng, shape, 45_000 / metres, 2.6)
    patch = fractal(rng, shape, 16_000 / metres, 2.2)
    rough = fractal(rng, shape, 9_000 / metres, 2.0)
    height = np.maximum(terrain.elevation, 0)
    t, r = terrain.temperature, terrain.rain
    slope = ndimage.gaussian_filter(terrain.slope, 1.0)
    urban_before = urban_intensity(towns, towns.people_before, shape, metres, rough)
    urban = np.maximum(urban_intensity(towns, towns.people, shape, metres, rough), urban_before)
    settled = np.zeros(shape, dtype=np.float32)
    for width, weight in ((6_000, 0.6), (22_000, 1.0)):
        blurred = ndimage.gaussian_filter(urban, width / metres)
        settled += weight * blurred / max(float(blurred.max()), 1e-6)
    wet, warm = smoothstep(r, 420, 1000), smoothstep(t, 1.5, 6.0)
    desert = smoothstep(-r, -430, -260)
    forest = 0.25 + 0.9 * wet * warm + 5 * np.minimum(slope, 0.12) - 0.3 * settled + 0.33 * patch - 0.1 * soil
    crops = 0.75 + 0.22 * soil + 0.7 * np.sqrt(settled) - 13 * slope - 1.3 * smoothstep(height, 350, 1300)
    crops += 0.12 * patch - 0.7 * desert
    grass = 0.5 + 0.3 * smoothstep(-r, -760, -380) - 0.2 * patch + 0.18 * rough
    bare = 1.25 * smoothstep(-t, -4.2, -0.5) + 0.9 * smoothstep(slope, 0.12, 0.3) + 0.2 * rough - 0.35
    bare += 0.9 * smoothstep(-r, -330, -200)
    score = np.stack([forest, crops, grass, bare])
    natural = np.array([FOREST, CROPLAND, GRASS, BARE], dtype=np.uint8)[score.argmax(axis=0)]
    natural = _majority(natural)
    flat = slope < 0.008
    low = ndimage.binary_dilation(terrain.lake | (terrain.flow > 900), iterations=2) | (
        (terrain.coast_km < 5) & (height < 9)
    )
    natural[flat & low & (rank01(patch + 0.5 * rough) > 0.78)] = WETLAND

    before = natural.copy()
    before[urban_before > 0.62 + 6 * slope] = URBAN
    now = before.copy()
    abandoned = (before == CROPLAND) & (soil < -0.75) & (settled < 0.3) & (patch > 0.5)
    now[abandoned] = GRASS
    frontier = ndimage.distance_transform_edt(before != CROPLAND) * metres < 3500
    clearings = rank01(fractal(rng, shape, 12_000 / metres, 2.3)) > 0.83
    cleared = (before == FOREST) & frontier & clearings & (slope < 0.1)
    now[cleared] = np.where(soil > 0.3, CROPLAND, GRASS)[cleared]
    now[(urban > 0.62 + 6 * slope) & (before != WETLAND)] = URBAN
    river = terrain.flow > 2600
    for cover in (before, now):
        cover[terrain.lake | (river & (cover != URBAN))] = WATER
        cover[~terrain.land] = WATER
    return Cover(before, now, urban_before, urban)


def _majority(cover: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The most frequent class around each pixel: no single stray pixels."""
    classes = np.unique(cover)
    share = [ndimage.uniform_filter((cover == value).astype(np.float32), 3) for value in classes]
    smoothed: NDArray[np.uint8] = classes[np.argmax(share, axis=0)]
    return smoothed
