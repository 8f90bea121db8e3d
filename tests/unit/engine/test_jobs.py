from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import make_table
from placevec.engine.jobs import Job, Shard, job_folder, plan_shards
from placevec.engine.locks import Lock
from placevec.engine.work import Done, Spec
from placevec.errors import JobError, SchemaError, UsageError
from placevec.provenance import Space
from placevec.table import EmbeddingTable, Skipped, open_table, read_skipped, read_table

TABLE = make_table(100, space=Space.asserted("t", 8))
FORMS = ["t.parquet", "t.lance"]


def job_for(out: Path, shards: list[Shard] | None = None, **inputs: object) -> Job:
    shards = plan_shards(100, 30) if shards is None else shards
    return Job(job_folder(out), {"n": 100, **inputs}, shards, "lance" if out.suffix == ".lance" else "parquet")


def done(shard: Shard, drop: int = 0) -> Done:
    """The first `drop` rows of the shard skipped, the others embedded."""
    part = TABLE.take(shard.positions)
    gone = [Skipped(name, "chip", "sea", b"x") for name in part.ids[:drop]]
    return Done(part.take(np.arange(drop, len(part))), gone)


def commit(job: Job, out: Path, dtype: str | None = None) -> object:
    return job.commit(out, TABLE.take(np.empty(0, dtype=np.int64)), TABLE.ids, dtype)


@given(st.integers(0, 5000), st.integers(1, 700))
def test_shards_hold_each_position_once_in_order(n: int, size: int) -> None:
    shards = plan_shards(n, size)
    assert [i for shard in shards for i in shard.rows] == list(range(n))
    assert all(1 <= len(shard) <= size for shard in shards)
    names = [shard.name for shard in shards]
    assert names == sorted(set(names))
    assert [shard.to_json() for shard in plan_shards(n, size)] == [shard.to_json() for shard in shards]


def test_a_shard_needs_rows() -> None:
    with pytest.raises(JobError, match="at least 1"):
        plan_shards(10, 0)


@pytest.mark.parametrize("name", FORMS)
def test_rows_and_skipped_rows_become_a_table(tmp_path: Path, name: str) -> None:
    out = tmp_path / name
    job = job_for(out)
    with job.open():
        for shard in reversed(job.shards):
            job.add(job.fragments.write(shard.name, done(shard, drop=2)))
        assert job.manifest()["embedded"] == 92
        found = commit(job, out)
    table = read_table(out)
    assert (found.rows, found.skipped, found.reasons) == (92, 8, {"chip: sea": 8})
    kept = [name for shard in job.shards for name in TABLE.ids[shard.positions][2:]]
    assert list(table.ids) == kept
    assert {row.id for row in read_skipped(out)} == set(TABLE.ids) - set(kept)
    assert table.meta.normalized
    assert not job.folder.exists()


@pytest.mark.parametrize("name", FORMS)
def test_shards_of_any_rows(tmp_path: Path, name: str) -> None:
    out = tmp_path / name
    parts = np.array_split(np.random.default_rng(0).permutation(100), 4)
    job = job_for(out, [Shard(f"cell-{i}", rows, key=f"85{i}") for i, rows in enumerate(parts)])
    with job.open():
        for shard in job.shards:
            job.add(job.fragments.write(shard.name, done(shard)))
        commit(job, out)
    assert open_table(out).fingerprint() == TABLE.fingerprint()


@pytest.mark.parametrize("name", FORMS)
def test_int8_is_coded_by_one_scale(tmp_path: Path, name: str) -> None:
    out = tmp_path / name
    job = Job(job_folder(out), {}, plan_shards(100, 30))
    with job.open():
        for shard in job.shards:
            job.add(job.fragments.write(shard.name, done(shard)))
        commit(job, out, "int8")
    expected = EmbeddingTable.of(TABLE.places(), TABLE.vectors(), TABLE.space, dtype="int8")
    assert open_table(out).fingerprint() == expected.fingerprint()
    assert open_table(out).meta.codec == expected.meta.codec


@pytest.mark.parametrize("name", FORMS)
def test_a_commit_needs_all_shards(tmp_path: Path, name: str) -> None:
    job = job_for(tmp_path / name)
    with job.open():
        job.add(job.fragments.write("shard-00000", done(job.shards[0])))
        with pytest.raises(JobError, match=r"3 of 4 shards are not done \(shard-00001"):
            commit(job, tmp_path / name)
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("fault", ["lost", "strange", "twice", "both", "order"])
def test_a_commit_proves_that_every_place_is_accounted_for(tmp_path: Path, name: str, fault: str) -> None:
    out = tmp_path / name
    old = make_table(10, space=TABLE.space, prefix="old")
    from placevec.table import write_table

    write_table(old, out)
    job = job_for(out)
    with job.open():
        for shard in job.shards[1:]:
            job.add(job.fragments.write(shard.name, done(shard)))
        table, skipped = done(job.shards[0], drop=1)
        if fault == "lost":
            table = table.take(np.arange(5))
        elif fault == "strange":
            table = make_table(29, space=TABLE.space, prefix="x")
        elif fault == "twice":
            table = table.take(np.r_[0, np.arange(len(table))])
        elif fault == "order":
            table = table.take(np.arange(len(table))[::-1])
        else:
            table = TABLE.take(job.shards[0].positions)
        # Parquet notices repeated ids already when the fragment is written.
        with pytest.raises((JobError, SchemaError), match="shard-00000 has 30 places|ids repeat"):
            job.add(job.fragments.write("shard-00000", Done(table, skipped)))
            commit(job, out)
    assert open_table(out).fingerprint() == old.fingerprint()
    assert not [path for path in tmp_path.iterdir() if ".part-" in path.name]


