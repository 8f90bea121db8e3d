"""A store in Lance: filters as placevec's own, loads that are idempotent, versions that survive a kill."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings

from conftest import make_table
from placevec.errors import DataError, SchemaError, SpaceMismatch, StaleIndex, UsageError
from placevec.index.exact import ExactIndex
from placevec.index.stores import open_store
from placevec.index.stores.lance import AnnSettings, LanceStore, dataset
from placevec.table import EmbeddingTable, Filter, open_table, write_table
from placevec.table.fingerprint import fingerprint
from placevec.testing import check_index
from store_cases import BAD_WHERE, FILTERS, WHERE, hard_table, wheres


def store_at(path: Path, name: str = "store", **options) -> LanceStore:
    store = open_store(f"lance://{path}/{name}.lance", **options)
    assert isinstance(store, LanceStore)
    return store


def counts(done) -> tuple[int, int, int]:
    return done.added, done.removed, done.unchanged


@pytest.fixture(scope="module", params=[5, None], ids=["h3", "no h3"])
def kept(request, tmp_path_factory):
    table = hard_table(h3=request.param)
    store = store_at(tmp_path_factory.mktemp("lance"))
    store.load(table)
    return table, store


@pytest.mark.parametrize("name", FILTERS)
def test_filters(kept, name: str) -> None:
    table, store = kept
    query = np.ones(table.dims, dtype=np.float32)
    rows = table.resolve(FILTERS[name])[0]
    hits = store.search(query, 1000, FILTERS[name])
    assert hits.plan.candidates == len(rows)
    assert set(hits.ids) == set(table.ids[rows])
    assert len(store.search(query, 3, FILTERS[name])) == min(3, len(rows))
    near, scores = ExactIndex(table).search(query[None, :], 1000, rows)
    assert np.allclose(hits.scores, scores[near >= 0])


def test_indexes_change_no_answer(tmp_path) -> None:
    table = hard_table(h3=None)
    store = store_at(tmp_path)
    store.load(table)
    query = np.ones(table.dims)
    with_indexes = {name: list(store.search(query, 1000, wish).ids) for name, wish in FILTERS.items()}
    data = store._latest()[1].dataset
    assert {index.field_names[0] for index in data.describe_indices()} == {"id", "_lon", "_lat"}
    for index in data.describe_indices():
        data.drop_index(index.name)
    assert with_indexes == {name: list(store.search(query, 1000, wish).ids) for name, wish in FILTERS.items()}


@pytest.mark.parametrize("kept", [5], ids=["h3"], indirect=True)
@pytest.mark.parametrize("where", WHERE)
def test_where(kept, where: str) -> None:
    table, store = kept
    hits = store.search(np.ones(table.dims), 1000, Filter(where=where))
    assert set(hits.ids) == set(table.ids[table.resolve(Filter(where=where))[0]])


@pytest.mark.parametrize("kept", [5], ids=["h3"], indirect=True)
@pytest.mark.parametrize("where", BAD_WHERE)
def test_where_refused(kept, where: str) -> None:
    table, store = kept
    with pytest.raises(UsageError):
        store.search(np.ones(table.dims), 3, Filter(where=where))


@pytest.mark.parametrize("kept", [5], ids=["h3"], indirect=True)
@given(where=wheres)
@settings(max_examples=25)
def test_where_is_what_arrow_says(kept, where: str) -> None:
    table, store = kept
    hits = store.search(np.ones(table.dims), 1000, Filter(where=where))
    assert set(hits.ids) == set(table.ids[table.resolve(Filter(where=where))[0]])


def test_hits_come_with_all_their_columns(kept) -> None:
    table, store = kept
    hits = store.search(np.ones(table.dims), 1000)
    assert set(hits.places.data.schema.names) == set(table.places().data.schema.names)
    assert fingerprint([hits.places.data]) == fingerprint([table.places().data])
    rows = [50, 3, 3, 399]
    assert np.array_equal(store.vectors(list(table.ids[rows])), table.vectors(np.array(rows)))
    assert store.vectors([]).shape == (0, table.dims)
    with pytest.raises(UsageError, match="not there"):
        store.vectors(["not there"])


@pytest.mark.parametrize("options", [{}, {"exact_rows": 0, "ann_rows": 0, "settings": AnnSettings(cells=4)}])
def test_the_contract_of_an_index(tmp_path, options) -> None:
    store = store_at(tmp_path, **options)

    def loaded(table):
        store.load(table, replace=True)
        return store.index(table)

    check_index(loaded)


def test_only_what_changed_is_written(tmp_path, table) -> None:
    store = store_at(tmp_path)
    assert store.card() is None
    assert counts(store.load(table)) == (200, 0, 0)
    version = store._latest()[1].dataset.version
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
    assert store._latest()[1].dataset.version > version


def test_rows_that_come_after_the_index(tmp_path) -> None:
    table = make_table(2_000, 8)
    store = store_at(tmp_path, ann_rows=0, exact_rows=0)
    store.load(table.take(range(1_900)))
    store.load(table)
    index = store.index(table)
    rows, _ = index.search(table.vectors()[1_890:1_910], 1)
    assert np.array_equal(rows[:, 0], np.arange(1_890, 1_910))
    assert not store.search(table.vectors()[1_950], 1).plan.exact
    assert store.search(table.vectors()[1_950], 1).ids[0] == "p01950"
    truth, _ = ExactIndex(table).search(table.vectors()[:30], 10)
    found, _ = index.search(table.vectors()[:30], 10)
    assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(truth, found, strict=True)]) >= 0.99
    hits = store.search(table.vectors()[0], 1_999, Filter(where="count >= 0"))
    assert len(hits) == 1_999


@pytest.mark.parametrize("ending", ["parquet", "lance"])
def test_a_table_in_a_file(tmp_path, ending: str) -> None:
    table = make_table(6_000, 4)
    write_table(table, tmp_path / f"t.{ending}")
    stored = open_table(tmp_path / f"t.{ending}")
    steps = []
    store = store_at(tmp_path, ann_rows=0)
    assert counts(store.load(stored, progress=lambda *told: steps.append((*told[:2], told[2]["step"])))) == (
        6_000,
        0,
        0,
    )
    assert steps[-2:] == [(6_000, 6_000, "copy"), (6_000, 6_000, "index")]
    assert counts(store.load(table)) == (0, 0, 6_000)
    assert store.index(stored).search(table.vectors()[:2], 1)[1] == pytest.approx(1.0)


def test_a_store_is_not_the_table(tmp_path, table) -> None:
    write_table(table, tmp_path / "t.lance")
    stored = open_table(tmp_path / "t.lance")
    store = store_at(tmp_path, "t")
    for replace in (False, True):
        with pytest.raises(UsageError, match="the table itself"):
            store.load(stored, replace=replace)
    with pytest.raises(UsageError, match="is a table, not a store"):
        store.load(table)
    assert open_table(tmp_path / "t.lance").fingerprint() == table.fingerprint()


def test_another_space_tower_or_table(tmp_path, table) -> None:
    store = store_at(tmp_path)
    with pytest.raises(UsageError, match="nothing at"):
        store.index(table)
    store.load(table)
    with pytest.raises(SpaceMismatch, match="--replace"):
        store.load(make_table())
    with pytest.raises(UsageError, match="tower"):
        store.load(EmbeddingTable(table.data, table.meta.replace(tower="text")))
    with pytest.raises(UsageError, match="another table"):
        store.load(make_table(200, prefix="other", space=table.space))
    with pytest.raises(UsageError, match="columns"):
        store.load(table.with_column("more", np.arange(200)))
    with pytest.raises(StaleIndex):
        store.index(table.take(range(10)))
    assert store.card().fingerprint == table.fingerprint()
    other = make_table()
    assert counts(store.load(other, replace=True)) == (200, 0, 0)
    assert store.card().space == other.space
    with pytest.raises(SchemaError, match="rename"):
        store_at(tmp_path, "more").load(table.with_column("_lon", np.arange(200)))


def test_what_is_no_store(tmp_path, table) -> None:
    import lance

    (tmp_path / "mine.lance").mkdir()
    (tmp_path / "mine.lance" / "diary.txt").write_text("keep me")
    store = store_at(tmp_path, "mine")
    for call in (store.card, lambda: store.load(table, replace=True), store.drop):
        with pytest.raises(UsageError, match="no Lance dataset"):
            call()
    assert (tmp_path / "mine.lance" / "diary.txt").read_text() == "keep me"
    lance.write_dataset(pa.table({"a": [1]}), str(tmp_path / "theirs.lance"))
    store = store_at(tmp_path, "theirs")
    with pytest.raises(UsageError, match="not made by placevec"):
        store.load(table)
    store.load(table, replace=True)
    store.drop()
    assert not (tmp_path / "theirs.lance").exists()
    store.drop()
    for url in ("lance://data/x.lance", "lance:///data/x"):
        with pytest.raises(UsageError):
            open_store(url)


def test_an_empty_table(tmp_path, table) -> None:
    store = store_at(tmp_path, ann_rows=0)
    assert store.load(table.take([])).rows == 0
    assert len(store.search(np.ones(8), 3)) == 0
    assert len(store.search(np.ones(8), 3, Filter(bbox=(0.0, 0.0, 1.0, 1.0)))) == 0
    assert store.load(table).added == 200


_KILLED = """
import os, sys
sys.path.insert(0, sys.argv[2])
from conftest import make_table
from placevec.index.stores import open_store
from placevec.provenance import Space
table = make_table(30_000, 4, space=Space.asserted("killed", 4))

