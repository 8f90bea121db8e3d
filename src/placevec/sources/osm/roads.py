"""Reading the roads of an OpenStreetMap file: segments between consecutive nodes, as arrays."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray

from placevec.geo.boxes import Box, check_box, in_box
from placevec.geo.sphere import LonLat, haversine_m
from placevec.sources.osm.covered import Covered, covered, covers, header_box
from placevec.sources.osm.road_rules import KEYS, RoadRule, road_rule
from placevec.sources.osm.storage import Told, existing, load_osmium, node_storage, stream

_CHUNK = 1 << 14  # ways whose nodes wait as lists
_NO_MORE = (None,) * (len(KEYS) - 1)
_WKB_HEAD = 9  # bytes before the points of a line


@dataclass(frozen=True, eq=False)
class Roads:
    """The roads of an extract: m nodes and the s segments that join them."""

    node_id: NDArray[np.int64]  # (m,) OpenStreetMap's numbers, ascending
    lon: NDArray[np.float64]  # (m,) degrees
    lat: NDArray[np.float64]  # (m,) degrees
    a: NDArray[np.int64]  # (s,) row of the node at which a segment starts
    b: NDArray[np.int64]  # (s,) row of the node at which it ends
    way: NDArray[np.int64]  # (s,) number of the way to which it belongs: 0, 1, ... in the order of the file
    kind: NDArray[np.uint8]  # (s,) index into ROAD_CLASSES
    metres: NDArray[np.float32]  # (s,) length on the sphere
    oneway: NDArray[np.int8]  # (s,) 1: only from a to b, -1: only from b to a, 0: both
    kmh: NDArray[np.float32]  # (s,) allowed speed, NaN where unknown
    walk: NDArray[np.bool_]  # (s,) may be used on foot
    bike: NDArray[np.bool_]  # (s,) may be used by bike
    drive: NDArray[np.bool_]  # (s,) may be used by car
    covered: Covered  # what the file covers: roads there that are not in it are none
    counts: dict[str, int]  # how many ways were read, and how many were left out for which reason

    def __len__(self) -> int:
        return len(self.a)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out, for people."""
        return tuple(f"{count:,} {what}" for what, count in self.counts.items() if what != "ways" and count)

    def take(self, mask: ArrayLike) -> Roads:
        """The segments that a mask (s,) or rows name, and the nodes at their ends."""
        pick = np.asarray(mask)
        changes: dict[str, Any] = {f.name: getattr(self, f.name)[pick] for f in fields(self) if f.name in _OF_SEGMENTS}
        used = np.zeros(len(self.node_id), dtype=bool)
        used[changes["a"]] = used[changes["b"]] = True
        row = np.cumsum(used) - 1
        changes |= {"a": row[changes["a"]], "b": row[changes["b"]]}
        return replace(self, node_id=self.node_id[used], lon=self.lon[used], lat=self.lat[used], **changes)

    def covers(self, cells: ArrayLike) -> NDArray[np.bool_]:
        """Of which H3 cells (n,) of one resolution the centre lies in what the file covers."""
        return covers(self.covered, cells)


_OF_SEGMENTS = frozenset(["a", "b", "way", "kind", "metres", "oneway", "kmh", "walk", "bike", "drive"])


def read_roads(
    path: str | Path, *, box: Box | None = None, on_disk: str | Path | None = None, told: Told | None = None
) -> Roads:
    """The roads of an OpenStreetMap file (`highway=*`), read as a stream.

    Left out and counted are ways that are no roads (proposed, platforms, racetracks ...) and outlines of squares
    (`area=yes`). Of a way that the extract has cut, the segments whose two nodes are in the file stay. Rights of way,
    one-way streets and speeds are read as `road_rules` says.

    Args:
        path: .osm.pbf, .osm, .osm.gz or .osm.bz2.
        box: (west, south, east, north) in degrees; segments with neither end in it are left out.
        on_disk: a folder for the positions of nodes while the file is read; absent, they are in memory for files of
            up to 512 MiB, and in the folder for temporary files for larger ones.
        told: told of the progress, in ways.

    Raises:
        FormatError: the file does not exist, is no OpenStreetMap file, or ends early.
        MissingExtra: osmium is not installed.
    """
    osmium = load_osmium()
    where = existing(path)
    within = None if box is None else check_box(box)
    header = header_box(where)
    found = _Ways(within, osmium)
    with node_storage(where, on_disk) as storage:
        objects = osmium.FileProcessor(str(where)).with_locations(storage)
        objects = objects.with_filter(osmium.filter.KeyFilter("highway"))
        objects = objects.with_filter(osmium.filter.EntityFilter(osmium.osm.WAY))
        for each in stream(path, objects):
            found.add(each)
            if len(found.lines) >= _CHUNK:
                found.flush()
                if told is not None:
                    told("reading roads", found.counts["ways"], 0)
    found.flush()
    return found.roads(header)


