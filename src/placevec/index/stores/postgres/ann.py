"""The index of vectors of a stored table: HNSW by pgvector, with the operator that fits the metric."""

from __future__ import annotations

from typing import Any

from placevec.index.stores.postgres.connection import Connection
from placevec.index.stores.postgres.driver import psycopg, sql
from placevec.index.stores.postgres.layout import VECTOR, Layout, Version
from placevec.provenance import Metric

OPERATORS: dict[Metric, str] = {"cosine": "<=>", "dot": "<#>", "l2": "<->"}
_CLASSES: dict[Metric, str] = {"cosine": "cosine_ops", "dot": "ip_ops", "l2": "l2_ops"}

_M, _EF_CONSTRUCTION = 16, 100
# Bytes of a node besides its vector: links of 16 neighbours each on two layers, and heads.
_NODE_BYTES = 600
_LEAST_KB, _MOST_KB = 64 << 10, 2 << 20


def operand(layout: Layout, kind: str) -> sql.Composable:
    """What HNSW indexes and a query must repeat: the column, or its halfvec where it has too many components."""
    column = sql.Identifier(VECTOR)
    if kind == "halfvec" and not layout.half:
        return sql.SQL("({}::halfvec({}))").format(column, sql.Literal(layout.dims))
    return column


def has_ann(connection: Connection, name: str) -> bool:
    """Whether the table has an index of its vectors that can be used."""
    return bool(_found(connection, name))


def _found(connection: Connection, name: str) -> list[tuple[Any, ...]]:
    return connection.execute(
        "select n.nspname, c.relname from pg_index i join pg_class c on c.oid = i.indexrelid"
        " join pg_namespace n on n.oid = c.relnamespace join pg_am a on a.oid = c.relam"
        " where i.indrelid = to_regclass(%s) and a.amname = 'hnsw' and i.indisvalid",
        [sql.Identifier(name).as_string(connection)],
    ).fetchall()


def drop_ann(connection: Connection, name: str) -> None:
    """Drop the index of vectors, if there is one."""
    for schema, index in _found(connection, name):
        connection.execute(sql.SQL("drop index {}").format(sql.Identifier(schema, index)))


def build_ann(connection: Connection, name: str, layout: Layout, metric: Metric, version: Version, rows: int) -> None:
    """Build the index of vectors where it is missing and pgvector can index so many components."""
    kind = layout.indexed(version)
    if kind is None or has_ann(connection, name):
        return
    width = layout.dims * (2 if kind == "halfvec" else 4) + _NODE_BYTES
    memory = min(max(rows * width * 5 // 4 >> 10, _LEAST_KB), _MOST_KB)
    text = sql.SQL("create index on {} using hnsw ({} {}) with (m = {}, ef_construction = {})").format(
        sql.Identifier(name),
        operand(layout, kind),
        sql.SQL(_class(kind, metric)),
        sql.Literal(_M),
        sql.Literal(_EF_CONSTRUCTION),
    )
    try:
        _build(connection, text, memory, parallel=True)
    except psycopg.errors.DiskFull:
        # Workers share their memory by a file in /dev/shm, which containers keep small; one worker needs none.
        _build(connection, text, memory, parallel=False)


def _build(connection: Connection, text: sql.Composed, memory: int, *, parallel: bool) -> None:
    with connection.transaction():
        # A graph that does not fit this memory is built many times slower.
        connection.execute("select set_config('maintenance_work_mem', %s, true)", [f"{memory}kB"])
        if not parallel:
            connection.execute("set local max_parallel_maintenance_workers = 0")
        connection.execute(text)


def _class(kind: str, metric: Metric) -> Any:
    return f"{kind}_{_CLASSES[metric]}"
