"""Which leaf of the category tree an object is, looked up by the numbers of its tags."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from placevec.sources.osm.blocks import Block
from placevec.sources.osm.categories import CategoryTree


class Leaves:
    """A tree that remembers what it has said: a country has millions of objects, and few kinds of tags."""

    def __init__(self, tree: CategoryTree) -> None:
        self.tree = tree
        self.keys = (*tree.keys, *(["highway"] if "highway" not in tree.keys else []))
        self.highway = self.keys.index("highway")
        self.highways = {value.encode() for value in tree.highways}
        self.known: dict[tuple[str | None, ...], int] = {}  # values of the keys -> leaf

    def of(self, values: tuple[str | None, ...]) -> int:
        """The leaf that fits the values of `keys`, -1 if none does or if it is a road."""
        leaf = self.known.get(values)
        if leaf is None:
            highway = values[self.highway]
            road = highway is not None and highway not in self.tree.highways
            leaf = self.known[values] = -1 if road else self.tree.leaf_of(values[: len(self.tree.keys)])
        return leaf

    def of_block(self, block: Block) -> NDArray[np.int16]:
        """The leaf (n,) of each object of a block, -1 for none."""
        values = block.values(self.keys)
        places = np.array([each in self.highways for each in block.strings], dtype=bool)
        highway = values[:, self.highway]
        rows = np.flatnonzero((highway < 0) | places[highway])  # most that is left are roads
        found = np.full(len(block), -1, dtype=np.int16)
        found[rows] = block.asked(values[rows], self.of)
        return found
