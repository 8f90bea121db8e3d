"""Messages of protocol buffers: one after the other, and thousands of one kind decoded at once with arrays.

The encoding is that of the documentation of Protocol Buffers: a field is a tag (its number times 8 and its type), and a
number in groups of 7 bits, the lowest first, or a length and bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]
Numbers = NDArray[np.uint64]

_BYTES = 2  # the type of a field that is a length and bytes; all others that osmium writes here are numbers


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of one message: their number, and their value. Raises IndexError if it ends within a number."""
    at = 0
    while at < len(data):
        tag, at = number(data, at)
        value, at = number(data, at)
        if tag & 7 == _BYTES:
            yield tag >> 3, data[at : at + value]
            at += value
        else:
            yield tag >> 3, value


def number(data: bytes, at: int) -> tuple[int, int]:
    """The number that starts at `at`, and where it ends."""
    value = data[at]
    at += 1
    if value < 128:
        return value, at
    value &= 127
    shift = 7
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7


@dataclass(frozen=True, eq=False)
class Messages:
    """The fields of n messages; fields have numbers below 16."""

    buffer: Bytes  # in which they all are
    n: int  # how many there are
    number: dict[int, Numbers]  # field -> (n,) its value, or its length in bytes; 0 where it is absent
    start: dict[int, Ints]  # field -> (n,) where its bytes start

    def take(self, mask: NDArray[np.bool_]) -> Messages:
        """The messages that a mask (n,) names."""
        number = {field: value[mask] for field, value in self.number.items()}
        start = {field: value[mask] for field, value in self.start.items()}
        return Messages(self.buffer, int(mask.sum()), number, start)

    def plain(self, field: int) -> Numbers:
        """The number (n,) of a field, 0 where it is absent."""
        return self.number.get(field, np.zeros(self.n, dtype=np.uint64))

    def packed(self, field: int) -> tuple[Numbers, Ints]:
        """The numbers (k,) of a field that holds several, of all messages, and how many (n,) each message has."""
        length = self.plain(field).astype(np.int64)
        total = int(length.sum())
        if not total:
            return np.zeros(0, dtype=np.uint64), length
        before = np.cumsum(length) - length
        data = self.buffer[np.repeat(self.start[field] - before, length) + np.arange(total)]
        last = np.flatnonzero(data < 128)  # a number ends at the first byte without the highest bit
        first = np.concatenate([[0], last[:-1] + 1])
        value = (data[first] & 127).astype(np.uint64)
        for k in range(1, int((last - first).max()) + 1):
            long = np.flatnonzero(last - first >= k)
            value[long] |= (data[first[long] + k] & 127).astype(np.uint64) << np.uint64(7 * k)
        return value, np.diff(np.searchsorted(last, before + length), prepend=0)


def read_messages(buffer: Bytes, start: Ints, end: Ints) -> Messages:
    """Messages (n,) that lie from `start` to `end` in a buffer, field by field, all of them at once.

    Most have their fields in one order, so that there are few steps.
    """
    n = len(start)
    found = Messages(buffer, n, {}, {})
    rows, at = np.flatnonzero(start < end), start[start < end]
    while len(rows):
        tag = buffer[at]
        number, at = numbers(buffer, at + 1)
        for each in np.unique(tag).tolist():
            here, field = tag == each, each >> 3
            found.number.setdefault(field, np.zeros(n, dtype=np.uint64))[rows[here]] = number[here]
            found.start.setdefault(field, np.zeros(n, dtype=np.int64))[rows[here]] = at[here]
        at = at + np.where(tag & 7 == _BYTES, number.astype(np.int64), 0)
        more = at < end[rows]
        rows, at = rows[more], at[more]
    return found


def numbers(buffer: Bytes, at: Ints) -> tuple[Numbers, Ints]:
    """The numbers (n,) that start at `at`, and where they end."""
    value = (buffer[at] & 127).astype(np.uint64)
    end = at + 1
    more = np.flatnonzero(buffer[at] >= 128)
    shift = 7
    while len(more):
        byte = buffer[end[more]]
        value[more] |= (byte & 127).astype(np.uint64) << np.uint64(shift)
        end[more] += 1
        more = more[byte >= 128]
        shift += 7
    return value, end


def signed(value: Numbers) -> Ints:
    """Numbers whose sign is their lowest bit."""
    half = (value >> np.uint64(1)).astype(np.int64)
    return half ^ -(value & np.uint64(1)).astype(np.int64)


def sums(value: Numbers, size: Ints) -> tuple[Ints, Ints]:
    """Numbers (k,) of which each is given as the difference to the one before it in its message, and `size` (n,)."""
    total = np.cumsum(signed(value))
    before = np.concatenate([[0], total])[np.cumsum(size) - size]
    return total - np.repeat(before, size), size
