"""Places written and read in parts."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from placevec.errors import FormatError, SchemaError
from placevec.geo.sphere import LonLat
from placevec.objects import Remote
from placevec.table import Places
from placevec.table.fingerprint import fingerprint
from placevec.table.stored_places import PlacesPart, PlacesSink, StoredPlaces
from s3_server import BUCKET, running

SIZES = (3, 1, 5, 2)


def rows(first: int, count: int) -> Places:
    i = np.arange(first, first + count)
    return Places.create(
        [f"p{n:03d}" for n in i], LonLat(i / 10.0, -i / 10.0), h3=i.astype(np.uint64), attributes={"kind": i % 2}
    )


@pytest.fixture
def stored(tmp_path: Path) -> StoredPlaces:
    with PlacesSink(tmp_path / "a.parquet") as sink:
        sink.write(rows(0, 0))
        first = 0
        for i, size in enumerate(SIZES):
            sink.write(rows(first, size), f"k{i}")
            sink.write(rows(first, 0), "nothing")
            first += size
        assert sink.parts == len(SIZES)
        sink.footers["more"] = "told"
    return StoredPlaces(tmp_path / "a.parquet")


def test_parts_are_those_that_were_written(stored: StoredPlaces) -> None:
    assert len(stored) == stored.num_rows == 11
    assert stored.parts == (
        PlacesPart("part-000000", 0, 3, "k0"),
        PlacesPart("part-000001", 3, 4, "k1"),
        PlacesPart("part-000002", 4, 9, "k2"),
        PlacesPart("part-000003", 9, 11, "k3"),
    )
    assert stored.footer[b"more"] == b"told"


def test_every_range_of_rows(stored: StoredPlaces) -> None:
    every = rows(0, 11)
    for start in range(12):
        for stop in range(start, 12):
            assert stored.read(start, stop).data.equals(every.data.slice(start, stop - start))
    assert stored.places().data.equals(every.data)
    assert stored.template().data.schema == every.data.schema
    assert len(stored.template()) == 0


def test_only_the_row_groups_needed_are_read(stored: StoredPlaces, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    whole = stored._file

    class Spy:
        metadata = whole.metadata

        def read_row_groups(self, groups):
            asked.append(groups)
            return whole.read_row_groups(groups)

    monkeypatch.setattr(stored, "_file", Spy())
    stored.read(3, 5)
    stored.read(9, 11)
    stored.read(4, 4)
    assert asked == [[1, 2], [3]]


def test_the_fingerprint_is_that_of_the_content(stored: StoredPlaces) -> None:
    assert stored.fingerprint() == fingerprint([rows(0, 11).data])
    again = pickle.loads(pickle.dumps(stored))
    assert again.parts == stored.parts
    assert again.fingerprint() == stored.fingerprint()


def test_it_is_geoparquet(stored: StoredPlaces) -> None:
    geo = json.loads(stored.footer[b"geo"])
    column = geo["columns"]["geometry"]
    assert column["geometry_types"] == ["Point"]
    assert column["bbox"] == [0.0, -1.0, 1.0, 0.0]
    assert "covering" not in column
    geopandas = pytest.importorskip("geopandas")
    frame = geopandas.read_parquet(stored.path)
    assert frame.crs.to_string() == "OGC:CRS84"
    assert frame.geometry.x.tolist() == [i / 10 for i in range(11)]


def test_a_failure_half_way_leaves_what_was_there(tmp_path: Path, stored: StoredPlaces) -> None:
    before = stored.path.read_bytes()

    def fail() -> None:
        with PlacesSink(stored.path) as sink:
            sink.write(rows(0, 3), "k")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert stored.path.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.parquet"]


def test_parts_of_other_columns_are_refused(tmp_path: Path) -> None:
    def mixed() -> None:
        with PlacesSink(tmp_path / "b.parquet") as sink:
            sink.write(rows(0, 2))
            sink.write(rows(2, 2).without("kind"))

    with pytest.raises(SchemaError, match=r"b\.parquet have different columns"):
        mixed()
    assert not (tmp_path / "b.parquet").exists()


def test_nothing_written_is_said_and_no_rows_are_a_file(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match="nothing was written"), PlacesSink(tmp_path / "c.parquet"):
        pass
    with PlacesSink(tmp_path / "d.parquet") as sink:
        sink.write(rows(0, 0))
    empty = StoredPlaces(tmp_path / "d.parquet")
    assert empty.parts == ()
    assert len(empty.places()) == 0


def test_rows_that_do_not_exist(stored: StoredPlaces) -> None:
    for start, stop in ((-1, 2), (3, 2), (0, 12)):
        with pytest.raises(SchemaError, match="has 11"):
            stored.read(start, stop)


def test_foreign_and_broken_files(tmp_path: Path, stored: StoredPlaces) -> None:
    pq.write_table(rows(0, 4).data, tmp_path / "plain.parquet")
    with pytest.raises(FormatError, match="placevec area stencil"):
        StoredPlaces(tmp_path / "plain.parquet")
    (tmp_path / "cut.parquet").write_bytes(stored.path.read_bytes()[:-9])
    with pytest.raises(FormatError, match="cut short"):
        StoredPlaces(tmp_path / "cut.parquet")
    data = bytearray(stored.path.read_bytes())
    data[4:400] = bytes(396)
    (tmp_path / "rot.parquet").write_bytes(data)
    with pytest.raises(FormatError, match="cannot be read"):
        StoredPlaces(tmp_path / "rot.parquet").places()
    pq.write_table(
        rows(0, 4).data.replace_schema_metadata(
            {"placevec-places": json.dumps({"keys": ["a", "b"], "fingerprint": ""})}
        ),
        tmp_path / "other.parquet",
    )
    with pytest.raises(FormatError, match="1 row groups and 2 keys"):
        StoredPlaces(tmp_path / "other.parquet")


def test_in_object_storage_they_are_copied_once(
    stored: StoredPlaces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with running(monkeypatch):
        there = Remote(BUCKET, "deep/a.parquet")
        there.upload(tmp_path / "a.parquet")
        found = StoredPlaces(str(there))
        assert found.parts == stored.parts
        assert found.fingerprint() == stored.fingerprint()
        assert found.read(2, 7).data.equals(stored.read(2, 7).data)
        assert str(there) in repr(found)
        monkeypatch.setattr(Remote, "download", lambda *_: pytest.fail("it was copied again"))
        again = pickle.loads(pickle.dumps(found))
        assert again.places().data.equals(stored.places().data)
        with pytest.raises(FormatError, match="no such object"):
            StoredPlaces(f"s3://{BUCKET}/deep/b.parquet")
