"""The blocks of columns that a mode is put together from; each knows its name and width, and fills a batch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from placevec.errors import UsageError
from placevec.features.retrieval.bank import Bank, Rows, Vectors
from placevec.features.retrieval.harmonics import Frame, smooth
from placevec.features.retrieval.kernels import Kernel
from placevec.features.retrieval.masks import Queries
from placevec.features.retrieval.neighbours import most_alike, nearest
from placevec.geo.sphere import LonLat, chord_of

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Look:
    """A batch of queries and what several parts want to know of it, found once.

    Attributes:
        queries: the queries.
        k: how many rows most like each are fetched; 0: none.
    """

    queries: Queries
    k: int

    @cached_property
    def nearest(self) -> tuple[Rows, Floats]:
        """The nearest row (b,) that counts, -1 without one, and the chord to it."""
        return nearest(self.queries)

    @cached_property
    def all_around(self) -> Look:
        """The same for which rows of the place itself and within the buffer count too."""
        return Look(self.queries.all_around, 0)

    @cached_property
    def alike(self) -> tuple[Rows, Vectors]:
        """The rows (b, k) most like each query that count, -1 beyond them, and their scores."""
        return most_alike(self.queries.bank.index, self.queries, self.k)


class Part(Protocol):
    """A block of columns."""

    @property
    def name(self) -> str:
        """What the block is called."""

    @property
    def width(self) -> int:
        """The number of its columns."""

    def __call__(self, look: Look) -> tuple[Vectors, Floats]:
        """The columns (b, width), and the kernel mass (b,) that stands behind them (1 where nothing is looked up)."""


@dataclass(frozen=True)
class Query:
    """The query's own vector."""

    width: int
    name: str = "query"

    def __call__(self, look: Look) -> tuple[Vectors, Floats]:
        """See `Part`."""
        return look.queries.vectors, np.ones(len(look.queries))


@dataclass(frozen=True)
class Harmonics:
    """Smooth functions of the place, see `retrieval.harmonics`."""

    frame: Frame
    degrees: int
    power: float
    name: str = "harmonics"

    @property
    def width(self) -> int:
        """All columns of the degrees from 1."""
        return self.degrees**2 - 1

    def __call__(self, look: Look) -> tuple[Vectors, Floats]:
        """See `Part`; zeros where there is no place."""
        out = np.zeros((len(look.queries), self.width), dtype=np.float32)
        rows = np.flatnonzero(look.queries.located)
        if len(rows):
            out[rows] = smooth(LonLat.from_unit(look.queries.unit[rows]), self.frame, self.degrees, self.power)
        return out, np.ones(len(look.queries))


@dataclass(frozen=True, eq=False)
class Alike:
    """The mean of the values of the rows most like the query.

    Attributes:
        bank: the bank.
        tau: inverse temperature of the softmax over the scores, and of the kernel mass.
        soft: whether rows are weighted by the softmax; else all alike.
    """

    bank: Bank
    tau: float
    soft: bool
    name: str

    @property
    def width(self) -> int:
        """That of the bank's values."""
        return int(self.bank.values.shape[1])

    def __call__(self, look: Look) -> tuple[Vectors, Floats]:
        """See `Part`; the mass is the sum of exp(tau (score - score of the query with itself))."""
        rows, scores = look.alike
        held = rows >= 0
        share = self.shares(rows, scores) if self.soft else held / np.maximum(held.sum(axis=1, keepdims=True), 1)
        starts = np.concatenate([[0], np.cumsum(held.sum(axis=1))])
        matrix = sparse.csr_array(
            (share[held].astype(np.float32), rows[held], starts), shape=(len(rows), len(self.bank.values))
        )
        means: Vectors = np.asarray(matrix @ self.bank.values)
        best = self_score(look.queries.vectors, look.queries.bank)
        behind = np.where(held, np.exp(self.tau * np.minimum(scores - best[:, None], 0.0)), 0.0)
        return means, behind.sum(axis=1)

    def shares(self, rows: Rows, scores: Vectors) -> Floats:
        """The softmax (b, k) over the rows found; 0 beyond them."""
        held = rows >= 0
        wide = np.where(held, scores.astype(np.float64), -np.inf)
        top = np.where(held[:, :1], wide[:, :1], 0.0)
        weight = np.exp(self.tau * (wide - top))
        total = weight.sum(axis=1, keepdims=True)
        shares: Floats = weight / np.where(total > 0.0, total, 1.0)
        return shares

    def left_out(self, look: Look) -> Floats:
        """A bound (b,) on the share of the dense softmax that lies beyond the rows fetched.

        No row left out scores higher than the last one fetched, so that with the weights w of the k rows and n rows
        in all it is at most (n - k) w_k / (sum w + (n - k) w_k). Exact indexes only: an approximate one may also
        miss better rows.
        """
        rows, scores = look.alike
        full = rows[:, -1] >= 0
        share = self.shares(rows, scores)
        rest = (len(self.bank) - rows.shape[1]) * share[:, -1]
        return np.where(full, rest / (1.0 + rest), 0.0)


