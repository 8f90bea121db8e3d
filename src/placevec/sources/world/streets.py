"""Streets of the generated towns, as an OpenStreetMap extract shows them: fine enough for H3 cells of resolution 9.

`roads` knows of a town only its widest streets. Here each has a bent lattice of streets 120 m apart, of which those
remain that the built-up intensity calls for: every line in the middle, every second one farther out, then every
fourth and every eighth. Some streets are interrupted, and parks have footways. So density, dead ends and classes of
streets tell how built-up a place is, though not without noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from placevec.sources.world.ground import Ground, waves
from placevec.sources.world.noise import stream
from placevec.sources.world.settlement import Towns

STEP_M = 120.0
# Of every 2^k-th line: how built-up it has to be for it to be there.
NEEDS = (1.15, 0.5, 0.2, 0.08)
SECONDARY, TERTIARY, RESIDENTIAL, PEDESTRIAN, UNCLASSIFIED, FOOTWAY = range(6)
CLASSES = ("secondary", "tertiary", "residential", "pedestrian", "unclassified", "footway")


@dataclass(frozen=True, eq=False)
class Streets:
    """The streets of one town: m nodes, and s segments between neighbouring ones.

    Attributes:
        col: (m,) columns; the first node is the middle of the town.
        row: (m,) rows.
        ends: (s, 2) nodes, along the line on which the segment is.
        kind: (s,) indices into CLASSES.
        oneway: (s,) whether one may only drive from the first node to the second.
        line: (s,) number of the line of the lattice: it is one street.
        step: (s,) where on its line the segment is.
    """

    col: NDArray[np.float64]
    row: NDArray[np.float64]
    ends: NDArray[np.int64]
    kind: NDArray[np.int8]
    oneway: NDArray[np.bool_]
    line: NDArray[np.int64]
    step: NDArray[np.int64]


def make_streets(ground: Ground, town: int) -> Streets:
    """The streets of a town (its number, the largest is 0), up to where it meets the streets of another."""
    towns = ground.towns
    rng = stream(ground.seed, f"fine streets {town}")
    half = int(np.ceil(street_reach_m(towns)[town] / STEP_M))
    side = 2 * half + 1
    a, b = (part.ravel() - half for part in np.indices((side, side)))
    middle = half * side + half
    col, row = _turned(ground, town, a, b, float(rng.uniform(0, np.pi / 2)))
    # Where it is too far from being built-up, nothing else is worth knowing.
    good = ground.built(col, row) > 0.7 * min(NEEDS)
    good[middle] = True
    col[good], row[good] = _bent(ground, town, col[good], row[good])
    good &= ground.land(col, row) & (_nearest_town(towns, col, row, town) == town)
    good[middle] = True
    urban = np.full(len(a), -1.0)
    urban[good] = ground.urban(col[good], row[good])
    park = np.zeros(len(a), dtype=bool)
    park[good] = ground.park(col[good], row[good])

    index = np.arange(len(a))
    along, across = index[b < half], index[a < half]  # to the next column of the lattice, to its next row
    ends = np.concatenate([np.stack([along, along + 1], 1), np.stack([across, across + side], 1)])
    line = np.concatenate([a[along], b[across]])
    step = np.concatenate([b[along], a[across]])
    level = np.minimum(_twos(line), len(NEEDS) - 1)
    dense = urban[ends].mean(axis=1)
    chance = rng.random((3, len(ends)))
    kept = good[ends].all(axis=1) & (dense > np.array(NEEDS)[level])
    green = park[ends].any(axis=1)
    whole = (level == 3) | ((chance[0] > 0.12) & ~green)
    foot = (chance[1] < np.where(green, 0.5, 0.25)) & (dense > NEEDS[1])
    kept &= whole | foot
    kind = np.where(line % 32 == 0, SECONDARY, np.where(line % 8 == 0, TERTIARY, RESIDENTIAL))
    kind = np.where((kind == RESIDENTIAL) & (dense < 0.3), UNCLASSIFIED, kind)
    kind = np.where((kind == RESIDENTIAL) & (dense > 2.0) & (chance[2] < 0.3), PEDESTRIAN, kind)
    kind = np.where(whole, kind, FOOTWAY)
    # In the middle narrow streets go one way, neighbouring ones against each other.
    oneway = (kind == RESIDENTIAL) & (dense > 1.4) & (level == 0)
    kept &= _joined(ends, kept, len(a), middle)
    ends, turned = ends[kept], (oneway & (line // 2 % 2 == 1))[kept]
    ends[turned] = ends[turned][:, ::-1]

    used = np.unique(np.append(ends.ravel(), middle))
    used = np.concatenate([[middle], used[used != middle]])
    number = np.full(len(a), -1, dtype=np.int64)
    number[used] = np.arange(len(used))
    # Lines of the two directions get numbers of their own.
    street = np.where(np.arange(len(line)) < len(along), 2 * (line + half), 2 * (line + half) + 1)
    return Streets(
        col[used], row[used], number[ends], kind[kept].astype(np.int8), oneway[kept], street[kept], step[kept]
    )


def street_reach_m(towns: Towns) -> NDArray[np.float64]:
    """How far from the middle of each town its streets go: beyond, not even the coarsest lines are called for."""
    return 2.9 * _reach_m(towns)


def _reach_m(towns: Towns) -> NDArray[np.float64]:
    """The length by which `settlement.urban_intensity` lets a town fall off, in metres."""
    return np.asarray(1400.0 * (towns.people / 10_000.0) ** 0.42, dtype=np.float64)


def _turned(
    ground: Ground, town: int, a: NDArray[np.int64], b: NDArray[np.int64], turn: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Positions of the points (a, b) of the lattice of a town."""
    x, y = a * STEP_M / ground.grid.metres, b * STEP_M / ground.grid.metres
    col = float(ground.towns.col[town]) + x * np.cos(turn) - y * np.sin(turn)
    return col, float(ground.towns.row[town]) + x * np.sin(turn) + y * np.cos(turn)


