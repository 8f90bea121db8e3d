"""The table `placevec_tables`: one row for each table that placevec keeps in a database, with its card."""

from __future__ import annotations

from typing import Any

from placevec.errors import UsageError
from placevec.index.stores.base import StoreCard
from placevec.index.stores.postgres.connection import Connection
from placevec.index.stores.postgres.driver import Jsonb, sql
from placevec.index.stores.postgres.layout import CARDS

# What the comment of a table of placevec begins with; the rest is the mark that stands in its card too.
_MARK = "placevec "
_CARDS = sql.Identifier(CARDS)


def read_card(connection: Connection, name: str, url: str) -> StoreCard | None:
    """The card of the table `name`; None if there is no such table.

    Raises:
        UsageError: placevec did not make the table.
        FormatError: the card is damaged.
    """
    there = connection.execute(
        "select obj_description(c.oid, 'pg_class'), to_regclass(%s) from pg_class c where c.oid = to_regclass(%s)",
        [CARDS, _quoted(connection, name)],
    ).fetchone()
    if there is None:
        return None
    found: tuple[Any, ...] | None = None
    if there[1] is not None:
        found = connection.execute(sql.SQL("select card from {} where name = %s").format(_CARDS), [name]).fetchone()
    card = None if found is None else StoreCard.from_json(found[0])
    if card is None or there[0] != _MARK + str(card.details.get("mark", "")):
        raise UsageError(
            f"{url}: the table {name!r} was not made by placevec: give another name, or --replace to drop it"
        )
    return card


def write_card(connection: Connection, name: str, card: StoreCard) -> None:
    """Keep the card of the table `name`, and mark the table as one of placevec."""
    connection.execute(
        sql.SQL(
            "insert into {} (name, card) values (%s, %s) on conflict (name) do update set card = excluded.card"
        ).format(_CARDS),
        [name, Jsonb(card.to_json())],
    )
    comment = sql.Literal(_MARK + str(card.details.get("mark", "")))
    connection.execute(sql.SQL("comment on table {} is {}").format(sql.Identifier(name), comment))


def make_cards(connection: Connection) -> None:
    """Make the table of cards, where there is none."""
    connection.execute(
        sql.SQL("create table if not exists {} (name text primary key, card jsonb not null)").format(_CARDS)
    )


def remove(connection: Connection, name: str) -> None:
    """Drop the table `name`, whoever made it, and forget its card."""
    connection.execute(sql.SQL("drop table if exists {}").format(sql.Identifier(name)))
    if connection.execute("select to_regclass(%s)", [CARDS]).fetchone() != (None,):
        connection.execute(sql.SQL("delete from {} where name = %s").format(_CARDS), [name])


def _quoted(connection: Connection, name: str) -> str:
    return sql.Identifier(name).as_string(connection)
