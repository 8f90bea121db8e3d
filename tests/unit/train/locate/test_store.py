"""What a training reads, once: kept, found again, counted where it cannot be read, read anew where it does not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("hdbscan")

import tiny_located as located
import tiny_locator as tiny
from placevec.errors import DataError, UsageError
from placevec.geo.sphere import LonLat
from placevec.sources.base import ArraySource, Source
from placevec.table import Places
from placevec.train.locate.data import Parts, gather
from placevec.train.locate.store import open_store

ROWS = np.array([5, 1, 90, 40, 41, 2])


def test_rows_are_kept_and_found_again(tmp_path: Path) -> None:
    live = located.Live(located.source())
    store = open_store(live, ROWS, tmp_path, "key")
    images = tiny.country().images
    np.testing.assert_array_equal(store.read(np.arange(6)), images[ROWS])
    np.testing.assert_array_equal(store.read(np.array([3, 3, 0])), images[ROWS[[3, 3, 0]]])
    assert store.readable.all()
    assert live.read_rows == ROWS.tolist()
    again = open_store(live, ROWS, tmp_path, "key")
    np.testing.assert_array_equal(again.read(np.arange(6)), images[ROWS])
    assert len(live.read_rows) == 6, "nothing is read twice"
    open_store(live, ROWS, tmp_path, "another key")
    assert len(live.read_rows) == 12
    assert sorted(path.name for path in tmp_path.iterdir()) == ["columns.npz", "content.json", "images.npy"]


def test_a_reading_that_was_killed_begins_anew(tmp_path: Path) -> None:
    live = located.Live(located.source(600))
    live.break_after = 256
    with pytest.raises(KeyboardInterrupt):
        open_store(live, np.arange(600), tmp_path, "key")
    assert not list(tmp_path.iterdir()), "nothing half written is left"
    live.break_after = None
    store = open_store(live, np.arange(600), tmp_path, "key")
    np.testing.assert_array_equal(store.read(np.array([599, 0])), tiny.country(600).images[[599, 0]])


def test_what_does_not_fit_is_read_anew_each_time(tmp_path: Path) -> None:
    live = located.Live(located.source(metadata=located.metadata()))
    open_store(live, ROWS, tmp_path, "key", extras=("metadata",))
    store = open_store(live, ROWS, tmp_path, "other", extras=("metadata",), cache_gb=1e-6)
    assert store.images is None
    assert not (tmp_path / "images.npy").exists(), "images of an earlier key are gone"
    count = len(live.read_rows)
    np.testing.assert_array_equal(store.read(np.array([2, 0])), tiny.country().images[ROWS[[2, 0]]])
    assert live.read_rows[count:] == [90, 5]
    np.testing.assert_array_equal(store.columns["metadata"], located.metadata()[ROWS])
    live.bad = {"train-0005": "it has vanished"}
    with pytest.raises(DataError, match="train-0005: it has vanished; it could be read before"):
        store.read(np.array([0]))


@pytest.mark.parametrize("cache_gb", [8.0, 0.0])
def test_what_cannot_be_read_is_counted_by_reason(tmp_path: Path, cache_gb: float) -> None:
    bad = {"train-0001": "it is truncated", "train-0040": "it is truncated", "train-0002": "it is empty"}
    live = located.Live(located.source(), bad)
    for _ in range(2):  # as read, and as found again
        store = open_store(live, ROWS, tmp_path, "key", cache_gb=cache_gb)
        assert store.readable.tolist() == [True, False, True, False, True, False]
        assert store.lost == {"it is truncated": 2, "it is empty": 1}
        np.testing.assert_array_equal(store.read(np.array([4])), tiny.country().images[[41]])


def test_nothing_that_can_be_read_is_an_error_with_the_reason(tmp_path: Path) -> None:
    live = located.Live(located.source(), {f"train-{row:04d}": "no image" for row in range(96)})
    with pytest.raises(DataError, match="none of 6 images can be read: no image"):
        open_store(live, ROWS, tmp_path, "key")
    assert not list(tmp_path.iterdir())


def test_columns_keep_what_is_unknown(tmp_path: Path) -> None:
    counts = np.arange(96)
    words = np.array(["" if row < 50 else "é" * row for row in range(96)], dtype=object)
    columns = {"metadata": located.metadata(), "tags": located.tags(), "count": counts, "words": words}
    live = located.Live(located.source(**columns), {"train-0001": "gone"})
    rows = np.arange(96)
    store = open_store(live, rows, tmp_path, "key", extras=tuple(columns))
    assert np.isnan(store.columns["metadata"][1]).all()
    np.testing.assert_array_equal(np.delete(store.columns["metadata"], 1, 0), np.delete(located.metadata(), 1, 0))
    assert store.columns["tags"].tolist()[:3] == ["", "", "coast harbour2"]
    assert store.columns["words"].tolist()[95] == "é" * 95
    assert store.columns["count"].dtype == np.float64
    assert np.isnan(store.columns["count"][1])
    assert store.columns["count"][95] == 95


def test_texts_that_grow_from_batch_to_batch_are_whole(tmp_path: Path) -> None:
    words = np.array(["x" * (row // 100) for row in range(600)], dtype=object)
    store = open_store(located.source(600, tags=words), np.arange(600), tmp_path, "key", extras=("tags",))
    assert store.columns["tags"].tolist() == words.tolist()


def test_a_source_that_lacks_something_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="gives no 'tags', for which the head has a branch"):
        open_store(located.source(), ROWS, tmp_path, "key", extras=("tags",))
    words = ArraySource(located.places(), {"text": located.tags()})
    with pytest.raises(UsageError, match="learns from images, and the source gives text"):
        open_store(words, ROWS, tmp_path, "key")
    floats = ArraySource(located.places(), {"image": tiny.country().images.astype(np.float32)})
    with pytest.raises(DataError, match="of bytes, not float32"):
        open_store(floats, ROWS, tmp_path, "key")


def assign(p: LonLat) -> np.ndarray:
    return located.regions().assign(p)


def test_rows_without_a_region_or_content_are_in_no_part(tmp_path: Path) -> None:
    base = located.source()
    where = base.places().lonlat()
    lon = where.lon.copy()
    lon[:10] = 50.0  # outside
    names = list(base.places().ids)
    moved = ArraySource(Places.create(names, LonLat(lon, where.lat)), base.read(np.arange(96)).data)
    live = located.Live(moved, {"train-0011": "gone", "train-0012": "gone"})
    data = gather(live, located.parts(), assign, tmp_path)
    outside = sum(1 for row in range(10) if row % 8 != 2)
    assert data.outside == outside
    assert data.skipped == 2
    every = np.concatenate([part.ids for part in (data.train, data.val, data.calibration)])
    assert not {*names[:13]} - {"train-0010"} & {*every.tolist()}
    turn = np.arange(96) % 8
    assert len(data.val) == (turn == 0).sum() - 2
    kept = [name for row, name in enumerate(names) if row > 12 and turn[row] > 2]
    assert data.train.ids.tolist() == kept
    for part in (data.train, data.val):
        rows = [names.index(name) for name in part.ids]
        np.testing.assert_array_equal(part.images(np.arange(len(part))), tiny.country().images[rows])
        np.testing.assert_array_equal(part.lonlat.lon, lon[rows])
        assert part.assets.tolist() == [""] * len(part)
    some = data.train.take(slice(2, 5))
    assert some.ids.tolist() == kept[2:5]
    np.testing.assert_array_equal(some.images(np.array([0])), data.train.images(np.array([2])))


def test_too_few_images_say_why(tmp_path: Path) -> None:
    bad = {f"train-{row:04d}": "gone" for row in range(1, 96)}
    with pytest.raises(UsageError, match=r"0 images are left to learn from \(0 lie outside .*, 83 cannot be read\)"):
        gather(located.Live(located.source(), bad), located.parts(), assign, tmp_path)
    rows = np.arange(96)
    unknown = Places.create([str(row) for row in rows])
    images = ArraySource(unknown, {"image": tiny.country().images})
    with pytest.raises(DataError, match="without coordinates"):
        gather(images, Parts(rows, rows[:0], rows[:0]), assign, tmp_path)


def test_other_content_has_another_key(tmp_path: Path) -> None:
    def key(source: Source, split: Parts | None = None, extras: tuple[str, ...] = ()) -> str:
        return gather(source, split or located.parts(), assign, tmp_path, extras=extras).key

    plain = key(located.source())
    assert plain == key(located.source())
    # Chips of the same places with other pixels: nothing but the images tells them apart.
    small = ArraySource(located.places(), {"image": tiny.country().images[:, :, ::2, ::2]})
    assert key(small) != plain
    assert gather(small, located.parts(), assign, tmp_path).train.images(np.arange(2)).shape == (2, 3, 8, 8)
    assert key(located.source(seed=1)) != plain
    every = Parts(np.arange(96), np.arange(0), np.arange(0))
    assert key(located.source(), every) != plain
    with_tags = located.source(tags=located.tags())
    assert key(with_tags, extras=("tags",)) != plain
    # A source that says what it is need not be looked at.
    live = located.Live(located.source())
    named = key(live)
    assert named != plain
    live.name = "other"
    assert key(live) != named
