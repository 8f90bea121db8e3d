"""Vectors as arrays: what other programs read is what the table holds."""

from __future__ import annotations

import csv
import itertools
import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file

from conftest import make_table
from placevec.cli.main import run
from placevec.errors import FormatError, UsageError
from placevec.provenance import Space, TableMeta
from placevec.table import EmbeddingTable, Filter, Places, open_table, write_table
from placevec.tasks.export import export_table, form_of

FORMS = {"npy": "v.npy", "safetensors": "v.safetensors", "torch": "v.pt"}


def mixed(dtype: str = "float32") -> EmbeddingTable:
    """A table with a row without geometry and ids that CSV and UTF-8 make hard."""
    table = make_table(300, 5, dtype=dtype)
    if dtype != "float32":
        return table
    odd = Places.create(["lone", 'comma, "quote"', "ñandú\nzwei", " "])
    return table.append(EmbeddingTable.of(odd, np.eye(4, 5, dtype=np.float32), table.space))


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    write_table(mixed(), tmp_path / "table.parquet")
    return tmp_path / "table.parquet"


def read(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str], dict[str, Any]]:
    """Vectors, lon, lat, ids and what is said of them, by the tools of others."""
    if path.suffix == ".npy":
        with path.with_suffix(".places.csv").open(encoding="utf-8", newline="") as text:
            rows = list(csv.DictReader(text))
        lon, lat = (np.array([float(row[name] or "nan") for row in rows]) for name in ("lon", "lat"))
        return np.load(path), lon, lat, [r["id"] for r in rows], json.loads(path.with_suffix(".json").read_text())
    if path.suffix == ".pt":
        held = torch.load(path, weights_only=True)
        return held["embedding"].numpy(), held["lon"].numpy(), held["lat"].numpy(), held["ids"], held["meta"]
    tensors = load_file(path)
    with safe_open(path, "np") as opened:
        meta = json.loads(opened.metadata()["placevec"])
    texts, at = tensors["id_bytes"].tobytes(), tensors["id_offsets"]
    ids = [texts[a:b].decode() for a, b in itertools.pairwise(at)]
    return tensors["embedding"], tensors["lon"], tensors["lat"], ids, meta


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
@pytest.mark.parametrize("form", FORMS)
def test_what_comes_back_is_what_was_stored(tmp_path: Path, form: str, dtype: str) -> None:
    write_table(mixed(dtype), tmp_path / "table.parquet")
    table = open_table(tmp_path / "table.parquet").read()
    out = tmp_path / "out" / FORMS[form]
    summary = export_table(tmp_path / "table.parquet", out)
    assert (summary["form"], summary["rows"]) == (form, len(table))
    vectors, lon, lat, ids, meta = read(out)
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, table.vectors())
    np.testing.assert_array_equal(lon, table.lon)
    np.testing.assert_array_equal(lat, table.lat)
    assert ids == table.ids.tolist()
    assert meta["space"]["id"] == table.space.id
    assert meta["fingerprint"] == table.fingerprint()
    assert meta["rows"] == len(table)
    left = {path.name for path in out.parent.iterdir()}
    assert left == ({"v.npy", "v.places.csv", "v.json"} if form == "npy" else {FORMS[form]})


@pytest.mark.parametrize("form", FORMS)
def test_a_filter_and_no_rows(stored: Path, tmp_path: Path, form: str) -> None:
    wanted = Filter(bbox=(-5, 38, 0, 42))
    part = open_table(stored).read(wanted)
    assert 0 < len(part) < 300
    export_table(stored, tmp_path / FORMS[form], filter=wanted)
    vectors, _, _, ids, meta = read(tmp_path / FORMS[form])
    np.testing.assert_array_equal(vectors, part.vectors())
    assert ids == part.ids.tolist()
    assert meta["rows"] == len(part)
    assert export_table(stored, tmp_path / FORMS[form], filter=Filter(bbox=(100, 0, 101, 1)))["rows"] == 0
    vectors, lon, _, ids, _ = read(tmp_path / FORMS[form])
    assert (vectors.shape, lon.shape, ids) == ((0, 5), (0,), [])


