"""Patch sets: what is written is what was read, whatever was killed in between."""

import hashlib
import json
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import patch_fakes as fakes
import patch_writer
from placevec.errors import DataError, FormatError, JobError, UsageError
from placevec.sources.base import Source
from placevec.sources.patches import Layer, PatchSet, PatchSource, write_patches
from placevec.sources.rasters import Raster

SCRIPT = Path(patch_writer.__file__)


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(Path(folder).iterdir())}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "patches"
    made = write_patches(patch_writer.source(), folder, samples_per_file=16)
    return folder, made, digests(folder)


def test_what_is_read_is_what_was_written(undisturbed):
    folder, made, _ = undisturbed
    source, stored = patch_writer.source(), PatchSet(folder)
    assert isinstance(stored, Source)
    whole = source.read(np.arange(200))
    assert (made.places, made.written, made.skipped) == (200, len(whole), len(whole.skipped))
    assert 0 < made.skipped < 100
    assert made.files == 13
    assert stored.places().ids.tolist() == source.places().ids[whole.rows].tolist()
    found = stored.read(np.arange(len(stored)))
    assert set(found.data) == {"cover", "height", "lonlat"}
    for name, values in found.data.items():
        np.testing.assert_array_equal(values, whole.data[name])
    assert {one.id: one.reason for one in stored.skipped()} == {one.id: one.reason for one in whole.skipped}
    assert made.reasons == json.loads((folder / "patches.json").read_text())["reasons"]


def test_rows_come_in_the_order_asked_for(undisturbed):
    stored = PatchSet(undisturbed[0])
    rows = np.random.default_rng(0).integers(0, len(stored), 300)
    found, whole = pickle.loads(pickle.dumps(stored)).read(rows), stored.read(np.arange(len(stored)))
    assert found.rows.tolist() == rows.tolist()
    np.testing.assert_array_equal(found.data["height"], whole.data["height"][rows])
    np.testing.assert_array_equal(found.data["cover"], whole.data["cover"][rows])
    assert len(stored.read(np.zeros(0, dtype=np.int64))) == 0


def test_a_set_says_what_it_is_of(undisturbed):
    stored = PatchSet(undisturbed[0])
    assert (stored.ground_m, stored.pixels, [layer.name for layer in stored.layers]) == (1500, 16, ["cover", "height"])
    assert stored.layers[0].classes == fakes.TABLE
    assert stored.layers[1].classes is None
    assert stored.fingerprint() == PatchSet(undisturbed[0]).fingerprint()
    assert "cover, height" in repr(stored)


def test_files_are_plain_arrow(undisturbed):
    """Another program reads them without placevec: tensors of Arrow's own type, mapped, not copied."""
    with pa.memory_map(str(undisturbed[0] / "part-00003.arrow")) as source:
        table = pa.ipc.open_file(source).read_all()
    assert table.schema.names == ["id", "geometry", "lon", "lat", "cover", "height"]
    assert table.schema.field("cover").type == pa.fixed_shape_tensor(pa.uint8(), (16, 16))
    before = pa.total_allocated_bytes()
    tensor = table["height"].chunk(0).to_numpy_ndarray()
    assert pa.total_allocated_bytes() == before
    assert tensor.shape == (table.num_rows, 16, 16)


@pytest.mark.parametrize("workers", [2, 3])
def test_workers_change_nothing(undisturbed, tmp_path, workers):
    told = []
    made = write_patches(
        patch_writer.source(), tmp_path / "p", samples_per_file=16, workers=workers,
        progress=lambda done, total, facts: told.append((done, total)),
    )  # fmt: skip
    assert digests(tmp_path / "p") == undisturbed[2]
    assert made.reasons == undisturbed[1].reasons
    assert told[0] == (0, 200)
    assert told[-1] == (200, 200)
    assert told == sorted(told)


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_at_any_moment_it_goes_on(undisturbed, tmp_path, workers):
    folder = tmp_path / "p"
    rng = np.random.default_rng(workers)
    kills = 0
    for _ in range(2 * workers):
        process = subprocess.Popen([sys.executable, str(SCRIPT), str(folder), str(workers), "0.05"])
        began = len(list(folder.glob("part-*")))
        while process.poll() is None and len(list(folder.glob("part-*"))) < began + 2:
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.06))
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
    assert kills >= workers
    if not json.loads((folder / "patches.json").read_text())["complete"]:
        with pytest.raises(JobError, match="not complete: run the same"):
            PatchSet(folder)
    made = write_patches(patch_writer.source(), folder, samples_per_file=16)
    assert made.reused > 0
    assert (made.written, made.skipped) == (undisturbed[1].written, undisturbed[1].skipped)
    assert digests(folder) == undisturbed[2]
    assert not list(folder.glob(".*"))


