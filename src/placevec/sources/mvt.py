"""Vector tiles: polygons and points of one tile as protobuf bytes, all numbers encoded at once by numpy.

The form is Mapbox Vector Tile 2.1 (github.com/mapbox/vector-tile-spec): geometries are commands and zigzag deltas on
a square of 4096 units, attributes are indices into lists of keys and values that the layer holds once.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

EXTENT = 4096
BUFFER = 64  # units beyond the edge that are kept, so that outlines do not end at the edge
_MOVE, _LINE, _CLOSE = 1, 2, 7
_POINT, _POLYGON = 1, 3

Tile = tuple[int, int, int]
"""Zoom, column from the west, row from the north."""


@dataclass(frozen=True, eq=False)
class Features:
    """What a tile shows.

    Attributes:
        shapes: (n,) polygons or points in web mercator, the whole world being 0 ... 1 in x and, from the north, in y.
        columns: attributes by name, each (n,): float64 (NaN: none), int64, bool, or object (text or None).
    """

    shapes: NDArray[Any]
    columns: Mapping[str, NDArray[Any]]

    def take(self, rows: NDArray[np.int64]) -> Features:
        """Some of them."""
        return Features(self.shapes[rows], {name: column[rows] for name, column in self.columns.items()})


def encode_tile(features: Features, tile: Tile, layer: str) -> bytes:
    """One layer as an uncompressed tile; empty bytes where nothing of the features lies in it.

    Shapes are cut at the tile's square and a margin of 64 units, and rounded to units; what has no area then is left
    out.
    """
    zoom, column, row = tile
    scale = float(EXTENT << zoom)
    shapes: NDArray[Any] = shapely.transform(features.shapes, lambda xy: xy * scale - np.array([column, row]) * EXTENT)
    low, high = -BUFFER, EXTENT + BUFFER
    if bool(np.all(shapely.get_type_id(shapes) == 0)):
        geometry, kept = _points(shapes, low, high)
        kind = _POINT
    else:
        geometry, kept = _polygons(shapes, low, high)
        kind = _POLYGON
    if not len(kept):
        return b""
    keys, values, tags = _tags({name: one[kept] for name, one in features.columns.items()}, len(kept))
    head = _field(1, layer.encode())
    body = [
        _field(2, (_field(2, tag) if tag else b"") + b"\x18" + bytes([kind]) + _field(4, commands))
        for tag, commands in zip(tags, geometry, strict=True)
    ]
    tail = [_field(3, key.encode()) for key in keys] + [_field(4, value) for value in values]
    content = b"".join([head, *body, *tail, b"\x28" + varint(EXTENT), b"\x78\x02"])
    return _field(3, content)


def varint(number: int) -> bytes:
    """A protobuf varint of a number from 0."""
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def varints(numbers: NDArray[np.int64], lengths: NDArray[np.int64]) -> list[bytes]:
    """Runs of numbers (from 0, below 2^35) as varints: run i has `lengths[i]` of them."""
    value = numbers.astype(np.uint64)
    size = np.ones(len(value), dtype=np.int64)
    for k in range(1, 5):
        size += value >> np.uint64(7 * k) > 0
    part = np.zeros((len(value), 5), dtype=np.uint8)
    for k in range(5):
        more = np.where(size > k + 1, np.uint64(0x80), np.uint64(0))
        part[:, k] = (value >> np.uint64(7 * k) & np.uint64(0x7F) | more).astype(np.uint8)
    content = part[np.arange(5) < size[:, None]].tobytes()
    reached = np.concatenate([[0], np.cumsum(size)])
    ends = reached[np.cumsum(lengths)]
    starts = reached[np.cumsum(lengths) - lengths]
    return [content[a:b] for a, b in zip(starts.tolist(), ends.tolist(), strict=True)]


def _field(number: int, content: bytes) -> bytes:
    """A field of length-delimited content."""
    return bytes([number << 3 | 2]) + varint(len(content)) + content


def _zigzag(values: NDArray[np.int64]) -> NDArray[np.int64]:
    zig: NDArray[np.int64] = values << 1 ^ values >> 63
    return zig


def _points(shapes: NDArray[Any], low: int, high: int) -> tuple[list[bytes], NDArray[np.int64]]:
    xy = np.rint(shapely.get_coordinates(shapes)).astype(np.int64)
    kept = np.flatnonzero(((xy >= low) & (xy < high)).all(axis=1))
    commands = np.column_stack([np.full(len(kept), 1 << 3 | _MOVE), _zigzag(xy[kept])])
    return varints(commands.ravel(), np.full(len(kept), 3)), kept


def _polygons(shapes: NDArray[Any], low: int, high: int) -> tuple[list[bytes], NDArray[np.int64]]:
    """Commands of each polygon that has an area in the square, and which ones these are."""
    bounds = shapely.bounds(shapes)
    over = ((bounds[:, :2] < low) | (bounds[:, 2:] > high)).any(axis=1)
    cut = shapes.copy()
    cut[over] = shapely.intersection(shapes[over], shapely.box(low, low, high, high))
    parts, of = shapely.get_parts(cut, return_index=True)
    # What an intersection leaves of a touching edge is a line or a point.
    flat = shapely.get_type_id(parts) == 3
    rings, part_of = shapely.get_rings(parts[flat], return_index=True)
    of_ring = of[flat][part_of]
    # The first ring of a part is its shell.
    shell = np.concatenate([[True], part_of[1:] != part_of[:-1]]) if len(rings) else np.zeros(0, dtype=bool)
    xy, ring = shapely.get_coordinates(rings, return_index=True)
    grid = np.rint(xy).astype(np.int64)
    # A ring ends where it began; and rounding makes neighbours equal. Neither is written.
    first = np.concatenate([[True], ring[1:] != ring[:-1]]) if len(ring) else np.zeros(0, dtype=bool)
    same = np.zeros(len(grid), dtype=bool)
    same[1:] = (grid[1:] == grid[:-1]).all(axis=1) & ~first[1:]
    last = np.concatenate([ring[1:] != ring[:-1], [True]]) if len(ring) else np.zeros(0, dtype=bool)
    keep = ~same & ~last
    # A closing point that was a repetition leaves its like before it, which is then the last.
    grid, ring = grid[keep], ring[keep]
    grid, ring = _unclosed(grid, ring)
    count = np.bincount(ring, minlength=len(rings))
    area = _areas(grid, ring, count)
    # Shells run clockwise on the screen, which is a positive area with y downwards; holes run the other way.
    turn = (area != 0) & ((area > 0) != shell)
    grid = _turned(grid, ring, count, turn)
    good = (count >= 3) & (area != 0)
    lost = ~good & shell
    # The holes of a lost shell are lost with it.
    good &= ~np.isin(part_of, part_of[lost])
    return _commands(grid, ring, count, good, of_ring)


def _unclosed(grid: NDArray[np.int64], ring: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Without last points that rounding made equal to the first of their ring."""
    while len(ring):
        starts = np.flatnonzero(np.concatenate([[True], ring[1:] != ring[:-1]]))
        ends = np.append(starts[1:], len(ring)) - 1
        again = ends[(ends > starts) & (grid[starts] == grid[ends]).all(axis=1)]
        if not len(again):
            break
        keep = np.ones(len(ring), dtype=bool)
        keep[again] = False
        grid, ring = grid[keep], ring[keep]
    return grid, ring


