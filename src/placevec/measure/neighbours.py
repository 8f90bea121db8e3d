"""Neighbour retrieval: does a representation find, for a patch, the patch that was drawn near it?

Landscape is continuous: what lies a few kilometres on looks alike, without anybody having labelled it. Each anchor
asks; the neighbours of all anchors are ranked; the anchor's own is to come first. What overlaps the anchor's footprint
is no answer but a copy of a part of it, and is left out of its ranking.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from placevec.errors import DataError
from placevec.geo.sphere import LonLat, chord_of, distance_m
from placevec.measure.retrieval.ranks import Standing
from placevec.measure.signatures import jensen_shannon

Rows = NDArray[np.int64]
Floats = NDArray[np.float64]
Nearness = Callable[[Rows, Rows], Floats]
"""How near (q, c) the rows of candidates are to the rows that ask; greater is nearer."""

_SCORES = 4_000_000  # scores held at once
_TIE = 1e-9  # scores that differ by less, as a share of the largest, are equal: they differ by rounding


@dataclass(frozen=True, eq=False)
class Pairs:
    """Rows that belong together: which asks, and which is to be found."""

    anchors: Rows  # (p,) rows that ask; one with several neighbours stands several times
    neighbours: Rows  # (p,) the row that each is to find
    places: Rows  # (p,) number of the place that both are drawn for

    def __len__(self) -> int:
        return len(self.anchors)

    def take(self, which: Rows) -> Pairs:
        """Some of the pairs."""
        return Pairs(self.anchors[which], self.neighbours[which], self.places[which])


def place_pairs(keys: NDArray[Any], ids: NDArray[Any]) -> Pairs:
    """The pairs of rows with one key: the first by id is the anchor, each other one a neighbour.

    Args:
        keys: (n,) what groups rows of one place; see `Places.keys`.
        ids: (n,) their ids, such as ``pair-000001-a`` and ``pair-000001-b``.

    Raises:
        DataError: no two rows have a key in common.
    """
    names, number = np.unique(keys.astype(str), return_inverse=True)
    order = np.lexsort((ids.astype(str), number))
    counts = np.bincount(number, minlength=len(names))
    firsts = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64)
    place = number[order]
    other = np.ones(len(order), dtype=bool)
    other[firsts] = False
    if not other.any():
        raise DataError(
            "no two rows share a `place`: neighbour retrieval needs pairs of patches, an anchor and a neighbour each"
        )
    return Pairs(order[firsts][place[other]].astype(np.int64), order[other].astype(np.int64), place[other])


def apart(pairs: Pairs, lonlat: LonLat, metres: float) -> NDArray[np.bool_]:
    """Which pairs (p,) lie at least so far apart, so that the neighbour's footprint is not the anchor's."""
    return np.asarray(distance_m(lonlat[pairs.anchors], lonlat[pairs.neighbours]) >= metres)


def by_vectors(vectors: NDArray[Any], metric: str = "cosine") -> Nearness:
    """Nearness by vectors (n, d) of a Space with the metric "cosine", "dot" or "l2"."""
    values = np.asarray(vectors, dtype=np.float64)
    if metric == "cosine":
        length = np.linalg.norm(values, axis=1, keepdims=True)
        values = values / np.where(length > 0, length, 1.0)

    def near(asking: Rows, candidates: Rows) -> Floats:
        q, c = values[asking], values[candidates]
        products = np.asarray(q @ c.T)
        if metric != "l2":
            return products
        return np.asarray(2.0 * products - (q * q).sum(axis=1)[:, None] - (c * c).sum(axis=1))

    return near


def by_jensen_shannon(shares: NDArray[Any]) -> Nearness:
    """Nearness by signatures, probabilities (n, d): less their Jensen-Shannon divergence."""
    return lambda asking, candidates: -jensen_shannon(shares[asking], shares[candidates])


def rank_neighbours(
    pairs: Pairs,
    lonlat: LonLat,
    near: Mapping[str, Nearness],
    exclude_m: float,
    progress: Callable[[str, int, int], None] | None = None,
) -> tuple[dict[str, Standing], Standing]:
    """Where the own neighbour of each anchor stands among the neighbours of all, by each representation.

    Left out of an anchor's candidates are rows nearer than `exclude_m`, itself, and other rows of its place.

    Args:
        pairs: all that are tested, see `apart`.
        lonlat: (n,) where all rows are.
        near: representations by name.
        exclude_m: usually the width of the footprint.
        progress: called with a name, pairs done and pairs in all.

    Returns:
        The standing of each representation, and that of chance: the same candidates in random order. `items` is the
        number of candidates of the anchor that has most.

    Raises:
        DataError: no pair, a pair nearer than `exclude_m`, or anchors for which no other candidate is left.
    """
    if not len(pairs):
        raise DataError("there is no pair to be tested")
    if not apart(pairs, lonlat, exclude_m).all():
        raise DataError(f"some neighbours lie nearer than {exclude_m:g} m to their anchors: leave them out first")
    candidates = np.unique(pairs.neighbours)
    own = np.searchsorted(candidates, pairs.neighbours)
    step = max(1, _SCORES // len(candidates))
    left_out = [
        _left_out(pairs, candidates, own, slice(at, at + step), lonlat, exclude_m) for at in range(0, len(pairs), step)
    ]
    rivals = len(candidates) - 1 - np.concatenate([np.bincount(query, minlength=size) for query, _, size in left_out])
    if not rivals.all():
        raise DataError("an anchor has no candidate but its own neighbour: test more pairs, over a wider area")
    most = int(rivals.max()) + 1
    ones = np.ones(len(pairs), dtype=np.int64)
    found = {}
    for name, nearness in near.items():
        ahead, level = np.empty_like(ones), np.empty_like(ones)
        for at, (query, candidate, size) in zip(range(0, len(pairs), step), left_out, strict=True):
            part = slice(at, at + size)
            scores = nearness(pairs.anchors[part], candidates)
            if not np.isfinite(scores).all():
                raise DataError(f"{name}: a vector is not finite")
            mine = scores[np.arange(size), own[part]]
            slack = _TIE * np.maximum(np.abs(scores).max(axis=1), _TIE)
            scores[query, candidate] = -np.inf
            scores[np.arange(size), own[part]] = -np.inf
            ahead[part] = (scores > (mine + slack)[:, None]).sum(axis=1)
            level[part] = (scores >= (mine - slack)[:, None]).sum(axis=1) - ahead[part]
            if progress is not None:
                progress(name, at + size, len(pairs))
        found[name] = Standing(ahead, level, ones, ones, most)
    return found, Standing(np.zeros_like(ones), rivals, ones, ones, most)


def _left_out(
    pairs: Pairs, candidates: Rows, own: Rows, part: slice, lonlat: LonLat, exclude_m: float
) -> tuple[Rows, Rows, int]:
    """Which candidates are none for which anchors of a part: their numbers, and how many anchors there are."""
    anchors, mine, place = pairs.anchors[part], own[part], pairs.places[part]
    # Nearer than, not as near as: a neighbour at the very width of the footprint touches it and does not overlap.
    radius = np.nextafter(float(chord_of(exclude_m)), 0.0)
    tree = cKDTree(lonlat[candidates].unit())
    near: list[list[int]] = np.asarray(tree.query_ball_point(lonlat[anchors].unit(), radius)).tolist()
    query = np.repeat(np.arange(len(anchors)), [len(one) for one in near])
    candidate = np.array([one for some in near for one in some], dtype=np.int64)
    # Candidates that are the anchor or of its place; a row belongs to one place only.
    place_of = np.empty(len(candidates), dtype=np.int64)
    place_of[own] = pairs.places
    order = np.argsort(place_of, kind="stable")
    low, high = np.searchsorted(place_of[order], place), np.searchsorted(place_of[order], place, side="right")
    counts = high - low
    steps = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    query = np.concatenate([query, np.repeat(np.arange(len(anchors)), counts)])
    candidate = np.concatenate([candidate, order[np.repeat(low, counts) + steps]])
    both = np.unique(np.stack([query, candidate]), axis=1)
    both = both[:, both[1] != mine[both[0]]]
    return both[0], both[1], len(anchors)
