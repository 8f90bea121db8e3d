"""A server that is down, does not let in, or goes away half-way."""

import socket

import numpy as np
import pytest

from conftest import make_table
from placevec.errors import DataError, MissingExtra, UsageError
from placevec.index.stores import open_store
from postgres_server import PASSWORD, at


def test_no_server(table) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    store = open_store(f"postgresql://me:secret@127.0.0.1:{port}/db?table=x")
    for call in (store.card, lambda: store.load(table), store.drop, lambda: store.search(np.ones(8), 3)):
        with pytest.raises(DataError, match=rf"127.0.0.1:{port} cannot be reached .*refused.*start it") as caught:
            call()
        assert "secret" not in str(caught.value)
        assert "\n" not in str(caught.value)


def test_no_such_host_and_no_such_option() -> None:
    with pytest.raises(DataError, match="cannot be reached"):
        open_store("postgresql://no-such-host.invalid/db?table=x").card()
    with pytest.raises(UsageError, match="colour"):
        open_store("postgresql://localhost/db?table=x&colour=red").card()


@pytest.mark.slow
def test_a_server_that_crashes(postgres_server, monkeypatch) -> None:
    server = postgres_server
    wrong = server.url.replace(PASSWORD, "secret-but-wrong")
    with pytest.raises(DataError, match="does not let in as 'tester': set PGPASSWORD") as caught:
        open_store(at(wrong, "x")).card()
    assert "secret-but-wrong" not in str(caught.value)
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    assert open_store(at(wrong.replace(":secret-but-wrong", ""), "x")).card() is None
    with pytest.raises(DataError, match='database "nothing" does not exist'):
        open_store(at(server.url.replace("/postgres", "/nothing"), "x")).card()

    table = make_table(30_000, 4)
    store = open_store(at(server.url, "places"), ann_rows=10**9)
    store.load(table.take(range(20_000)))

    def crash(done, total, more) -> None:
        if done > 5_000 and server.process is not None:
            server.crash()

    with pytest.raises(DataError, match="went away.*run the same again"):
        store.load(table, progress=crash)
    with pytest.raises(DataError):
        store.card()
    server.start()
    # What was committed before stands.
    assert store.card().rows == 20_000
    assert store.search(table.vectors()[11], 1).ids[0] == "p00011"
    done = store.load(table)
    assert (done.added, done.removed, done.unchanged) == (10_000, 0, 20_000)

    # The first load of a name, too, is there as a whole or not at all.
    other = open_store(at(server.url, "others"), ann_rows=10**9)
    with pytest.raises(DataError, match="went away"):
        other.load(table, progress=crash)
    server.start()
    assert other.card() is None
    assert other.load(table).added == 30_000
    other.close()
    store.close()


def test_psycopg_is_optional(monkeypatch) -> None:
    import sys

    for name in [name for name in sys.modules if name.startswith(("psycopg", "placevec.index.stores.postgres"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingExtra, match="placevec\\[postgres\\]"):
        open_store("postgresql://localhost/db?table=x")
