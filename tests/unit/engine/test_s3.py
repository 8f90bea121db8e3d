"""Jobs and tables in object storage, against a server on this machine."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedding_fakes import FakeEncoder, FakeSource
from parted_fakes import FlagEncoder, PartedFake
from placevec.engine import leases
from placevec.engine.jobs import Job, job_folder, plan_shards
from placevec.engine.leases import Lease
from placevec.errors import FormatError, JobError, SchemaError, UsageError
from placevec.objects import Remote, fetched, is_remote, located
from placevec.objects import client as clients
from placevec.table import filter_of, open_table, read_skipped, read_table, write_table
from placevec.tasks.embed import embed
from s3_server import BUCKET, Server, keys, running

ROWS = {"batch": 32, "shard_rows": 64}
FORMS = ["t.parquet", "t.lance"]
HOME = f"s3://{BUCKET}/deep/folder"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(clients, "RETRIES", 1)
    with running(monkeypatch) as found:
        yield found


def stop_at(rows: int) -> Any:
    def stop(done: int, total: int, counts: object) -> None:
        if done >= rows:
            raise KeyboardInterrupt

    return stop


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_a_table_in_a_bucket_is_that_of_a_disk(server: Server, tmp_path: Path, name: str, dtype: str) -> None:
    here = embed(PartedFake(300), FlagEncoder(), tmp_path / name, dtype=dtype, **ROWS)
    out = f"{HOME}/{name}"
    there = embed(PartedFake(300), FlagEncoder(), out, dtype=dtype, **ROWS)
    assert (there.fingerprint, there.rows, there.skipped) == (here.fingerprint, here.rows, here.skipped)
    assert there.flagged == here.flagged
    assert str(there.out) == there.to_record()["out"] == out
    table = read_table(out).validate()
    assert table.fingerprint() == open_table(out).fingerprint() == here.fingerprint
    assert list(table.ids) == list(read_table(tmp_path / name).ids)
    assert read_skipped(out) == read_skipped(tmp_path / name)
    assert len(table) + len(read_skipped(out)) == 300
    assert not [key for key in keys() if ".job" in key or "part-" in key]


@pytest.mark.parametrize("name", FORMS)
def test_parts_of_a_table_are_read(server: Server, tmp_path: Path, name: str) -> None:
    out = f"{HOME}/{name}"
    embed(FakeSource(400), FakeEncoder(), out, **ROWS)
    embed(FakeSource(400), FakeEncoder(), tmp_path / name, **ROWS)
    there, here = open_table(out), open_table(tmp_path / name)
    box = filter_of(bbox=(-9, 36, -3, 40))
    assert list(there.read(box).ids) == list(here.read(box).ids)
    rows = np.array([5, 1, 200])
    np.testing.assert_array_equal(there.take(rows).vectors(), here.take(rows).vectors())
    assert (there.num_rows, there.unlocated) == (here.num_rows, here.unlocated)
    before = there.state
    assert open_table(out).state == before
    embed(FakeSource(200), FakeEncoder(), out, **ROWS)
    assert open_table(out).state != before
    assert open_table(out).num_rows < 200


def test_tables_are_written_and_workers_write_too(server: Server, tmp_path: Path) -> None:
    here = embed(FakeSource(400), FakeEncoder(), tmp_path / "t.parquet", **ROWS)
    there = embed(FakeSource(400).spec(), FakeEncoder().spec(), f"{HOME}/t.lance", workers=2, **ROWS)
    assert there.fingerprint == here.fingerprint
    for name in FORMS:
        write_table(read_table(tmp_path / "t.parquet"), f"{HOME}/copy-{name}")
        assert open_table(f"{HOME}/copy-{name}").fingerprint() == here.fingerprint


@pytest.mark.parametrize("name", FORMS)
def test_ctrl_c_keeps_what_is_done(server: Server, tmp_path: Path, name: str) -> None:
    whole = embed(FakeSource(400), FakeEncoder(), tmp_path / name, **ROWS)
    out = f"{HOME}/{name}"
    with pytest.raises(KeyboardInterrupt, match="2 of 7 shards"):
        embed(FakeSource(400), FakeEncoder(), out, progress=stop_at(128), **ROWS)
    assert not located(out).exists()
    assert not [key for key in keys() if key.endswith("/lock")]
    with pytest.raises(JobError, match=r"different: encoder\).*--restart"):
        embed(FakeSource(400), FakeEncoder(seed=3), out, **ROWS)
    again = embed(FakeSource(400), FakeEncoder(), out, **ROWS)
    assert (again.resumed, again.fingerprint) == (2, whole.fingerprint)
    with pytest.raises(KeyboardInterrupt):
        embed(FakeSource(400), FakeEncoder(seed=3), out, progress=stop_at(128), **ROWS)
    assert embed(FakeSource(400), FakeEncoder(), out, restart=True, **ROWS).resumed == 0


@pytest.mark.parametrize("name", FORMS)
def test_a_server_that_goes_away_half_way(server: Server, tmp_path: Path, name: str) -> None:
    whole = embed(FakeSource(400), FakeEncoder(), tmp_path / name, **ROWS)
    out = f"{HOME}/{name}"

    def stop(done: int, total: int, counts: object) -> None:
        if done >= 192:
            server.stop()

    with pytest.raises(JobError, match=rf"s3://.*{server.url} cannot be reached: .*run the same again"):
        embed(FakeSource(400), FakeEncoder(), out, progress=stop, **ROWS)
    server.start()
    again = embed(FakeSource(400), FakeEncoder(), out, **ROWS)
    assert (again.resumed, again.fingerprint) == (3, whole.fingerprint)
    assert again.rows + again.skipped == 400


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("before", [False, True])
def test_a_server_that_goes_away_at_the_commit(
    server: Server, monkeypatch: pytest.MonkeyPatch, name: str, before: bool
) -> None:
    out = f"{HOME}/{name}"
    old = embed(FakeSource(200, seed=4), FakeEncoder(), out, **ROWS).fingerprint if before else ""
    commit = Job.commit

    def gone(self: Job, *args: Any) -> Any:
        check = self._lock.check

        def away() -> None:
            check()
            server.stop()

        monkeypatch.setattr(self._lock, "check", away)
        return commit(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Job, "commit", gone)
        with pytest.raises(JobError, match="cannot be reached"):
            embed(FakeSource(400), FakeEncoder(), out, **ROWS)
    server.start()
    if before:
        assert open_table(out).fingerprint() == old
    else:
        assert not located(out).exists()
    again = embed(FakeSource(400), FakeEncoder(), out, **ROWS)
    assert again.resumed == 7
    assert open_table(out).fingerprint() == again.fingerprint


@pytest.mark.parametrize("name", FORMS)
def test_objects_that_were_cut_changed_or_lost_are_done_again(server: Server, tmp_path: Path, name: str) -> None:
    whole = embed(FakeSource(400), FakeEncoder(), tmp_path / name, **ROWS)
    out = f"{HOME}/{name}"
    with pytest.raises(KeyboardInterrupt):
        embed(FakeSource(400), FakeEncoder(), out, progress=stop_at(256), **ROWS)
    suffix = Path(name).suffix
    parts = [p for p in job_folder(out).iterdir() if p.suffix == suffix and "skipped" not in p.name]
    assert len(parts) == 4
    parts[0].write_bytes(parts[0].read_bytes()[:-100])
    flipped = bytearray(parts[1].read_bytes())
    flipped[len(flipped) // 2] ^= 1
    parts[1].write_bytes(bytes(flipped))
    parts[2].remove()
    again = embed(FakeSource(400), FakeEncoder(), out, **ROWS)
    assert (again.resumed, again.fingerprint) == (1, whole.fingerprint)


def test_an_upload_that_is_cut_leaves_nothing(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    big = tmp_path / "big"
    big.write_bytes(np.random.default_rng(0).bytes(12 << 20))
    goal = located(f"{HOME}/big")
    assert isinstance(goal, Remote)
    goal.write_bytes(b"older")
    monkeypatch.setattr("placevec.objects.remote.PIECE_BYTES", 5 << 20)
    threading.Timer(0.05, server.stop).start()
    with pytest.raises(JobError, match="cannot be reached"):
        for _ in range(50):
            goal.upload(big)
            goal.write_bytes(b"older")
    server.start()
    assert goal.size in (5, 12 << 20)  # the older one or the new one, never half of one
    goal.upload(big)
    assert goal.read_bytes() == big.read_bytes()


def test_a_commit_proves_completeness(server: Server) -> None:
    out = f"{HOME}/t.lance"
    job = Job(job_folder(out), {}, plan_shards(100, 50), "lance")
    from placevec.engine.embedding import EmbedWork

    work = EmbedWork(FakeSource(100), FakeEncoder())
    ids = work.places.ids[work.order]
    with job.open():
        for shard in job.shards:
            positions = shard.positions[:-1] if shard.name == "shard-00001" else shard.positions
            job.add(job.fragments.write(shard.name, work(positions)))
        template = work(np.empty(0, dtype=np.int64)).table
        with pytest.raises(JobError, match=r"shard-00001 has 50 places, but .*lost"):
            job.commit(out, template, ids)
    assert not located(out).exists()


def test_two_drivers_exclude_each_other(server: Server) -> None:
    place = located(f"{HOME}/lock")
    assert isinstance(place, Remote)
    refused = pytest.raises(JobError, match=r"the job is being worked on by process \d+ on .*lock s3://")
    with Lease(place, "the job"), refused, Lease(place, "the job"):
        pass
    assert not place.exists()
    with Lease(place, "the job"):
        pass


def test_a_lease_of_another_machine(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "LEASE_S", 1.0)
    monkeypatch.setattr(leases, "RENEW_S", 0.2)
    place = located(f"{HOME}/lock")
    assert isinstance(place, Remote)
    with Lease(place, "the job") as held:
        held._mine["machine"] = "another one"
        time.sleep(0.5)  # renewed with that name: who looks cannot tell whether its process lives
        with pytest.raises(JobError, match="is being worked on"), Lease(place, "the job"):
            pass
        held.check()
    for left in (b'{"pid": 1, "host": "gone", "machine": "other"}', b"?"):
        place.write_bytes(left)
        began = time.monotonic()
        with Lease(place, "the job") as held:
            assert time.monotonic() - began > 0.9
            held.check()
        assert not place.exists()


def test_a_driver_that_was_held_up_commits_nothing(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "RENEW_S", 60.0)
    place = located(f"{HOME}/lock")
    assert isinstance(place, Remote)
    with Lease(place, "the job") as held:
        place.write_bytes(b'{"pid": 7, "host": "other", "token": "x"}')  # taken over meanwhile
        with pytest.raises(JobError, match="taken over by process 7 on other"):
            held.check()
    assert place.exists()  # the lease of the other one


def test_a_lease_of_a_killed_process_is_taken_at_once(server: Server) -> None:
    place = located(f"{HOME}/lock")
    assert isinstance(place, Remote)
    with Lease(place) as held:
        mine = dict(held._mine)
    import json

    for dead in ({"pid": 2**22 + 1}, {"token": "given up"}, {"started": "1", "pid": 1}):
        place.write_bytes(json.dumps({**mine, **dead}).encode())
        began = time.monotonic()
        with Lease(place):
            assert time.monotonic() - began < 5


@pytest.mark.parametrize("name", FORMS)
def test_what_is_refused_is_said_in_one_line(server: Server, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    source, encoder = FakeSource(50), FakeEncoder()
    with pytest.raises(UsageError, match=r"has no bucket 'absent': create it"):
        embed(source, encoder, f"s3://absent/{name}", **ROWS)
    with pytest.raises(FormatError, match="no such"):
        open_table(f"{HOME}/{name}")
    with pytest.raises((FormatError, UsageError), match="no such|no bucket"):
        open_table(f"s3://absent/{name}")
    for wrong in ("s3://", f"s3://{BUCKET}", f"s3://{BUCKET}/", f"gs://{BUCKET}/{name}"):
        with pytest.raises(UsageError, match="s3://BUCKET/NAME"):
            located(wrong)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(JobError, match=r"127\.0\.0\.1:1 cannot be reached"):
        embed(source, encoder, f"{HOME}/{name}", **ROWS)


def test_refused_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    from http.server import BaseHTTPRequestHandler, HTTPServer

    class Refuses(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            text = b"<Error><Code>InvalidAccessKeyId</Code><Message>unknown key</Message></Error>"
            self.send_response(403)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            pass

    pytest.importorskip("obstore")
    strict = HTTPServer(("127.0.0.1", 0), Refuses)
    threading.Thread(target=strict.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{strict.server_port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "secret-key-id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret")
    with pytest.raises(UsageError, match=r"refuses these credentials \(InvalidAccessKeyId\)") as raised:
        embed(FakeSource(50), FakeEncoder(), f"{HOME}/t.parquet", **ROWS)
    assert "secret-key-id" not in str(raised.value)
    assert "very-secret" not in str(raised.value)
    strict.shutdown()
    strict.server_close()


def test_no_credentials() -> None:
    error = OSError("Error performing PUT http://169.254.169.254/latest/api/token in 1ms")
    with pytest.raises(UsageError, match="no credentials: set AWS_ACCESS_KEY_ID"), clients.told(f"{HOME}/x"):
        raise error


def test_ids_repeat_in_a_bucket(server: Server, tmp_path: Path) -> None:
    table = read_table_twice(tmp_path)
    for name in FORMS:
        with pytest.raises(SchemaError, match="ids repeat"):
            write_table(table, f"{HOME}/{name}", order="keep")
        assert keys() == []


def read_table_twice(tmp_path: Path) -> Any:
    embed(FakeSource(50), FakeEncoder(), tmp_path / "t.parquet")
    table = read_table(tmp_path / "t.parquet")
    return table.take(np.r_[np.arange(10), 0])


def test_places_in_words() -> None:
    assert is_remote("s3://a/b")
    assert is_remote(Path("s3://a/b"))  # which makes one slash of two
    assert not is_remote("a/s3/b")
    place = located(Path("s3://a/b/t.lance"))
    assert place == Remote("a", "b/t.lance")
    assert (str(place), place.name, place.stem, place.suffix) == ("s3://a/b/t.lance", "t.lance", "t", ".lance")
    assert str(place.parent / "x") == "s3://a/b/x"
    assert str(Remote("a", "t").with_name("u")) == "s3://a/u"
    assert str(job_folder("s3://a/b/t.lance")) == "s3://a/b/.t.lance.job"


def test_copies_are_kept_until_the_object_changes(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = located(f"{HOME}/places.parquet")
    assert isinstance(place, Remote)
    with pytest.raises(FormatError, match="no such object"):
        fetched(place, tmp_path)
    place.write_bytes(b"one")
    first = fetched(str(place), tmp_path)
    assert (first.name, first.read_bytes()) == ("places.parquet", b"one")
    with monkeypatch.context() as patch:
        patch.setattr(Remote, "download", None)
        assert fetched(place, tmp_path) == first
    place.write_bytes(b"other")
    assert fetched(place, tmp_path).read_bytes() == b"other"
    assert not first.exists()
    assert fetched(tmp_path / "local") == tmp_path / "local"
