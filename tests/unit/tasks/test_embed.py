from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from embedding_fakes import Broken, Deadly, FakeEncoder, FakeSource
from placevec.engine.jobs import job_folder
from placevec.engine.local import LocalEngine
from placevec.errors import JobError, SchemaError, UsageError
from placevec.provenance import SourceRef, Space
from placevec.sources.base import ArraySource, Batch
from placevec.table import Places, open_table, read_skipped, read_table
from placevec.tasks.embed import default_shard_rows, embed

ROWS = {"batch": 32, "shard_rows": 64}


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("name", ["t.parquet", "t.lance"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_every_place_is_a_row_or_skipped_with_its_reason(tmp_path: Path, name: str, dtype: str) -> None:
    source, encoder = FakeSource(500), FakeEncoder()
    summary = embed(source, encoder, tmp_path / name, dtype=dtype, **ROWS)
    table = read_table(tmp_path / name).validate()
    skipped = read_skipped(tmp_path / name)
    assert summary.rows + summary.skipped == summary.places == 500
    assert (len(table), len(skipped)) == (summary.rows, summary.skipped)
    assert {*table.ids, *(row.id for row in skipped)} == set(source.places().ids)
    assert {row.stage for row in skipped} == {"chip", "read", "encode"}
    assert all(row.geometry is not None and row.reason for row in skipped)
    assert summary.fingerprint == table.fingerprint() == open_table(tmp_path / name).fingerprint()
    assert table.meta.dtype == dtype
    assert table.meta.normalized
    assert left(tmp_path) == sorted(["t.skipped.parquet", name])


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_vectors_are_those_of_the_encoder(tmp_path: Path, dtype: str) -> None:
    source, encoder = FakeSource(300, faults=False), FakeEncoder(scale=3.0)
    embed(source, encoder, tmp_path / "t.parquet", dtype=dtype, **ROWS)
    table = read_table(tmp_path / "t.parquet")
    rows = source.places().rows_of(table.ids)
    expected = encoder.encode({"image": source.images[rows]})
    atol = {"float32": 1e-6, "float16": 2e-3, "int8": 3 / 127}[dtype]
    np.testing.assert_allclose(table.vectors(), expected, atol=atol)
    assert not table.meta.normalized
    np.testing.assert_array_equal(table.column("elevation"), source.places().column("elevation")[rows])


def test_forms_workers_shards_and_order_give_one_fingerprint(tmp_path: Path) -> None:
    source, encoder = FakeSource(400), FakeEncoder()
    a = embed(source, encoder, tmp_path / "a.parquet", batch=32, shard_rows=64)
    b = embed(source, encoder, tmp_path / "b.lance", batch=32, shard_rows=64)
    c = embed(source, encoder, tmp_path / "c.parquet", batch=32, shard_rows=128, workers=2)
    d = embed(source.spec(), encoder.spec(), tmp_path / "d.lance", batch=32, shard_rows=64, workers=2)
    assert len({s.fingerprint for s in (a, b, c, d)}) == 1
    assert (read_table(tmp_path / "a.parquet").ids == read_table(tmp_path / "d.lance").ids).all()


def test_objects_that_pickle_need_no_spec(tmp_path: Path) -> None:
    source = FakeSource(200)
    plain = ArraySource(source.places(), {"image": source.images})
    one = embed(plain, FakeEncoder(), tmp_path / "a.parquet", **ROWS)
    two = embed(plain, FakeEncoder(), tmp_path / "b.parquet", workers=2, **ROWS)
    assert one.fingerprint == two.fingerprint


def test_objects_that_do_not_pickle_are_refused_with_advice(tmp_path: Path) -> None:
    source = FakeSource(200)
    plain = ArraySource(source.places(), {"image": source.images})
    plain.lock = threading.Lock()
    with pytest.raises(UsageError, match="Spec"):
        embed(plain, FakeEncoder(), tmp_path / "a.parquet", workers=2, **ROWS)


def test_provenance(tmp_path: Path) -> None:
    source = FakeSource(100)
    source.refs = (SourceRef("file.tif", "00", "CC0", "me"),)
    embed(source, FakeEncoder(), tmp_path / "t.parquet", recipe={"pixels": 4}, seed=5, parents=("pv1-x",), **ROWS)
    meta = open_table(tmp_path / "t.parquet").meta
    assert meta.space == Space.asserted("fake", 16)
    assert (meta.tower, meta.encoder, meta.seed) == ("image", "fake", 5)
    assert meta.weights_sha256 == f"{1:064d}"
    assert meta.recipe["pixels"] == 4
    assert meta.recipe["batch"] == 32
    assert meta.sources == (SourceRef("file.tif", "00", "CC0", "me"),)
    assert meta.parents == ("pv1-x",)
    assert [saw.column for saw in meta.saw] == ["elevation"]


def test_places_without_geometry_come_last(tmp_path: Path) -> None:
    import shapely

    geometry = np.array([None, shapely.Point(1, 41), None, shapely.Point(2, 42)], dtype=object)
    source = ArraySource(
        Places.create(list("abcd"), geometry=geometry), {"image": np.ones((4, 3, 4, 4), dtype=np.uint8)}
    )
    embed(source, FakeEncoder(), tmp_path / "t.parquet")
    assert list(read_table(tmp_path / "t.parquet").ids) == ["b", "d", "a", "c"]


@pytest.mark.parametrize("name", ["t.parquet", "t.lance"])
@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_nothing_embedded_is_a_table_without_rows(tmp_path: Path, name: str, dtype: str) -> None:
    class Nothing(FakeSource):
        def read(self, rows: np.ndarray) -> Batch:
            raise OSError(errno.EIO, "unreadable")

    summary = embed(Nothing(20), FakeEncoder(), tmp_path / name, dtype=dtype)
    assert (summary.rows, summary.skipped) == (0, 20)
    assert any("nothing was embedded" in note for note in summary.notes)
    assert len(read_table(tmp_path / name)) == 0
    empty = embed(FakeSource(0), FakeEncoder(), tmp_path / f"e{name}", dtype=dtype)
    assert (empty.places, empty.rows, empty.skipped) == (0, 0, 0)
    assert read_skipped(tmp_path / f"e{name}") == []


def test_progress_counts_up_to_all(tmp_path: Path) -> None:
    seen: list[tuple[int, int, dict[str, int]]] = []
    embed(
        FakeSource(300),
        FakeEncoder(),
        tmp_path / "t.parquet",
        progress=lambda done, total, counts: seen.append((done, total, dict(counts))),
        **ROWS,
    )
    assert [done for done, *_ in seen] == [0, 64, 128, 192, 256, 300]
    assert {total for _, total, _ in seen} == {300}
    assert sum(seen[-1][2].values()) == 300


def test_a_source_that_forgets_a_place_is_found_out(tmp_path: Path) -> None:
    class Forgets(FakeSource):
        def read(self, rows: np.ndarray) -> Batch:
            batch = super().read(rows)
            return Batch(batch.rows[1:], {"image": batch.data["image"][1:]}, batch.skipped)

    summary = embed(Forgets(100, faults=False), FakeEncoder(), tmp_path / "t.parquet", **ROWS)
    assert summary.skipped_because == {"read: the source neither gave nor skipped it": 4}


def test_a_source_that_gives_rows_in_another_order_is_understood(tmp_path: Path) -> None:
    class Reversed(FakeSource):
        def read(self, rows: np.ndarray) -> Batch:
            batch = super().read(rows)
            return Batch(batch.rows[::-1], {"image": batch.data["image"][::-1]}, batch.skipped[::-1])

    one = embed(FakeSource(300), FakeEncoder(), tmp_path / "a.parquet", **ROWS)
    two = embed(Reversed(300), FakeEncoder(), tmp_path / "b.parquet", **ROWS)
    assert one.fingerprint == two.fingerprint


def test_a_source_that_gives_other_rows_is_refused(tmp_path: Path) -> None:
    class Strange(FakeSource):
        def read(self, rows: np.ndarray) -> Batch:
            return super().read(rows + 1) if len(rows) > 8 else super().read(rows)

    with pytest.raises(JobError, match="not asked for"):
        embed(Strange(100, faults=False), FakeEncoder(), tmp_path / "t.parquet", **ROWS)


def test_what_the_encoder_needs_must_be_there(tmp_path: Path) -> None:
    encoder = FakeEncoder()
    encoder.inputs = ("text",)
    with pytest.raises(UsageError, match="needs 'text', the source gives image"):
        embed(FakeSource(50), encoder, tmp_path / "t.parquet")


def test_a_wrong_shape_is_named(tmp_path: Path) -> None:
    encoder = FakeEncoder()
    encoder.space = Space.asserted("fake", 8)
    with pytest.raises(JobError, match=r"\(\d+, 16\).* 8 dims"):
        embed(FakeSource(50), encoder, tmp_path / "t.parquet")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("t.csv", {}),
        ("gs://bucket/t.parquet", {}),
        ("s3://bucket", {}),
        ("t.parquet", {"dtype": "float64"}),
        ("t.parquet", {"batch": 0}),
        ("t.parquet", {"workers": 0}),
        ("t.parquet", {"engine": "locale"}),
    ],
)
def test_wrong_options_are_refused_before_anything_is_read(tmp_path: Path, name: str, options: dict) -> None:
    out = name if "://" in name else tmp_path / name
    with pytest.raises(UsageError):
        embed(FakeSource(10), FakeEncoder(), out, **options)
    assert left(tmp_path) == []


