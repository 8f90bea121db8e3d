"""A bank put together in cells, so that a wide kernel costs no more than a narrow one.

Rows in one small cube of side h are one row with their count, mean place and mean vector. With a Gaussian of width s
and h = s/3 the mean of a field that is smooth at that scale is off by about h²/24 s², half a percent of its changes;
of noise, which the kernel averages to little, by about h/(s √12), a tenth of that little. A cube that holds a row which
must not count is opened: its other rows count one by one, so that what is masked leaves no trace.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from placevec.features.retrieval.bank import Bank, Rows, Vectors, spans
from placevec.features.retrieval.masks import Queries

# Cubes smaller than this (6 m) would not be numbered within 64 bits.
_LEAST_SIDE = 1e-6
# Where cubes hold fewer rows than this on average, rows are used as they are: means would be half a copy of the bank.
_WORTH = 4.0
# Nor are cubes worth while for a bank of so few rows.
_FEW = 2048
_PAIRS_AT_ONCE = 400_000
_ROWS_AT_ONCE = 65_536


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of queries and cells, or of queries and bank rows.

    Attributes:
        query: (p,) numbers of queries.
        at: (p,) cells or rows.
        chord: (p,) from the query to the cell's mean place, or to the row.
    """

    query: Rows
    at: Rows
    chord: NDArray[np.float64]

    def where(self, mask: NDArray[np.bool_]) -> Pairs:
        """Some of the pairs."""
        return Pairs(self.query[mask], self.at[mask], self.chord[mask])


