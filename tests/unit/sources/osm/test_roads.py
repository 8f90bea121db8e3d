"""Reading roads: segments, nodes, what is cut, and the slow form on a real file."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from osm_oracle import slow_roads
from osm_town import LAT, LON, STEP, Town
from placevec.errors import CoordinateError, FormatError, UsageError
from placevec.geo.boxes import in_box
from placevec.geo.cells import H3Cells
from placevec.geo.sphere import LonLat
from placevec.sources.osm import ROAD_CLASSES, Roads, covers, read_roads, storage
from placevec.sources.osm.covered import covered


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cross of two streets, a roundabout, a motorway, what is no road, and ways that the extract has cut."""
    town = Town()
    town.way([(0, 0), (1, 0), (2, 0)], highway="residential", maxspeed="30")
    town.way([(1, -1), (1, 0), (1, 1)], highway="primary", oneway="-1")
    town.way([(5, 5), (6, 5), (6, 6), (5, 5)], highway="tertiary", junction="roundabout")
    town.way([(0, 8), (9, 8)], highway="motorway_link")
    town.way([(0, 2), (1, 2)], highway="construction")
    town.square(3, 3, 1, highway="pedestrian", area="yes")
    town.way([(0, 4), (1, 4)], building="yes")
    here, there, far = town.node(7, 0), town.node(8, 0), town.node(9, 0)
    town.raw_way([here, there, 9001, 9002, far, here, here], highway="path")
    town.raw_way([9003, 9004], highway="path")
    return town.write(tmp_path_factory.mktemp("osm") / "town.osm")


def segments(roads: Roads) -> list[tuple[float, float, float, float, str]]:
    """Where segments start and end, in steps of the town's grid, and their classes."""
    x, y = np.round((roads.lon - LON) / STEP, 3), np.round((roads.lat - LAT) / STEP, 3)
    ends = zip(x[roads.a], y[roads.a], x[roads.b], y[roads.b], roads.kind, strict=True)
    return [(float(a), float(b), float(c), float(d), ROAD_CLASSES[kind]) for a, b, c, d, kind in ends]


def test_segments_and_their_tags(town: Path) -> None:
    roads = read_roads(town)
    assert segments(roads) == [
        (0, 0, 1, 0, "residential"),
        (1, 0, 2, 0, "residential"),
        (1, -1, 1, 0, "primary"),
        (1, 0, 1, 1, "primary"),
        (5, 5, 6, 5, "tertiary"),
        (6, 5, 6, 6, "tertiary"),
        (6, 6, 5, 5, "tertiary"),
        (0, 8, 9, 8, "motorway"),
        (7, 0, 8, 0, "path"),
        (9, 0, 7, 0, "path"),
    ]
    assert roads.oneway.tolist() == [0, 0, -1, -1, 1, 1, 1, 1, 0, 0]
    assert roads.way.tolist() == [0, 0, 1, 1, 2, 2, 2, 3, 4, 4]
    np.testing.assert_array_equal(roads.kmh, [30, 30] + [np.nan] * 8)
    assert roads.walk.tolist() == [True] * 7 + [False, True, True]
    assert roads.drive.tolist() == [True] * 8 + [False, False]
    assert (np.diff(roads.node_id) > 0).all()
    assert roads.metres[0] == pytest.approx(STEP * np.pi / 180 * 6371008.8 * np.cos(np.radians(LAT)), rel=1e-4)
    types = [getattr(roads, name).dtype for name in ("a", "b", "way", "kind", "metres", "oneway", "kmh")]
    assert types == ["int64", "int64", "int64", "uint8", "float32", "int8", "float32"]


def test_what_is_left_out_is_counted(town: Path) -> None:
    roads = read_roads(town)
    assert roads.counts == {
        "ways": 6,
        "ways left out: no road: construction": 1,
        "ways left out: the outline of an area": 1,
        "ways of which nodes are missing in the file": 2,
        "nodes missing in the file": 4,
    }
    assert "4 nodes missing in the file" in roads.notes