class _Ways:
    """Ways as they come; their nodes and segments are made in chunks."""

    def __init__(self, within: Box | None, osmium: Any) -> None:
        self.within = within
        self.wkb = osmium.geom.WKBFactory()
        self.every = osmium.geom.ALL
        self.no_line = (osmium.InvalidLocationError, RuntimeError)
        self.known: dict[tuple[str | None, ...], int] = {}  # tags -> what they say: few kinds of tags make a country
        self.said: list[RoadRule | str] = []
        self.counts: Counter[str] = Counter(ways=0)
        self.refs: list[int] = []
        self.lines: list[str] = []
        self.owner: list[tuple[int, int, int]] = []  # of each line: its way, what its tags say, how many nodes
        self.nodes: list[tuple[NDArray[np.int64], NDArray[np.float64]]] = []
        self.segments: list[tuple[NDArray[np.int64], ...]] = []  # nodes a and b, way, what its tags say
        self.metres: list[NDArray[np.float32]] = []

    def add(self, way: Any) -> None:
        own = way.tags
        get = own.get
        # Looking up all keys takes a third of the time, and many ways have no tag but the first.
        tags = (get("highway"), *_NO_MORE) if len(own) == 1 else tuple([get(key) for key in KEYS])
        rule = self.known.get(tags, -1)
        if rule < 0:
            rule = self.known[tags] = len(self.said)
            self.said.append(road_rule(tags))
        said = self.said[rule]
        if isinstance(said, str):
            self.counts[f"ways left out: {said}"] += 1
            return
        refs = [node.ref for node in way.nodes]
        try:
            self._keep(refs, self.wkb.create_linestring(way, self.every), rule)
        except self.no_line:
            self._keep_parts(refs, [node.location for node in way.nodes], rule)
        self.counts["ways"] += 1

    def _keep(self, refs: list[int], line: str, rule: int) -> None:
        self.refs += refs
        self.lines.append(line)
        self.owner.append((self.counts["ways"], rule, len(refs)))

    def _keep_parts(self, refs: list[int], at: list[Any], rule: int) -> None:
        """A way of which nodes are missing: its runs of nodes that are there."""
        missing = [k for k, location in enumerate(at) if not location.valid()]
        self.counts["ways of which nodes are missing in the file"] += bool(missing)
        self.counts["nodes missing in the file"] += len(missing)
        for start, end in pairwise([-1, *missing, len(refs)]):
            run = slice(start + 1, end)
            if end - start > 2:
                line = shapely.linestrings([(location.lon, location.lat) for location in at[run]])
                self._keep(refs[run], str(shapely.to_wkb(line, hex=True, byte_order=1)), rule)

    def flush(self) -> None:
        """Turn the lines that wait into arrays."""
        if not self.lines:
            return
        refs = np.array(self.refs, dtype=np.int64)
        way, rule, length = np.array(self.owner, dtype=np.int64).T
        lonlat = _positions(self.lines, length)
        self.refs, self.lines, self.owner = [], [], []
        joined = refs[:-1] != refs[1:]
        joined[np.cumsum(length)[:-1] - 1] = False
        if self.within is not None:
            inside = in_box(lonlat[:, 0], lonlat[:, 1], self.within)
            joined &= inside[:-1] | inside[1:]
        start = np.flatnonzero(joined)
        line = np.repeat(np.arange(len(length)), length)[start]
        self.segments.append((refs[start], refs[start + 1], way[line], rule[line]))
        ends = LonLat(*lonlat[start].T), LonLat(*lonlat[start + 1].T)
        self.metres.append(haversine_m(*ends).astype(np.float32))
        used = np.zeros(len(refs), dtype=bool)
        used[start] = used[start + 1] = True
        ids, first = np.unique(refs[used], return_index=True)
        self.nodes.append((ids, lonlat[used][first]))

    def roads(self, header: Box | None) -> Roads:
        """All that was kept."""
        self.nodes.append((np.zeros(0, dtype=np.int64), np.zeros((0, 2))))
        self.segments.append(tuple(np.zeros(0, dtype=np.int64) for _ in range(4)))
        ids, first = np.unique(np.concatenate([part[0] for part in self.nodes]), return_index=True)
        lonlat = np.concatenate([part[1] for part in self.nodes])[first]
        self.nodes = []
        a, b, way, rule = (np.concatenate([part[k] for part in self.segments]) for k in range(4))
        self.segments = []
        said = [RoadRule(0, 0, 0.0, False, False, False) if isinstance(each, str) else each for each in self.said]

        def of_rule(name: str, dtype: Any) -> NDArray[Any]:
            return np.array([getattr(each, name) for each in said], dtype=dtype).take(rule)

        lon, lat = np.ascontiguousarray(lonlat[:, 0]), np.ascontiguousarray(lonlat[:, 1])
        return Roads(
            node_id=ids,
            lon=lon,
            lat=lat,
            a=np.searchsorted(ids, a).astype(np.int64),
            b=np.searchsorted(ids, b).astype(np.int64),
            way=way,
            kind=of_rule("kind", np.uint8),
            metres=np.concatenate([np.zeros(0, dtype=np.float32), *self.metres]),
            oneway=of_rule("oneway", np.int8),
            kmh=of_rule("kmh", np.float32),
            walk=of_rule("walk", bool),
            bike=of_rule("bike", bool),
            drive=of_rule("drive", bool),
            covered=covered(header, lon, lat, self.within),
            counts=dict(self.counts),
        )


def _positions(lines: list[str], length: NDArray[np.int64]) -> NDArray[np.float64]:
    """Longitudes and latitudes (k, 2) of the nodes of lines, which are hexadecimal WKB of `length` (n,) nodes each.

    Ten times as fast as shapely, which makes a geometry of each. A line is 1 byte for the order of bytes, 4 for the
    kind of geometry, 4 for the number of points, and 16 for each point (OGC 06-103r4, section 8.2).
    """
    data = np.frombuffer(bytes.fromhex("".join(lines)), dtype=np.uint8)
    size = _WKB_HEAD + 16 * length
    head = (np.cumsum(size) - size)[:, None] + np.arange(_WKB_HEAD)
    points = np.ones(len(data), dtype=bool)
    points[head] = False
    return data[points].view("<f8").reshape(-1, 2).astype(np.float64)
