"""Loading a table: one transaction in which the rows that changed are copied and merged, then the index of vectors.

A load that is cut short changes nothing, so what stood before stays readable and the same load again finishes. The
index of vectors is built after the rows are committed: searches until then compare all rows, which is right, and slow.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec.errors import DataError, UsageError
from placevec.index.stores.base import Loaded, Progress, StoreCard, Table, admit, admit_removal
from placevec.index.stores.postgres.ann import build_ann, drop_ann
from placevec.index.stores.postgres.cards import make_cards, read_card, remove, write_card
from placevec.index.stores.postgres.connection import Connection, speaking
from placevec.index.stores.postgres.driver import psycopg, sql
from placevec.index.stores.postgres.layout import HASH, POINT, SLOT, Layout, Version, points, sql_type
from placevec.index.stores.postgres.wire import (
    HEADER,
    TRAILER,
    Field,
    field_of,
    fixed,
    point_field,
    rows_of,
    varying,
    vector_field,
)
from placevec.index.stores.url import StoreUrl
from placevec.table import EmbeddingTable
from placevec.table.fingerprint import row_hashes

_BATCH_ROWS = 8_192
# If more than this share of rows changes, building the index of vectors anew is faster than mending it.
_REBUILD = 0.2
_STAGED, _NEW = sql.Identifier("placevec_staged"), sql.Identifier("placevec_new")


@dataclass(frozen=True)
class Merged:
    """What a transaction did."""

    added: int
    removed: int
    unchanged: int


def load_table(
    connection: Connection,
    address: StoreUrl,
    table: Table,
    *,
    replace: bool,
    ann_rows: int,
    progress: Progress | None,
) -> Loaded:
    """Bring the table of an address to what `table` holds; see `Store.load`.

    Args:
        connection: in autocommit mode.
        address: of the store.
        table: what to load.
        replace: drop what has the name first.
        ann_rows: with more rows than this an index of vectors is built.
        progress: called while it works.
    """
    began = time.monotonic()
    name = address.name
    with speaking(address, "loading into"):
        version = ensure_vector(connection)
        layout = Layout.of(table, version)
        with connection.transaction():
            # Two loads of one table run one after the other.
            connection.execute("select pg_advisory_xact_lock(hashtext('placevec'), hashtext(%s))", [name])
            make_cards(connection)
            if replace:
                remove(connection, name)
            card = None if replace else read_card(connection, name, address.shown)
            admit(card, table, address.shown)
            job = _Job(connection, name, table, layout, progress)
            if card is None:
                done = job.create()
                mark = uuid.uuid4().hex
            else:
                _check_layout(Layout.from_json(card.details.get("layout", {})), layout, address.shown)
                done = job.merge(card.rows, address.shown)
                mark = str(card.details["mark"])
            details = {"mark": mark, "layout": layout.to_json(), "unlocated": job.unlocated()}
            write_card(connection, name, StoreCard.of(table, complete=True, **details))
        if table.num_rows > ann_rows:
            job.report(table.num_rows, "index")
            build_ann(connection, name, layout, table.space.metric, version, table.num_rows)
    seconds = round(time.monotonic() - began, 3)
    return Loaded(address.shown, table.num_rows, done.added, done.removed, done.unchanged, seconds)


def ensure_vector(connection: Connection) -> Version:
    """The version of pgvector, which is made known to the database where it was not.

    Raises DataError where the server does not have it.
    """
    if vector_version(connection) is None:
        try:
            connection.execute("create extension if not exists vector")
        except psycopg.errors.UniqueViolation:  # another process was faster
            pass
        except psycopg.errors.InsufficientPrivilege:
            raise DataError(
                "the database does not know the extension `vector` yet, and this user may not make it known: let its "
                "owner say CREATE EXTENSION vector"
            ) from None
    version = vector_version(connection)
    assert version is not None
    return version


def vector_version(connection: Connection) -> Version | None:
    """The version of pgvector in the database; None if it is not known there."""
    found = connection.execute("select extversion from pg_extension where extname = 'vector'").fetchone()
    return None if found is None else tuple(int(part) for part in str(found[0]).split(".")[:3])


def _check_layout(there: Layout, wanted: Layout, url: str) -> None:
    if there.shape != wanted.shape:
        raise UsageError(
            f"{url} has the columns {', '.join(there.schema.names)}, the table {', '.join(wanted.schema.names)} (or "
            "others types): give another name, or --replace"
        )


class _Job:
    """The rows of one load."""

    def __init__(
        self, connection: Connection, name: str, table: Table, layout: Layout, progress: Progress | None
    ) -> None:
        self.connection = connection
        self.name = name
        self.table = table
        self.layout = layout
        self.progress = progress
        self.goal = sql.Identifier(name)

    def create(self) -> Merged:
        """A new table with all rows."""
        parts = [
            sql.SQL("{} {}").format(sql.Identifier(column), sql.SQL(_known(kind)))
            for column, kind in self.layout.created
        ]
        self.connection.execute(sql.SQL("create table {} ({})").format(self.goal, sql.SQL(", ").join(parts)))
        self._copy(self.goal, None, 0, "copy")
        self.connection.execute(sql.SQL("alter table {} add primary key (id)").format(self.goal))
        self.connection.execute(sql.SQL("create unique index on {} ({})").format(self.goal, sql.Identifier(SLOT)))
        self.connection.execute(sql.SQL("create index on {} using gist ({})").format(self.goal, sql.Identifier(POINT)))
        if "h3" in self.layout.columns:
            column = sql.Identifier(self.layout.column("h3"))
            self.connection.execute(sql.SQL("create index on {} ({})").format(self.goal, column))
        self.connection.execute(sql.SQL("analyze {}").format(self.goal))
        return Merged(self.table.num_rows, 0, 0)

    def merge(self, known: int, url: str) -> Merged:
        """Send the rows that are new or changed, and remove those that are gone."""
        connection = self.connection
        connection.execute(
            sql.SQL("create temp table {} (id text, hash bigint, at bigint) on commit drop").format(_STAGED)
        )
        self._write(_STAGED, (rows_of(_key_fields(piece, first)) for first, piece in self._pieces()))
        connection.execute(sql.SQL("analyze {}").format(_STAGED))
        gone = self._count(
            "select count(*) from {goal} t where not exists (select 1 from {staged} s where s.id = t.id)"
        )
        admit_removal(known, gone, url)
        wanted = connection.execute(
            sql.SQL(
                "select s.at from {staged} s left join {goal} t on t.id = s.id"
                " where t.id is null or t.{hash} <> s.hash order by s.at"
            ).format(staged=_STAGED, goal=self.goal, hash=sql.Identifier(HASH))
        ).fetchall()
        rows = np.array([row for (row,) in wanted], dtype=np.int64)
        if len(rows) + gone > _REBUILD * max(1, known):
            drop_ann(connection, self.name)
        if gone:
            connection.execute(
                sql.SQL("delete from {} t where not exists (select 1 from {} s where s.id = t.id)").format(
                    self.goal, _STAGED
                )
            )
        if len(rows):
            self._upsert(rows)
        return Merged(len(rows), gone, self.table.num_rows - len(rows))

    def unlocated(self) -> int:
        """How many rows have no geometry."""
        return self._count("select count(*) from {goal} where {point} is null")

    def _upsert(self, rows: NDArray[np.int64]) -> None:
        connection = self.connection
        connection.execute(sql.SQL("create temp table {} (like {}) on commit drop").format(_NEW, self.goal))
        first = self._count("select coalesce(max({slot}), -1) + 1 from {goal}")
        self._copy(_NEW, rows, first, "copy")
        connection.execute(sql.SQL("delete from {} t using {} n where n.id = t.id").format(self.goal, _NEW))
        names = sql.SQL(", ").join(sql.Identifier(column) for column, _ in self.layout.created)
        connection.execute(sql.SQL("insert into {} ({}) select {} from {}").format(self.goal, names, names, _NEW))
        connection.execute(sql.SQL("analyze {}").format(self.goal))

    def _count(self, text: Any) -> int:
        found = self.connection.execute(
            sql.SQL(text).format(goal=self.goal, staged=_STAGED, slot=sql.Identifier(SLOT), point=sql.Identifier(POINT))
        ).fetchone()
        assert found is not None
        return int(found[0])

    def _pieces(self) -> Iterator[tuple[int, EmbeddingTable]]:
        first = 0
        for piece in self.table.batches(batch_rows=_BATCH_ROWS):
            yield first, piece
            first += len(piece)

    def _copy(self, goal: sql.Identifier, rows: NDArray[np.int64] | None, slot: int, step: str) -> None:
        """Send the rows (sorted; all if None), numbered from `slot` on."""

        def blocks() -> Iterator[bytes]:
            at = slot
            for first, piece in self._pieces():
                part = piece
                if rows is not None:
                    low, high = np.searchsorted(rows, (first, first + len(piece)))
                    if low == high:
                        continue
                    part = piece.take(rows[low:high] - first)
                yield rows_of(self._fields(part, at))
                at += len(part)
                self.report(at - slot, step, None if rows is None else len(rows))

        names = [column for column, _ in self.layout.created]
        self._write(goal, blocks(), names)

    def _write(self, goal: sql.Identifier, blocks: Iterator[bytes], columns: list[str] | None = None) -> None:
        listed: sql.Composable = sql.SQL("")
        if columns is not None:
            listed = sql.SQL("({})").format(sql.SQL(", ").join(sql.Identifier(name) for name in columns))
        text = sql.SQL("copy {} {} from stdin (format binary)").format(goal, listed)
        with self.connection.cursor() as cursor, cursor.copy(text) as copy:
            copy.write(HEADER)
            for block in blocks:
                copy.write(block)
            copy.write(TRAILER)

    def _fields(self, piece: EmbeddingTable, slot: int) -> list[Field]:
        fields = [field_of(piece.data[field.name], sql_type(field)) for field in self.layout.schema]
        n = len(piece)
        fields.append(fixed(np.arange(slot, slot + n).astype(">i8")))
        fields.append(fixed(row_hashes(piece.data).view(np.int64).astype(">i8")))
        fields.append(point_field(*points(piece)))
        fields.append(vector_field(piece.vectors(), half=self.layout.half))
        return fields

    def report(self, done: int, step: str, total: int | None = None) -> None:
        """Say how far it is."""
        if self.progress is not None:
            self.progress(done, self.table.num_rows if total is None else total, {"step": step})


def _key_fields(piece: EmbeddingTable, first: int) -> list[Field]:
    hashes = row_hashes(piece.data).view(np.int64)
    ids = piece.data["id"].combine_chunks()
    at = np.arange(first, first + len(piece))
    return [varying(ids), fixed(hashes.astype(">i8")), fixed(at.astype(">i8"))]


def _known(kind: str) -> Any:
    """A type as it was written down in `layout`, for a query."""
    return kind
