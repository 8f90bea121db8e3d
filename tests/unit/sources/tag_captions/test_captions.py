"""Captions of tiles: true, different, the same again, and on their way to a training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from placevec.errors import DataError, UsageError
from placevec.geo.sphere import LonLat
from placevec.sources.base import ArraySource
from placevec.sources.captions import read_captions
from placevec.sources.chips import ChipSource
from placevec.sources.osm import VISIBLE, Features
from placevec.sources.rasters import Raster
from placevec.sources.tag_captions import Fact, tag_captions, write_caption_set
from placevec.sources.tag_captions.sentences import sentences
from placevec.table import Places
from placevec.testing import check_source

GLUE = (
    "there is are we can see the picture shows an aerial view of a satellite image with and near close to mostly "
    "nearly everywhere large area place land two three four several many , ."
)
FRAME = set(GLUE.split())
WORDS = ("reeds", "a lake", "lawns", "moss", "a crane", "a road", "a bridge")


@st.composite
def some_facts(draw: st.DrawFn) -> list[Fact]:
    chosen = draw(st.lists(st.sampled_from(WORDS), unique=True, max_size=6))
    facts = []
    for word in chosen:
        form = draw(st.sampled_from(["land", "thing", "line"]))
        many = "" if form == "land" else f"{word.removeprefix('a ')}s"
        count = 1 if form == "land" else draw(st.integers(1, 20))
        facts.append(Fact((word,), many, form, draw(st.floats(0, 1)), count))
    return sorted(facts, key=lambda fact: -fact.share)


@given(some_facts(), st.integers(1, 8), st.integers(0, 1000))
def test_sentences_say_what_is_there_and_nothing_else(facts: list[Fact], count: int, seed: int) -> None:
    told = sentences(facts, count, np.random.default_rng(seed))
    assert told == sentences(facts, count, np.random.default_rng(seed))
    assert len(set(told)) == len(told) <= count
    assert bool(told) == bool(facts)
    known = {part for fact in facts for word in (*fact.words, fact.many) for part in word.split()}
    for sentence in told:
        assert sentence.endswith(" .")
        assert sentence == " ".join(sentence.split()).lower()
        assert set(sentence.split()) <= FRAME | known
        assert any(word in sentence for fact in facts for word in (fact.words[0], fact.many or "?"))
    if facts:
        assert facts[0].words[0] in told[0] or facts[0].many in told[0]
        assert len(sentences(facts, 2, np.random.default_rng(seed))) == 2


def test_numbers_and_grammar() -> None:
    def told_of(fact: Fact) -> list[str]:
        return sentences([fact], 40, np.random.default_rng(0))

    for count, word in ((1, "a tennis court"), (2, "two tennis courts"), (4, "four tennis courts"),
                        (5, "several tennis courts"), (10, "many tennis courts")):  # fmt: skip
        told = told_of(Fact(("a tennis court",), "tennis courts", "thing", 0.1, count))
        assert f"there {'is' if count == 1 else 'are'} {word} ." in told
    assert "there are roads ." in told_of(Fact(("a road",), "roads", "line", 0.1, 3))
    assert "there is grass ." in told_of(Fact(("grass",), "", "land", 0.6))
    assert "mostly lawns ." in told_of(Fact(("lawns",), "", "land", 0.6))


def grid_of_tiles(n: int = 4) -> Places:
    x, y = np.meshgrid(10 + 0.01 * np.arange(n), 45 + 0.01 * np.arange(n))
    return Places.create([f"t{k}" for k in range(n * n)], LonLat(x.ravel(), y.ravel()))


def test_from_land_cover_alone() -> None:
    classes = np.ones((200, 200), dtype=np.uint8)
    classes[:, 100:] = 2
    raster = Raster.from_array(classes, bounds=(9.9, 44.9, 10.1, 45.1))
    names = {1: "reeds", 2: "a lake"}
    places = grid_of_tiles()
    found = tag_captions(places, cover=raster, classes=names, ground_m=500, count=3, seed=1)
    assert found.skipped == []
    assert len(found.places) == 48
    keys, texts = found.places.keys, found.places.column("text")
    assert keys[:3].tolist() == ["t0"] * 3
    assert found.places.ids[:3].tolist() == ["t0#0", "t0#1", "t0#2"]
    for key, text in zip(keys, texts, strict=True):
        column = int(key[1:]) % 4
        assert "a lake" in text or column == 0  # where a tile has both
        assert "reeds" not in text or column == 0
    check_source(found.source())
    assert found.places.lon[0] == places.lon[0]
    again = tag_captions(places, cover=raster, classes=names, ground_m=500, count=3, seed=1)
    assert again.places.data.equals(found.places.data)
    other = tag_captions(places, cover=raster, classes=names, ground_m=500, count=3, seed=2)
    assert other.places.column("text").tolist() != texts.tolist()
    few = tag_captions(places.take([7, 2]), cover=raster, classes=names, ground_m=500, count=3, seed=1)
    assert few.places.column("text").tolist() == [*texts[21:24], *texts[6:9]]


def test_polygons_points_lines_and_nothing() -> None:
    box = shapely.box(10, 45, 10.01, 45.01)
    shapes = np.array(
        [box, None, shapely.LineString([(10, 45), (11, 45)]), shapely.box(50, 5, 50.1, 5.1)], dtype=object
    )
    places = Places.create(["box", "none", "line", "away"], geometry=shapes, place=["p", "q", "r", "s"])
    raster = Raster.from_array(np.ones((20, 20), dtype=np.uint8), bounds=(9.9, 44.9, 10.1, 45.1))
    found = tag_captions(places, cover=raster, classes={1: "reeds"}, count=2)
    assert found.places.keys.tolist() == ["p", "p"]
    assert found.places.ids.tolist() == ["box#0", "box#1"]
    assert {skip.id: skip.reason for skip in found.skipped} == {
        "none": "no geometry",
        "line": "its geometry has no area",
        "away": "the maps know nothing of it",
    }
    assert all(skip.stage == "caption" for skip in found.skipped)


def test_from_openstreetmap_given_as_features() -> None:
    number = next(k for k, word in enumerate(VISIBLE) if word.tag == "sport=tennis")
    courts = np.array([shapely.box(x, 45, x + 1e-4, 45.0001) for x in (9.9995, 10.0005)], dtype=object)
    osm = Features(courts, np.full(2, 2, np.uint8), np.full(2, number, np.int16), VISIBLE)
    found = tag_captions(grid_of_tiles(2), osm=osm, ground_m=600)
    assert set(found.places.keys) == {"t0"}
    assert all("two tennis courts" in text for text in found.places.column("text"))
    assert len(found.skipped) == 3


def test_what_is_refused() -> None:
    raster = Raster.from_array(np.ones((20, 20), dtype=np.uint8), bounds=(9.9, 44.9, 10.1, 45.1))
    with pytest.raises(UsageError, match="give osm, cover, or both"):
        tag_captions(grid_of_tiles(), ground_m=5)
    with pytest.raises(UsageError, match="goes with its classes"):
        tag_captions(grid_of_tiles(), cover=raster, ground_m=5)
    with pytest.raises(UsageError, match="give ground_m"):
        tag_captions(grid_of_tiles(), cover=raster, classes="nlcd")
    with pytest.raises(UsageError, match="count is 0"):
        tag_captions(grid_of_tiles(), cover=raster, classes="nlcd", count=0)


def test_a_region_becomes_a_set_for_training(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (3, 200, 200)).astype(np.uint8)
    cover = Raster.from_array(np.ones((200, 200), dtype=np.uint8), bounds=(9.9, 44.9, 10.1, 45.1))
    image = Raster.from_array(picture, bounds=(9.9, 44.9, 10.02, 45.02))
    places = grid_of_tiles()
    captions = tag_captions(places.take(range(12)), cover=cover, classes={1: "reeds"}, ground_m=800, count=2).places
    chips = ChipSource(places, image, 800, 16)
    skipped = write_caption_set(tmp_path / "set", chips, captions, splits={"t0": "val"})
    reasons = [skip.reason for skip in skipped]
    assert reasons.count("it has no caption") == 4
    found = read_captions(tmp_path / "set")
    assert len(found) + len(skipped) == 16
    assert found.ids.tolist()[:3] == ["t0.png", "t1.png", "t2.png"]
    assert found.splits.tolist()[:2] == ["val", ""]
    assert found.lonlat is not None
    np.testing.assert_allclose(found.lonlat[1], [10.01, 45.0])
    np.testing.assert_array_equal(
        found.images(16).read(np.array([1])).data["image"], chips.read(np.array([1])).data["image"]
    )
    assert all("reeds" in text for own in found.captions for text in own)


def test_images_that_are_no_pictures(tmp_path: Path) -> None:
    captions = Places.create(["a/1#0"], place=["a/1"], attributes={"text": ["x"]})
    for count, names in ((1, ["tile-0000000.png"]), (3, ["tile-0000000.png"])):
        values = np.linspace(0, 9000, count * 16, dtype=np.float32).reshape(1, count, 4, 4)
        tiles = ArraySource(Places.create(["a/1"]), {"image": values})
        write_caption_set(tmp_path / "set", tiles, captions)
        assert read_captions(tmp_path / "set").ids.tolist() == names
    two = ArraySource(Places.create(["a/1"]), {"image": np.zeros((1, 2, 4, 4), dtype=np.uint8)})
    with pytest.raises(UsageError, match="2 bands"):
        write_caption_set(tmp_path / "other", two, captions)
    with pytest.raises(DataError, match="none of the 1 tiles"):
        write_caption_set(tmp_path / "other", ArraySource(Places.create(["b"]), {"image": values}), captions)
    assert not (tmp_path / "other").exists()


@pytest.mark.real
def test_monaco_in_words(data_dir: Path) -> None:
    x, y = np.meshgrid(np.linspace(7.41, 7.44, 10), np.linspace(43.725, 43.752, 10))
    places = Places.create([f"t{k}" for k in range(x.size)], LonLat(x.ravel(), y.ravel()))
    found = tag_captions(places, osm=data_dir / "osm/monaco.osm.pbf", ground_m=250)
    texts = found.places.column("text").tolist()
    assert len(set(found.places.keys)) + len(found.skipped) == 100
    for word in ("a marina with boats", "apartment buildings", "swimming pool", "a residential area"):
        assert any(word in text for text in texts), word
    assert not any("farmland" in text or "runway" in text for text in texts)


@pytest.mark.real
def test_zion_in_words(data_dir: Path) -> None:
    x, y = np.meshgrid(np.linspace(-113.2, -112.9, 6), np.linspace(37.2, 37.45, 6))
    places = Places.create([f"t{k}" for k in range(x.size)], LonLat(x.ravel(), y.ravel()))
    found = tag_captions(places, cover=data_dir / "zion/nlcd2011.tif", classes="nlcd", ground_m=1500)
    texts = " ".join(found.places.column("text"))
    assert found.skipped == []
    assert "forest" in texts
    assert "scrub" in texts
    assert "a tennis court" not in texts