def test_positions_on_disk_change_nothing(town: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = read_roads(town)
    told: list[int] = []
    again = [read_roads(town, on_disk=tmp_path / "new", told=lambda _, done, __: told.append(done))]
    monkeypatch.setattr(storage, "IN_MEMORY", 0)
    again.append(read_roads(town))
    for one in again:
        for name in ("node_id", "lon", "lat", "a", "b", "way", "kind", "metres", "kmh", "drive"):
            np.testing.assert_array_equal(getattr(one, name), getattr(whole, name))
    assert told == sorted(told)
    assert told
    assert not list((tmp_path / "new").iterdir())  # nothing is left behind
    with pytest.raises(UsageError, match="comma"):
        read_roads(town, on_disk=tmp_path / "a,b")
    with pytest.raises(UsageError, match="cannot be kept there"):
        read_roads(town, on_disk=town)


def test_take_and_box(town: Path) -> None:
    roads = read_roads(town)
    few = roads.take(roads.kind == ROAD_CLASSES.index("primary"))
    assert segments(few) == [(1, -1, 1, 0, "primary"), (1, 0, 1, 1, "primary")]
    assert len(few.node_id) == 3
    assert len(roads.take(np.zeros(len(roads), dtype=bool)).node_id) == 0
    box = (LON - STEP / 2, LAT - STEP / 2, LON + STEP / 2, LAT + STEP / 2)
    part = read_roads(town, box=box)
    assert segments(part) == [(0, 0, 1, 0, "residential")]  # one end of it is in the box
    assert part.covered.bounds == pytest.approx(box, abs=STEP)
    assert len(read_roads(town, box=(0, 0, 1, 1))) == 0
    with pytest.raises(CoordinateError):
        read_roads(town, box=(0, 100, 1, 101))


def test_what_is_covered(tmp_path: Path) -> None:
    town = Town()
    town.way([(0, 0), (10, 0), (10, 10), (0, 10)], highway="path")
    hull, header = town.write(tmp_path / "a.osm"), town.write(tmp_path / "b.osm", bounds=(-10, -10, 20, 10))
    inside, beside = LON + 5 * STEP, LON - 5 * STEP
    cells = H3Cells(11).assign(LonLat(np.array([inside, beside, 0.0]), np.full(3, LAT + 5 * STEP)))
    assert read_roads(hull).covers(cells).tolist() == [True, False, False]
    assert read_roads(header).covers(cells).tolist() == [True, True, False]
    empty = Town().write(tmp_path / "c.osm")
    roads = read_roads(empty)
    assert len(roads) == 0
    assert not roads.covers(cells).any()
    assert not covers(roads.covered, cells[:0]).any()


@given(st.lists(st.tuples(st.floats(-180, 180), st.floats(-80, 80)), min_size=1, max_size=30))
def test_a_hull_covers_its_points(points: list[tuple[float, float]]) -> None:
    lon, lat = (np.array(column) for column in zip(*points, strict=True))
    area = covered(None, lon, lat)
    assert area.is_valid
    assert not area.is_empty


@pytest.mark.real
def test_monaco_against_the_slow_form(data_dir: Path) -> None:
    path = data_dir / "osm/monaco.osm.pbf"
    roads, slow = read_roads(path), slow_roads(path)
    assert len(roads) == len(slow) > 10_000
    a, b = roads.node_id[roads.a], roads.node_id[roads.b]
    assert list(zip(a.tolist(), b.tolist(), strict=True)) == [(one[0], one[1]) for one in slow]
    np.testing.assert_allclose(roads.metres, [one[3] for one in slow], rtol=1e-4, atol=1e-3)
    assert Counter(roads.kind.tolist()) == Counter(one[2].kind for one in slow)
    assert [(one[2].oneway, one[2].walk, one[2].bike, one[2].drive) for one in slow] == list(
        zip(roads.oneway.tolist(), roads.walk.tolist(), roads.bike.tolist(), roads.drive.tolist(), strict=True)
    )
    np.testing.assert_array_equal(roads.kmh, np.array([one[2].kmh for one in slow], dtype=np.float32))


@pytest.mark.real
def test_a_box_is_the_part_of_the_whole(data_dir: Path) -> None:
    path, box = data_dir / "osm/monaco.osm.pbf", (7.415, 43.73, 7.42, 43.735)
    whole, part = read_roads(path), read_roads(path, box=box)
    inside = in_box(whole.lon, whole.lat, box)
    expected = whole.take(inside[whole.a] | inside[whole.b])
    for name in ("node_id", "lon", "lat", "a", "b", "kind", "metres"):
        np.testing.assert_array_equal(getattr(part, name), getattr(expected, name))


@pytest.mark.real
def test_files_that_are_none(data_dir: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.osm.pbf"
    cut.write_bytes((data_dir / "osm/monaco.osm.pbf").read_bytes()[:200_000])
    text = tmp_path / "text.osm.pbf"
    text.write_text("this is no map\n" * 100)
    (tmp_path / "none.osm.pbf").write_bytes(b"")
    for path in (cut, text, tmp_path / "none.osm.pbf", tmp_path):
        with pytest.raises(FormatError) as caught:
            read_roads(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("lon", ["", "nan", "east"])
def test_a_coordinate_that_is_none_is_told(tmp_path: Path, lon: str) -> None:
    """Osmium's error for it is of no kind that it has else."""
    path = tmp_path / "odd.osm"
    path.write_text(f'<osm version="0.6"><node id="1" version="1" lat="43.5" lon="{lon}"/></osm>')
    with pytest.raises(FormatError, match="no OpenStreetMap data can be read"):
        read_roads(path)
