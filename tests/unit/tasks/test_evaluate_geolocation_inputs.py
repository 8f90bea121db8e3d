"""Which rows may be tested, and points of others with their truth."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from placevec.errors import DataError, LeakError, SchemaError, UsageError
from placevec.geo.sphere import LonLat, distance_m
from placevec.measure.splits import block_split, random_split, seen
from placevec.provenance import Saw
from placevec.table import Places
from placevec.tasks.evaluate_geolocation_given import read_predictions
from placevec.tasks.evaluate_geolocation_inputs import block_names, part_rows, seen_at_all


def some_places(n=200, seed=0, **more):
    rng = np.random.default_rng(seed)
    return Places.create([f"p{i}" for i in range(n)], LonLat(rng.uniform(60, 72, n), rng.uniform(24, 30, n)), **more)


def saw_of(places, folds=(0, 1, 2), buffer_m=20_000.0, column="geometry"):
    split = block_split(LonLat(places.lon, places.lat), "grid:2", 5, 0, buffer_m)
    return (Saw("", column, split.spec, tuple(folds)),), split


def test_the_folds_that_were_not_seen_are_tested():
    places = some_places()
    saw, split = saw_of(places)
    parts = part_rows(places, saw)
    assert parts.test.tolist() == np.flatnonzero(np.isin(split.fold, (3, 4))).tolist()
    assert parts.buffer_m == 20_000.0
    assert parts.cells == "grid:2"
    # Whoever keeps no list of its training rows gets no baseline from near the border.
    lonlat = LonLat(places.lon, places.lat)
    for row in parts.train:
        assert distance_m(lonlat[int(row)], lonlat[parts.test]).min() >= 20_000.0 - 1e-3
    assert not np.isin(parts.train, parts.test).any()
    assert any("make no baseline" in note for note in parts.notes)


def test_any_label_that_was_seen_of_a_row_is_a_leak():
    places = some_places(attributes={"part": np.array(["a", "b"] * 100)})
    for column in ("geometry", "place", "province"):
        saw, _ = saw_of(places, column=column)
        with pytest.raises(LeakError, match="has seen .* of the 100 rows"):
            part_rows(places, saw, where="part == 'a'")
    saw, _ = saw_of(places)
    kept = part_rows(places, saw, where="part == 'a'", unseen=True)
    assert len(kept.test)
    assert not seen_at_all(places, saw)[kept.test].any()
    assert set(places.column("part")[kept.test]) == {"a"}


def test_a_row_near_a_training_photo_is_a_leak():
    places = some_places()
    saw, split = saw_of(places, buffer_m=0.0)
    gallery = places.ids[~np.isin(split.fold, (3, 4))]
    with pytest.raises(LeakError, match="lie within 20000 m of a training row"):
        part_rows(places, saw, gallery=gallery, buffer_m=20_000.0)
    kept = part_rows(places, saw, gallery=gallery, buffer_m=20_000.0, unseen=True)
    lonlat = LonLat(places.lon, places.lat)
    learned = np.flatnonzero(np.isin(places.ids, gallery))
    for row in kept.test:
        assert distance_m(lonlat[int(row)], lonlat[learned]).min() >= 20_000.0 - 1e-3
    assert any("were left out" in note for note in kept.notes)
    assert kept.train.tolist() == learned.tolist()


def test_the_gallery_says_what_was_learned_from_even_without_a_card_that_does():
    places = some_places(20)
    parts = part_rows(places, (), gallery=places.ids[:15], buffer_m=0.0)
    assert parts.test.tolist() == [15, 16, 17, 18, 19]
    assert parts.train.tolist() == list(range(15))
    assert any("does not say which rows it saw" in note for note in parts.notes)
    with pytest.raises(DataError, match="has seen all 20 rows"):
        part_rows(places, (), gallery=places.ids)


def test_a_place_that_was_seen_elsewhere_is_not_tested():
    places = some_places(60)
    saw, split = saw_of(places, buffer_m=0.0)
    unseen = np.flatnonzero(np.isin(split.fold, (3, 4)))
    learned = np.flatnonzero(~np.isin(split.fold, (3, 4)))
    keys = places.ids.astype(object).copy()
    keys[unseen[0]] = keys[learned[0]]
    grouped = Places.create(list(places.ids), LonLat(places.lon, places.lat), place=keys)
    parts = part_rows(grouped, saw)
    assert parts.test.tolist() == unseen[1:].tolist()
    assert any("1 rows of places of which another row was seen" in note for note in parts.notes)


def test_splits_by_keys_and_rows_without_coordinates():
    ids = [f"p{i}" for i in range(40)]
    import shapely

    where = np.array([None if i % 4 == 0 else shapely.Point(60 + i / 10, 25) for i in range(40)], dtype=object)
    places = Places.create(ids, geometry=where)
    split = random_split(ids, 4, 0)
    saw = (Saw("", "geometry", split.spec, (0, 1)),)
    parts = part_rows(places, saw)
    own = seen(split.spec, (0, 1), None, np.array(ids))
    assert parts.test.tolist() == [i for i in range(40) if i % 4 and not own[i]]
    assert parts.cells == ""
    assert any("10 of 40 rows have no coordinates" in note for note in parts.notes)
    assert block_names(LonLat(np.zeros(2), np.zeros(2)), np.array(["a", "b"]), "").tolist() == ["a", "b"]


def test_nothing_to_test_is_said():
    places = some_places(30)
    with pytest.raises(DataError, match="has seen all 30 rows"):
        part_rows(places, (Saw("", "geometry"),))
    saw, _ = saw_of(places)
    with pytest.raises(DataError, match="no row with coordinates fulfils"):
        part_rows(places, saw, where="id == 'nobody'")
    with pytest.raises(DataError, match="give a smaller --buffer"):
        part_rows(places, saw, unseen=True, buffer_m=1e7)


def test_a_limit_is_a_choice_and_said():
    places = some_places()
    saw, _ = saw_of(places)
    whole, some = part_rows(places, saw), part_rows(places, saw, limit=10)
    assert len(some.test) == 10
    assert set(some.test) <= set(whole.test)
    assert any("chosen at random" in note for note in some.notes)


def write(path, rows):
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".csv":
        names = list(rows[0])
        lines = [",".join(names), *(",".join(str(row.get(name, "")) for name in names) for row in rows)]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


ROWS = [
    {"id": "a", "lon": 60.0, "lat": 25.0, "true_lon": 61.0, "true_lat": 25.0, "confidence": 0.5},
    {"id": "b", "lon": 179.9, "lat": 0.0, "true_lon": -179.9, "true_lat": 0.0, "confidence": 0.25},
]


@pytest.mark.parametrize("form", [".csv", ".jsonl", ".parquet"])
def test_predictions_in_every_form(tmp_path, form):
    found = read_predictions(write(tmp_path / f"peer{form}", ROWS))
    assert found.ids.tolist() == ["a", "b"]
    assert found.points.lon.tolist() == [60.0, 179.9]
    assert found.truth.lon.tolist() == [61.0, -179.9]
    assert found.confidence.tolist() == [0.5, 0.25]
    assert found.name == "peer"


def test_the_truth_may_stand_elsewhere_and_rows_are_counted(tmp_path):
    rows = [*ROWS, {"id": "c", "lon": None, "lat": 3.0}, {"id": "d", "lon": 1.0, "lat": 100.0}]
    path = write(tmp_path / "peer.jsonl", rows)
    truth = Places.create(["b", "c", "d"], LonLat(np.array([1.0, 2.0, 3.0]), np.zeros(3)))
    found = read_predictions(path, truth)
    assert found.ids.tolist() == ["b"]
    assert found.truth.lon.tolist() == [1.0]
    assert found.skipped == {
        "an id that the true places do not have": 1,
        "no point, or none on the Earth": 2,
    }


def test_a_confidence_that_is_no_probability_is_left_out(tmp_path):
    rows = [{**row, "confidence": 7.0} for row in ROWS]
    assert read_predictions(write(tmp_path / "peer.csv", rows)).confidence is None


def test_files_that_are_no_predictions_are_refused(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        read_predictions(tmp_path / "none.csv")
    with pytest.raises(UsageError, match="are read from"):
        read_predictions(write(tmp_path / "peer.txt", ROWS))
    with pytest.raises(SchemaError, match="no column 'true_lon'"):
        read_predictions(write(tmp_path / "short.csv", [{"id": "a", "lon": 1, "lat": 2}]))
    with pytest.raises(SchemaError, match="no column 'latitude'"):
        read_predictions(write(tmp_path / "other.csv", ROWS), columns=("lon", "latitude"))
    (tmp_path / "empty.csv").write_text("id,lon,lat\n", encoding="utf-8")
    with pytest.raises(DataError, match="holds no predictions"):
        read_predictions(tmp_path / "empty.csv")
    (tmp_path / "bad.jsonl").write_text('{"id": 1}\n[2]\n', encoding="utf-8")
    with pytest.raises(DataError, match="line 2 is no object"):
        read_predictions(tmp_path / "bad.jsonl")
    (tmp_path / "cut.jsonl").write_text('{"id": 1\n', encoding="utf-8")
    with pytest.raises(DataError, match="line 1 is no JSON"):
        read_predictions(tmp_path / "cut.jsonl")
    with pytest.raises(DataError, match="none of 1 rows can be used"):
        read_predictions(write(tmp_path / "far.csv", [{"lon": 999, "lat": 2, "true_lon": 1, "true_lat": 1}]))
