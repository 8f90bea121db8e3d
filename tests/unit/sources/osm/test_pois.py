"""Reading points of interest: forms, things mapped twice, the slow form and golden counts of a real file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from osm_oracle import slow_nodes_by_leaf
from osm_town import LAT, LON, STEP, Town
from placevec.errors import FormatError
from placevec.geo.boxes import in_box
from placevec.geo.cells import H3Cells
from placevec.geo.sphere import LonLat
from placevec.sources.osm import read_pois, read_tree, storage


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A school with its buildings and node, cafes, a park with a lake in it, and what is no place to go to."""
    town = Town()
    town.square(0, 0, 2, amenity="school", name="North")  # w1
    town.square(0.5, 0.5, 0.5, amenity="school", building="yes")  # the same
    town.node(1.2, 1.2, amenity="school", name="North")  # the same
    town.node(1.4, 1.4, amenity="school", name="Music School")  # another
    town.node(1.6, 1.6, amenity="cafe")  # within the school, and no school
    town.node(5, 5, amenity="cafe", name="Bar; Caffè")
    town.node(5.1, 5, shop="vacant")
    town.node(5.2, 5, highway="crossing", amenity="bench")
    town.node(5.3, 5, highway="bus_stop")
    town.way([(6, 6), (7, 6)], highway="pedestrian", tourism="attraction")
    town.way([(6, 7), (7, 7), (8, 7)], tourism="artwork")  # an open way
    town.raw_way([1, 4444, 2, 1], amenity="parking")  # cut by the extract
    park, lake = town.square(10, 0, 4), town.square(11, 1, 2)
    town.relation(park, lake, leisure="park", name="Park")
    return town.write(tmp_path_factory.mktemp("osm") / "town.osm", bounds=(-1, -1, 16, 9))


def test_what_is_found_once(town: Path) -> None:
    pois = read_pois(town)
    found = {
        (str(i), pois.tree.names[k], str(name)) for i, k, name in zip(pois.id, pois.category, pois.name, strict=True)
    }
    assert {(leaf, name) for i, leaf, name in found if i.startswith("n")} == {
        ("school", "Music School"),
        ("cafe", ""),
        ("cafe", "Bar; Caffè"),
        ("bus_stop", ""),
    }
    assert {(i, leaf, name) for i, leaf, name in found if not i.startswith("n")} == {
        ("w1", "school", "North"),
        ("w4", "artwork", ""),
        ("r1", "park", "Park"),
    }
    assert pois.counts["objects left out: mapped twice"] == 2
    assert any("mapped twice" in note for note in pois.notes)
    assert pois.by_leaf() == {"school": 2, "cafe": 2, "bus_stop": 1, "artwork": 1, "park": 1}
    row = pois.id.tolist().index("r1")  # the point lies on the park, not in the lake
    x, y = (pois.lon[row] - LON) / STEP, (pois.lat[row] - LAT) / STEP
    assert 10 <= x <= 14
    assert 0 <= y <= 4
    assert not (11 < x < 13 and 1 < y < 3)
    assert pois.category.dtype == np.int16


