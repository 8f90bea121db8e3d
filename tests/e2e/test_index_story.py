"""`placevec index` as a user meets it: made, used, killed on the way, brought up to date, damaged."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from commands import placevec
from conftest import make_table
from placevec.index import planner as planning
from placevec.index.planner import Planner
from placevec.table import open_table, write_table
from placevec.tasks.index import index_beside

pytest.importorskip("faiss")

ENV = {**os.environ, "OMP_NUM_THREADS": "1"}


def test_a_table_its_index_and_what_becomes_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "chips.parquet"
    first = make_table(4000, 16)
    write_table(first, path)
    printed, _ = placevec(tmp_path, "index", str(path), "--kind", "hnsw", "--quiet")
    assert json.loads(printed)["rows"] == 4000

    monkeypatch.setattr(planning, "EXACT_ROWS", 100)
    table = open_table(path)
    queries = make_table(30, 16, seed=5).vectors()
    index = index_beside(table)
    hits = Planner(table, index).search_many(queries, 5)
    truth = Planner(table).search_many(queries, 5)
    assert hits[0].plan.name == "ann-then-exact"
    assert np.mean([len(set(a.ids) & set(b.ids)) / 5 for a, b in zip(hits, truth, strict=True)]) > 0.95

    # The table grows; a search with the old index is refused, an update killed on the way leaves it as it was.
    write_table(first.append(make_table(3000, 16, seed=1, prefix="q", space=first.space)), path)
    before = {part.name: part.read_bytes() for part in (tmp_path / "chips.index").iterdir()}
    _, stale = placevec(tmp_path, "index", str(path), "--check", code=1)
    assert stale == (
        "placevec: the index of kind 'hnsw' knows 4,000 rows, the table has 7,000: bring it up to date with "
        "`placevec index TABLE --update`\n"
    )
    with subprocess.Popen(
        [sys.executable, "-m", "placevec", "index", str(path), "--update"], env=ENV, stderr=subprocess.DEVNULL
    ) as process:
        deadline = time.monotonic() + 60
        while process.poll() is None and not list(tmp_path.glob(".chips.index.part-*")):
            assert time.monotonic() < deadline
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    if process.returncode == -signal.SIGKILL:
        assert {part.name: part.read_bytes() for part in (tmp_path / "chips.index").iterdir()} == before
    placevec(tmp_path, "index", str(path), "--update", "--quiet")
    assert not list(tmp_path.glob(".chips.index.part-*"))
    placevec(tmp_path, "index", str(path), "--check")

    structure = tmp_path / "chips.index" / "index.faiss"
    structure.write_bytes(structure.read_bytes()[:-1000])
    _, broken = placevec(tmp_path, "index", str(path), "--check", code=1)
    assert broken.count("\n") == 1
    assert "were written: build it again with `placevec index TABLE`" in broken
