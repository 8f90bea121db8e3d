"""Which bank rows may answer a query: never its own, none within a buffer, none too far away."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec.errors import UsageError
from placevec.features.retrieval.bank import Bank, Rows, Vectors
from placevec.geo.sphere import LonLat, chord_of

# Chords that are equal on paper differ in their last digits; a metre is 1.6e-7.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Masks:
    """Bank rows that do not count, besides those of the query's own id or place, which never do.

    Attributes:
        buffer_m: rows within so many metres of the query are left out; 0: none.
        max_m: rows farther than that are left out; None: none.
    """

    buffer_m: float = 0.0
    max_m: float | None = None

    def __post_init__(self) -> None:
        if not (np.isfinite(self.buffer_m) and self.buffer_m >= 0.0):
            raise UsageError(f"the buffer is {self.buffer_m} m; give a finite number >= 0")
        if self.max_m is not None and not (np.isfinite(self.max_m) and self.max_m > self.buffer_m):
            raise UsageError(
                f"rows are taken up to {self.max_m} m, and left out up to {self.buffer_m} m: give a larger distance"
            )

    @property
    def geographic(self) -> bool:
        """Whether a row needs a place on the map to be judged."""
        return self.buffer_m > 0.0 or self.max_m is not None

    @property
    def low(self) -> float:
        """The chord up to which rows are left out; negative where there is no buffer."""
        return float(chord_of(self.buffer_m)) + _ROUNDING if self.buffer_m > 0.0 else -1.0

    @property
    def high(self) -> float:
        """The chord up to which rows are taken."""
        return 3.0 if self.max_m is None else float(chord_of(self.max_m)) + _ROUNDING

    def __str__(self) -> str:
        parts = ["its own rows"]
        if self.buffer_m > 0.0:
            parts.append(f"those within {distance_text(self.buffer_m)}")
        if self.max_m is not None:
            parts.append(f"those beyond {distance_text(self.max_m)}")
        return " and ".join(parts) if len(parts) < 3 else f"{parts[0]}, {parts[1]} and {parts[2]}"

    def to_json(self) -> dict[str, Any]:
        """For the recipe of a table."""
        return {"buffer_m": self.buffer_m, "max_m": self.max_m}


@dataclass(frozen=True, eq=False)
class Queries:
    """A batch of queries, and what the bank knows about them.

    Attributes:
        bank: the bank.
        masks: which of its rows count.
        unit: (b, 3) unit vectors of the places; NaN where there is none.
        vectors: (b, s) in the Space of the queries.
        codes: for each of `bank.groups` the codes (b,) of the queries.
        lonlat: where the located queries are; `None` if none is.
    """

    bank: Bank
    masks: Masks
    unit: NDArray[np.float64]
    vectors: Vectors
    codes: tuple[Rows, ...]

    @classmethod
    def of(
        cls,
        bank: Bank,
        masks: Masks,
        lon: NDArray[np.float64],
        lat: NDArray[np.float64],
        vectors: Vectors,
        ids: NDArray[np.object_] | None = None,
        keys: NDArray[np.object_] | None = None,
    ) -> Queries:
        """Queries at (lon, lat) degrees, NaN where there is no place; `ids` and `keys` (b,) name themselves."""
        unit = np.full((len(lon), 3), np.nan)
        rows = np.flatnonzero(~np.isnan(lon))
        unit[rows] = LonLat(lon[rows], lat[rows]).unit()
        nobody = np.full(len(lon), -1, dtype=np.int64)
        texts = (ids, keys if keys is not None else ids)
        codes = tuple(
            nobody if text is None else group.of(text) for group, text in zip(bank.groups, texts, strict=False)
        )
        return cls(bank, masks, unit, np.ascontiguousarray(vectors, dtype=np.float32), codes)

    def __len__(self) -> int:
        return len(self.unit)

    def take(self, rows: Rows) -> Queries:
        """Some of the queries."""
        codes = tuple(code[rows] for code in self.codes)
        return Queries(self.bank, self.masks, self.unit[rows], self.vectors[rows], codes)

    @cached_property
    def all_around(self) -> Queries:
        """The same queries, for which rows of their own and those within the buffer count too."""
        nobody = np.full(len(self), -1, dtype=np.int64)
        return replace(self, masks=Masks(max_m=self.masks.max_m), codes=tuple(nobody for _ in self.codes))

    @cached_property
    def located(self) -> NDArray[np.bool_]:
        """Which queries (b,) have a place on the map."""
        return ~np.isnan(self.unit[:, 0])

    @cached_property
    def own(self) -> tuple[Rows, Rows]:
        """The pairs (query, bank row) of one id or place, each once."""
        pairs = [group.rows(code) for group, code in zip(self.bank.groups, self.codes, strict=True)]
        query, row = (np.concatenate([pair[side] for pair in pairs]) for side in (0, 1))
        flat = np.unique(query * len(self.bank) + row)
        return flat // len(self.bank), flat % len(self.bank)

    def chords(self, query: Rows, row: Rows) -> NDArray[np.float64]:
        """The chords between pairs of queries and bank rows."""
        step = self.unit[query] - self.bank.unit[row]
        squares: NDArray[np.float64] = np.einsum("ij,ij->i", step, step)
        return np.sqrt(squares)

    def usable(self, query: Rows, row: Rows) -> NDArray[np.bool_]:
        """Which pairs of a query and a bank row count."""
        good = np.ones(len(query), dtype=bool)
        for group, code in zip(self.bank.groups, self.codes, strict=True):
            good &= code[query] != group.codes[row]
        if self.masks.geographic:
            chord = self.chords(query, row)  # NaN, and so out, without a place
            good &= (chord > self.masks.low) & (chord <= self.masks.high)
        return good

    def usable_rows(self) -> NDArray[np.bool_]:
        """Which rows (b, n) of the bank count for each query, for a bank of few rows."""
        good = np.ones((len(self), len(self.bank)), dtype=bool)
        good[self.own] = False
        if self.masks.geographic:
            squares = np.zeros(good.shape)
            for axis in range(3):
                squares += np.subtract.outer(self.unit[:, axis], self.bank.unit[:, axis]) ** 2
            chord = np.sqrt(squares)
            good &= (chord > self.masks.low) & (chord <= self.masks.high)
        return good


def distance_text(metres: float) -> str:
    """A distance for people: "850 m", "12.5 km", "310 km"."""
    if metres < 1000.0:
        return f"{metres:.3g} m"
    return f"{metres / 1000.0:.3g} km" if metres < 1e6 else f"{metres / 1000.0:.0f} km"