def _bent(
    ground: Ground, town: int, col: NDArray[np.float64], row: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Positions moved by long waves; the middle of the town stays where it is, for highways end there."""
    metres = ground.grid.metres
    middle = ground.towns.col[[town]], ground.towns.row[[town]]
    bends = [waves(ground.seed, f"{way} bend of streets", metres, 2500.0, 8000.0) for way in ("east", "south")]
    east, south = (130.0 / metres * (bend(col, row) - bend(*middle)) for bend in bends)
    return col + east, row + south


def _nearest_town(towns: Towns, col: NDArray[np.float64], row: NDArray[np.float64], town: int) -> NDArray[np.int64]:
    """To which town positions around `town` belong: the one that makes them most built-up."""
    reach = _reach_m(towns)
    gap = np.hypot(towns.col - towns.col[town], towns.row - towns.row[town])
    size = float(np.hypot(col - towns.col[town], row - towns.row[town]).max())
    near = np.flatnonzero(gap <= size * (1.0 + reach / reach[town]))
    best, owner = np.full(len(col), np.inf), np.full(len(col), town)
    for other in near:
        far = np.hypot(col - towns.col[other], row - towns.row[other]) / reach[other]
        closer = far < best
        best[closer], owner[closer] = far[closer], other
    return owner


def _twos(number: NDArray[np.int64]) -> NDArray[np.int64]:
    """How often 2 divides numbers; 62 for 0."""
    low = number & -number
    return np.where(number == 0, 62, np.log2(np.maximum(low, 1)).astype(np.int64))


def _joined(ends: NDArray[np.int64], kept: NDArray[np.bool_], count: int, middle: int) -> NDArray[np.bool_]:
    """Which segments can be reached from the middle over those that are kept."""
    a, b = ends[kept].T
    graph = coo_matrix((np.ones(len(a), dtype=np.int8), (a, b)), shape=(count, count))
    part = connected_components(graph, directed=False)[1]
    return np.asarray(part[ends[:, 0]] == part[middle])
