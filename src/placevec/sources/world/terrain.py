"""Coast, mountains, valleys, rivers and climate of the generated country.

Valleys come from stream-power erosion under uplift, solved implicitly along the drainage tree (J. Braun and S. D.
Willett, "A very efficient O(n), implicit and parallel method...", Geomorphology 180, 2013). The drainage tree is the
minimum spanning tree of the grid, since minimax paths to the sea run along it: every pixel drains, even a hollow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree

from placevec.sources.world.noise import Field, fractal, rank01, smoothstep, stream


@dataclass(frozen=True)
class Drainage:
    """Where water goes: `receiver` (n,) of each pixel (-1 at the sea), and `levels`, pixels by depth of the tree."""

    receiver: NDArray[np.int64]
    levels: list[NDArray[np.int64]]

    def accumulate(self, amount: Field) -> Field:
        """What flows through each pixel, its own `amount` (rows, columns) included."""
        total = amount.astype(np.float64).ravel().copy()
        for rows in reversed(self.levels[1:]):
            np.add.at(total, self.receiver[rows], total[rows])
        return total.reshape(amount.shape).astype(np.float32)

    def filled(self, height: Field) -> Field:
        """Heights with depressions filled to their spill point."""
        out = height.ravel().copy()
        for rows in self.levels[1:]:
            out[rows] = np.maximum(out[rows], out[self.receiver[rows]])
        return out.reshape(height.shape)


@dataclass(frozen=True)
class Terrain:
    """The natural country, as fields (rows, columns).

    Attributes:
        land: which pixels are land.
        island: which belong to the island.
        elevation: metres, negative in the sea.
        slope: metres per metre.
        flow: upstream area in km², weighted by rain.
        lake: lakes and wide rivers.
        coast_km: distance to the sea, 0 in it.
        temperature: mean of the year in degrees Celsius.
        rain: mm per year.
    """

    land: NDArray[np.bool_]
    island: NDArray[np.bool_]
    elevation: Field
    slope: Field
    flow: Field
    lake: NDArray[np.bool_]
    coast_km: Field
    temperature: Field
    rain: Field


def make_terrain(seed: int, shape: tuple[int, int], metres: float, lat: NDArray[np.float64]) -> Terrain:
    """The terrain of a seed on a grid of `shape` with pixels of `metres`; `lat` (rows,) of the pixel centres."""
    land, island = _coast(seed, shape)
    elevation = _relief(seed, land, island, metres)
    coast_km = (ndimage.distance_transform_edt(land) * metres / 1000).astype(np.float32)
    temperature, rain = _climate(seed, elevation, land, lat)
    drainage = drain(elevation, land)
    filled = drainage.filled(elevation)
    flow = drainage.accumulate(np.where(land, rain / 900, 0).astype(np.float32) * np.float32((metres / 1000) ** 2))
    lake = land & (filled - elevation > 12)
    lake = ndimage.binary_opening(lake, iterations=1)
    gy, gx = np.gradient(elevation, metres)
    slope = np.where(land, np.hypot(gx, gy), 0).astype(np.float32)
    return Terrain(land, island, elevation, slope, flow, lake, coast_km, temperature, rain)


def drain(height: Field, land: NDArray[np.bool_]) -> Drainage:
    """The drainage of a terrain into the sea around it."""
    rows, cols = height.shape
    n = rows * cols
    index = np.arange(n).reshape(rows, cols)
    h = height.astype(np.float64)
    ends = []
    for dy, dx, far in ((0, 1, 1.0), (1, 0, 1.0), (1, 1, 1.414), (1, -1, 1.414)):
        a = index[: rows - dy, max(0, -dx) : cols - max(0, dx)]
        b = index[dy:, max(0, dx) : cols + min(0, dx)]
        use = land.flat[a] | land.flat[b]
        ends.append((a[use], b[use], np.full(int(use.sum()), far)))
    a, b = np.concatenate([e[0] for e in ends]), np.concatenate([e[1] for e in ends])
    length = np.concatenate([e[2] for e in ends])
    ha, hb = h.ravel()[a], h.ravel()[b]
    # The pass decides; among passes of one height (the own height of the upper pixel) the steepest way down.
    low = h.min()
    weight = (np.maximum(ha, hb) - low + 1.0) - 1e-4 * np.abs(ha - hb) / length
    sea = np.flatnonzero(~land.ravel())
    graph = coo_matrix(
        (
            np.concatenate([weight, np.full(len(sea), 1e-9)]),
            (np.concatenate([a, sea]), np.concatenate([b, np.full(len(sea), n)])),
        ),
        shape=(n + 1, n + 1),
    ).tocsr()
    tree = minimum_spanning_tree(graph)
    order, parent = breadth_first_order(tree, n, directed=False, return_predecessors=True)
    receiver = parent[:n].astype(np.int64)
    receiver[(receiver == n) | (receiver < 0)] = -1
    depth = np.zeros(n + 1, dtype=np.int64)
    order = order[1:]
    # Depths along the breadth-first order: a node comes after its parent, so a few passes of pointer doubling do.
    jump = parent.astype(np.int64).copy()
    jump[n] = n
    jump[jump < 0] = n
    depth[order] = 1
    while True:
        further = depth + depth[jump]
        if (jump == n).all():
            break
        depth, jump = further, jump[jump]
    wet = depth[:n][order]
    by_depth = order[np.argsort(wet, kind="stable")]
    cuts = np.flatnonzero(np.diff(np.sort(wet))) + 1
    return Drainage(receiver, [part.astype(np.int64) for part in np.split(by_depth, cuts)])


def _coast(seed: int, shape: tuple[int, int]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    rng = stream(seed, "coast")
    rows, cols = shape
    v, u = np.meshgrid(np.linspace(-1, 1, rows), np.linspace(-1, 1, cols), indexing="ij")
    size = float(cols)
    u = u + 0.17 * fractal(rng, shape, size / 1.6, 3.4)
    v = v + 0.17 * fractal(rng, shape, size / 1.6, 3.4)
    rough = 0.07 * fractal(rng, shape, size / 5, 2.7)
    turn = float(rng.uniform(0, 2 * np.pi))
    east, north = np.cos(turn), np.sin(turn)
    main = 1 - (np.abs((u + 0.16 * east) / 0.68) ** 2.3 + np.abs((v + 0.16 * north) / 0.64) ** 2.3) ** (1 / 2.3)
    isle = 0.42 * (1 - np.hypot(u - 0.74 * east, (v - 0.74 * north) * 1.2) / 0.2)
    frame = np.minimum(
        np.minimum(np.arange(rows), np.arange(rows)[::-1])[:, None],
        np.minimum(np.arange(cols), np.arange(cols)[::-1])[None],
    )
    border = 0.5 * (1 - smoothstep(frame, 0.02 * size, 0.07 * size))
    main_land = _largest((main + rough - border) > 0)
    near = ndimage.binary_dilation(main_land, iterations=max(4, int(size / 90)))
    island = _largest(((isle + rough * 0.8 - border) > 0) & ~near)
    return main_land | island, island


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    labels, count = ndimage.label(mask)
    if count == 0:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    filled: NDArray[np.bool_] = ndimage.binary_fill_holes(labels == sizes.argmax())
    return filled


def _relief(seed: int, land: NDArray[np.bool_], island: NDArray[np.bool_], metres: float) -> Field:
    rows, cols = land.shape
    factor = max(2, round(cols / 200))
    shape = (rows // factor, cols // factor)
    coarse_land = _zoom(land.astype(np.float32), shape, 1) > 0.5
    rng = stream(seed, "relief")
    uplift = _uplift(rng, coarse_land, _zoom(island.astype(np.float32), shape, 1) > 0.5)
    step = metres * factor
    h = (uplift * 200 + rank01(fractal(rng, shape, shape[1] / 4, 2.4)) * 60).astype(np.float32)
    h[~coarse_land] = 0
    hardness = np.exp(0.45 * fractal(rng, shape, shape[1] / 6, 2.6)).astype(np.float64)
    for _ in range(22):
        h = _erode(h, coarse_land, uplift, hardness, step)
    h *= 2700 / max(float(h.max()), 1.0)
    h = ndimage.gaussian_filter(h, 0.6)
    fine = np.maximum(_zoom(h, land.shape, 3), 0)
    inland = ndimage.distance_transform_edt(land).astype(np.float32) * metres / 1000
    relief = ndimage.maximum_filter(h, 3) - ndimage.minimum_filter(h, 3)
    rough = _zoom(ndimage.gaussian_filter(relief, 1.0), land.shape, 1)
    detail = fractal(rng, land.shape, 40_000 / metres, 2.7)
    fine = fine + detail * (6 + 0.16 * rough) * smoothstep(inland, 0.0, 12.0)
    fine = np.maximum(fine * smoothstep(inland, -2.0, 7.0), 0) + np.minimum(inland * 1.2, 14)
    offshore = ndimage.distance_transform_edt(~land).astype(np.float32) * metres / 1000
    floor = -4 - 9 * offshore**0.85 - 20 * rank01(detail) * smoothstep(offshore, 1, 30)
    return np.where(land, np.maximum(fine, 1.0), floor).astype(np.float32)


def _uplift(rng: np.random.Generator, land: NDArray[np.bool_], island: NDArray[np.bool_]) -> Field:
    """Where mountains rise: a bent chain, a side massif, hills everywhere, a volcano on the island."""
    rows, cols = land.shape
    y, x = np.mgrid[0:rows, 0:cols].astype(np.float32)
    wave = cols / 2.5
    x = x + 0.035 * cols * fractal(rng, land.shape, wave, 3.2)
    y = y + 0.035 * cols * fractal(rng, land.shape, wave, 3.2)
    inner = np.argwhere(ndimage.distance_transform_edt(land & ~island) > 0.04 * cols)
    cy, cx = inner.mean(axis=0) if len(inner) else (rows / 2, cols / 2)
    turn = rng.uniform(0, np.pi)
    bend = rng.choice([-1, 1]) * rng.uniform(0.25, 0.55) / cols
    along = (x - cx) * np.cos(turn) + (y - cy) * np.sin(turn)
    side = -(x - cx) * np.sin(turn) + (y - cy) * np.cos(turn)
    across = side + 0.08 * cols - bend * along**2
    chain = np.exp(-((across / (0.075 * cols)) ** 2)) * np.exp(-(np.abs((along - 0.05 * cols) / (0.42 * cols)) ** 4))
    spot = inner[rng.integers(len(inner))] if len(inner) else np.array([cy, cx])
    massif = 0.45 * np.exp(-((x - spot[1]) ** 2 + (y - spot[0]) ** 2) / (0.07 * cols) ** 2)
    hills = 0.13 * rank01(fractal(rng, land.shape, cols / 5, 3.0)) ** 2
    volcano = np.zeros_like(chain)
    if island.any():
        iy, ix = np.argwhere(island).mean(axis=0)
        volcano = 0.35 * np.exp(-np.hypot(x - ix, y - iy) / (0.03 * cols))
    return np.where(land, 0.02 + chain + massif + hills + volcano, 0).astype(np.float32)


def _erode(h: Field, land: NDArray[np.bool_], uplift: Field, hardness: NDArray[np.float64], step: float) -> Field:
    drainage = drain(h, land)
    area = drainage.accumulate(land.astype(np.float32)).ravel().astype(np.float64)
    new = (h + 46 * uplift).ravel().astype(np.float64)
    factor = 0.115 * (np.sqrt(area) / hardness.ravel())
    for rows in drainage.levels[1:]:
        receiver = drainage.receiver[rows]
        known = receiver >= 0
        lower = np.where(known, new[np.where(known, receiver, 0)], 0.0)
        new[rows] = np.maximum((new[rows] + factor[rows] * lower) / (1 + factor[rows]), lower)
    surface = new.reshape(h.shape)
    crept = surface + 0.06 * np.asarray(ndimage.laplace(surface))  # creep of slopes
    return np.where(land, np.maximum(crept, 0.5), 0).astype(np.float32)


def _climate(seed: int, elevation: Field, land: NDArray[np.bool_], lat: NDArray[np.float64]) -> tuple[Field, Field]:
    rng = stream(seed, "climate")
    shape = elevation.shape
    height = np.maximum(elevation, 0)
    temperature = 29.0 - 0.42 * np.abs(lat)[:, None] ** 1.02 * 0.8 - 6.2e-3 * height
    temperature = temperature + 0.35 * fractal(rng, shape, shape[1] / 3, 3.2)
    # Air from the west takes up water over the sea, drops it where it climbs, and is dry behind the mountains.
    broad = ndimage.gaussian_filter(height, shape[1] / 120)
    climb = np.maximum(np.diff(broad, axis=1, prepend=broad[:, :1]), 0)
    moist, air = np.empty(shape, dtype=np.float32), np.ones(shape[0], dtype=np.float32)
    refill, loss = 3.0 / shape[1], 0.5 / shape[1]
    for col in range(shape[1]):
        drop = air * np.minimum(loss + 0.0022 * climb[:, col], 0.5)
        air = np.where(land[:, col], air - drop + 0.25 * refill * (1 - air), air + refill * (1 - air))
        moist[:, col] = drop * shape[1]
    moist = ndimage.gaussian_filter(moist, shape[1] / 100)
    rain = 340 + 560 * moist + 60 * fractal(rng, shape, shape[1] / 4, 3.2)
    return temperature.astype(np.float32), np.clip(rain, 180, 2600).astype(np.float32)


def _zoom(field: NDArray[np.float32], shape: tuple[int, int], order: Literal[1, 3]) -> Field:
    scale = (shape[0] / field.shape[0], shape[1] / field.shape[1])
    return np.asarray(ndimage.zoom(field, scale, order=order, mode="nearest", grid_mode=True), dtype=np.float32)