def _following(ring: NDArray[np.int64], count: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each point the number of the next one of its ring."""
    starts = np.cumsum(count) - count
    following = np.arange(len(ring)) + 1
    filled = count > 0
    following[(starts + count - 1)[filled]] = starts[filled]
    return following


def _areas(grid: NDArray[np.int64], ring: NDArray[np.int64], count: NDArray[np.int64]) -> NDArray[np.int64]:
    """Twice the signed area of each ring (the surveyor's formula), exactly."""
    after = grid[_following(ring, count)]
    cross = grid[:, 0] * after[:, 1] - after[:, 0] * grid[:, 1]
    area = np.zeros(len(count), dtype=np.int64)
    np.add.at(area, ring, cross)
    return area


def _turned(
    grid: NDArray[np.int64], ring: NDArray[np.int64], count: NDArray[np.int64], turn: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """The points with the rings of `turn` backwards."""
    starts = np.cumsum(count) - count
    place = np.arange(len(ring)) - starts[ring]
    source = np.where(turn[ring], starts[ring] + count[ring] - 1 - place, np.arange(len(ring)))
    return grid[source]


def _commands(
    grid: NDArray[np.int64],
    ring: NDArray[np.int64],
    count: NDArray[np.int64],
    good: NDArray[np.bool_],
    of_ring: NDArray[np.int64],
) -> tuple[list[bytes], NDArray[np.int64]]:
    """Move to the first point, lines to the others, close: for each ring 2·points + 3 numbers."""
    held = good[ring]
    grid, ring = grid[held], ring[held]
    if not len(ring):
        return [], np.empty(0, dtype=np.int64)
    count, owner = count[good], of_ring[good]
    starts = np.cumsum(count) - count
    number = np.repeat(np.arange(len(count)), count)
    place = np.arange(len(grid)) - starts[number]
    # The cursor stands at the last point of the ring before, and at 0,0 where a feature begins.
    before = np.zeros_like(grid)
    before[1:] = grid[:-1]
    begins = np.concatenate([[True], owner[1:] != owner[:-1]])
    before[starts[begins]] = 0
    delta = _zigzag(grid - before)
    total = 2 * count + 3
    offset = np.cumsum(total) - total
    out = np.empty(int(total.sum()), dtype=np.int64)
    out[offset] = 1 << 3 | _MOVE
    out[offset + 3] = count - 1 << 3 | _LINE
    out[offset + total - 1] = 1 << 3 | _CLOSE
    # The first point stands before the command of lines, the others after it.
    at = offset[number] + 1 + 2 * place + (place > 0)
    out[at], out[at + 1] = delta[:, 0], delta[:, 1]
    kept, first = np.unique(owner, return_index=True)
    lengths = np.add.reduceat(total, first)
    return varints(out, lengths), kept


def _tags(columns: Mapping[str, NDArray[Any]], rows: int) -> tuple[list[str], list[bytes], list[bytes]]:
    """Keys, values, and the packed tags of each feature; what has no value has no tag."""
    keys: list[str] = []
    values: list[bytes] = []
    pairs: list[NDArray[np.int64]] = []
    for name, column in columns.items():
        known = _known(column)
        if not known.any():
            continue
        each, codes = np.unique(column[known], return_inverse=True)
        at = np.full(rows, -1, dtype=np.int64)
        at[known] = codes.reshape(-1) + len(values)
        values += [_value(one) for one in each.tolist()]
        pairs.append(np.column_stack([np.full(rows, len(keys)), at]))
        keys.append(name)
    if not pairs:
        return keys, values, [b""] * rows
    table = np.stack(pairs, axis=1)
    held = table[:, :, 1] >= 0
    return keys, values, varints(table[held].ravel(), 2 * held.sum(axis=1))


def _known(column: NDArray[Any]) -> NDArray[np.bool_]:
    if column.dtype.kind == "f":
        finite: NDArray[np.bool_] = np.isfinite(column)
        return finite
    if column.dtype.kind == "O":
        return np.array([one is not None for one in column], dtype=bool)
    return np.ones(len(column), dtype=bool)


def _value(value: Any) -> bytes:
    """A Value message: text, double (float where that is the same), integer or truth value."""
    if isinstance(value, bool):
        return b"\x38" + bytes([value])
    if isinstance(value, int):
        return b"\x30" + varint(value << 1 ^ value >> 63)
    if isinstance(value, float):
        short = struct.pack("<f", value) if abs(value) < 3e38 else b""
        if short and struct.unpack("<f", short)[0] == value:
            return b"\x15" + short
        return b"\x19" + struct.pack("<d", value)
    return _field(1, str(value).encode())


def mercator(lonlat: NDArray[np.float64]) -> NDArray[np.float64]:
    """Degrees (n, 2) to web mercator, the world being 0 ... 1 from the west and from the north (EPSG:3857 scaled).

    Latitudes beyond 85.0511 degrees lie on the edge: the map ends there.
    """
    limit = 85.051128779806604
    lat = np.radians(np.clip(lonlat[:, 1], -limit, limit))
    y = 0.5 - np.arcsinh(np.tan(lat)) / (2 * np.pi)
    return np.column_stack([lonlat[:, 0] / 360.0 + 0.5, np.clip(y, 0.0, 1.0)])


def tiles_of(bounds: NDArray[np.float64], zoom: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The tiles that boxes (n, 4) of 0 ... 1 touch, with their margin: number of the box, column and row, sorted."""
    side = 1 << zoom
    margin = BUFFER / EXTENT
    low = np.clip(np.floor(bounds[:, :2] * side - margin), 0, side - 1).astype(np.int64)
    high = np.clip(np.floor(bounds[:, 2:] * side + margin), 0, side - 1).astype(np.int64)
    span = high - low + 1
    times = span[:, 0] * span[:, 1]
    box = np.repeat(np.arange(len(bounds)), times)
    place = np.arange(len(box)) - np.repeat(np.cumsum(times) - times, times)
    column = low[box, 0] + place % span[box, 0]
    row = low[box, 1] + place // span[box, 0]
    return box, column, row


def fields_of(columns: Mapping[str, NDArray[Any]]) -> dict[str, str]:
    """The kind of each attribute, as TileJSON's `vector_layers` tell it: Number, Boolean or String."""
    kinds = {"f": "Number", "i": "Number", "u": "Number", "b": "Boolean"}
    return {name: kinds.get(column.dtype.kind, "String") for name, column in columns.items()}