@dataclass(frozen=True, eq=False)
class Around:
    """The mean of the bank around the place at one width.

    Attributes:
        kernel: the kernel.
        name: of the block.
        context: whether rows of the place itself and within the buffer count too.
    """

    kernel: Kernel
    name: str
    context: bool = False

    @property
    def width(self) -> int:
        """That of the bank's values."""
        return int(self.kernel.values.shape[1])

    def __call__(self, look: Look) -> tuple[Vectors, Floats]:
        """See `Part`; the mass is the sum of the kernel over all rows that count."""
        asked = look.all_around if self.context else look
        return self.kernel(asked.queries, asked.nearest[1])


@dataclass(frozen=True, eq=False)
class Blend:
    """A geographic and a semantic mean, averaged (RANGE+)."""

    around: Around
    alike: Alike
    blend: float
    name: str = "range"

    @property
    def width(self) -> int:
        """That of the bank's values."""
        return self.alike.width

    def __call__(self, look: Look) -> tuple[Vectors, Floats]:
        """See `Part`."""
        (near, near_mass), (like, like_mass) = self.around(look), self.alike(look)
        share = np.float32(self.blend)
        return (1 - share) * near + share * like, (1.0 - self.blend) * near_mass + self.blend * like_mass


@dataclass(frozen=True, eq=False)
class Own:
    """The bank's row of the same id, or the nearest one within a distance."""

    bank: Bank
    max_m: float | None
    name: str = "bank"

    @property
    def width(self) -> int:
        """That of the bank's values."""
        return int(self.bank.values.shape[1])

    def rows(self, queries: Queries) -> Rows:
        """The row (b,) of each query, -1 without one."""
        row = np.full(len(queries), -1, dtype=np.int64)
        query, own = self.bank.groups[0].rows(queries.codes[0])
        row[query] = own
        lost = np.flatnonzero((row < 0) & queries.located)
        if self.max_m is not None and len(lost) and len(self.bank.tree_rows):
            away, at = (np.asarray(one) for one in self.bank.tree.query(queries.unit[lost], k=[1]))
            close = away[:, 0] <= chord_of(self.max_m)
            row[lost[close]] = self.bank.tree_rows[at[close, 0]]
        return row

    def __call__(self, look: Look) -> tuple[Vectors, Floats]:
        """See `Part`; zeros and no mass without a row."""
        row = self.rows(look.queries)
        held = row >= 0
        out = np.zeros((len(row), self.width), dtype=np.float32)
        out[held] = self.bank.values[row[held]]
        return out, held.astype(np.float64)


def self_score(vectors: Vectors, bank: Bank) -> Floats:
    """The score (b,) that each vector has with itself, by the metric of the keys."""
    if bank.key_space is None:
        raise UsageError("the bank has no keys to score by")
    if bank.key_space.metric == "dot":
        squares: Floats = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)
        return squares
    return np.full(len(vectors), 1.0 if bank.key_space.metric == "cosine" else 0.0)
