"""Which cells touch each other, and which lie within some steps of a cell."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.sparse import csr_array
from shapely.affinity import translate

from placevec.geo.geocells.points import Ints

# Vertices at borders of regions are computed for each cell anew: 1 cm is much more than they differ.
_TOUCH_DEG = 1e-7


def touching(outlines: NDArray[np.object_]) -> tuple[Ints, Ints]:
    """The pairs of rows of outlines (n,) that touch, both ways round, sorted; across the antimeridian as well."""
    tree = shapely.STRtree(outlines)
    one, two = tree.query(outlines, predicate="dwithin", distance=_TOUCH_DEG)
    bounds = shapely.bounds(outlines)
    east = np.flatnonzero(bounds[:, 2] >= 180.0 - _TOUCH_DEG)
    if len(east):
        turned = np.array([translate(outlines[row], -360.0) for row in east], dtype=object)
        across, other = tree.query(turned, predicate="dwithin", distance=_TOUCH_DEG)
        one, two = np.concatenate([one, east[across]]), np.concatenate([two, other])
    apart = one != two
    pairs = np.stack([np.concatenate([one[apart], two[apart]]), np.concatenate([two[apart], one[apart]])], axis=1)
    pairs = np.unique(pairs, axis=0)
    return pairs[:, 0].astype(np.int64), pairs[:, 1].astype(np.int64)


def ring_rows(pairs: tuple[Ints, Ints], size: int, rows: Ints, k: int) -> Ints:
    """The rows (n, m) within k steps: itself, those of ring 1, of ring 2 …; -1 where a ring has fewer than the most.

    Args:
        pairs: rows that touch, both ways round.
        size: how many rows there are.
        rows: (n,) where to begin.
        k: steps.
    """
    n = len(rows)
    graph = csr_array((np.ones(len(pairs[0]), dtype=bool), pairs), shape=(size, size))
    ring = csr_array((np.ones(n, dtype=bool), (np.arange(n), rows)), shape=(n, size))
    seen = ring.copy()
    blocks = [np.asarray(rows, dtype=np.int64)[:, None]]
    for _ in range(k):
        ahead = (ring @ graph).astype(bool)
        ring = csr_array(ahead > seen)
        ring.sort_indices()
        width = np.diff(ring.indptr)
        block = np.full((n, int(width.max(initial=0))), -1, dtype=np.int64)
        block[np.repeat(np.arange(n), width), np.arange(ring.nnz) - np.repeat(ring.indptr[:-1], width)] = ring.indices
        blocks.append(block)
        seen = (seen + ring).astype(bool)
    return np.concatenate(blocks, axis=1)
