"""Triangles that are as fine as the outline of a mixture's density needs, where the outline can be.

A square around hypotheses that belong together is split into four as long as an outline may cross it and it is wide
against the spreads that matter in it. Whether an outline may cross a square is decided by bounds of the density over
all of it, so that no part of a region is lost, however small. Neighbours differ by one step of splitting at most
(a restricted quadtree: Von Herzen and Barr 1987), and each square becomes a fan of triangles around its middle, so that
triangles meet along whole edges.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from placevec.geo.mixture.law import Mixture, angles, log_peak, log_sum
from placevec.geo.sphere import EARTH_RADIUS_M, LonLat

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

FINENESS = 0.5
"""The side of a square that an outline crosses, in spreads of the narrowest kernel that matters there."""

# A kernel matters where it may have this part of the density of the lowest outline.
_MATTERS = 0.02
_DEEPEST = 20
# From so many spreads on, squares grow with the distance from the kernel.
_NEAR = 3.0
# A square of which a corner would lie behind the antipode has no place on the plane.
_WIDEST = 2.2


class Hypotheses(NamedTuple):
    """The hypotheses of one mixture that have a weight.

    Attributes:
        unit: (m, 3) unit vectors.
        kappa: (m,) concentrations.
        log_peak: (m,) the log density of each at its centre, its weight included.
    """

    unit: Floats
    kappa: Floats
    log_peak: Floats

    @classmethod
    def of(cls, mixture: Mixture) -> Hypotheses:
        """Those of the one law of `mixture`."""
        live = mixture.weights[0] > 0
        spread = mixture.spread_m[0, live]
        return cls(
            mixture.unit[0, live],
            (EARTH_RADIUS_M / spread) ** 2,
            np.log(mixture.weights[0, live]) + log_peak(spread),
        )

    def log_density(self, x: Floats) -> Floats:
        """The log density (k,) per square metre at unit vectors (k, 3)."""
        return log_sum(self.log_peak - 0.5 * self.kappa * self.chord2(x))

    def chord2(self, x: Floats) -> Floats:
        """The squared chords (k, m) from unit vectors (k, 3) to the hypotheses."""
        found = np.zeros((len(x), len(self.unit)))
        for axis in range(3):
            found += (x[:, None, axis] - self.unit[None, :, axis]) ** 2
        return found


class Frames(NamedTuple):
    """Azimuthal equidistant planes in radians, one for each of r squares.

    Attributes:
        centre: (r, 3) the middles.
        east: (r, 3) the directions of x at the middles.
        north: (r, 3) the directions of y.
        half: (r,) half the sides.
        reach: (r, m) radius of the disc of each hypothesis that belongs to the square; −1 for the others. The discs of
            two squares do not touch, though the squares may overlap.
    """

    centre: Floats
    east: Floats
    north: Floats
    half: Floats
    reach: Floats

    def unit(self, square: Rows, xy: Floats) -> Floats:
        """The unit vectors (k, 3) of points (k, 2) on the planes of the squares (k,)."""
        length = np.hypot(xy[:, 0], xy[:, 1])
        sine = np.sinc(length / np.pi)
        out = np.cos(length)[:, None] * self.centre[square]
        out += (sine * xy[:, 0])[:, None] * self.east[square]
        out += (sine * xy[:, 1])[:, None] * self.north[square]
        return out


class Mesh(NamedTuple):
    """Triangles on the planes of squares.

    Attributes:
        frames: the planes.
        square: (v,) the square of each corner.
        xy: (v, 2) its place on that plane, in radians.
        log_density: (v,) of the hypotheses there.
        triangles: (t, 3) corners, counter-clockwise.
    """

    frames: Frames
    square: Rows
    xy: Floats
    log_density: Floats
    triangles: Rows


def make_mesh(kernels: Hypotheses, thresholds: Floats, fineness: float = FINENESS) -> Mesh | None:
    """The mesh for the outlines at log densities (l,); None where they go around half of the Earth.

    Args:
        kernels: the hypotheses.
        thresholds: log densities per square metre.
        fineness: side of the squares that an outline crosses, see `FINENESS`.
    """
    lowest = float(thresholds.min())
    frames = _frames(kernels, lowest)
    if frames is None:
        return None
    splits = _balanced(_split(kernels, thresholds, frames, fineness))
    return _fans(kernels, frames, splits, lowest)


def _frames(kernels: Hypotheses, lowest: float) -> Frames | None:
    """Squares around hypotheses whose discs touch; beyond all discs no density is as high as `lowest`."""
    depth = (kernels.log_peak - (lowest - np.log(len(kernels.unit)))) / kernels.kappa
    inside = depth > 0
    unit = kernels.unit[inside]
    if (depth >= 2.0).any():
        return None
    reach = 2.0 * np.arcsin(np.sqrt(depth[inside] / 2.0))
    apart = angles(unit[:, None, :], unit[None, :, :])
    count, group = connected_components(apart <= reach[:, None] + reach[None, :], directed=False)
    centre, half, discs = np.empty((count, 3)), np.empty(count), np.full((count, len(inside)), -1.0)
    for one in range(count):
        own = group == one
        discs[one, np.flatnonzero(inside)[own]] = reach[own]
        mean = unit[own].mean(axis=0)
        length = float(np.linalg.norm(mean))
        if length < 1e-6:
            return None
        centre[one] = mean / length
        half[one] = 1.01 * (angles(centre[one][None, :], unit[own]) + reach[own]).max()
    if half.max() > _WIDEST:
        return None
    middle = LonLat.from_unit(centre)
    lon, lat = np.radians(middle.lon), np.radians(middle.lat)
    east = np.stack([-np.sin(lon), np.cos(lon), np.zeros(count)], axis=1)
    north = np.stack([-np.sin(lat) * np.cos(lon), -np.sin(lat) * np.sin(lon), np.cos(lat)], axis=1)
    return Frames(middle.unit(), east, north, half, discs)


def _split(kernels: Hypotheses, thresholds: Floats, frames: Frames, fineness: float) -> list[Rows]:
    """The squares that are split, as sorted numbers per depth; see `_number`."""
    splits: list[Rows] = []
    square = np.arange(len(frames.half))
    ix = iy = np.zeros(len(square), dtype=np.int64)
    narrow = 1.0 / np.sqrt(kernels.kappa)
    for depth in range(_DEEPEST):
        side = 2.0 * frames.half[square] / (1 << depth)
        middle = np.stack([(ix + 0.5) * side, (iy + 0.5) * side], axis=1) - frames.half[square, None]
        # The plane does not shorten distances: no point of the square is farther from its middle on the sphere.
        reach = (side / np.sqrt(2.0))[:, None]
        apart = angles(frames.unit(square, middle)[:, None, :], kernels.unit[None, :, :])
        most = kernels.log_peak - 2.0 * kernels.kappa * np.sin(np.maximum(apart - reach, 0.0) / 2.0) ** 2
        least = kernels.log_peak - 2.0 * kernels.kappa * np.sin(np.minimum(apart + reach, np.pi) / 2.0) ** 2
        upper, lower = log_sum(most), log_sum(least)
        crossed = ((lower[:, None] <= thresholds) & (upper[:, None] >= thresholds)).any(axis=1)
        matters = most >= thresholds.min() + np.log(_MATTERS)
        # Far from a kernel its outlines are wide circles.
        scale = np.maximum(narrow, apart / _NEAR)
        wanted = fineness * np.where(matters, scale, np.inf).min(axis=1)
        near = (apart - reach <= frames.reach[square]).any(axis=1)
        go = crossed & near & (side > wanted)
        if depth == 0:
            go[:] = True
        splits.append(np.sort(_number(square[go], ix[go], iy[go], depth)))
        if not go.any():
            break
        square = np.repeat(square[go], 4)
        ix = (2 * ix[go, None] + np.array([0, 1, 0, 1])).ravel()
        iy = (2 * iy[go, None] + np.array([0, 0, 1, 1])).ravel()
    return splits


def _number(square: Rows, ix: Rows, iy: Rows, depth: int) -> Rows:
    return (square << (2 * depth)) | (iy << depth) | ix


def _place(number: Rows, depth: int) -> tuple[Rows, Rows, Rows]:
    mask = (1 << depth) - 1
    return number >> (2 * depth), number & mask, (number >> depth) & mask


_STEPS = ((0, -1), (1, 0), (0, 1), (-1, 0))  # to the neighbours below, right, above and left


def _neighbours(number: Rows, depth: int) -> list[Rows]:
    """The four neighbours of squares; −1 where one lies outside."""
    square, ix, iy = _place(number, depth)
    found = []
    for dx, dy in _STEPS:
        x, y = ix + dx, iy + dy
        inside = (x >= 0) & (y >= 0) & (x < 1 << depth) & (y < 1 << depth)
        found.append(np.where(inside, _number(square, np.maximum(x, 0), np.maximum(y, 0), depth), -1))
    return found


def _balanced(splits: list[Rows]) -> list[Rows]:
    """More splits, such that neighbours of a square that is split exist at its depth."""
    out = list(splits)
    for depth in range(len(out) - 1, 0, -1):
        if len(out[depth]) == 0:
            continue
        around = np.concatenate(_neighbours(out[depth], depth))
        square, ix, iy = _place(around[around >= 0], depth)
        out[depth - 1] = np.union1d(out[depth - 1], _number(square, ix >> 1, iy >> 1, depth - 1))
    return out


def _among(numbers: Rows, known: Rows) -> NDArray[np.bool_]:
    if len(known) == 0:
        return np.zeros(len(numbers), dtype=bool)
    found: NDArray[np.bool_] = known[np.minimum(np.searchsorted(known, numbers), len(known) - 1)] == numbers
    return found


def _fans(kernels: Hypotheses, frames: Frames, splits: list[Rows], lowest: float) -> Mesh:
    """Fans around the middles of the squares that are not split, with a corner where a neighbour is finer."""
    finest = len(splits)
    bits = finest + 2  # a lattice on which the middles of the finest squares have whole numbers
    corners: list[Rows] = []
    for depth in range(1, finest + 1):
        parents = splits[depth - 1]
        square, ix, iy = _place(parents, depth - 1)
        square = np.repeat(square, 4)
        ix = (2 * ix[:, None] + np.array([0, 1, 0, 1])).ravel()
        iy = (2 * iy[:, None] + np.array([0, 0, 1, 1])).ravel()
        number = _number(square, ix, iy, depth)
        split = splits[depth] if depth < finest else np.zeros(0, dtype=np.int64)
        leaf = ~_among(number, split)
        number, square, ix, iy = number[leaf], square[leaf], ix[leaf], iy[leaf]
        size = 1 << (finest + 1 - depth)
        x, y, half = ix * size, iy * size, size // 2
        middle = _vertex(square, x + half, y + half, bits)
        ring = [(0, 0), (size, 0), (size, size), (0, size)]
        for at, neighbour in enumerate(_neighbours(number, depth)):
            (ax, ay), (bx, by) = ring[at], ring[(at + 1) % 4]
            first, last = _vertex(square, x + ax, y + ay, bits), _vertex(square, x + bx, y + by, bits)
            finer = _among(neighbour, split)
            between = _vertex(square, x + (ax + bx) // 2, y + (ay + by) // 2, bits)
            corners.append(np.stack([middle, first, np.where(finer, between, last)], axis=1))
            corners.append(np.stack([middle, between, last], axis=1)[finer])
    names, triangles = np.unique(np.concatenate(corners), return_inverse=True)
    square, ix, iy = _place(names, bits)
    scale = 2.0 * frames.half[square] / (1 << (finest + 1))
    xy = np.stack([ix * scale, iy * scale], axis=1) - frames.half[square, None]
    chord2 = kernels.chord2(frames.unit(square, xy))
    density = log_sum(kernels.log_peak - 0.5 * kernels.kappa * chord2)
    # What lies in the disc of another square is outlined there.
    lent = np.where((frames.reach < 0).all(axis=0), -1.0, 4.0 * np.sin(frames.reach.max(axis=0) / 2.0) ** 2)
    foreign = ((chord2 <= lent) & (frames.reach[square] < 0)).any(axis=1)
    density = np.where(foreign, np.minimum(density, lowest - 1.0), density)
    return Mesh(frames, square, xy, density, triangles.reshape(-1, 3))


def _vertex(square: Rows, x: Rows, y: Rows, bits: int) -> Rows:
    return _number(square, x, y, bits)
