"""The verb `index`: a folder beside the table, named after it, found again by `index_beside`."""

import json
from pathlib import Path

import numpy as np
import pytest

from conftest import make_table
from placevec.cli.main import run
from placevec.errors import CheckpointError, StaleIndex, UsageError
from placevec.index.planner import Planner
from placevec.provenance import Space
from placevec.table import open_table, write_table
from placevec.tasks.index import index_beside, index_path, index_table, verify_index

pytest.importorskip("faiss")


SPACE = Space.asserted("indexed", 8)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_table(make_table(400, space=SPACE), tmp_path / "chips.parquet", order="keep")
    return tmp_path / "chips.parquet"


def test_an_index_beside_its_table(path: Path) -> None:
    assert index_beside(path) is None
    seen = []
    summary = index_table(path, kind="hnsw", m=8, progress=lambda *facts: seen.append(facts))
    assert summary.path == str(path.with_suffix(".index"))
    assert (summary.kind, summary.rows, summary.added, summary.removed, summary.rebuilt) == ("hnsw", 400, 400, 0, True)
    assert summary.bytes_a_row == round(summary.bytes / 400, 1)
    read_and_added = [(400, 400, {"step": "reading"}), (400, 400, {"step": "adding"})]
    assert seen == [*read_and_added, (0, 1, {"step": "measuring"}), (1, 1, {"step": "measuring"})]
    table = open_table(path)
    index = index_beside(table)
    assert index is not None
    assert index.table is table
    assert index.settings.m == 8
    hits = Planner(table, index).search(table.read().vectors()[5], 3)
    assert hits.ids[0] == "p00005"
    other = index_beside(str(path))
    assert other is not None
    assert other.check(table) is None


def test_a_dataset_in_a_folder_and_one_far_away(tmp_path: Path) -> None:
    write_table(make_table(50), tmp_path / "chips.lance")
    assert index_table(tmp_path / "chips.lance").path == str(tmp_path / "chips.index")
    found = index_beside(f"{tmp_path}/chips.lance/")
    assert found is not None
    assert found.num_rows == 50
    assert index_beside("s3://bucket/chips.lance") is None
    assert index_path("a.b/chips.v2.parquet") == Path("a.b/chips.v2.index")


def test_an_update_keeps_the_kind(path: Path) -> None:
    index_table(path, kind="ivf-sq8", probes=3)
    write_table(make_table(420, space=SPACE), path)
    with pytest.raises(StaleIndex, match="400 rows, the table has 420"):
        index_beside(path)
    with pytest.raises(UsageError, match="an update keeps kind, probes as it is"):
        index_table(path, kind="flat", probes=2, update=True)
    summary = index_table(path, update=True)
    assert (summary.kind, summary.rows, summary.added, summary.removed) == ("ivf-sq8", 420, 20, 0)
    assert index_beside(path).settings.probes == 3


def test_all_of_an_index_can_be_looked_at(path: Path) -> None:
    index_table(path, path.with_name("other.index"))
    found = verify_index(path, path.with_name("other.index"))
    assert found == {
        "path": str(path.with_name("other.index")),
        "kind": "flat",
        "rows": 400,
        "fingerprint": open_table(path).fingerprint(),
    }
    card = path.with_name("other.index") / "index.json"
    value = json.loads(card.read_text())
    value["files"]["vectors.npy"]["sha256"] = "0" * 64
    card.write_text(json.dumps(value))
    with pytest.raises(CheckpointError, match="sha256"):
        verify_index(path, path.with_name("other.index"))


def test_a_table_that_keeps_its_size_and_time_is_seen_through(path: Path) -> None:
    # What no opening can see, since the table is not read for it.
    index_table(path)
    card = path.with_suffix(".index") / "index.json"
    write_table(make_table(400, seed=8, space=SPACE), path, order="keep")
    value = json.loads(card.read_text())
    value["table"]["state"] = open_table(path).state
    card.write_text(json.dumps(value))
    assert index_beside(path) is not None
    with pytest.raises(StaleIndex, match="index it again"):
        verify_index(path)


def test_other_names_are_refused(path: Path) -> None:
    with pytest.raises(UsageError, match=r"the name of an index ends in \.index, as in chips\.index"):
        index_table(path, path)


def test_the_command(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["index", str(path), "--kind", "ivf-sq8", "--cells", "4", "--quiet"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["kind"], record["rows"]) == ("ivf-sq8", 400)
    table = make_table(400, space=SPACE)
    write_table(table.take(np.arange(390)), path)
    assert run(["index", str(path), "--check"]) == 1
    assert "the table has 390" in capsys.readouterr().err
    assert run(["index", str(path), "--update", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["removed"] == 10
    assert run(["index", str(path), "--check"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 390
    assert run(["index", str(path), "--check", "--update"]) == 2
    assert run(["index", str(path), "--ef", "9"]) == 2
    assert "ef means nothing to an index of the kind 'flat'" in capsys.readouterr().err
    assert run(["index", str(path.with_name("none.parquet"))]) == 1