def test_of_a_lance_dataset(stored: Path, tmp_path: Path) -> None:
    pytest.importorskip("lance")
    export_table(stored, tmp_path / "t.lance")
    export_table(tmp_path / "t.lance", tmp_path / "v.safetensors")
    vectors, lon, _, ids, meta = read(tmp_path / "v.safetensors")
    table = open_table(stored).read()
    np.testing.assert_array_equal(vectors, table.vectors())
    np.testing.assert_array_equal(lon, table.lon)
    assert ids == table.ids.tolist()
    assert meta["fingerprint"] == table.fingerprint()


def test_forms_by_name() -> None:
    assert [form_of(name) for name in ("a.npy", "A.SAFETENSORS", "a.pt", "a.pth")] == [
        "npy",
        "safetensors",
        "torch",
        "torch",
    ]


def test_what_arrays_cannot_hold(stored: Path, tmp_path: Path) -> None:
    options: list[dict[str, Any]] = [{"vectors": False}, {"geometry": "cell"}, {"columns": ["elevation"]}]
    for more in options:
        with pytest.raises(UsageError, match="npy holds vectors"):
            export_table(stored, tmp_path / "v.npy", **more)
    assert not (tmp_path / "v.npy").exists()


@pytest.mark.parametrize("form", FORMS)
def test_a_failure_leaves_nothing(stored: Path, tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    goal = tmp_path / "out" / FORMS[form]
    monkeypatch.setattr(type(open_table(stored)), "num_rows", property(lambda self: 10_000))
    with pytest.raises(Exception, match="export it again"):
        export_table(stored, goal)
    assert list(goal.parent.iterdir()) == []


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stored table of 20 MB of vectors."""
    path = tmp_path_factory.mktemp("large") / "large.parquet"
    write_table(make_table(20_000, 256), path, order="keep")
    return path


@pytest.mark.parametrize("form", FORMS)
def test_memory_does_not_grow_with_the_vectors(large: Path, tmp_path: Path, form: str) -> None:
    export_table(large, tmp_path / FORMS[form], filter=Filter(bbox=(-9, 36, -8.9, 36.1)))  # imports are paid for here
    tracemalloc.start()
    export_table(large, tmp_path / FORMS[form])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16_000_000, f"{peak:,} bytes at once for 20,480,000 of vectors"


def test_a_grid_to_npy(tmp_path: Path) -> None:
    pytest.importorskip("rasterio")
    from placevec.grid import GridSink

    values = np.random.default_rng(0).standard_normal((300, 270, 3)).astype(np.float32)
    values[5, 7] = np.nan
    meta = TableMeta(Space.mint(3), encoder="e")
    with GridSink(tmp_path / "g.tif", meta, bounds=(-9.0, 36.0, 0.0, 46.0), shape=(300, 270)) as sink:
        sink.write(values)
    summary = export_table(tmp_path / "g.tif", tmp_path / "g.npy")
    assert summary["rows"] == 300 * 270 - 1
    np.testing.assert_array_equal(np.load(tmp_path / "g.npy"), values)
    said = json.loads((tmp_path / "g.json").read_text())
    assert said["crs"] == "EPSG:4326"
    np.testing.assert_allclose(said["transform"], [1 / 30, 0, -9, 0, -1 / 30, 46])
    assert said["space"]["id"] == meta.space.id
    with pytest.raises(UsageError, match="is a grid"):
        export_table(tmp_path / "g.tif", tmp_path / "g.csv")
    (tmp_path / "bad.tif").write_bytes(b"II*\0")
    with pytest.raises(FormatError):
        export_table(tmp_path / "bad.tif", tmp_path / "bad.npy")
    assert not (tmp_path / "bad.npy").exists()


def test_the_command(stored: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["export", str(stored), "-o", str(tmp_path / "x.bin"), "--to", "safetensors"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 304
    assert load_file(tmp_path / "x.bin")["embedding"].shape == (304, 5)
    assert run(["export", str(stored), "-o", str(tmp_path / "x.npy"), "--no-vectors"]) == 2
