"""Coverage: the best-matching share of the ground instead of the k best rows.

Cells differ in area (those of one H3 resolution by up to a factor of two), so that a tenth of the rows is not a tenth
of the ground. Rows are taken from the best on until the area of those taken is as near to the share as whole rows
allow.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from placevec.errors import UsageError
from placevec.geo.areas import cell_areas, polygon_areas
from placevec.table import EmbeddingTable, Places, StoredTable
from placevec.table.geometry import points_of_wkb

Table = EmbeddingTable | StoredTable


@dataclass(frozen=True, eq=False)
class Covered:
    """The best-matching part of a region.

    Attributes:
        inside: (n,) which of the rows belong to it.
        share: of the area that it has, 0 ... 1; as near to the share asked for as whole rows allow.
        area_m2: its area; the number of rows where areas are not known.
        total_m2: the area of the region, likewise.
        least: the score of its worst row.
        weighted: whether rows counted by their area; if not, each counted alike.
    """

    inside: NDArray[np.bool_]
    share: float
    area_m2: float
    total_m2: float
    least: float
    weighted: bool

    def __str__(self) -> str:
        rows = f"{int(self.inside.sum()):,} of {len(self.inside):,} rows"
        if self.weighted:
            ground = f"{_km2(self.area_m2)} of {_km2(self.total_m2)}"
            return f"best {percent(self.share)} of the area: {ground}, {rows}, score {self.least:.4g} or above"
        return f"best {percent(self.share)} of the rows (they have no areas): {rows}, score {self.least:.4g} or above"


def check_share(share: float) -> float:
    """The share as a float in (0, 1]; UsageError if it is none."""
    if not 0.0 < share <= 1.0:
        raise UsageError(f"a coverage of {share}: give the share of the area as a number above 0 and up to 1")
    return float(share)


def best_share(scores: NDArray[np.float32], areas: NDArray[np.float64], weighted: bool, share: float) -> Covered:
    """The rows with the best scores whose areas come nearest to `share` of all; at least one.

    Args:
        scores: (n,) larger is better; of equal ones the earlier row comes first.
        areas: (n,) in square metres, or ones.
        weighted: whether `areas` are areas; as `row_areas` gives both.
        share: 0 < share <= 1.

    Raises:
        UsageError: there are no rows, or the share is none.
    """
    wanted = check_share(share)
    if not len(scores):
        raise UsageError("no row lies in the region, so no share of it can be covered: widen it")
    order = np.lexsort((np.arange(len(scores)), -scores.astype(np.float64)))
    reached = np.cumsum(areas[order])
    total = float(reached[-1])
    if total <= 0:
        raise UsageError("the rows of the region have no area: choose them by -k instead")
    goal = wanted * total
    after = int(np.searchsorted(reached, goal))
    # Of the two counts around the goal that which comes nearer.
    count = min(after + 1, len(order))
    if after > 0 and goal - reached[after - 1] < reached[count - 1] - goal:
        count = after
    inside = np.zeros(len(scores), dtype=bool)
    inside[order[:count]] = True
    covered = float(reached[count - 1])
    return Covered(inside, covered / total, covered, total, float(scores[order[count - 1]]), weighted)


def row_areas(table: Table, rows: NDArray[np.int64]) -> tuple[NDArray[np.float64], bool]:
    """The ground (n,) that each of the rows stands for, in square metres, and whether it is known.

    An H3 cell has its own area, a polygon its own; a cell that several rows observe is shared by them. Points have no
    area: each row counts 1.
    """
    names = [name for name in ("h3", "geometry") if name in _names(table)]
    places = Places(table.data.select(["id", *names])).take(rows) if isinstance(table, EmbeddingTable) else None
    if places is None:
        assert isinstance(table, StoredTable)
        places = table.places(names, rows)
    if "h3" in names and len(places) and places.data["h3"].null_count == 0:
        cells = places.column("h3").astype(np.uint64)
        each, at, times = np.unique(cells, return_inverse=True, return_counts=True)
        return (cell_areas(each) / times)[at], True
    if len(places) and places.located.all() and points_of_wkb(places.data["geometry"]) is None:
        return polygon_areas(places.geometries()), True
    return np.ones(len(rows)), False


def _names(table: Table) -> list[str]:
    schema = table.data.schema if isinstance(table, EmbeddingTable) else table.schema
    return list(schema.names)


def percent(share: float) -> str:
    """A share for people: three figures at most."""
    return f"{100 * share:.3g}\u00a0%"


def _km2(square_metres: float) -> str:
    value = square_metres / 1e6
    return f"{value:,.0f} km²" if value >= 100 else f"{value:.3g} km²"
