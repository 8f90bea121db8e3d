"""Loading: idempotent, in one transaction, and never over what is somebody else's."""

import threading

import numpy as np
import psycopg
import pyarrow as pa
import pytest

from conftest import make_table
from placevec.errors import DataError, SchemaError, SpaceMismatch, UsageError
from placevec.index.stores import open_store
from placevec.index.stores.postgres import load
from placevec.index.stores.postgres.layout import CARDS
from placevec.provenance import Space
from placevec.table import EmbeddingTable, Filter, open_table, write_table
from postgres_server import at


def counts(done) -> tuple[int, int, int]:
    return done.added, done.removed, done.unchanged


@pytest.fixture
def sql(postgres_url: str):
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        yield connection.execute


@pytest.mark.parametrize("ann_rows", [0, 10**9])
def test_only_what_changed_is_sent(make_store, table, ann_rows: int) -> None:
    store = make_store(ann_rows=ann_rows)
    assert store.card() is None
    assert counts(store.load(table)) == (200, 0, 0)
    assert counts(store.load(table)) == (0, 0, 200)
    elevation = table.column("elevation").copy()
    elevation[[3, 100]] += 1.0
    changed = table.with_column("elevation", elevation).take(range(190))
    more = changed.append(make_table(5, prefix="new", space=table.space))
    assert counts(store.load(more)) == (7, 10, 188)
    assert counts(store.load(more.take(np.random.default_rng(0).permutation(195)))) == (0, 0, 195)
    assert store.card().fingerprint == more.fingerprint()
    hits = store.search(table.vectors()[3], 1)
    assert (hits.ids[0], hits.places.column("elevation")[0]) == ("p00003", elevation[3])
    assert len(store.search(table.vectors()[3], 500)) == 195


def test_many_changes_make_a_new_graph(make_store) -> None:
    table = make_table(1000, 8)
    store = make_store(ann_rows=0, exact_rows=0)
    store.load(table)
    shifted = table.with_column("elevation", table.column("elevation") + 1.0)
    assert counts(store.load(shifted)) == (1000, 0, 0)
    assert store.search(table.vectors()[7], 1).ids[0] == "p00007"
    assert not store.search(table.vectors()[7], 1).plan.exact


@pytest.mark.parametrize("ending", ["parquet", "lance"])
def test_a_table_in_a_file(make_store, tmp_path, ending: str) -> None:
    table = make_table(6_000, 4)
    write_table(table, tmp_path / f"t.{ending}")
    steps = []
    store = make_store()
    stored = open_table(tmp_path / f"t.{ending}")
    done = store.load(stored, progress=lambda done, total, more: steps.append((done, total, more["step"])))
    assert counts(done) == (6_000, 0, 0)
    assert steps[-2:] == [(6_000, 6_000, "copy"), (6_000, 6_000, "index")]
    assert counts(store.load(table)) == (0, 0, 6_000)
    assert store.index(stored).search(table.vectors()[:2], 1)[1] == pytest.approx(1.0)


@pytest.mark.parametrize(
    "name", ["a; drop table placevec_tables", 'quo"ted', "Ünï cöde", "select", "x'y", "UPPER", "a.b", "\\", "{}"]
)
def test_hostile_names(make_store, sql, table, name: str) -> None:
    store = make_store(name)
    store.load(table)
    assert counts(store.load(table)) == (0, 0, 200)
    assert len(store.search(table.vectors()[0], 3, Filter(where="cover == 'x; drop table y'"))) == 0
    assert sql("select count(*) from pg_tables where tablename = %s", [name]).fetchone() == (1,)
    store.drop()
    assert store.card() is None
    assert sql("select to_regclass(%s)", [CARDS]).fetchone() != (None,)


@pytest.mark.parametrize("name", ["x" * 64, "ü" * 32, "50%", " ", CARDS])
def test_names_that_cannot_be(postgres_url: str, name: str) -> None:
    with pytest.raises(UsageError):
        open_store(at(postgres_url, name))


def test_an_address_without_a_table() -> None:
    with pytest.raises(UsageError, match="table=NAME"):
        open_store("postgresql://localhost/db")


