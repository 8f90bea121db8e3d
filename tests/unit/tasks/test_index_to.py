"""`index --to` and searching a store by its address."""

import itertools
import json

import numpy as np
import pytest

from placevec.cli.main import run
from placevec.errors import SpaceMismatch, UsageError
from placevec.index.stores import open_store
from placevec.provenance import Space
from placevec.table import Filter, write_table
from placevec.tasks.index_to import index_to
from placevec.tasks.search import search
from placevec.testing.index import sample_table

TABLE = sample_table(60)
_NUMBERS = itertools.count()


@pytest.fixture
def url() -> str:
    return f"qdrant://:memory:/tasks-{next(_NUMBERS)}"


@pytest.fixture
def path(tmp_path):
    write_table(TABLE, tmp_path / "t.parquet", order="keep")
    return tmp_path / "t.parquet"


def test_a_table_goes_into_a_store(url, path) -> None:
    steps = []
    loaded = index_to(path, url, progress=lambda done, total, facts: steps.append((done, total, facts["step"])))
    assert (loaded.url, loaded.rows, loaded.added) == (url, 60, 60)
    assert (60, 60, "sending") in steps
    assert index_to(TABLE, url).unchanged == 60
    assert index_to(TABLE, url, replace=True).added == 60


def test_a_trial_can_never_be_what_others_search(url) -> None:
    index_to(TABLE, url)
    loaded = index_to(TABLE, url, test=10)
    assert (loaded.url, loaded.rows) == (f"{url}-test", 10)
    assert open_store(url).card().rows == 60
    assert open_store(f"{url}-test").search(np.ones(12), 20).ids.shape == (10,)
    with pytest.raises(UsageError, match="kept for trials"):
        index_to(TABLE, f"{url}-test")
    assert index_to(TABLE, url, test=1000, replace=True).rows == 60
    with pytest.raises(UsageError, match="at least 1"):
        index_to(TABLE, url, test=0)


def test_a_last_batch_that_is_short_is_loaded_too(url) -> None:
    # The original's own trial of ten rows uploaded none: what was left of the last batch was dropped.
    assert index_to(TABLE, url, test=10).added == 10
    assert len(search(f"{url}-test", vector=np.ones(12), k=60)) == 10


def test_what_is_there_is_not_overwritten(url) -> None:
    index_to(TABLE, url)
    other = TABLE.with_vectors(TABLE.vectors(), Space.mint(12))
    with pytest.raises(SpaceMismatch):
        index_to(other, url)
    assert open_store(url).card().space == TABLE.space


def test_a_store_is_searched_by_ids_and_vectors(url) -> None:
    index_to(TABLE, url)
    here, there = search(url, like="row-003", k=5), search(TABLE, like="row-003", k=5)
    assert here.ids.tolist() == there.ids.tolist()
    assert np.allclose(here.scores, there.scores, atol=1e-5)
    assert "row-003" in search(url, like="row-003", k=5, exclude_self=False).ids.tolist()
    box = Filter(bbox=(178.0, -20.0, -178.0, 20.0))
    mixed = {"like": ["row-003", "row-004"], "unlike": "row-007", "k": 4, "filter": box}
    assert search(url, **mixed).ids.tolist() == search(TABLE, **mixed).ids.tolist()
    vector = TABLE.vectors(np.array([9]))[0]
    assert search(url, vector=vector, space=TABLE.space, k=1).ids.tolist() == ["row-009"]
    few = search(url, like="row-003", k=100)
    assert len(few) == 59
    assert "only 59 rows" in few.plan.note


def test_what_a_store_cannot_be_asked(url) -> None:
    with pytest.raises(UsageError, match="nothing at"):
        search(url, like="row-003")
    index_to(TABLE, url)
    with pytest.raises(UsageError, match="text"):
        search(url, text="a river")
    with pytest.raises(UsageError, match="nothing to be like"):
        search(url)
    with pytest.raises(UsageError, match="'row-999'"):
        search(url, like="row-999")
    with pytest.raises(UsageError, match="alone"):
        search([url, TABLE], like="row-003")
    with pytest.raises(SpaceMismatch):
        search(url, vector=np.ones(12), space=Space.mint(12))


def test_from_the_command_line(url, path, capsys) -> None:
    assert run(["index", str(path), "--to", url, "--quantize", "none", "--quiet"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["url"], record["rows"], record["added"], record["removed"]) == (url, 60, 60, 0)
    assert run(["search", url, "--like", "row-003", "--near", "180,0,2000km", "-k", "3"]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 3
    assert "filter-then-exact, exact" in err
    assert run(["index", str(path), "--to", url, "--test", "7", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["url"] == f"{url}-test"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--to", "qdrant://h/x", "--kind", "flat"], "leave out those of an index"),
        (["--to", "qdrant://h/x", "--update"], "leave out those of an index"),
        (["--replace"], "go with --to"),
        (["--test", "3"], "go with --to"),
        (["--to", "mysql://h/x"], "no store is called 'mysql'"),
        (["--to", "qdrant://me:hunter2@h/x"], "QDRANT_API_KEY"),
    ],
)
def test_options_that_do_not_go_together(path, words, said, capsys) -> None:
    assert run(["index", str(path), *words]) == 2
    out, err = capsys.readouterr()
    assert not out
    assert said in err
    assert "hunter2" not in err
