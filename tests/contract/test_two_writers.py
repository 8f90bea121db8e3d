"""The contract of a job with two writers of which one is killed: every place is accounted for, one commit."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from embedding_fakes import FakeEncoder, FakeSource
from placevec.engine.embedding import EmbedWork
from placevec.engine.jobs import Job, job_folder, plan_shards
from placevec.engine.local import LocalEngine
from placevec.errors import FormatError
from placevec.table import EmbeddingTable, open_table, read_skipped, read_table, write_table

TESTS = Path(__file__).parents[1]
N, SHARD_ROWS = 768, 64


def writer(job: Job, first: int) -> subprocess.Popen[str]:
    arguments = [str(job.folder), job.key, job.form, str(N), str(SHARD_ROWS), str(first)]
    return subprocess.Popen(
        [sys.executable, TESTS / "fragment_writer.py", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "FAKE_PAUSE": "0.02"},
    )


class Reader(threading.Thread):
    """Opens the table again and again, and keeps what it saw: fingerprints, or "nothing"."""

    def __init__(self, out: Path) -> None:
        super().__init__(daemon=True)
        self.out = out
        self.seen: list[str] = []
        self.trouble: list[BaseException] = []
        self.stop = threading.Event()

    def run(self) -> None:
        while not self.stop.is_set():
            try:
                found = open_table(self.out).fingerprint()
            except FormatError:
                found = "nothing"
            except BaseException as error:
                self.trouble.append(error)
                return
            if not self.seen or self.seen[-1] != found:
                self.seen.append(found)
            time.sleep(0.002)


@pytest.mark.parametrize("name", ["t.parquet", "t.lance"])
@pytest.mark.parametrize("before", ["nothing", "older"])
@pytest.mark.parametrize("round", range(2))
def test_two_writers_of_which_one_is_killed(tmp_path: Path, name: str, before: str, round: int) -> None:
    rng = random.Random(f"{name} {before} {round}")
    out = tmp_path / name
    source, encoder = FakeSource(N), FakeEncoder()
    work = EmbedWork(source, encoder, batch=32)
    ids = source.places().ids[work.order]
    template = work(np.empty(0, dtype=np.int64)).table
    old = "nothing"
    if before == "older":
        older = EmbeddingTable.of(source.places(), np.ones((N, 4), dtype=np.float32), FakeEncoder(4).space)
        write_table(older, out)
        old = open_table(out).fingerprint()
    shards = plan_shards(N, SHARD_ROWS)
    job = Job(job_folder(out), {"places": N}, shards, "lance" if out.suffix == ".lance" else "parquet")
    reader = Reader(out)
    reader.start()
    with job.open():  # the first driver
        killed, other = writer(job, 0), writer(job, 1)
        assert killed.stdout is not None
        assert killed.stdout.readline() == "ready\n"
        time.sleep(rng.uniform(0.02, 0.2))
        killed.kill()
        killed.communicate()
        assert other.wait(60) == 0
        other.communicate()
    with job.open():  # the next one finds what was left
        done = {shard.name for shard in shards} - {shard.name for shard in job.todo()}
        assert done >= {shard.name for shard in shards[1::2]}
        assert len(done) < len(shards), "the writer was killed too late to say anything"
        LocalEngine().run(job, work)
        assert reader.seen == [old]
        committed = job.commit(out, template, ids)
    time.sleep(0.05)
    reader.stop.set()
    reader.join(30)
    assert not reader.trouble, reader.trouble
    assert {old, committed.fingerprint} >= set(reader.seen) - {"nothing"}
    if name.endswith(".parquet") or before == "older":
        assert len(reader.seen) <= 2

    table, skipped = read_table(out).validate(), read_skipped(out)
    assert (len(table), len(skipped)) == (committed.rows, committed.skipped)
    assert len(table) + len(skipped) == N
    gone = {row.id for row in skipped}
    assert list(table.ids) == [name for name in ids if name not in gone]
    np.testing.assert_array_equal(table.vectors(), work(np.arange(N)).table.vectors())
    assert table.fingerprint() == committed.fingerprint
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "t.skipped.parquet"])
    if name.endswith(".lance"):
        import lance

        versions = len(lance.dataset(str(out)).versions())
        assert versions == (2 if before == "older" else 1)
        files = {file.path for part in lance.dataset(str(out)).get_fragments() for file in part.data_files()}
        orphans = {path.name for path in (out / "data").iterdir()} - files
        assert len(orphans) == (1 if before == "older" else 0)  # the file of the older version
