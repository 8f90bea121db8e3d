"""Reading OpenStreetMap: what is found, what is hidden, and what is no such file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import shapely

from osm_town import LAT, LON, STEP, Town
from placevec.errors import CoordinateError, FormatError, MissingExtra, UsageError
from placevec.sources.osm import VISIBLE, Word, storage, tagged
from placevec.sources.osm import read as read_module


@pytest.fixture
def town(tmp_path: Path) -> Path:
    """Two tennis courts, a house, a street, trees, a lake with an island, and what nobody sees."""
    town = Town()
    town.square(0, 0, 0.2, leisure="pitch", sport="tennis")
    town.square(0.5, 0, 0.2, leisure="pitch", sport="tennis;basketball")
    town.square(1, 1, 0.1, building="house")
    town.square(2, 1, 0.1, building="no")
    town.way([(0, 2), (3, 2), (5, 2)], highway="residential")
    town.way([(0, 3), (3, 3)], highway="residential", tunnel="yes")
    town.way([(0, 4), (1, 4)], highway="proposed")
    town.way([(6, 0), (6, 1)], man_made="pier")
    for x in range(3):
        town.node(x + 0.5, 2.5, natural="tree")
    town.node(4, 4, amenity="bench")
    town.node(4.5, 4.5, amenity="parking", parking="underground")
    lake, island = town.square(7, 7, 2), town.square(7.5, 7.5, 1)
    town.relation(lake, island, natural="water")
    # A way that the extract has cut: one of its nodes is not in the file.
    town.lines.append('<way id="99" version="1"><nd ref="1"/><nd ref="4444"/><tag k="highway" v="primary"/></way>')
    return town.write(tmp_path / "town.osm")


def test_what_is_found(town: Path) -> None:
    found = tagged(town)
    assert found.counts() == {
        "trees": 3,
        "tennis courts": 2,
        "houses": 1,
        "piers": 1,
        "streets": 1,
        "water": 1,
    }
    kinds = {name: read_module.KINDS[kind] for name, kind in zip(found.names, found.kind, strict=True)}
    areas = dict.fromkeys(("tennis courts", "houses", "water"), "area")
    assert kinds == {"trees": "point", "piers": "line", "streets": "line", **areas}
    water = found.geometry[found.names == "water"][0]
    assert water.area == pytest.approx((4 - 1) * STEP**2, rel=1e-6)
    assert shapely.is_valid(found.geometry).all()
    court = found.geometry[found.names == "tennis courts"][0]
    assert court.bounds == pytest.approx((LON, LAT, LON + 0.2 * STEP, LAT + 0.2 * STEP))
    assert len(found.lon) == len(found.lat) == len(found)
    assert ((found.lon >= LON) & (found.lon <= LON + 9 * STEP)).all()


def test_a_box_and_words_of_ones_own(town: Path) -> None:
    box = (LON, LAT, LON + 0.3 * STEP, LAT + 0.3 * STEP)
    assert tagged(town, box=box).counts() == {"tennis courts": 1}
    bench = Word("amenity=bench", "a bench", "benches", "thing", 2)
    assert tagged(town, words=[bench]).counts() == {"benches": 1}
    anything = Word("highway=*", "a way", "ways", "line", 3)
    assert tagged(town, words=[anything]).counts() == {"ways": 2}  # the proposed one too, not the tunnel
    assert len(tagged(town, box=(0, 0, 1, 1))) == 0
    assert tagged(town, box=(0, 0, 1, 1)).lon.shape == (0,)


def test_chunks_and_positions_on_disk_change_nothing(town: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = tagged(town)
    monkeypatch.setattr(read_module, "_CHUNK", 2)
    monkeypatch.setattr(storage, "IN_MEMORY", 0)
    again = tagged(town)
    assert shapely.equals(whole.geometry, again.geometry).all()
    np.testing.assert_array_equal(whole.word, again.word)


def test_what_is_no_map(tmp_path: Path, town: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FormatError, match="no such file"):
        tagged(tmp_path / "gone.osm.pbf")
    for name, content in (("a.osm.pbf", b""), ("b.osm.pbf", b"not a map"), ("c.osm", b"<osm>"), ("d.txt", b"x")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(FormatError, match="no OpenStreetMap data can be read") as caught:
            tagged(tmp_path / name)
        assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="no words"):
        tagged(town, words=[])
    with pytest.raises(CoordinateError):
        tagged(town, box=(0, 100, 1, 101))
    monkeypatch.setitem(__import__("sys").modules, "osmium", None)
    with pytest.raises(MissingExtra, match=r"placevec\[osm\]"):
        tagged(town)


def test_the_words_are_whole() -> None:
    tags = [word.tag for word in VISIBLE]
    assert len(set(tags)) == len(tags)
    for word in VISIBLE:
        assert word.key
        assert word.value
        assert word.one
        assert word.one == " ".join(word.one.split()).lower()
        assert (word.form == "land") == bool(word.concept), word
        assert word.form != "line" or word.metres > 0, word
        assert word.form != "thing" or word.one.startswith(("a ", "an ", "solar")), word


@pytest.mark.real
def test_monaco(data_dir: Path) -> None:
    found = tagged(data_dir / "osm/monaco.osm.pbf")
    counts = found.counts()
    assert counts["swimming pools"] > 20
    assert counts["apartment buildings"] > 400
    assert counts["marinas with boats"] == 2
    assert (np.abs(found.lon - 7.42) < 0.1).all()
    assert (np.abs(found.lat - 43.73) < 0.1).all()
    part = tagged(data_dir / "osm/monaco.osm.pbf", box=(7.41, 43.72, 7.42, 43.73))
    assert 0 < len(part) < len(found) / 2
