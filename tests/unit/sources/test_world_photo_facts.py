"""What is said of the generated photos: it tells of the place, it is partly missing, and nothing else has changed."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest

import generated
from generated import arcadia
from placevec.geo.sphere import distance_m
from placevec.sources.photos import METADATA, PhotoList, read_exif
from placevec.sources.world import World
from placevec.sources.world.cover import URBAN


@pytest.fixture(scope="module")
def world() -> World:
    return arcadia()


@pytest.fixture(scope="module")
def written() -> dict:
    return generated.written()[1]


def words_of(world: World) -> list[set[str]]:
    return [set() if text is None else set(text.split(",")) for text in world.photo_facts.tags]


def test_much_is_missing_and_little_is_wrong(world: World) -> None:
    facts = world.photo_facts
    silent = np.array([text is None for text in facts.tags])
    unknown = np.array([text is None for text in facts.taken])
    assert 0.35 < silent.mean() < 0.5
    assert 0.15 < unknown.mean() < 0.25
    np.testing.assert_array_equal(unknown, np.isnan(facts.hour))
    np.testing.assert_array_equal(unknown, np.isnan(facts.month))
    assert np.isnan(facts.focal_mm[unknown]).all()
    assert 0.2 < np.isnan(facts.focal_mm).mean() < 0.35
    np.testing.assert_array_equal(np.isnan(facts.focal_mm), np.isnan(facts.lens_mm))
    years = [int(text[:4]) for text in facts.taken if text is not None]
    assert 0.005 < np.mean([year == 2000 for year in years]) < 0.03  # clocks that were never set
    assert set(years) <= {2000, *range(2015, 2026)}


def test_names_of_towns_tell_where(world: World) -> None:
    """Most names are of a town near by; a few are of a town far away."""
    towns, words = world.towns, words_of(world)
    names = [name.lower() for name in towns.name]
    at = world.grid.lonlat(towns.col, towns.row)
    here = world.photo_places().lonlat()
    away = np.array(
        [
            distance_m(here[i], at[names.index(word)])[0] / 1000
            for i, each in enumerate(words)
            for word in each & set(names)
        ]
    )
    assert len(away) > 200
    assert np.median(away) < 10
    assert 0.01 < (away > 60).mean() < 0.15


def test_words_tell_of_the_land_and_of_the_province(world: World) -> None:
    words, photos = words_of(world), world.photos
    tagged = np.array([bool(each) for each in words])
    street = np.array(["street" in each for each in words])
    assert street[tagged & (photos.cover == URBAN)].mean() > 5 * street[tagged & (photos.cover != URBAN)].mean()
    styles = [
        {word for i in np.flatnonzero(photos.province == p) for word in words[i]} & {"wine", "trams", "goats", "slate"}
        for p in range(6)
    ]
    assert len({frozenset(each) for each in styles}) > 2
    own = np.array([world.province_names[p].lower() in words[i] for i, p in enumerate(photos.province)])
    assert 0.1 < own[tagged].mean() < 0.3


def test_cameras_follow_the_place(world: World) -> None:
    facts, photos = world.photo_facts, world.photos
    at = photos.row.astype(int).clip(0, 447), photos.col.astype(int).clip(0, 511)
    mountain = world.terrain.slope[at] > 0.15
    assert np.nanmean(facts.focal_mm[mountain]) > 1.3 * np.nanmean(facts.focal_mm[photos.cover == URBAN])
    assert np.nanmin(facts.focal_mm) >= 14
    sea = (world.terrain.coast_km[at] < 2) & (photos.cover != URBAN)
    summer = np.isin(facts.month, (6, 7, 8, 9))
    known = ~np.isnan(facts.month)
    assert summer[sea & known].mean() > summer[~sea & known].mean()


def test_southern_summers_are_in_january() -> None:
    facts = World(seed=0, centre=(20.0, -30.0)).photo_facts
    assert np.isin(facts.month, (12, 1, 2)).sum() > np.isin(facts.month, (6, 7, 8)).sum()


def test_the_pictures_are_what_they_were_and_the_facts_the_same_again(world: World) -> None:
    again = World(seed=0)
    facts = again.photo_facts
    for name in ("taken", "tags"):
        assert getattr(facts, name).tolist() == getattr(world.photo_facts, name).tolist()
    for name in ("hour", "month", "focal_mm", "lens_mm"):
        np.testing.assert_array_equal(getattr(facts, name), getattr(world.photo_facts, name))
    np.testing.assert_array_equal(again.photos.heading, world.photos.heading)


def test_a_batch_has_metadata_and_tags(world: World) -> None:
    rows = np.array([5, 0, 3])
    batch = world.photo_source().read(rows)
    metadata, tags = batch.data["metadata"], batch.data["tags"]
    assert metadata.shape == (3, len(METADATA))
    assert metadata.dtype == np.float32
    facts = world.photo_facts
    heading = np.radians(world.photos.heading[rows])
    np.testing.assert_allclose(metadata[:, METADATA.index("sin_heading")], np.sin(heading), rtol=1e-5)
    np.testing.assert_allclose(metadata[:, METADATA.index("log_focal_mm")], np.log(facts.focal_mm[rows]), rtol=1e-6)
    assert tags.tolist() == [facts.tags[row] or "" for row in rows]


def test_written_photos_say_the_same(world: World, written: dict) -> None:
    facts = world.photo_facts
    rows = list(csv.DictReader(io.StringIO(written["photos.csv"].read_text())))
    for i in range(0, len(rows), 40):
        exif, row = read_exif(written["photos"] / f"photo-{i:06d}.jpg"), rows[i]
        assert (row["taken"] or None) == exif.taken == facts.taken[i]
        assert (row["tags"] or None) == exif.tags == facts.tags[i]
        for name, value in (("hour", facts.hour[i]), ("month", facts.month[i]), ("focal_mm", facts.focal_mm[i])):
            assert (getattr(exif, name) is None) is bool(np.isnan(value)) is (row[name] == "")
            if not np.isnan(value):
                assert (
                    float(row[name]) == pytest.approx(getattr(exif, name), abs=1e-4) == pytest.approx(value, abs=1e-4)
                )
        if not np.isnan(facts.lens_mm[i]):
            assert exif.lens_mm == pytest.approx(facts.lens_mm[i], abs=0.05)


def test_photo_places_with_files_are_a_photo_list(world: World, written: dict) -> None:
    places = world.photo_places()
    few = places.take(np.arange(12))
    listed = type(places).create(
        few.ids,
        few.lonlat(),
        asset=[str(written["photos"] / f"{name}.jpg") for name in few.ids],
        attributes={name: few.column(name) for name in few.attributes},
    )
    batch = PhotoList(listed, pixels=32).read(np.arange(12))
    expected = world.photo_source().read(np.arange(12))
    np.testing.assert_array_equal(batch.data["metadata"], expected.data["metadata"])
    assert batch.data["tags"].tolist() == expected.data["tags"].tolist()