@dataclass(frozen=True, eq=False)
class Level:
    """The located rows of a bank in cells.

    Attributes:
        bank: the bank.
        members: its located rows, cell by cell.
        starts: (m + 1,) where the members of each cell begin.
        centre: (m, 3) mean places.
        reach: (m,) the longest chord from a cell's mean place to a member.
    """

    bank: Bank
    members: Rows
    starts: Rows
    centre: NDArray[np.float64]
    reach: NDArray[np.float64]

    @classmethod
    def of(cls, bank: Bank, side: float) -> Level:
        """The cells of a bank that fill cubes of `side` (chord)."""
        rows = bank.tree_rows
        points = bank.unit[rows]
        numbers = np.floor((points + 1.0) / max(side, _LEAST_SIDE)).astype(np.int64)
        count = int(2.0 / max(side, _LEAST_SIDE)) + 2
        code = (numbers[:, 0] * count + numbers[:, 1]) * count + numbers[:, 2]
        order = np.argsort(code, kind="stable")
        code = code[order]
        first = np.flatnonzero(np.concatenate([[True], code[1:] != code[:-1]]))
        if len(rows) <= _FEW or len(first) * _WORTH >= len(rows):
            return cls(bank, rows, np.arange(len(rows) + 1), points, np.zeros(len(rows)))
        starts = np.append(first, len(rows))
        points = points[order]
        centre = np.add.reduceat(points, first, axis=0) / np.diff(starts)[:, None]
        away = np.linalg.norm(points - np.repeat(centre, np.diff(starts), axis=0), axis=1)
        return cls(bank, rows[order], starts, centre, np.maximum.reduceat(away, first))

    def __len__(self) -> int:
        return len(self.centre)

    @property
    def plain(self) -> bool:
        """Whether every cell is one row, the i-th cell the i-th located row."""
        return len(self) == len(self.members)

    @cached_property
    def count(self) -> NDArray[np.float64]:
        """The number of rows (m,) of each cell."""
        return np.diff(self.starts).astype(np.float64)

    @cached_property
    def widest(self) -> float:
        """The longest reach of any cell."""
        return float(self.reach.max(initial=0.0))

    @cached_property
    def tree(self) -> cKDTree:
        """The cells by their mean places."""
        return self.bank.tree if self.plain else cKDTree(self.centre)

    @cached_property
    def cell_of(self) -> Rows:
        """The cell (n,) of each row of the bank, -1 for those without a place."""
        cell = np.full(len(self.bank), -1, dtype=np.int64)
        cell[self.members] = np.repeat(np.arange(len(self)), np.diff(self.starts))
        return cell

    def means(self, values: Vectors) -> Vectors:
        """The mean (m, d) in each cell of `values` (n, d) by bank row; `values` themselves where cells are rows."""
        if self.plain:
            return values if len(values) == len(self) else values[self.members]
        out = np.empty((len(self), values.shape[1]), dtype=np.float32)
        at = 0
        while at < len(self):
            stop = max(int(np.searchsorted(self.starts, self.starts[at] + _ROWS_AT_ONCE, side="right")) - 1, at + 1)
            low, high = int(self.starts[at]), int(self.starts[stop])
            sums = np.add.reduceat(values[self.members[low:high]].astype(np.float64), self.starts[at:stop] - low)
            out[at:stop] = sums / self.count[at:stop, None]
            at = stop
        return out

    def near(self, queries: Queries, radius: NDArray[np.float64]) -> Iterator[tuple[Rows, Pairs]]:
        """The cells within a chord `radius` (b,) of each query, some hundred thousand pairs at a time.

        Yields the numbers of some of the queries, and the pairs of cells with their places in that list.
        """
        # Queries of about one radius are asked for together: one search knows one radius only.
        step = np.ceil(np.log(np.maximum(radius, 1e-9)) / np.log(1.25))
        for one in np.unique(step):
            some = np.flatnonzero(step == one)
            found = self.tree.query_ball_point(queries.unit[some], radius[some], return_length=True)
            held = np.cumsum(found) // _PAIRS_AT_ONCE
            for part in np.split(some, np.flatnonzero(np.diff(held)) + 1):
                widest = float(radius[part].max())
                pairs = cKDTree(queries.unit[part]).sparse_distance_matrix(self.tree, widest, output_type="ndarray")
                query, at, chord = pairs["i"], pairs["j"], pairs["v"]
                inside = chord <= radius[part][query]
                yield part, Pairs(query[inside], at[inside], chord[inside])

    def judge(self, queries: Queries, pairs: Pairs) -> tuple[Pairs, Pairs]:
        """The pairs (query, cell) of which every row counts, and those of which some may, which are to be opened."""
        masks = queries.masks
        reach = self.reach[pairs.at]
        near, far = pairs.chord - reach, pairs.chord + reach
        opened = (near <= masks.low) | (far > masks.high)
        own_query, own_row = queries.own
        if len(own_row):
            # Rows of the bank without a place are in no cell.
            cell = self.cell_of[own_row]
            own = (own_query * len(self) + cell)[cell >= 0]
            opened |= np.isin(pairs.query * len(self) + pairs.at, own)
        out = (far <= masks.low) | (near > masks.high)
        return pairs.where(~opened & ~out), pairs.where(opened & ~out)

    def open(self, queries: Queries, pairs: Pairs) -> Iterator[Pairs]:
        """The pairs (query, row) that count of some pairs (query, cell), some hundred thousand at a time."""
        held = np.cumsum(self.count[pairs.at]) // _PAIRS_AT_ONCE
        for part in np.split(np.arange(len(held)), np.flatnonzero(np.diff(held)) + 1):
            which, at = spans(self.starts[pairs.at[part]], self.starts[pairs.at[part] + 1])
            query, row = pairs.query[part][which], self.members[at]
            good = queries.usable(query, row)
            query, row = query[good], row[good]
            yield Pairs(query, row, queries.chords(query, row))


def joined(pairs: Iterable[Pairs]) -> Pairs:
    """The pairs of all."""
    parts = list(pairs)
    return Pairs(
        np.concatenate([part.query for part in parts]),
        np.concatenate([part.at for part in parts]),
        np.concatenate([part.chord for part in parts]),
    )