@pytest.mark.parametrize(
    ("shards", "message"),
    [
        ([Shard("a", range(100)), Shard("b", range(10))], "stands in 2 shards"),
        ([Shard("a", range(90))], "position 90 stands in 0 shards"),
        ([Shard("a", range(101))], "position 100 of 100"),
    ],
)
def test_a_plan_holds_each_place_once(tmp_path: Path, shards: list[Shard], message: str) -> None:
    out = tmp_path / "t.parquet"
    job = job_for(out, shards)
    with job.open():
        for shard in shards:
            positions = shard.positions[shard.positions < 100]
            job.add(job.fragments.write(shard.name, Done(TABLE.take(positions), [])))
        with pytest.raises(JobError, match=message):
            commit(job, out)


@pytest.mark.parametrize("name", FORMS)
def test_a_fragment_damaged_after_it_was_looked_at(tmp_path: Path, name: str) -> None:
    out = tmp_path / name
    job = job_for(out)
    with job.open():
        for shard in job.shards:
            job.add(job.fragments.write(shard.name, done(shard)))
        path = job.folder / next(iter(job.records["shard-00002"].files))
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(JobError, match="shard-00002.*damaged.*again"):
            commit(job, out)
    assert not out.exists()
    with job.open():
        assert [shard.name for shard in job.todo()] == ["shard-00002"]


def test_a_fragment_exchanged_for_another_is_noticed(tmp_path: Path) -> None:
    out = tmp_path / "t.parquet"
    job = job_for(out)
    with job.open():
        for shard in job.shards:
            job.add(job.fragments.write(shard.name, done(shard)))
        path = job.folder / next(iter(job.records["shard-00002"].files))
        part = done(job.shards[2]).table
        from placevec.table import write_table

        write_table(part.with_vectors(-part.vectors(), part.space), path, order="keep")
        with pytest.raises(JobError, match="not those that were written"):
            commit(job, out)
    assert not out.exists()


def test_a_kill_between_commit_and_clean_up_commits_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import lance

    out = tmp_path / "t.lance"
    for _ in range(2):
        job = job_for(out)
        with job.open(), monkeypatch.context() as patch:
            for shard in job.todo():
                job.add(job.fragments.write(shard.name, done(shard)))
            patch.setattr("placevec.engine.jobs.remove", lambda path: None)
            commit(job, out)
        assert job.folder.exists()
    assert len(lance.dataset(str(out)).versions()) == 1


def test_the_key_depends_on_inputs_shards_and_form(tmp_path: Path) -> None:
    keys = {
        job_for(tmp_path / "t.parquet").key,
        job_for(tmp_path / "t.lance").key,
        job_for(tmp_path / "t.parquet", plan_shards(100, 20)).key,
        job_for(tmp_path / "t.parquet", [Shard("a", np.arange(100))]).key,
        job_for(tmp_path / "t.parquet", [Shard("a", np.arange(100)[::-1])]).key,
        job_for(tmp_path / "t.parquet", weights="00").key,
    }
    assert len(keys) == 6
    assert job_for(tmp_path / "elsewhere" / "t.parquet").key in keys


def test_the_folder_of_another_job_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "t.parquet"
    job, other = job_for(out, weights="00", seed=1), job_for(out, weights="11", seed=1)
    with job.open():
        job.add(job.fragments.write("shard-00000", done(job.shards[0])))
    with (
        pytest.raises(JobError, match=r"t\.parquet\.job holds the unfinished job .*different: weights\).*--restart"),
        other.open(),
    ):
        pass
    with job.open():
        assert len(job.todo()) == 3
    with other.open(restart=True):
        assert len(other.todo()) == 4
    assert {path.name for path in other.folder.iterdir()} == {"job.json", "lock"}


def test_an_unreadable_job_file_is_refused(tmp_path: Path) -> None:
    job = job_for(tmp_path / "t.parquet")
    with job.open():
        pass
    (job.folder / "job.json").write_text("{")
    with pytest.raises(JobError, match="unreadable.*--restart"), job.open():
        pass


def test_records_of_another_job_do_not_count(tmp_path: Path) -> None:
    job = job_for(tmp_path / "t.parquet")
    with job.open():
        job.fragments.write("shard-00000", done(job.shards[0]))
        path = job.folder / "shard-00000.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "key": "another"}))
    with job.open():
        assert len(job.todo()) == 4


def test_two_drivers_exclude_each_other(tmp_path: Path) -> None:
    job = job_for(tmp_path / "t.parquet")
    refused = pytest.raises(JobError, match=r"the job of t\.parquet is being worked on by process \d+ on")
    with job.open(), refused, job.open():
        pass
    with job.open():
        pass


def test_a_stale_lock_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text('{"pid": 1, "host": "gone"}')
    with Lock(tmp_path / "lock"):
        with pytest.raises(JobError, match="wait for it"), Lock(tmp_path / "lock"):
            pass
        (tmp_path / "lock").write_text("?")
        with pytest.raises(JobError, match="another process"), Lock(tmp_path / "lock"):
            pass
    with Lock(tmp_path / "lock"):
        pass


def test_a_lock_whose_folder_was_removed_is_another_lock(tmp_path: Path) -> None:
    path = tmp_path / "job" / "lock"
    with Lock(path):
        path.unlink()
        path.parent.rmdir()
        with Lock(path):
            pass


def test_a_spec_builds_what_it_says() -> None:
    spec = Spec("builtins:dict", {"a": Spec("builtins:list"), "b": 2})
    assert spec.build() == {"a": [], "b": 2}
    assert json.dumps(spec.to_json())
    for wrong in ("builtins:nothing", "no.such:thing", "nothing"):
        with pytest.raises(UsageError, match="module:function"):
            Spec(wrong).build()