def test_somebody_elses_table(make_store, sql, table) -> None:
    store = make_store("theirs")
    sql("create table theirs (a int)")
    sql("insert into theirs values (7)")
    for call in (store.card, lambda: store.load(table), lambda: store.search(np.ones(8), 3)):
        with pytest.raises(UsageError, match="not made by placevec"):
            call()
    assert sql("select a from theirs").fetchall() == [(7,)]
    store.load(table, replace=True)
    assert store.card().rows == 200
    # The card is there, but the table is another one since.
    sql("drop table theirs")
    assert store.card() is None
    sql("create table theirs (a int)")
    with pytest.raises(UsageError, match="not made by placevec"):
        store.load(table)
    sql("drop table theirs")
    assert counts(store.load(table)) == (200, 0, 0)


def test_another_space_tower_or_table(make_store, table) -> None:
    store = make_store()
    store.load(table)
    with pytest.raises(SpaceMismatch, match="--replace"):
        store.load(make_table())
    tower = EmbeddingTable(table.data, table.meta.replace(tower="text"))
    with pytest.raises(UsageError, match="tower"):
        store.load(tower)
    with pytest.raises(UsageError, match="another table"):
        store.load(make_table(200, prefix="other", space=table.space))
    with pytest.raises(UsageError, match="columns"):
        store.load(table.with_column("more", np.arange(200)))
    assert store.card().fingerprint == table.fingerprint()
    other = make_table()
    assert counts(store.load(other, replace=True)) == (200, 0, 0)
    assert store.card().space == other.space


def test_what_postgres_cannot_hold(make_store, table) -> None:
    store = make_store()
    with pytest.raises(DataError, match="NUL"):
        store.load(table.with_column("text", pa.array(["a\0b"] * 200)))
    assert store.card() is None
    with pytest.raises(SchemaError, match="16,000"):
        store.load(make_table(3, 16_001))
    with pytest.raises(SchemaError, match="type"):
        store.load(table.with_column("list", pa.array([[1]] * 200)))


@pytest.mark.parametrize("dims", [2_100, 4_100])
def test_long_vectors(make_store, dims: int) -> None:
    table = make_table(40, dims)
    store = make_store(ann_rows=0, exact_rows=0)
    store.load(table)
    assert store.search(table.vectors()[7], 2).ids[0] == "p00007"


def test_a_load_that_is_broken_off_changes_nothing(make_store) -> None:
    table = make_table(20_000, 4)
    store = make_store(ann_rows=10**9)
    store.load(table.take(range(15_000)))

    def stop(done, total, more) -> None:
        if done > 2_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.load(table, progress=stop)
    assert store.card().rows == 15_000
    assert len(store.search(np.ones(4), 5)) == 5
    assert counts(store.load(table)) == (5_000, 0, 15_000)


def test_a_full_disk(make_store, sql, table) -> None:
    store = make_store("full")
    store.load(table.take(range(150)))
    sql(
        "create function no_room() returns trigger language plpgsql as "
        "$$ begin raise exception 'could not extend file: No space left on device' using errcode = '53100'; end $$"
    )
    sql('create trigger no_room before insert on "full" execute function no_room()')
    try:
        with pytest.raises(DataError, match="disk of the server is full"):
            store.load(table)
        assert store.card().rows == 150
        assert len(store.search(np.ones(8), 500)) == 150
    finally:
        sql("drop function no_room cascade")
    assert counts(store.load(table)) == (50, 0, 150)


def test_shared_memory_too_small_for_workers(make_store, monkeypatch) -> None:
    from placevec.index.stores.postgres import ann

    built = ann._build

    def once(connection, text, memory, *, parallel: bool) -> None:
        if parallel:
            raise psycopg.errors.DiskFull("could not resize shared memory segment")
        built(connection, text, memory, parallel=parallel)

    monkeypatch.setattr(ann, "_build", once)
    table = make_table(1000, 8)
    store = make_store(ann_rows=0, exact_rows=0)
    store.load(table)
    assert not store.search(table.vectors()[0], 3).plan.exact


def test_two_loads_at_once(make_store, postgres_url) -> None:
    table = make_table(9_000, 4, space=Space.mint(4))
    name = make_store("twice").name
    errors: list[BaseException] = []

    def run() -> None:
        try:
            with open_store(at(postgres_url, name)) as store:
                store.load(table)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert make_store("twice").card().rows == 9_000


def test_no_extension_without_rights(make_store, sql, table, postgres_url, monkeypatch) -> None:
    def refuse(connection) -> None:
        raise psycopg.errors.InsufficientPrivilege("permission denied for schema public")

    monkeypatch.setattr(load, "make_cards", refuse)
    with pytest.raises(DataError, match="permission denied"):
        make_store().load(table)