def test_an_overflow_of_float16_says_so(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match="float32"):
        embed(FakeSource(50), FakeEncoder(scale=1e6), tmp_path / "t.parquet", dtype="float16")
    assert not (tmp_path / "t.parquet").exists()


def interrupted(source: FakeSource, encoder: FakeEncoder, out: Path, after: int = 2, **options: object) -> None:
    """Run until `after` shards are done, then raise as Ctrl-C does."""

    def stop(done: int, total: int, counts: object) -> None:
        if done >= after * 64:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match=r"\d of 8 shards; the same command goes on"):
        embed(source, encoder, out, progress=stop, **{**ROWS, **options})


@pytest.mark.parametrize("name", ["t.parquet", "t.lance"])
@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_keeps_what_is_done(tmp_path: Path, name: str, workers: int) -> None:
    whole = embed(FakeSource(500), FakeEncoder(), tmp_path / f"whole-{name}", **ROWS)
    interrupted(FakeSource(500), FakeEncoder(), tmp_path / name, workers=workers)
    assert not (tmp_path / name).exists()
    again = embed(FakeSource(500), FakeEncoder(), tmp_path / name, workers=workers, **ROWS)
    assert again.resumed >= 2
    assert again.fingerprint == whole.fingerprint
    assert not job_folder(tmp_path / name).exists()


