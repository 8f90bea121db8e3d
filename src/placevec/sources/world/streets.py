"""Streets of the generated towns, fine enough for H3 cells of resolution 9: what an OpenStreetMap extract shows of them.

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
    towns, metres = ground.towns, ground.grid.metres
    rng = stream(ground.seed, f"fine streets {town}")
    # Beyond, the intensity is below what the coarsest lines need: it falls as settlement.urban_intensity says.
    half = int(np.ceil(2.9 * _reach_m(towns)[town] / STEP_M))
    side = 2 * half + 1
    a, b = (part.ravel() - half for part in np.indices((side, side)))
    col, row = _bent(ground, town, a, b, float(rng.uniform(0, np.pi / 2)))
    middle = half * side + half
    good = ground.land(col, row) & (_nearest_town(towns, col, row, town) == town)
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
        col=col[used],
        row=row[used],
        ends=number[ends],
        kind=kind[kept].astype(np.int8),
        oneway=oneway[kept],
        line=street[kept],
        step=step[kept],
    ) if metres > 0 else Streets(col, row, ends, kind, oneway, line, step)
