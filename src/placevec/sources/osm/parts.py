"""The part of an OpenStreetMap file that holds objects of one kind, so that a second pass need not unpack all of it.

A .osm.pbf is a row of blocks, each packed by itself. Of a file whose header says that it is sorted (nodes, ways,
relations: all usual extracts are), the blocks in which ways or relations start are found by halving.
"""

from __future__ import annotations

import zlib
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from placevec.sources.osm.messages import fields, number
from placevec.sources.osm.storage import load_osmium

NODE, WAY, RELATION = 0, 1, 2  # the order in a sorted file

_KINDS = {1: NODE, 2: NODE, 3: WAY, 4: RELATION}  # by the field of a group in which they are
_BLOCK = 32 << 20  # bytes: the format allows no larger block, packed or not
_FIRST = 64  # bytes that are enough to see a tag and a length
_PART = 64 << 20  # bytes of a file that are in memory at a time


class Parts:
    """The blocks of a file; there are none if it is not sorted, or packed in a way that zlib does not know."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.blocks: list[tuple[int, int]] = []  # where each starts and ends; the first is the header
        self.first: dict[int, int] = {}  # kind -> the first block that starts with it, or with a later kind
        if not _is_sorted(path):
            return
        with suppress(ValueError, IndexError, KeyError, StopIteration, zlib.error), path.open("rb") as file:
            blocks = list(_all_blocks(file))  # a file that is none is told by osmium, which then reads it as a whole
            kind_of = cache(lambda block: _kind(file, *block))
            for kind in (WAY, RELATION):
                self.first[kind] = bisect_left(blocks, kind, lo=1, key=kind_of)
            self.blocks = blocks

    def of(self, kind: int) -> Iterator[Any]:
        """What osmium is to read one after the other, as its reader takes it, to see all ways or all relations."""
        if not self.blocks:
            yield str(self.path)
            return
        buffer = load_osmium().io.FileBuffer
        # The block before the first may hold two kinds.
        rest = self.blocks[max(1, self.first[kind] - 1) : self.first.get(kind + 1)]
        with self.path.open("rb") as file:
            head = file.read(self.blocks[0][1])
            while rest:
                start = end = rest[0][0]
                while rest and (start == end or rest[0][1] - start <= _PART):
                    end = rest.pop(0)[1]
                file.seek(start)
                yield buffer(head + file.read(end - start), "pbf")


def _is_sorted(path: Path) -> bool:
    """Whether a file is a .pbf whose header says that it is sorted."""
    if path.suffix != ".pbf":
        return False
    header = load_osmium().FileProcessor(str(path)).header
    return bool(header.get("sorting") == "Type_then_ID" and not header.has_multiple_object_versions)


def _all_blocks(file: BinaryIO) -> Iterator[tuple[int, int]]:
    """Where each block of a file is. Raises ValueError and KeyError for what is none."""
    start = 0
    while length := file.read(4):
        size = int.from_bytes(length, "big")
        if size > _BLOCK:
            raise ValueError("a block's header is larger than the format allows")
        head = dict(fields(file.read(size)))
        end = start + 4 + size + int(head[3])
        yield start, end
        start = file.seek(end)


def _kind(file: BinaryIO, start: int, end: int) -> int:
    """Of which kind the first object of a block is."""
    file.seek(start)
    size = int.from_bytes(file.read(4), "big")
    file.seek(size, 1)
    body = dict(fields(file.read(end - start - 4 - size)))
    packed, unpack = bytes(body.get(1) or body[3]), zlib.decompressobj()
    if 1 in body:
        data = packed
    else:  # the strings stand before the objects, and are all that is unpacked
        data = unpack.decompress(packed, _FIRST)
        strings, begin = number(data, 1)
        data += unpack.decompress(unpack.unconsumed_tail, min(begin + strings + _FIRST, _BLOCK))
    strings, begin = number(data, 1)
    _, group = number(data, begin + strings + 1)
    return _KINDS[data[group] >> 3]
