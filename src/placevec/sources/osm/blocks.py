"""The nodes and ways of a file that `sift` wrote, as arrays, thousands at a time.

The form is that of the OpenStreetMap wiki's "PBF Format", of which osmium uses here: blobs without compression, nodes
one by one, ways with the positions of their nodes, the granularity and the offsets that are the default. Messages of a
block are read field by field, all of them at once: most have their fields in one order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from placevec.sources.osm.messages import Ints, Messages, fields, number, numbers, read_messages, signed, sums

_LONG = 128  # a number below it is one byte
PER_DEGREE = 1e7  # positions are whole numbers of ten-millionths of a degree
_FORMS = {0x0A: "n", 0x1A: "w"}  # the first byte of a node and of a way in a group


@dataclass(frozen=True, eq=False)
class Block:
    """n nodes or n ways, with t tags and k positions; a node has one position, a way one for each of its nodes.

    Positions are decoded when they are asked for: of most objects only the tags are looked at.
    """

    form: str  # "n" or "w"
    strings: list[bytes]  # what tags are made of, UTF-8
    owner: Ints  # (t,) row of the object that has a tag
    key: Ints  # (t,) index into `strings`
    value: Ints  # (t,) index into `strings`
    messages: Messages  # the n of them, as they stand in the file

    def __len__(self) -> int:
        return self.messages.n

    @cached_property
    def id(self) -> Ints:
        """OpenStreetMap's numbers (n,)."""
        plain = self.messages.plain(1)
        return signed(plain) if self.form == "n" else plain.astype(np.int64)

    @cached_property
    def size(self) -> Ints:
        """How many positions each has (n,)."""
        return np.ones(len(self), dtype=np.int64) if self.form == "n" else self._refs[1]

    @cached_property
    def ref(self) -> Ints:
        """The numbers (k,) of the nodes of ways; of nodes their own."""
        return self.id if self.form == "n" else self._refs[0]

    @cached_property
    def x(self) -> Ints:
        """Ten-millionths of a degree (k,) of longitude."""
        return signed(self.messages.plain(9)) if self.form == "n" else sums(*self.messages.packed(10))[0]

    @cached_property
    def y(self) -> Ints:
        """Ten-millionths of a degree (k,) of latitude."""
        return signed(self.messages.plain(8)) if self.form == "n" else sums(*self.messages.packed(9))[0]

    @cached_property
    def _refs(self) -> tuple[Ints, Ints]:
        return sums(*self.messages.packed(8))

    @cached_property
    def lonlat(self) -> NDArray[np.float64]:
        """Positions (k, 2) in degrees; of those that are not `known` no place on the Earth."""
        return np.stack([self.x, self.y], axis=1) / PER_DEGREE

    @cached_property
    def known(self) -> NDArray[np.bool_]:
        """Of which positions (k,) the node was in the file, with a place on the Earth."""
        on_earth: NDArray[np.bool_] = (np.abs(self.x) <= 180 * PER_DEGREE) & (np.abs(self.y) <= 90 * PER_DEGREE)
        return on_earth

    def take(self, mask: NDArray[np.bool_]) -> Block:
        """The objects that a mask (n,) names."""
        tags = mask[self.owner]
        owner = (np.cumsum(mask) - 1)[self.owner[tags]]
        return Block(self.form, self.strings, owner, self.key[tags], self.value[tags], self.messages.take(mask))

    def values(self, keys: Sequence[str]) -> NDArray[np.int32]:
        """The values (n, len(keys)) of keys as indices into `strings`, -1 where a key is absent."""
        column = {key.encode(): k for k, key in enumerate(keys)}
        of_string = np.array([column.get(each, -1) for each in self.strings], dtype=np.int64)
        which = of_string[self.key]
        some = np.flatnonzero(which >= 0)[::-1]  # of a key that is there twice the first value counts, written last
        found = np.full((len(self), len(keys)), -1, dtype=np.int32)
        found[self.owner[some], which[some]] = self.value[some]
        return found

    def names(self, key: str) -> list[str]:
        """The value (n,) of a key, "" where it is absent."""
        strings = self.strings
        return ["" if k < 0 else strings[k].decode("utf-8", "replace") for k in self.values((key,))[:, 0].tolist()]

    def texts(self, row: Sequence[int]) -> tuple[str | None, ...]:
        """What a row of `values` says."""
        return tuple(None if k < 0 else self.strings[k].decode("utf-8", "replace") for k in row)

    def asked(self, values: NDArray[np.int32], say: Callable[[tuple[str | None, ...]], int]) -> NDArray[np.int64]:
        """What `say` says of each row (n,) of `values`, asked once for all rows that are the same."""
        found: list[int] = []
        seen: dict[tuple[int, ...], int] = {}
        for row in map(tuple, values.tolist()):
            one = seen.get(row)
            if one is None:
                one = seen[row] = say(self.texts(row))
            found.append(one)
        return np.array(found, dtype=np.int64)


def read_blocks(path: Path) -> Iterator[Block]:
    """The nodes and ways of a file that `sift` wrote, in the order of the file."""
    with path.open("rb") as file:
        while (data := _blob(file)) is not None:
            yield from _groups(data)


def _blob(file: BinaryIO) -> bytes | None:
    """The next block of data, None at the end."""
    while True:
        length = file.read(4)
        if not length:
            return None
        head = dict(fields(file.read(int.from_bytes(length, "big"))))
        body = file.read(int(head[3]))
        if head[1] == b"OSMData":
            return bytes(dict(fields(body))[1])


def _groups(data: bytes) -> Iterator[Block]:
    """The groups of objects of a block."""
    parts = list(fields(data))
    strings = [bytes(value) for field, table in parts if field == 1 for _, value in fields(bytes(table))]
    for field, group in parts:
        if field == 2 and group:
            yield _group(bytes(group), strings)


def _group(data: bytes, strings: list[bytes]) -> Block:
    heads: list[int] = []
    at, end, keep = 0, len(data), heads.append
    while at < end:  # the one loop over all objects
        keep(at)
        size, more = data[at + 1], data[at + 2]
        if size < _LONG:
            at += 2 + size
        elif more < _LONG:
            at += 3 + (size - _LONG) + (more << 7)
        else:
            size, at = number(data, at + 1)
            at += size
    buffer = np.frombuffer(data, dtype=np.uint8)
    head = np.array(heads, dtype=np.int64)
    messages = read_messages(buffer, numbers(buffer, head + 1)[1], np.append(head[1:], end))
    keys, tags = messages.packed(2)
    values, _ = messages.packed(3)
    owner = np.repeat(np.arange(messages.n), tags)
    return Block(_FORMS[data[0]], strings, owner, keys.astype(np.int64), values.astype(np.int64), messages)
