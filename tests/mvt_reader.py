"""A slow and obvious reader of vector tiles, by the text of the specification (2.1), as an oracle."""

from __future__ import annotations

import struct
from typing import Any


def varint(data: bytes, at: int) -> tuple[int, int]:
    shift = value = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
        shift += 7


def message(data: bytes) -> list[tuple[int, Any]]:
    at, out = 0, []
    while at < len(data):
        key, at = varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = varint(data, at)
        elif kind == 2:
            size, at = varint(data, at)
            value, at = data[at : at + size], at + size
        elif kind == 1:
            (value,), at = struct.unpack("<d", data[at : at + 8]), at + 8
        elif kind == 5:
            (value,), at = struct.unpack("<f", data[at : at + 4]), at + 4
        else:
            raise ValueError(f"wire type {kind}")
        out.append((key >> 3, value))
    return out


def packed(data: bytes) -> list[int]:
    at, out = 0, []
    while at < len(data):
        value, at = varint(data, at)
        out.append(value)
    return out


def unzig(value: int) -> int:
    return value >> 1 ^ -(value & 1)


def rings(commands: list[int]) -> list[list[tuple[int, int]]]:
    x = y = at = 0
    out: list[list[tuple[int, int]]] = []
    while at < len(commands):
        kind, times = commands[at] & 7, commands[at] >> 3
        at += 1
        if kind == 7:
            assert times == 1
            continue
        for _ in range(times):
            x, y = x + unzig(commands[at]), y + unzig(commands[at + 1])
            at += 2
            if kind == 1:
                out.append([])
            out[-1].append((x, y))
    return out


def area(ring: list[tuple[int, int]]) -> int:
    """Twice the signed area."""
    return sum(a[0] * b[1] - b[0] * a[1] for a, b in zip(ring, ring[1:] + ring[:1], strict=True))


def value_of(data: bytes) -> Any:
    ((number, value),) = message(data)
    return {1: lambda v: v.decode(), 6: unzig, 7: bool}.get(number, lambda v: v)(value)


def read_tile(data: bytes) -> dict[str, Any]:
    """The one layer of a tile: name, extent, version, features of (kind, rings, properties)."""
    ((field, layer),) = message(data)
    assert field == 3
    parts = message(layer)
    keys = [value.decode() for number, value in parts if number == 3]
    values = [value_of(value) for number, value in parts if number == 4]
    features = []
    for number, feature in parts:
        if number == 2:
            inner = dict(message(feature))
            tags = packed(inner.get(2, b""))
            properties = {keys[k]: values[v] for k, v in zip(tags[::2], tags[1::2], strict=True)}
            features.append((inner[3], rings(packed(inner[4])), properties))
    plain = dict(parts)
    return {"name": plain[1].decode(), "extent": plain[5], "version": plain[15], "features": features}
