"""Areas that osmium puts together: multipolygon relations, and closed ways whose outline is not simple.

Osmium would make an area of every closed way, each house among them. So it is shown only the ways that are needed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from placevec.sources.osm.leaves import Leaves
from placevec.sources.osm.parts import RELATION, WAY, Parts
from placevec.sources.osm.sift import placed, reader
from placevec.sources.osm.storage import as_ours, load_osmium, stream


class Multipolygons:
    """The relations of a file that are areas with a leaf of the tree; their ways come in a second pass over the file.

    Raises:
        FormatError: the file is no OpenStreetMap file, or ends early.
    """

    def __init__(self, path: Path, leaves: Leaves) -> None:
        osmium = load_osmium()
        self.path = path
        self.leaves = leaves
        self.ways: set[int] = set()  # of which the relations are made
        self.manager = osmium.area.AreaManager()
        keys = [key for key in leaves.tree.main_keys if key != "highway"]
        # Each is kept by a name for as long as osmium uses it.
        only, first = osmium.filter.KeyFilter(*keys), self.manager.first_pass_handler()
        with as_ours(path):
            self.parts = Parts(path)
            for source in self.parts.of(RELATION):
                with reader(source, osmium.osm.RELATION) as relations:
                    osmium.apply(relations, only, self, first)

    def relation(self, each: Any) -> bool:
        """Osmium's question in the first pass: whether a relation is left out."""
        get = each.tags.get
        if get("type") not in ("multipolygon", "boundary"):
            return True
        if self.leaves.of(tuple([get(key) for key in self.leaves.keys])) < 0:
            return True
        self.ways.update([member.ref for member in each.members if member.type == "w"])
        return False

    def areas(self, places: Any, closed: Collection[int]) -> Iterator[Any]:
        """Osmium's areas of the relations, and of the ways that `closed` numbers; those it cannot make have no ring.

        Args:
            places: osmium's table of the positions of nodes.
            closed: numbers of ways.
        """
        osmium = load_osmium()
        ways = self.ways.union(closed)
        if not ways:
            return
        only, with_nodes, made = osmium.filter.IdFilter(ways), placed(places), osmium.BufferIterator()
        second = self.manager.second_pass_to_buffer(made)
        with as_ours(self.path):
            for source in self.parts.of(WAY):
                with reader(source, osmium.osm.WAY) as objects:
                    osmium.apply(objects, only, with_nodes, second)
        for area in stream(self.path, made):
            if not area.from_way() or area.orig_id() in closed:
                yield area
