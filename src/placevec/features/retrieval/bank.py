"""The bank: vectors that are looked up, the places they stand for, and the keys that queries are compared with."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from placevec import registry
from placevec.errors import DataError, SpaceMismatch, UsageError
from placevec.geo.sphere import LonLat
from placevec.index.base import Index
from placevec.provenance import Saw, SourceRef, Space, inherit_saw
from placevec.table import EmbeddingTable, Places, StoredTable
from placevec.table.embeddings import check_finite

Table: TypeAlias = EmbeddingTable | StoredTable
Rows: TypeAlias = NDArray[np.int64]
Vectors: TypeAlias = NDArray[np.float32]

# From this many rows on, "auto" searches by the approximate index.
_MANY = 100_000
_SPACING_SAMPLE = 20_000


@dataclass(frozen=True, eq=False)
class Bank:
    """Rows that may stand behind an answer.

    Attributes:
        places: their ids and places (n).
        values: (n, v) what is looked up.
        space: the Space of `values`.
        keys: (n, s) vectors in the Space of the queries, or None: then only geography leads to a row.
        key_space: the Space of `keys`.
        fingerprint: of the table of values, and of that of keys.
        index_name: "exact", "faiss", another of the registry, or "auto": exact up to 100,000 rows.
        name: what its table is called, in messages.
        parents: fingerprints of the tables it was made from.
        saw: labels that were seen by what made values and keys.
        sources: what was read for them.
        without_key: rows that were left out because `keys` lacks them.
    """

    places: Places
    values: Vectors
    space: Space
    keys: Vectors | None = None
    key_space: Space | None = None
    fingerprint: str = ""
    index_name: str = "auto"
    name: str = "the bank"
    parents: tuple[str, ...] = ()
    saw: tuple[Saw, ...] = field(default=(), repr=False)
    sources: tuple[SourceRef, ...] = field(default=(), repr=False)
    without_key: int = 0

    @classmethod
    def of(
        cls,
        table: Table,
        keys: Table | None = None,
        *,
        queries: Space | None = None,
        index: str = "auto",
        name: str = "the bank",
    ) -> Bank:
        """The bank of a table, in memory.

        Args:
            table: the values (n, v) at n places.
            keys: vectors in the Space of the queries, by the ids of `table`; without them the values themselves are
                the keys if they are of that Space (encoders that were trained jointly).
            queries: the Space of the queries.
            index: how keys are searched.
            name: for messages.

        Raises:
            SpaceMismatch: the keys are not of the Space of the queries.
            DataError: there is no row, or none that has a key.
            SchemaError: a vector is not finite.
        """
        if not len(table):
            raise DataError(f"{name} has no rows, so nothing can be looked up in it: give a table with some")
        places, values = load(table)
        print_ = table.fingerprint()
        bank = cls(
            places, values, table.space, None, None, print_, index, name, (print_,), table.meta.saw, table.meta.sources
        )
        if keys is not None:
            return bank._with_keys(keys, queries)
        if queries is not None and (table.space.id, table.space.dims) == (queries.id, queries.dims):
            return replace(bank, keys=values, key_space=table.space)
        return bank

    def _with_keys(self, table: Table, queries: Space | None) -> Bank:
        if queries is not None and (table.space.id, table.space.dims) != (queries.id, queries.dims):
            raise SpaceMismatch(
                f"the keys of {self.name} are of the Space {table.space.label}, the queries of {queries.label}: "
                "embed the places of the bank with the encoder that made the queries"
            )
        key_places, vectors = load(table)
        at = key_places.rows_of(self.places.data["id"])
        print_ = table.fingerprint()
        bank = replace(
            self,
            key_space=table.space,
            fingerprint=f"{self.fingerprint}+{print_}",
            parents=(*self.parents, print_),
            saw=inherit_saw(self.saw, table.meta.saw),
            sources=tuple(dict.fromkeys((*self.sources, *table.meta.sources))),
        )
        if np.array_equal(at, np.arange(len(vectors))):
            return replace(bank, keys=vectors)
        held = np.flatnonzero(at >= 0)
        if not len(held):
            raise DataError(
                f"no id of {self.name} is among its keys (the bank has {self.places.ids[0]!r}, the keys "
                f"{key_places.ids[:1].tolist()}): embed the places of the bank itself"
            )
        taken = bank if len(held) == len(at) else bank.take(held)
        return replace(taken, keys=np.ascontiguousarray(vectors[at[held]]), without_key=len(at) - len(held))

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: Rows) -> Bank:
        """The bank of some rows."""
        keys = self.values[rows] if self.keys is self.values else (None if self.keys is None else self.keys[rows])
        values = keys if keys is not None and self.keys is self.values else self.values[rows]
        return replace(self, places=self.places.take(rows), values=values, keys=keys)

    @cached_property
    def located(self) -> NDArray[np.bool_]:
        """Which rows have a place on the map (n,)."""
        return ~np.isnan(self.places.lon)

    @cached_property
    def unit(self) -> NDArray[np.float64]:
        """Unit vectors of the places (n, 3); NaN where there is none."""
        out = np.full((len(self), 3), np.nan)
        rows = np.flatnonzero(self.located)
        out[rows] = self.places.lonlat(rows).unit()
        return out

    @cached_property
    def tree_rows(self) -> Rows:
        """The rows in `tree`, in its order."""
        return np.flatnonzero(self.located)

    @cached_property
    def tree(self) -> cKDTree:
        """The located rows by their unit vectors."""
        return cKDTree(self.unit[self.tree_rows])

    @cached_property
    def lonlat(self) -> LonLat:
        """Where the located rows are."""
        return self.places.lonlat(self.tree_rows)

    @cached_property
    def spacing(self) -> float:
        """The median chord from a place of the bank to the nearest other place, on the unit sphere; 0 for one place."""
        points = self.unit[self.tree_rows]
        some = points[:: max(1, len(points) // _SPACING_SAMPLE)]
        k = min(9, len(points))
        chords = np.asarray(self.tree.query(some, k=np.arange(1, k + 1))[0])
        # Rows of one place lie on each other: the first that does not is the neighbour.
        apart = np.where(chords > 1e-9, chords, np.inf).min(axis=1)
        apart = apart[np.isfinite(apart)]
        return float(np.median(apart)) if len(apart) else 0.0

    @cached_property
    def groups(self) -> tuple[Codes, Codes]:
        """What makes a bank row the query itself: its id, and the key of the place that it observes."""
        ids = Codes(self.places.data["id"])
        return (ids, Codes(pa.array(self.places.keys, type=pa.string())) if self.places.has("place") else ids)

    @cached_property
    def index(self) -> Index:
        """The index of the keys, by row of the bank; built when it is first asked for."""
        if self.keys is None or self.key_space is None:
            raise UsageError(f"{self.name} has no keys to be searched by: name them, or take a geographic mode")
        name = self.index_name
        if name == "auto":
            name = "faiss" if len(self) >= _MANY and _installed("faiss") else "exact"
        table = EmbeddingTable.of(Places(self.places.data.select(["id", "geometry"])), self.keys, self.key_space)
        made: Index = registry.get("index", name)(table)
        return made


class Codes:
    """Bank rows by a text that they share with queries.

    Args:
        texts: (n,) of the bank.
    """

    def __init__(self, texts: pa.Array | pa.ChunkedArray) -> None:
        column = texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts
        encoded = column.dictionary_encode()
        self._names = encoded.dictionary
        self.codes = np.asarray(encoded.indices.to_numpy(zero_copy_only=False), dtype=np.int64)
        self._order = np.argsort(self.codes, kind="stable")
        self._starts = np.searchsorted(self.codes[self._order], np.arange(len(self._names) + 1))

    def of(self, texts: NDArray[np.object_]) -> Rows:
        """The codes (b,) of the texts of queries, -1 where the bank has none like it."""
        found = pc.index_in(pa.array(texts, type=pa.string()), value_set=self._names)
        return np.asarray(pc.fill_null(found, -1).to_numpy(zero_copy_only=False), dtype=np.int64)

    def rows(self, codes: Rows) -> tuple[Rows, Rows]:
        """All pairs (query, bank row) of the same text; `codes` (b,) as `of` gives them."""
        asked = np.flatnonzero(codes >= 0)
        query, at = spans(self._starts[codes[asked]], self._starts[codes[asked] + 1])
        return asked[query], self._order[at]


def spans(starts: Rows, stops: Rows) -> tuple[Rows, Rows]:
    """The numbers of all spans [start, stop) on end, each with the number of its span."""
    lengths = stops - starts
    which = np.repeat(np.arange(len(starts)), lengths)
    first = np.cumsum(lengths) - lengths
    return which, np.arange(int(lengths.sum())) - first[which] + starts[which]


def load(table: Table) -> tuple[Places, Vectors]:
    """The places (ids, geometries, groups) and finite vectors of a table; of a stored one without a second copy."""
    wanted = ["id", "geometry", "place"]
    if isinstance(table, EmbeddingTable):
        names = [name for name in wanted if table.has(name)]
        places, values = Places(table.data.select(names)), np.ascontiguousarray(table.vectors())
    else:
        places = table.places(columns=wanted)
        values = np.empty((len(table), table.dims), dtype=np.float32)
        at = 0
        for piece in table.batches(columns=[]):
            values[at : at + len(piece)] = piece.vectors()
            at += len(piece)
    for start in range(0, len(values), 65_536):
        part = values[start : start + 65_536]
        # The ids of a large bank are made into strings of Python only if one has to be named.
        if not np.isfinite(part).all():
            check_finite(part, places.ids[start : start + 65_536])
    # What reading took for a while, the process would keep otherwise.
    pa.default_memory_pool().release_unused()
    return places, values


def _installed(package: str) -> bool:
    from importlib.util import find_spec

    return find_spec(package) is not None
