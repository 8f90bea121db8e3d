"""The key `place`: photos that must stay on one side of a split share it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from placevec.errors import UsageError
from placevec.geo.cells import H3Cells
from placevec.geo.sphere import LonLat, chord_of

By = Literal["near", "h3"]
BYS = ("near", "h3")
RESOLUTION = 12  # H3 cells of 307 m² on average, 19 m across

Rows = NDArray[np.int64]

_PAIRS = 4_000_000  # of photos near to each other that are held at once


def place_keys(
    ids: NDArray[Any],
    points: LonLat,
    metres: float = 25.0,
    *,
    by: By = "near",
    shared: Sequence[Sequence[Any] | NDArray[Any]] = (),
) -> NDArray[Any]:
    """Keys (n,) of places: the id of the first photo of each.

    Args:
        ids: (n,) unique texts.
        points: where the photos were taken.
        metres: with "near", photos at most so far apart share a place, and so do those that a chain of such photos
            links: no two places are nearer to each other than this. 0: only those of equal coordinates.
        by: "near", or "h3" for the cell of resolution 12, which links no chains but parts neighbours at its border.
        shared: further keys (n,) each, such as the photographer and the day: photos that agree in one of them share a
            place as well. None and "" are no key.

    Raises:
        UsageError: another `by`, or a distance below 0.
    """
    if by not in BYS:
        raise UsageError(f"places are told by {by!r}; choose one of {', '.join(BYS)}")
    if not (np.isfinite(metres) and metres >= 0):
        raise UsageError(f"photos within {metres} m share a place; give a distance from 0 m")
    n = len(ids)
    if n == 0:
        return np.empty(0, dtype=object)
    links = [_near(points, metres) if by == "near" else _same(H3Cells(RESOLUTION).assign(points).tolist())]
    links += [_same(keys) for keys in shared]
    return np.asarray(ids[_groups(np.concatenate(links, axis=1), n)], dtype=object)


def joined(columns: Sequence[Sequence[Any] | NDArray[Any]]) -> list[str | None]:
    """One key (n,) of several columns together, None where one of them is empty.

    What looks like a time is cut to its day: photos of one user on one day belong together.
    """
    keys: list[str | None] = []
    for row in zip(*columns, strict=True):
        parts = [_day(value) for value in row]
        keys.append(None if any(part == "" for part in parts) else "\x1f".join(parts))
    return keys


def _day(value: Any) -> str:
    if value is None or value != value:
        return ""
    text = str(value).strip()
    dated = len(text) >= 10 and text[4:5] == "-" == text[7:8] and (text[:4] + text[5:7] + text[8:10]).isdigit()
    return text[:10] if dated else text


def _near(points: LonLat, metres: float) -> Rows:
    """Pairs (2, m) of photos that link all within `metres` of each other."""
    from scipy.spatial import cKDTree

    unit, of = np.unique(points.unit(), axis=0, return_inverse=True)
    of = of.reshape(-1)
    group = np.arange(len(unit))
    if metres > 0 and len(unit) > 1:
        tree, reach = cKDTree(unit), float(chord_of(metres))
        ends = np.cumsum(tree.query_ball_point(unit, reach, return_length=True))
        start = 0
        while start < len(unit):
            # Where thousands of photos are taken on one square their pairs would not fit in memory: some at a time.
            before = ends[start - 1] if start else 0
            stop = max(start + 1, int(np.searchsorted(ends, before + _PAIRS, "right")))
            found = [
                np.asarray(row, dtype=np.int64) for row in np.asarray(tree.query_ball_point(unit[start:stop], reach))
            ]
            one = np.repeat(np.arange(start, stop), [len(row) for row in found])
            links = np.stack([one, np.concatenate(found)])
            group = _groups(np.concatenate([np.stack([np.arange(len(unit)), group]), links], axis=1), len(unit))
            start = stop
    return np.stack([np.arange(len(of)), _first(group[of], len(of))])


def _groups(links: Rows, n: int) -> Rows:
    """For each of n rows the first of the group that links (2, m) make of them."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(links.shape[1], dtype=np.int8), (links[0], links[1])), shape=(n, n))
    return _first(connected_components(graph, directed=False)[1], n)


def _first(group: NDArray[Any], n: int) -> Rows:
    """For each of n rows the first row of its group."""
    first = np.full(int(group.max()) + 1 if n else 0, n, dtype=np.int64)
    np.minimum.at(first, group, np.arange(n))
    return np.asarray(first[group], dtype=np.int64)


def _same(keys: Sequence[Any] | NDArray[Any]) -> Rows:
    """Pairs (2, m) that link the photos of each key to its first."""
    first: dict[Any, int] = {}
    pairs = [
        (row, first.setdefault(key, row))
        for row, key in enumerate(keys)
        if key is not None and key == key and key != ""
    ]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2).T