@pytest.mark.parametrize(
    ("changed", "differs"),
    [
        ({"encoder": FakeEncoder(seed=2)}, "encoder"),
        ({"source": FakeSource(500, seed=9)}, "places, source"),
        ({"recipe": {"pixels": 8}}, "recipe"),
        ({"batch": 16}, "recipe"),
        ({"shard_rows": 32}, "the shards"),
    ],
)
def test_another_job_is_refused_until_restart(tmp_path: Path, changed: dict, differs: str) -> None:
    out = tmp_path / "t.parquet"
    interrupted(FakeSource(500), FakeEncoder(), out)
    arguments = {"source": FakeSource(500), "encoder": FakeEncoder(), "out": out, **ROWS, **changed}
    with pytest.raises(JobError, match=rf"different: {differs}\).*--restart"):
        embed(**arguments)
    assert embed(**arguments, restart=True).resumed == 0


def test_pixels_that_changed_under_one_name_are_noticed(tmp_path: Path) -> None:
    out = tmp_path / "t.parquet"
    source = FakeSource(500, faults=False)
    plain = ArraySource(source.places(), {"image": source.images})
    interrupted(plain, FakeEncoder(), out)
    other = ArraySource(source.places(), {"image": source.images // 2})
    with pytest.raises(JobError, match="different: source"):
        embed(other, FakeEncoder(), out, **ROWS)


def test_a_full_disk_in_a_fragment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow.parquet as pq

    out = tmp_path / "t.parquet"
    interrupted(FakeSource(500), FakeEncoder(), out)
    before = left(job_folder(out))

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(pq.ParquetWriter, "write_table", full)
        with pytest.raises(JobError, match="disk of .* is full: make room"):
            embed(FakeSource(500), FakeEncoder(), out, **ROWS)
    assert left(job_folder(out)) == before
    assert left(tmp_path) == [job_folder(out).name]
    assert embed(FakeSource(500), FakeEncoder(), out, **ROWS).resumed == 2


@pytest.mark.parametrize("name", ["t.parquet", "t.lance"])
def test_a_full_disk_at_the_commit(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from placevec.table import lance as lances
    from placevec.table.parquet import ParquetSink

    out = tmp_path / name
    embed(FakeSource(100, seed=3), FakeEncoder(), out, **ROWS)
    old = open_table(out).fingerprint()

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(lances, "commit_fragments", full)
        patch.setattr(ParquetSink, "write", full)
        # The fragments are written by `write_parquet`, which must work.
        patch.setattr("placevec.table.parquet.write_parquet", _plain_parquet)
        with pytest.raises(JobError, match="is full"):
            embed(FakeSource(500), FakeEncoder(), out, **ROWS)
    assert open_table(out).fingerprint() == old
    assert not [name for name in left(tmp_path) if ".part-" in name]
    again = embed(FakeSource(500), FakeEncoder(), out, **ROWS)
    assert again.resumed == 8
    assert open_table(out).fingerprint() == again.fingerprint != old


def _plain_parquet(table: object, path: Path, order: str = "keep") -> None:
    import json

    import pyarrow.parquet as pq

    data: pa.Table = table.data
    footer = json.dumps(table.meta.to_footer()).encode()
    pq.write_table(data.replace_schema_metadata({b"emb": footer}), path)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_defect_is_raised_as_it_is(tmp_path: Path, workers: int) -> None:
    with pytest.raises((ZeroDivisionError, RuntimeError), match="a defect"):
        embed(Broken(100), FakeEncoder(), tmp_path / "t.parquet", workers=workers, **ROWS)


def test_a_worker_that_dies_once_is_replaced(tmp_path: Path) -> None:
    source = Deadly(str(tmp_path / "deaths"), n=300)
    summary = embed(source, FakeEncoder(), tmp_path / "t.parquet", workers=2, **ROWS)
    whole = embed(FakeSource(300), FakeEncoder(), tmp_path / "u.parquet", **ROWS)
    assert summary.fingerprint == whole.fingerprint
    assert (tmp_path / "deaths").read_text() == "x"


def test_a_worker_that_dies_twice_ends_the_job_and_names_the_shard(tmp_path: Path) -> None:
    source = Deadly(str(tmp_path / "deaths"), times=2, n=300)
    with pytest.raises(JobError, match=r"shard-0000\d died 2 times \(signal 9"):
        embed(source, FakeEncoder(), tmp_path / "t.parquet", workers=2, **ROWS)
    assert embed(source, FakeEncoder(), tmp_path / "t.parquet", engine=LocalEngine(workers=2), **ROWS).rows


def test_shards_are_whole_batches_and_bounded() -> None:
    assert [default_shard_rows(n, 256) for n in (0, 10, 100_000, 5_000_000)] == [1024, 1024, 1792, 16_384]
    assert default_shard_rows(1000, 300) == 1200