def kill(done, total, more):
    if done > 5_000:
        os._exit(9)

open_store(sys.argv[1]).load(table.with_column("count", table.column("count") + 1), progress=kill)
"""


@pytest.mark.slow
def test_a_kill_leaves_the_old_version(tmp_path) -> None:
    from placevec.provenance import Space

    table = make_table(30_000, 4, space=Space.asserted("killed", 4))
    store = store_at(tmp_path)
    command = [sys.executable, "-c", _KILLED, store.url, str(Path(__file__).parents[4])]
    environment = {**os.environ, "LANCE_LOG": "error"}
    assert subprocess.run(command, env=environment, check=False, capture_output=True).returncode == 9
    assert store.card() is None
    store.load(table)
    before = store.search(table.vectors()[7], 3).to_records()
    assert subprocess.run(command, env=environment, check=False, capture_output=True).returncode == 9
    assert not store.card().complete
    with pytest.raises(StaleIndex, match="cut short"):
        store.index(table)
    assert store.search(table.vectors()[7], 3).to_records() == before
    changed = table.with_column("count", table.column("count") + 1)
    assert counts(store.load(changed)) == (30_000, 0, 0)
    assert store.card().fingerprint == changed.fingerprint()
    assert store.search(table.vectors()[7], 3).to_records() != before


def test_a_full_disk(tmp_path, table, monkeypatch) -> None:
    store = store_at(tmp_path)

    class Full:
        @staticmethod
        def write_dataset(*_, **__):
            raise OSError("LanceError(IO): Generic LocalFileSystem error: No space left on device (os error 28)")

    with monkeypatch.context() as patch:
        patch.setattr(dataset, "package", Full)
        patch.setattr("placevec.index.stores.lance.load.package", Full)
        with pytest.raises(DataError, match="disk is full"):
            store.load(table)
    assert counts(store.load(table)) == (200, 0, 0)


@pytest.mark.slow
def test_an_object_store_that_is_not_there(monkeypatch) -> None:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "k",
        "AWS_SECRET_ACCESS_KEY": "s",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_ALLOW_HTTP": "true",
    }.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(DataError, match="s3://nowhere/x.lance cannot be opened"):
        open_store("lance://s3://nowhere/x.lance").card()


def test_an_object_store(monkeypatch, table) -> None:
    server_module = pytest.importorskip("moto.server")
    boto3 = pytest.importorskip("boto3")
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        endpoint = "http://{}:{}".format(*server.get_host_and_port())
        for name, value in {
            "AWS_ACCESS_KEY_ID": "k",
            "AWS_SECRET_ACCESS_KEY": "s",
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ALLOW_HTTP": "true",
        }.items():
            monkeypatch.setenv(name, value)
        boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1").create_bucket(Bucket="places")
        store = open_store("lance://s3://places/all.lance")
        assert store.card() is None
        assert counts(store.load(table)) == (200, 0, 0)
        assert counts(store.load(table)) == (0, 0, 200)
        hits = store.search(table.vectors()[4], 2, Filter(where="elevation > 0"))
        assert hits.ids[0] == "p00004"
        store.drop()
        assert store.card() is None
    finally:
        server.stop()
