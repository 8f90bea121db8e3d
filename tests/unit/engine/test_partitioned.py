"""Jobs whose places are not all in memory, and the columns that an encoder adds."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedding_fakes import FakeEncoder
from parted_fakes import FlagEncoder, PartedFake, Stretch, images, made_places, ones
from placevec.engine.embedding import EmbedWork
from placevec.engine.jobs import Job, job_folder, plan_parts
from placevec.engine.shards import Shard, check_plan
from placevec.errors import JobError, SchemaError, UsageError
from placevec.sources.base import ArraySource, PartedSource, Partitioned
from placevec.table import open_table, read_skipped, read_table
from placevec.table.stored_places import PlacesSink, StoredPlaces
from placevec.table.unique import UniqueIds
from placevec.tasks.embed import embed

ROWS = {"batch": 32, "shard_rows": 64}
FORMS = ["t.parquet", "t.lance"]


@given(st.lists(st.integers(0, 300), max_size=30), st.integers(1, 100))
def test_shards_never_cross_the_border_of_a_part(sizes: list[int], shard_rows: int) -> None:
    ends = np.cumsum([0, *sizes]).tolist()
    parts = [Stretch(str(i), a, b, f"k{i}") for i, (a, b) in enumerate(pairwise(ends))]
    shards = plan_parts(parts, shard_rows)
    assert [i for shard in shards for i in shard.rows] == list(range(ends[-1]))
    assert all(1 <= len(shard) <= shard_rows for shard in shards)
    for shard in shards:
        (home,) = [part for part in parts if part.start <= shard.rows[0] < part.stop]
        assert shard.rows[-1] < home.stop
        assert shard.key == home.key
    check_plan(shards, ends[-1])
    assert [s.to_json() for s in plan_parts(parts, shard_rows)] == [s.to_json() for s in shards]


@given(st.integers(1, 60), st.data())
def test_plans_are_judged_as_by_counting(n: int, data: st.DataObject) -> None:
    cuts = data.draw(st.lists(st.tuples(st.integers(-1, n), st.integers(0, n + 1)), min_size=1, max_size=5))
    shards = [Shard(str(i), range(a, b)) for i, (a, b) in enumerate(cuts)]
    counted = np.zeros(n + 2, dtype=int)  # position -1 stands last
    for a, b in cuts:
        for position in range(a, b):
            counted[position] += 1
    if (counted[:n] == 1).all() and not counted[n:].any():
        check_plan(shards, n)
    else:
        with pytest.raises(JobError, match="position"):
            check_plan(shards, n)


def test_a_plan_of_many_places_takes_no_memory() -> None:
    n = 10**12
    shards = plan_parts([Stretch("a", 0, n // 2, ""), Stretch("b", n // 2, n, "")], n // 10)
    check_plan(shards, n)
    with pytest.raises(JobError, match=f"position {n} stands in 0 shards"):
        check_plan(shards, n + 1)


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_places_that_are_read_by_parts(tmp_path: Path, name: str, dtype: str) -> None:
    source = PartedFake(1000)
    assert isinstance(source, Partitioned)
    summary = embed(source, FakeEncoder(), tmp_path / name, dtype=dtype, **ROWS)
    table, skipped = read_table(tmp_path / name).validate(), read_skipped(tmp_path / name)
    assert source.largest <= 64
    assert summary.rows + summary.skipped == summary.places == 1000
    ids = made_places(0, 1000).ids
    gone = [row.id for row in skipped]
    assert list(table.ids) == [i for i in ids if i not in set(gone)]  # in the order of the file
    assert gone == sorted(gone)
    assert {row.stage for row in skipped} == {"chip", "read", "encode"}
    assert all(row.geometry for row in skipped)
    assert summary.fingerprint == open_table(tmp_path / name).fingerprint()
    assert "elevation" in table.attributes
    assert not job_folder(tmp_path / name).exists()


def test_parts_and_the_whole_give_one_fingerprint(tmp_path: Path) -> None:
    # Batches of one place: of larger ones, each size may give other last bits.
    source = PartedFake(300, faults=False)
    parts = embed(source, FakeEncoder(), tmp_path / "a.parquet", batch=1)
    whole = embed(source.whole(), FakeEncoder(), tmp_path / "b.parquet", batch=1)
    assert parts.fingerprint == whole.fingerprint


def test_workers_read_their_parts_themselves(tmp_path: Path) -> None:
    one = embed(PartedFake(600), FlagEncoder(), tmp_path / "a.lance", **ROWS)
    two = embed(PartedFake(600).spec(), FlagEncoder().spec(), tmp_path / "b.parquet", workers=2, **ROWS)
    assert one.fingerprint == two.fingerprint
    assert one.flagged == two.flagged


@pytest.mark.parametrize("name", FORMS)
def test_an_interrupted_job_of_parts_goes_on(tmp_path: Path, name: str) -> None:
    def stop(done: int, total: int, counts: object) -> None:
        if done >= 300:
            raise KeyboardInterrupt

    whole = embed(PartedFake(700), FlagEncoder(), tmp_path / f"whole-{name}", **ROWS)
    with pytest.raises(KeyboardInterrupt):
        embed(PartedFake(700), FlagEncoder(), tmp_path / name, progress=stop, **ROWS)
    with pytest.raises(JobError, match="different: places"):
        embed(PartedFake(700, seed=5), FlagEncoder(), tmp_path / name, **ROWS)
    again = embed(PartedFake(700), FlagEncoder(), tmp_path / name, **ROWS)
    assert again.resumed >= 3
    assert (again.fingerprint, again.flagged, again.skipped) == (whole.fingerprint, whole.flagged, whole.skipped)


def test_ids_are_unique_across_parts(tmp_path: Path) -> None:
    class Repeats(PartedFake):
        def part(self, start: int, stop: int) -> Any:
            return ArraySource(made_places(start % 100, start % 100 + stop - start), {"image": images(start, stop)})

    for name in FORMS:
        with pytest.raises(SchemaError, match="ids repeat"):
            embed(Repeats(300, part_rows=50), FakeEncoder(), tmp_path / name, **ROWS)
        assert not (tmp_path / name).exists()


def test_a_file_that_changed_under_the_job_is_noticed(tmp_path: Path) -> None:
    class Short(PartedFake):
        def part(self, start: int, stop: int) -> Any:
            return super().part(start, max(start + 1, stop - 1))

    with pytest.raises(JobError, match=r"gave 63 places for rows 0 to 64.*--restart"):
        embed(Short(300), FakeEncoder(), tmp_path / "t.parquet", **ROWS)


def test_parts_without_places(tmp_path: Path) -> None:
    empty = embed(PartedFake(0), FlagEncoder(), tmp_path / "t.parquet")
    assert (empty.places, empty.rows, empty.flagged) == (0, 0, {"homogeneous": 0})
    assert {"homogeneous", "main_class", "main_share"} <= set(read_table(tmp_path / "t.parquet").attributes)
    work = EmbedWork(PartedFake(100), FlagEncoder())
    assert len(work(np.empty(0, dtype=np.int64)).table) == 0
    with pytest.raises(UsageError, match="never all at once"):
        _ = work.places


def test_memory_does_not_grow_with_the_job(tmp_path: Path) -> None:
    class Light(PartedFake):
        def part(self, start: int, stop: int) -> Any:
            return ArraySource(
                made_places(start, stop), {"image": np.full((stop - start, 3, 4, 4), start % 251, dtype=np.uint8)}
            )

    def peak(n: int) -> int:
        tracemalloc.start()
        embed(Light(n, 1000), FakeEncoder(dims=512), tmp_path / f"{n}.parquet", shard_rows=1000)
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    peak(1000)
    small, large = peak(4000), peak(16_000)
    assert large < small + (1 << 20), (small, large)


def test_stored_places_and_their_content(tmp_path: Path) -> None:
    with PlacesSink(tmp_path / "places.parquet") as sink:
        sink.write(made_places(0, 120), "a")
        sink.write(made_places(120, 200), "b")
    stored = StoredPlaces(tmp_path / "places.parquet")
    source = PartedSource(stored, ones, "ones")
    assert isinstance(source, Partitioned)
    assert source.fingerprint() == f"{stored.fingerprint()} ones"
    summary = embed(source, FakeEncoder(), tmp_path / "t.parquet", **ROWS)
    assert (summary.rows, summary.shards) == (200, 4)
    table = read_table(tmp_path / "t.parquet")
    assert list(table.ids) == list(made_places(0, 200).ids)
    two = embed(source, FakeEncoder(), tmp_path / "u.lance", workers=2, **ROWS)
    assert two.fingerprint == summary.fingerprint


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_flags_stand_beside_the_vectors_and_are_counted(tmp_path: Path, name: str, dtype: str) -> None:
    source, encoder = PartedFake(500), FlagEncoder()
    summary = embed(source, encoder, tmp_path / name, dtype=dtype, **ROWS)
    table = read_table(tmp_path / name).validate()
    rows = np.array([int(i[1:]) for i in table.ids])
    expected = encoder.flags({"image": images(0, 500)})
    np.testing.assert_array_equal(table.column("homogeneous"), expected["homogeneous"][rows])
    np.testing.assert_array_equal(table.column("main_class"), expected["main_class"][rows])
    np.testing.assert_allclose(table.column("main_share"), expected["main_share"][rows], rtol=1e-6)
    assert summary.flagged == {"homogeneous": int(expected["homogeneous"][rows].sum())}
    assert summary.flagged["homogeneous"] > 50
    assert any("flagged: homogeneous" in note for note in summary.notes)
    assert summary.to_record()["flagged"] == summary.flagged


def test_the_manifest_counts_flags(tmp_path: Path) -> None:
    work = EmbedWork(PartedFake(300), FlagEncoder(), 32)
    job = Job(job_folder(tmp_path / "t.parquet"), {}, plan_parts(PartedFake(300).parts(), 64), flags=("homogeneous",))
    with job.open():
        for shard in job.shards:
            job.add(job.fragments.write(shard.name, work(shard.positions)))
        manifest = job.manifest()
    assert manifest["embedded"] + manifest["skipped"] == 300
    assert manifest["flagged"]["homogeneous"] == sum(d["flagged"]["homogeneous"] for d in manifest["done"].values())


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"flag_columns": {"h3": pa.uint64()}}, UsageError, "name with a meaning of its own"),
        ({"flag_columns": {"elevation": pa.float64()}}, UsageError, "places have a column 'elevation'"),
        ({"flag_columns": {"other": pa.bool_()}}, JobError, r"declares the columns \['other'\] and gives"),
        ({"flags": lambda data: {"homogeneous": [True]}}, JobError, "1 values of 'homogeneous' for 32 places"),
        ({"flags": lambda data: {"homogeneous": ["x"] * len(data["image"])}}, JobError, "declared as bool"),
    ],
)
def test_wrong_flags_are_named(tmp_path: Path, changes: dict[str, Any], error: type, message: str) -> None:
    encoder = FlagEncoder()
    encoder.flag_columns = {"homogeneous": pa.bool_()}
    for name, value in changes.items():
        setattr(encoder, name, value)
    if "elevation" in encoder.flag_columns:
        encoder.flags = lambda data: {"elevation": np.ones(len(data["image"]))}
    with pytest.raises(error, match=message):
        embed(PartedFake(100, faults=False), encoder, tmp_path / "t.parquet", **ROWS)


@given(st.lists(st.lists(st.integers(0, 40), max_size=6), max_size=6))
def test_repeated_ids_are_found_in_any_order(pieces: list[list[int]]) -> None:
    unique = UniqueIds()
    for piece in pieces:
        unique.add(pa.array([str(i) for i in piece], type=pa.string()))
    flat = [i for piece in pieces for i in piece]
    if len(set(flat)) == len(flat):
        unique.check("t")
    else:
        with pytest.raises(SchemaError, match="ids repeat among the rows of t"):
            unique.check("t")


@pytest.mark.parametrize("repeat", [False, True])
def test_many_unsorted_ids_go_to_a_file(monkeypatch: pytest.MonkeyPatch, repeat: bool) -> None:
    monkeypatch.setattr("placevec.table.unique.HELD_ROWS", 10)
    unique = UniqueIds()
    for start in (51, 22, 43, 4) + ((21,) if repeat else ()):
        unique.add(pa.array([f"{i:03d}" for i in range(start, start + 60, 10)]))
    folder = Path(unique._folder.name)
    assert folder.exists()
    if repeat:
        with pytest.raises(SchemaError, match="ids repeat"):
            unique.check("t")
    else:
        unique.check("t")
    assert not folder.exists()