def test_what_is_whole_is_not_written_again(undisturbed, tmp_path):
    folder = tmp_path / "p"
    write_patches(patch_writer.source(), folder, samples_per_file=16)
    before = {path.name: path.stat().st_mtime_ns for path in folder.glob("part-*")}
    (folder / "part-00002.arrow").write_bytes(b"ARROW1 but no more")
    made = write_patches(patch_writer.source(), folder, samples_per_file=16)
    assert made.reused == 12
    after = {path.name: path.stat().st_mtime_ns for path in folder.glob("part-*")}
    assert [name for name in before if before[name] != after[name]] == ["part-00002.arrow"]
    assert digests(folder) == undisturbed[2]


def test_another_job_does_not_overwrite(tmp_path):
    folder = tmp_path / "p"
    write_patches(patch_writer.source(), folder, samples_per_file=64)
    before = digests(folder)
    for change in ({"samples_per_file": 32}, {"samples_per_file": 64, "limit": 10}):
        with pytest.raises(JobError, match="holds the patches of other places, rasters or sizes"):
            write_patches(patch_writer.source(), folder, **change)
    assert digests(folder) == before
    made = write_patches(patch_writer.source(), folder, samples_per_file=32, limit=40, restart=True)
    assert (made.places, made.files) == (40, 2)
    assert sorted(path.name for path in folder.glob("part-*")) == ["part-00000.arrow", "part-00001.arrow"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("irreplaceable")
    for restart in (False, True):
        with pytest.raises(UsageError, match="holds something else"):
            write_patches(patch_writer.source(), tmp_path / "mine", restart=restart)
    with pytest.raises(UsageError, match="is a file"):
        write_patches(patch_writer.source(), tmp_path / "mine" / "thesis.txt")


def test_attributes_and_groups_are_kept(tmp_path):
    source = patch_writer.source()
    columns = source.places().with_column("place", [f"g{i // 2}" for i in range(200)])
    columns = columns.with_column("h3", np.arange(200, dtype=np.uint64)).with_column("land", ["whole", "part"] * 100)
    write_patches(source.elsewhere(columns), tmp_path / "p", samples_per_file=50)
    stored = PatchSet(tmp_path / "p").places()
    kept = columns.take(columns.rows_of(stored.ids))
    assert stored.data.equals(kept.data)


def test_a_file_without_a_patch_and_a_set_without_places(tmp_path):
    raster = Raster.from_array(fakes.classes(100, 100), bounds=(10, 45, 10.1, 45.1), href="a.tif")
    layer = [Layer("cover", raster, fakes.TABLE)]
    lon = [10.05, 10.05, 20, 20, 20, 20]
    made = write_patches(
        PatchSource(fakes.places(lon, [45.05] * 6), layer, 1000, 8), tmp_path / "p", samples_per_file=2
    )
    assert (made.written, made.skipped) == (2, 4)
    stored = PatchSet(tmp_path / "p")
    assert stored.read(np.array([1, 0])).data["cover"].shape == (2, 8, 8)
    assert made.reasons == {"patch: outside a.tif": 4}
    again = write_patches(
        PatchSource(fakes.places(lon, [45.05] * 6), layer, 1000, 8), tmp_path / "p", samples_per_file=2
    )
    assert again.reused == 3
    empty = PatchSource(fakes.places([], []), layer, 1000, 8)
    assert write_patches(empty, tmp_path / "none").places == 0
    assert len(PatchSet(tmp_path / "none").places()) == 0


def test_an_unknown_code_half_way_keeps_what_is_done(tmp_path):
    cover = fakes.classes(100, 400)
    cover[:, 300:] = 99
    raster = Raster.from_array(cover, bounds=(10, 45, 10.4, 45.1), href="a.tif")
    where = fakes.places(np.linspace(10.02, 10.38, 40), [45.05] * 40)
    for workers in (1, 2):
        with pytest.raises(DataError, match="a.tif holds the class code 99"):
            write_patches(
                PatchSource(where, [Layer("cover", raster, fakes.TABLE)], 1000, 8),
                tmp_path / "p", samples_per_file=4, workers=workers,
            )  # fmt: skip
    assert 5 <= len(list((tmp_path / "p").glob("part-*"))) < 10


@pytest.mark.parametrize("damage", ["cut", "gone", "manifest", "other"])
def test_damage_is_named(tmp_path, damage):
    folder = tmp_path / "p"
    write_patches(patch_writer.source(), folder, samples_per_file=64)
    part = folder / "part-00001.arrow"
    if damage == "cut":
        part.write_bytes(part.read_bytes()[:1000])
    elif damage == "gone":
        part.unlink()
    elif damage == "manifest":
        (folder / "patches.json").write_text("{")
    else:
        part.write_bytes((folder / "part-00003.arrow").read_bytes())
    with pytest.raises(FormatError, match="write the patches again"):
        PatchSet(folder).read(np.arange(100))


def test_no_set_at_all(tmp_path):
    with pytest.raises(UsageError, match="holds no patches"):
        PatchSet(tmp_path)


@pytest.mark.parametrize("number", [{"samples_per_file": 0}, {"workers": 0}, {"limit": 0}])
def test_numbers_that_are_none(tmp_path, number):
    with pytest.raises(UsageError, match="at least 1"):
        write_patches(patch_writer.source(), tmp_path / "p", **number)
