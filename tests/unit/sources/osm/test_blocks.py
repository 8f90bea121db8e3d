"""What osmium wrote and arrays read: against osmium's own objects; the parts of a sorted file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import osmium
import pytest
from hypothesis import given
from hypothesis import strategies as st

from osm_town import LAT, LON, STEP, Town
from placevec.sources.osm import parts
from placevec.sources.osm.blocks import Block, read_blocks
from placevec.sources.osm.messages import fields, read_messages, signed, sums
from placevec.sources.osm.parts import RELATION, WAY, Parts
from placevec.sources.osm.sift import reader, sifted


def objects(block: Block) -> list[tuple[str, int, dict[str, str], list[tuple[int, float, float]]]]:
    """The objects of a block, one by one."""
    tags: list[dict[str, str]] = [{} for _ in range(len(block))]
    for owner, key, value in zip(block.owner, block.key, block.value, strict=True):
        tags[owner][block.strings[key].decode()] = block.strings[value].decode()
    places = list(zip(block.ref.tolist(), *(block.lonlat.T.tolist()), strict=True))
    ends = np.cumsum(block.size)
    nodes = [places[end - size : end] for end, size in zip(ends, block.size, strict=True)]
    return [(block.form, int(i), own, at) for i, own, at in zip(block.id, tags, nodes, strict=True)]


def slow(path: Path, key: str) -> list[tuple[str, int, dict[str, str], list[tuple[int, float, float]]]]:
    """The same by osmium, object by object."""
    found = []
    for each in osmium.FileProcessor(str(path)).with_locations().with_filter(osmium.filter.KeyFilter(key)):
        if each.is_node():
            found.append(("n", each.id, dict(each.tags), [(each.id, each.location.lon, each.location.lat)]))
        elif each.is_way():
            at = [(node.ref, node.location.lon, node.location.lat) for node in each.nodes]
            found.append(("w", each.id, dict(each.tags), at))
    return found


@pytest.mark.real
@pytest.mark.parametrize("key", ["highway", "amenity"])
def test_objects_are_those_of_osmium(data_dir: Path, key: str) -> None:
    path = data_dir / "osm/monaco.osm.pbf"
    with sifted(path, [key], nodes=True) as found:
        fast = [one for block in read_blocks(found.file) for one in objects(block)]
    assert fast == slow(path, key)
    assert not found.file.exists()


def test_a_part_of_a_block_and_missing_nodes(tmp_path: Path) -> None:
    town = Town()
    town.node(3, 4, amenity="cafe", name="A")
    town.node(-5000, 4, amenity="bench")
    town.raw_way([1, 77, 2], amenity="bank")
    town.raw_way([], amenity="atm")
    with sifted(town.write(tmp_path / "a.osm"), ["amenity"], nodes=True) as found:
        nodes, ways = read_blocks(found.file)
        assert (nodes.form, ways.form) == ("n", "w")
        assert ways.known.tolist() == [True, False, True]
        assert ways.size.tolist() == [3, 0]
        np.testing.assert_allclose(nodes.lonlat[0], [LON + 3 * STEP, LAT + 4 * STEP], atol=1e-7)
        assert nodes.texts(nodes.values(["name", "shop"])[0].tolist()) == ("A", None)
        assert objects(nodes.take(np.array([False, True]))) == objects(nodes)[1:]
        assert objects(ways.take(np.array([False, True]))) == objects(ways)[1:]
    with sifted(town.write(tmp_path / "b.osm"), ["shop"], nodes=True) as found:
        assert list(read_blocks(found.file)) == []


@given(st.lists(st.lists(st.integers(-(2**62), 2**62), max_size=5), min_size=1, max_size=6))
def test_packed_numbers(rows: list[list[int]]) -> None:
    """Differences of numbers, as protocol buffers hold them, one message a row."""
    steps = [np.diff(np.array(row, dtype=object), prepend=0).tolist() for row in rows]
    bodies = [
        b"\x08\x07" + (b"\x12" + sized(b"".join(varint(zigzag(v)) for v in row)) if row else b"") for row in steps
    ]
    ends = np.cumsum([len(body) for body in bodies])
    starts = ends - [len(body) for body in bodies]
    data = b"".join(bodies)
    found = read_messages(np.frombuffer(data, dtype=np.uint8), starts, ends)
    values, size = sums(*found.packed(2))
    assert values.tolist() == [v for row in rows for v in row]
    assert size.tolist() == [len(row) for row in rows]
    assert found.plain(1).tolist() == [7] * len(rows)
    assert signed(np.array([0, 1, 2, 3], dtype=np.uint64)).tolist() == [0, -1, 1, -2]
    assert [field for field, _ in fields(bodies[0])] == ([1, 2] if rows[0] else [1])


def zigzag(value: int) -> int:
    return (value << 1) ^ (value >> 63)


def varint(value: int) -> bytes:
    found = bytearray()
    value &= 2**64 - 1
    while value >= 128:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


def sized(data: bytes) -> bytes:
    return varint(len(data)) + data


def of_kind(path: Path, kind: int) -> list[int]:
    """The numbers of the objects in the parts of a kind."""
    bit = {WAY: osmium.osm.WAY, RELATION: osmium.osm.RELATION}[kind]
    found: list[int] = []
    for source in Parts(path).of(kind):
        with reader(source, bit) as opened:
            found += [each.id for each in osmium.OsmFileIterator(opened)]
    return found


def bare(path: Path, kind: Any) -> list[int]:
    return [each.id for each in osmium.FileProcessor(str(path), kind)]


@pytest.mark.real
def test_parts_of_a_sorted_file(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = data_dir / "osm/monaco.osm.pbf"
    assert len(Parts(path).blocks) > 3
    for size in (1, 64 << 20):
        monkeypatch.setattr(parts, "_PART", size)
        assert of_kind(path, WAY) == bare(path, osmium.osm.WAY)
        assert of_kind(path, RELATION) == bare(path, osmium.osm.RELATION)
    found = Parts(path)
    assert 1 < found.first[WAY] < found.first[RELATION] < len(found.blocks)


@pytest.mark.real
def test_other_files_are_read_as_a_whole(data_dir: Path, tmp_path: Path) -> None:
    unsorted = tmp_path / "a.osm.pbf"
    with osmium.SimpleWriter(str(unsorted)) as writer:
        for each in osmium.FileProcessor(str(data_dir / "osm/monaco.osm.pbf"), osmium.osm.RELATION):
            writer.add(each)
    town = Town().write(tmp_path / "b.osm")
    cut = tmp_path / "c.osm.pbf"
    cut.write_bytes((data_dir / "osm/monaco.osm.pbf").read_bytes()[:100])
    for path in (unsorted, town):
        assert list(Parts(path).of(RELATION)) == [str(path)]
    assert of_kind(unsorted, RELATION) == bare(unsorted, osmium.osm.RELATION)
