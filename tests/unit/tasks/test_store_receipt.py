"""The step `index` with a store: done once, and again when the table or the store is no longer what it was."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from placevec.config import check_options, parse_recipe
from placevec.errors import DataError, RecipeError, UsageError
from placevec.index.stores import open_store
from placevec.table import write_table
from placevec.tasks.index_to import index_to
from placevec.tasks.run import run
from placevec.tasks.store_receipt import receipt_path, within
from placevec.tasks.verb_retrieval import IndexOptions
from placevec.tasks.verbs import VERBS
from placevec.testing.index import sample_table

TABLE = sample_table(60)
_NUMBERS = itertools.count()


@pytest.fixture
def url() -> str:
    return f"qdrant://:memory:/receipt-{next(_NUMBERS)}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_table(TABLE, tmp_path / "t.parquet", order="keep")
    return tmp_path


def go(folder: Path, **options: Any) -> tuple[str, str]:
    """The state of the step, and what was said of it."""
    notes: list[str] = []
    recipe = parse_recipe({"step": [{"do": "index", "table": "t.parquet", **options}]}, name="test")
    done = run(recipe, VERBS, folder=folder, note=notes.append)
    return done.steps[0].state, notes[0]


def test_a_store_is_loaded_once(folder: Path, url: str) -> None:
    assert go(folder, to=url)[0] == "done"
    receipt = json.loads((folder / receipt_path(url)).read_text())
    assert (receipt["store"], receipt["rows"]) == (url, 60)
    assert receipt["card"]["fingerprint"] == TABLE.fingerprint()
    assert go(folder, to=url)[0] == "skipped"
    # Loaded again by hand: the same table, at another time.
    index_to(TABLE, url, replace=True)
    assert go(folder, to=url)[0] == "skipped"


def test_what_the_store_lost_is_loaded_again(folder: Path, url: str) -> None:
    go(folder, to=url)
    open_store(url).drop()
    assert go(folder, to=url) == ("done", f"step 'index': done again, there is nothing at {url}")
    index_to(TABLE.take([*range(50)]), url)
    assert go(folder, to=url) == ("done", f"step 'index': done again, {url} holds another table")
    assert open_store(url).card().rows == 60
    (folder / receipt_path(url)).write_text("{}")
    assert "was changed" in go(folder, to=url)[1]
    assert go(folder, to=url)[0] == "skipped"


def test_a_load_that_was_cut_short_is_ended(folder: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from placevec.tasks import store_receipt

    go(folder, to=url)
    card = open_store(url).card()
    monkeypatch.setattr(store_receipt, "_card", lambda *_: replace(card, complete=False))
    assert "was cut short" in go(folder, to=url)[1]


def test_a_table_that_changed_is_loaded_again(folder: Path, url: str) -> None:
    go(folder, to=url)
    write_table(TABLE.take([*range(40)]), folder / "t.parquet", order="keep")
    assert go(folder, to=url) == ("done", "step 'index': done again, changed since: inputs")
    assert open_store(url).card().rows == 40


def test_a_trial_never_touches_what_others_search(folder: Path, url: str) -> None:
    go(folder, to=url)
    made = open_store(url).card()
    assert go(folder, to=url, test=10)[0] == "done"
    assert go(folder, to=url, test=10)[0] == "skipped"
    assert open_store(url).card() == made
    assert open_store(f"{url}-test").card().rows == 10
    assert (folder / receipt_path(url)).exists()
    assert (folder / receipt_path(url, 10)).exists()
    with pytest.raises(UsageError, match="kept for trials"):
        go(folder, to=f"{url}-test")


def test_a_server_that_cannot_be_asked_is_said(folder: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from placevec.tasks import store_receipt

    go(folder, to=url)

    def down(*_: object) -> None:
        raise DataError("localhost:6333 cannot be reached: start it")

    monkeypatch.setattr(store_receipt, "_card", down)
    with pytest.raises(DataError, match=r"^step 'index': localhost:6333 cannot be reached"):
        go(folder, to=url)


def test_a_dataset_in_the_folder_of_the_recipe(folder: Path) -> None:
    pytest.importorskip("lance")
    assert go(folder, to="lance://stores/t 1%.lance")[0] == "done"
    assert (folder / "stores" / "t 1%.lance").is_dir()
    assert (folder / "results" / "lance-t-1-.json").exists()
    assert go(folder, to="lance://stores/t 1%.lance")[0] == "skipped"
    for given in ("lance:///data/t.lance", "lance://s3://bucket/t.lance", "qdrant://h/t", "lance://"):
        assert within(folder, given) == given


def test_an_empty_address_leaves_an_index_beside_the_table(folder: Path) -> None:
    assert go(folder, to="", test="")[0] == "done"
    assert (folder / "t.index").is_dir()


def test_a_secret_is_nowhere_in_what_is_kept(folder: Path) -> None:
    name = receipt_path("postgresql://me:hunter2@h/db?table=places")
    assert name == "results/postgresql-places.json"


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"replace": True}, RecipeError, "replace, quantize and test go with to"),
        ({"test": 3}, RecipeError, "go with to"),
        ({"to": "qdrant://h/x", "kind": "flat"}, RecipeError, "leave out kind"),
        ({"to": "qdrant://h/x", "probes": 3}, RecipeError, "leave out probes"),
        ({"to": "places"}, UsageError, "given by its address"),
        ({"to": "qdrant://h/x", "test": 0}, RecipeError, "'test' is 0"),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        check_options({"table": "t.parquet", **options}, IndexOptions, "step 'index' (index)")