def test_positions_on_disk_change_nothing(town: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = read_pois(town)
    told: list[int] = []
    monkeypatch.setattr(storage, "IN_MEMORY", 0)
    again = read_pois(town, on_disk=tmp_path, told=lambda _, done, __: told.append(done))
    for name in ("lon", "lat", "category", "id", "name"):
        np.testing.assert_array_equal(getattr(again, name), getattr(whole, name))
    assert told


def test_a_tree_of_ones_own_and_what_is_covered(town: Path) -> None:
    pois = read_pois(town, tree=read_tree({"all": "vacancy shop=vacant\nbench amenity=bench"}))
    assert pois.by_leaf() == {"vacancy": 1}  # the bench stands on a crossing
    cells = H3Cells(11).assign(LonLat(np.array([LON + 8 * STEP, 0.0]), np.array([LAT + 4 * STEP, 0.0])))
    assert pois.covers(cells).tolist() == [True, False]
    assert len(pois.take(np.zeros(1, dtype=bool))) == 0


def test_without_a_header_the_roads_say_how_far_a_file_reaches(tmp_path: Path) -> None:
    town = Town()
    town.way([(0, 0), (10, 0), (10, 10), (0, 10)], highway="path")
    town.node(1, 1, amenity="cafe")
    pois = read_pois(town.write(tmp_path / "a.osm"))
    assert pois.covered.area == pytest.approx((10 * STEP) ** 2, rel=1e-6)
    nothing = read_pois(Town().write(tmp_path / "b.osm"))
    assert len(nothing) == 0
    assert nothing.covered.is_empty


def test_odd_outlines(tmp_path: Path) -> None:
    town = Town()
    town.way([(0, 0), (2, 2), (2, 0), (0, 2), (0, 0)], amenity="school", name="Crossed")  # w1: no area
    town.square(5, 0, 1, amenity="cafe", area="no")  # w2: the line around, and no area
    town.way([(7, 0), (8, 0), (7, 0)], amenity="bank")  # w3: there and back
    town.way([(9, 0), (9, 0)], amenity="bank")  # w4: a point
    town.raw_way([], amenity="bank")  # w5: nothing
    town.way([(10, 0), (11, 0), (11, 1), (11, 1), (10, 1), (10, 0)], amenity="fuel")  # w6: one corner twice
    town.way([(12, 0), (13, 0), (13, 1), (13, 3), (13, 1), (12, 1), (12, 0)], amenity="taxi")  # w7: with a spike
    outer, inner = town.square(20, 0, 4, building="yes"), town.square(21, 1, 1)
    town.relation(outer, inner, shop="mall", building="yes")
    pois = read_pois(town.write(tmp_path / "a.osm"))
    assert dict(zip(pois.id, (pois.tree.names[k] for k in pois.category), strict=True)) == {
        "w6": "fuel",
        "w7": "taxi",
        "r1": "mall",
    }
    assert pois.counts["objects left out: nodes of them are missing in the file"] == 1


@pytest.mark.real
def test_golden_counts_of_monaco(data_dir: Path) -> None:
    pois = read_pois(data_dir / "osm/monaco.osm.pbf")
    counts = pois.by_leaf()
    assert sum(counts.values()) == len(pois) == 1420
    # Tallies of the file's tags, less what stands there twice and was looked at by hand: 3 of 109 restaurants are nodes
    # in their own buildings, 2 of 7 hospitals buildings on their own grounds, 1 of 12 pharmacies.
    golden = {
        "restaurant": 106,
        "cafe": 23,
        "bank": 22,
        "atm": 14,
        "pharmacy": 11,
        "hotel": 20,
        "artwork": 87,
        "bench": 178,
        "school": 10,
        "supermarket": 8,
        "clothes": 33,
        "hospital": 5,
        "cinema": 2,
        "parking": 72,
        "bus_stop": 86,
        "town_hall": 7,
        "library": 2,
    }
    assert {name: counts[name] for name in golden} == golden
    cinemas = pois.name[pois.category == pois.tree.names.index("cinema")]
    assert len(set(cinemas)) == len(cinemas)
    # Nodes are not changed by areas but for those left out.
    nodes = np.char.startswith(pois.id.astype(str), "n")
    names = np.array(pois.tree.names)[pois.category[nodes]]
    slow = slow_nodes_by_leaf(data_dir / "osm/monaco.osm.pbf")
    for name, count in slow.items():
        assert (names == name).sum() <= count
    assert 0 <= sum(slow.values()) - int(nodes.sum()) <= pois.counts["objects left out: mapped twice"]


@pytest.mark.real
def test_a_box_is_the_part_of_the_whole(data_dir: Path) -> None:
    path, box = data_dir / "osm/monaco.osm.pbf", (7.415, 43.73, 7.42, 43.735)
    whole, part = read_pois(path), read_pois(path, box=box)
    expected = whole.take(in_box(whole.lon, whole.lat, box))
    assert part.id.tolist() == expected.id.tolist()
    assert 0 < len(part) < len(whole)


@pytest.mark.real
def test_files_that_are_none(data_dir: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.osm.pbf"
    cut.write_bytes((data_dir / "osm/monaco.osm.pbf").read_bytes()[:300_000])
    (tmp_path / "text.osm.pbf").write_text("this is no map\n" * 100)
    for path in (cut, tmp_path / "text.osm.pbf", tmp_path / "gone.osm.pbf"):
        with pytest.raises(FormatError) as caught:
            read_pois(path)
        assert "\n" not in str(caught.value)
