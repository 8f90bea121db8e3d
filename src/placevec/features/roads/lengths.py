"""How much of which road there is in each cell, and where it runs to."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from placevec.features.roads.placing import PIECES_PER_EDGE, CellRows, along, pieces
from placevec.features.roads.tally import sums
from placevec.sources.osm.road_rules import ROAD_CLASSES
from placevec.sources.osm.roads import Roads

ORIENTATIONS = 18
"""Bins of the orientation of streets, 10 degrees each, the first around north-south."""


class Lengths(NamedTuple):
    """Metres of road in each cell (n)."""

    by_class: NDArray[np.float64]  # (n, classes) in the order of ROAD_CLASSES
    by_orientation: NDArray[np.float64]  # (n, ORIENTATIONS)
    drivable: NDArray[np.float64]  # (n,) for cars
    one_way: NDArray[np.float64]  # (n,) of those for cars, in one direction only


def lengths(roads: Roads, cells: CellRows, *, cut: bool = True) -> Lengths:
    """The metres of road in each cell.

    A segment counts to the cell of its middle. With `cut`, one that is longer than a quarter of a cell's edge is first
    cut into equal parts, so that a long one is shared among the cells it passes.
    """
    n, classes = len(cells), len(ROAD_CLASSES)
    parts = pieces(roads.metres, cells.system.edge_m / PIECES_PER_EDGE if cut else np.inf)
    middle = along(roads, parts.of, (parts.part + 0.5) / parts.parts)
    row = cells.at(middle.lon, middle.lat)
    inside = np.flatnonzero(row >= 0)
    row, segment = row[inside], parts.of[inside]
    metres = roads.metres[segment].astype(np.float64) / parts.parts[inside]
    for_cars = roads.drive[segment]
    return Lengths(
        sums(row * classes + roads.kind[segment], n * classes, metres).reshape(n, classes),
        sums(row * ORIENTATIONS + orientation(roads)[segment], n * ORIENTATIONS, metres).reshape(n, ORIENTATIONS),
        sums(row, n, metres * for_cars),
        sums(row, n, metres * (for_cars & (roads.oneway[segment] != 0))),
    )


def orientation(roads: Roads) -> NDArray[np.int64]:
    """The bin (s,) of the orientation of each segment, 0 to ORIENTATIONS - 1: its direction does not matter."""
    east = (roads.lon[roads.b] - roads.lon[roads.a] + 180.0) % 360.0 - 180.0
    north = roads.lat[roads.b] - roads.lat[roads.a]
    narrow = np.cos(np.radians((roads.lat[roads.a] + roads.lat[roads.b]) / 2.0))
    width = 180.0 / ORIENTATIONS
    bearing = np.degrees(np.arctan2(east * narrow, north))
    return np.floor((bearing + width / 2.0) / width).astype(np.int64) % ORIENTATIONS


def entropy(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """How evenly (n, k) amounts are spread, from 0 (all in one of k) to 1 (equal); 0 where there is nothing.

    Shannon's entropy over ln k. For orientations it is that of Boeing (2019, "Urban spatial order") but for a
    constant: streets have no direction here.
    """
    total = shares.sum(axis=1, keepdims=True)
    p = shares / np.where(total > 0, total, 1.0)
    logs = np.log(p, out=np.zeros_like(p), where=p > 0)
    found: NDArray[np.float64] = np.maximum(-(p * logs).sum(axis=1), 0.0) / np.log(shares.shape[1])
    return found
