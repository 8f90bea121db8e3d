"""Reading the roads of an OpenStreetMap file: segments between consecutive nodes, as arrays."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from placevec.geo.boxes import Box, check_box, in_box
from placevec.geo.sphere import LonLat, haversine_m
from placevec.sources.osm.blocks import Block, read_blocks
from placevec.sources.osm.covered import Covered, covered, covers, header_box
from placevec.sources.osm.road_rules import KEYS, RoadRule, road_rule
from placevec.sources.osm.sift import sifted
from placevec.sources.osm.storage import Told, existing


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
        left = [(what, count) for what, count in self.counts.items() if what != "ways" and count]
        return tuple(
            f"{count:,} {what.replace('ways', 'way', 1) if count == 1 else what}"
            for what, count in sorted(left, key=lambda one: -one[1])
        )

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
    path: str | Path,
    *,
    box: Box | None = None,
    on_disk: str | Path | None = None,
    every: bool = False,
    told: Told | None = None,
) -> Roads:
    """The roads of an OpenStreetMap file (`highway=*`), read as a stream.

    Left out and counted are ways that are no roads (proposed, platforms, racetracks ...) and outlines of squares
    (`area=yes`). Of a way that the extract has cut, the segments whose two nodes are in the file stay. Rights of way,
    one-way streets and speeds are read as `road_rules` says.

    Args:
        path: .osm.pbf, .osm, .osm.gz or .osm.bz2.
        box: (west, south, east, north) in degrees; segments with neither end in it are left out.
        on_disk: a folder for what is kept while the file is read: the positions of nodes, which else are in memory
            for files of up to 512 MiB and in the folder for temporary files for larger ones, and what `sift` writes.
        every: leave out no `highway=*`: others have counted so. Nobody may use what else would be left out.
        told: told of the progress, in ways.

    Raises:
        FormatError: the file does not exist, is no OpenStreetMap file, or ends early.
        MissingExtra: osmium is not installed.
    """
    where = existing(path)
    within = None if box is None else check_box(box)
    header = header_box(where)
    found = _Ways(within, every)
    with sifted(where, ["highway"], nodes=False, on_disk=on_disk) as roads:
        for block in read_blocks(roads.file):
            found.add(block)
            if told is not None:
                told("reading roads", found.counts["ways"], 0)
    return found.roads(header)


class _Ways:
    """Ways as they come, thousands at a time; their nodes and segments."""

    def __init__(self, within: Box | None, every: bool) -> None:
        self.within = within
        self.every = every
        self.known: dict[tuple[str | None, ...], int] = {}  # tags -> what they say: few kinds of tags make a country
        self.said: list[RoadRule | str] = []
        self.counts: Counter[str] = Counter(ways=0)
        self.nodes: list[tuple[NDArray[np.int64], NDArray[np.float64]]] = []
        self.segments: list[tuple[NDArray[np.int64], ...]] = []  # nodes a and b, way, what its tags say
        self.metres: list[NDArray[np.float32]] = []

    def add(self, block: Block) -> None:
        rule = block.asked(block.values(KEYS), self._rule)
        left_out = np.array([isinstance(each, str) for each in self.said], dtype=bool)[rule]
        for each in rule[left_out].tolist():
            self.counts[f"ways left out: {self.said[each]}"] += 1
        number = self.counts["ways"] + np.cumsum(~left_out) - 1
        self.counts["ways"] += int((~left_out).sum())
        line = np.repeat(np.arange(len(block)), block.size)
        missing = ~block.known & ~left_out[line]
        if missing.any():
            self.counts["ways of which nodes are missing in the file"] += len(np.unique(line[missing]))
            self.counts["nodes missing in the file"] += int(missing.sum())
        self._keep(block, line, number, rule, block.known & ~left_out[line])

    def _rule(self, tags: tuple[str | None, ...]) -> int:
        """What the tags of a way say, as a row of `said`."""
        rule = self.known.setdefault(tags, len(self.said))
        if rule == len(self.said):
            self.said.append(road_rule(tags, every=self.every))
        return rule

    def _keep(
        self,
        block: Block,
        line: NDArray[np.int64],
        number: NDArray[np.int64],
        rule: NDArray[np.int64],
        good: NDArray[np.bool_],
    ) -> None:
        """Keep the segments between nodes that are `good` (k,), and these nodes."""
        joined = (line[:-1] == line[1:]) & good[:-1] & good[1:] & (block.ref[:-1] != block.ref[1:])
        lonlat = block.lonlat
        if self.within is not None:
            inside = in_box(lonlat[:, 0], lonlat[:, 1], self.within)
            joined &= inside[:-1] | inside[1:]
        start = np.flatnonzero(joined)
        way = line[start]
        self.segments.append((block.ref[start], block.ref[start + 1], number[way], rule[way]))
        ends = LonLat(*lonlat[start].T), LonLat(*lonlat[start + 1].T)
        self.metres.append(haversine_m(*ends).astype(np.float32))
        used = np.zeros(len(line), dtype=bool)
        used[start] = used[start + 1] = True
        ids, first = np.unique(block.ref[used], return_index=True)
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
