"""PostgresStore: a table of a PostgreSQL database with pgvector, as a store."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from placevec.errors import UsageError
from placevec.geo.sphere import LonLat
from placevec.index.base import check_k, check_queries
from placevec.index.stores.base import EXACT_ROWS, Loaded, Progress, Store, StoreCard, Table, belongs
from placevec.index.stores.postgres.cards import read_card, remove
from placevec.index.stores.postgres.conditions import pushed
from placevec.index.stores.postgres.connection import Link, connect, speaking
from placevec.index.stores.postgres.driver import psycopg, sql
from placevec.index.stores.postgres.finder import SCAN_ROWS, Finder, among
from placevec.index.stores.postgres.index import PostgresIndex
from placevec.index.stores.postgres.layout import POINT, SLOT, Layout, checked_name, sql_type
from placevec.index.stores.postgres.load import load_table, vector_version
from placevec.index.stores.postgres.where import Clause
from placevec.index.stores.url import StoreUrl
from placevec.results import Hits, Plan
from placevec.table import Filter, Places

_BATCH_ROWS = 65_536
_SLOT, _POINT = sql.Identifier(SLOT), sql.Identifier(POINT)


class PostgresStore(Store):
    """One table in PostgreSQL.

    Args:
        address: ``postgresql://user@host:port/db?table=NAME``; other parameters are those of libpq (sslmode, host …).
        exact_rows: up to so many candidates are all compared.
        ann_rows: with more rows than this `load` builds an index of the vectors.

    Raises:
        UsageError: the address names no table, or one that cannot be.
        MissingExtra: psycopg is not installed.
    """

    def __init__(self, address: StoreUrl, *, exact_rows: int = EXACT_ROWS, ann_rows: int = SCAN_ROWS) -> None:
        super().__init__(address)
        if "table" not in address.query:
            raise UsageError(f"{address.shown} names no table: write postgresql://user@host:port/db?table=NAME")
        self.name = checked_name(address.query["table"])
        self.exact_rows = exact_rows
        self.ann_rows = ann_rows
        self._link = Link(address)
        # One connection serves one thread at a time.
        self._lock = threading.RLock()

    def card(self) -> StoreCard | None:
        """See `Store.card`."""
        with self._lock, speaking(self.address, "reading"):
            return read_card(self._link.get(), self.name, self.url)

    def load(self, table: Table, *, replace: bool = False, progress: Progress | None = None) -> Loaded:
        """See `Store.load`. All rows are committed at once; the index of vectors is built after that."""
        # A connection of its own: a load takes long, and searches go on meanwhile.
        with speaking(self.address, "loading into"), connect(self.address) as connection:
            return load_table(
                connection, self.address, table, replace=replace, ann_rows=self.ann_rows, progress=progress
            )

    def index(self, table: Table) -> PostgresIndex:
        """See `Store.index`."""
        return PostgresIndex(self, belongs(self.card(), table, self.url), table)

    @contextmanager
    def finding(self) -> Iterator[Finder]:
        """A Finder, good inside one transaction that sees one state of the table."""
        with self._lock, speaking(self.address, "searching"):
            connection = self._link.get()
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            with connection.transaction():
                card = self._known()
                version = vector_version(connection) or (0,)
                layout = Layout.from_json(card.details.get("layout", {}))
                yield Finder(connection, self.name, card, layout, version)

    def slots(self) -> tuple[pa.ChunkedArray, NDArray[np.int64]]:
        """The ids and slots of all rows."""
        ids: list[pa.Array] = []
        slots: list[NDArray[np.int64]] = []
        asked = sql.SQL("select id, {} from {}").format(_SLOT, sql.Identifier(self.name))
        with self._lock, speaking(self.address, "reading"):
            connection = self._link.get()
            with connection.transaction(), connection.cursor("placevec_ids", binary=True) as cursor:
                cursor.execute(asked)
                while rows := cursor.fetchmany(_BATCH_ROWS):
                    ids.append(pa.array([name for name, _ in rows], pa.large_string()))
                    slots.append(np.array([slot for _, slot in rows], dtype=np.int64))
        return pa.chunked_array(ids, pa.large_string()), np.concatenate([np.empty(0, np.int64), *slots])

    def search(self, query: NDArray[Any], k: int, filter: Filter | None = None) -> Hits:
        """See `Store.search`; the candidates are counted first."""
        began = time.perf_counter()
        k = check_k(k)
        with self.finding() as finder:
            asked = check_queries(np.asarray(query)[None, :], finder.space)[0]
            clause, candidates = self._candidates(finder, filter)
            slots, scores, exact = finder.find(asked, k, clause, candidates, self.exact_rows)
            places = self._places(finder, slots)
        unlocated = 0
        if filter is not None and filter.geographic:
            unlocated = int(finder.card.details.get("unlocated", 0))
        note = f"{k} hits were asked for, only {candidates} rows may be found" if candidates < k else ""
        name = "ann-then-exact"
        if exact:
            name = "scan" if clause is None else "filter-then-exact"
        seconds = time.perf_counter() - began
        plan = Plan(name, exact, candidates, finder.rows, unlocated, seconds, note)
        return Hits(np.full(len(slots), -1, dtype=np.int64), scores, places, plan)

    def vectors(self, ids: Sequence[str]) -> NDArray[np.float32]:
        """See `Store.vectors`."""
        with self.finding() as finder:
            found = finder.vectors(list(dict.fromkeys(ids)))
        for name in ids:
            if name not in found:
                raise UsageError(f"{self.url} holds no row with the id {name!r}")
        kept = [found[name] for name in ids]
        return np.stack(kept) if kept else np.empty((0, finder.space.dims), dtype=np.float32)

    def drop(self) -> None:
        """See `Store.drop`."""
        with self._lock, speaking(self.address, "dropping"):
            connection = self._link.get()
            connection.isolation_level = None
            with connection.transaction():
                remove(connection, self.name)

    def close(self) -> None:
        """See `Store.close`."""
        with self._lock:
            self._link.close()

    def _known(self) -> StoreCard:
        card = read_card(self._link.get(), self.name, self.url)
        if card is None:
            raise UsageError(f"there is nothing at {self.url}: load it with `placevec index TABLE --to URL`")
        return card

    def _candidates(self, finder: Finder, filter: Filter | None) -> tuple[Clause | None, int]:
        """The condition of the rows that pass, and how many they are."""
        found = pushed(filter, finder.layout)
        if found.clause is None:
            return None, finder.rows
        if found.left is not None:
            slots = self._look(finder, found.clause, found.left)
            return among(slots), len(slots)
        asked = sql.SQL("select count(*) from {} where {}").format(finder.table, found.clause.text)
        counted = finder.connection.execute(asked, found.clause.values).fetchone()
        assert counted is not None
        return found.clause, int(counted[0])

    def _look(self, finder: Finder, clause: Clause, left: Filter) -> NDArray[np.int64]:
        """The slots of rows that meet the clause and pass what is left of the filter, looked at in pieces."""
        cells = "h3" in finder.layout.columns
        column = sql.Identifier(finder.layout.column("h3")) if cells else sql.SQL("0::bigint")
        asked = sql.SQL("select {slot}, {point}[0], {point}[1], {cell} from {table} where {clause}").format(
            slot=_SLOT, point=_POINT, cell=column, table=finder.table, clause=clause.text
        )
        kept = [np.empty(0, dtype=np.int64)]
        with finder.connection.cursor("placevec_look", binary=True) as cursor:
            cursor.execute(asked, clause.values)
            while rows := cursor.fetchmany(_BATCH_ROWS):
                slots, lon, lat, cell = zip(*rows, strict=True)
                own = None
                if cells and None not in cell:
                    own = np.array(cell, dtype=np.int64).astype(np.uint64)
                places = Places.create([str(slot) for slot in slots], LonLat(np.array(lon), np.array(lat)), h3=own)
                kept.append(np.array(slots, dtype=np.int64)[left.mask(places)])
        return np.concatenate(kept)

    def _places(self, finder: Finder, slots: NDArray[np.int64]) -> Places:
        """The rows with these slots, in their order, with all their columns."""
        layout = finder.layout
        listed = sql.SQL(", ").join(sql.Identifier(layout.column(name)) for name in layout.schema.names)
        clause = among(slots)
        asked = sql.SQL("select {}, {} from {} where {}").format(_SLOT, listed, finder.table, clause.text)
        rows = finder.connection.cursor(binary=True).execute(asked, clause.values).fetchall()
        by_slot = {row[0]: row[1:] for row in rows}
        ordered = [by_slot[slot] for slot in slots.tolist()]
        columns = [_column([row[at] for row in ordered], field) for at, field in enumerate(layout.schema)]
        return Places(pa.Table.from_arrays(columns, schema=layout.schema))


def _column(values: list[Any], field: pa.Field) -> pa.Array:
    """Values as PostgreSQL gives them, in the type that the table has."""
    kind = field.type
    if sql_type(field).startswith("numeric"):
        values = [None if value is None else int(value) for value in values]
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    if pa.types.is_float16(plain):
        return pa.array(values, pa.float32()).cast(plain)
    return pa.array(values, plain).cast(kind)
