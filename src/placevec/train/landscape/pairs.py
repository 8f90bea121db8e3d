"""Training data: pairs of an anchor and its neighbour, whose patches hold the same layers of the same ground."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec.errors import DataError, UsageError
from placevec.geo.sphere import LonLat
from placevec.sources.base import Source
from placevec.train.data import digest

Patches = dict[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Pairs:
    """Rows of a source of patches, two by two."""

    source: Source  # patches by row
    anchors: NDArray[np.int64]  # (n,) rows
    neighbours: NDArray[np.int64]  # (n,) rows of the other ends
    names: tuple[str, ...]  # the layers that are read

    @classmethod
    def of(cls, source: Source, names: tuple[str, ...]) -> Pairs:
        """The pairs of a source whose places share a `place` two by two; those that lost an end are left out.

        Raises:
            UsageError: no place has two rows.
        """
        keys = source.places().keys
        _, group, counts = np.unique(keys.astype(str), return_inverse=True, return_counts=True)
        order = np.argsort(group, kind="stable")
        starts = np.concatenate([[0], np.cumsum(counts)[:-1]])[counts == 2]
        if not len(starts):
            raise UsageError(
                "the patches hold no pairs: a landscape is learned from anchors and neighbours, two rows of one place "
                "(placevec area patches --samples N --inner M --outer M)"
            )
        pairs = np.sort(np.stack([order[starts], order[starts + 1]], axis=1), axis=1)
        pairs = pairs[np.argsort(pairs[:, 0], kind="stable")]
        return cls(source, pairs[:, 0].astype(np.int64), pairs[:, 1].astype(np.int64), names)

    def __len__(self) -> int:
        return len(self.anchors)

    def take(self, which: NDArray[Any]) -> Pairs:
        """Some of the pairs."""
        return Pairs(self.source, self.anchors[which], self.neighbours[which], self.names)

    def read(self, which: NDArray[np.int64]) -> tuple[Patches, Patches]:
        """The patches of the anchors and of the neighbours of pairs, {layer: (m, p, p)} each.

        Raises:
            DataError: a place has no patch.
        """
        rows = np.concatenate([self.anchors[which], self.neighbours[which]])
        batch = self.source.read(rows)
        if len(batch) != len(rows):
            # What is left would stand beside the wrong partner.
            why = batch.skipped[0].reason if batch.skipped else "no reason is known"
            raise DataError(
                f"{len(rows) - len(batch)} of {len(rows)} patches of pairs cannot be read ({why}): write them by "
                "`placevec area patches`, which leaves such places out, and learn from its folder"
            )
        data = batch.data
        middle = len(which)
        first = {name: data[name][:middle] for name in self.names}
        return first, {name: data[name][middle:] for name in self.names}

    @cached_property
    def lonlat(self) -> LonLat:
        """Where the anchors lie."""
        return self.source.places().lonlat(self.anchors)

    @cached_property
    def other(self) -> LonLat:
        """Where the neighbours lie."""
        return self.source.places().lonlat(self.neighbours)

    @cached_property
    def reach_m(self) -> float:
        """The distance in metres below which nearly all neighbours lie."""
        from placevec.geo.sphere import distance_m

        return float(np.quantile(distance_m(self.lonlat, self.other), 0.99)) if len(self) else 0.0

    @cached_property
    def key(self) -> str:
        """What tells these data from others."""
        own = getattr(self.source, "fingerprint", None)
        identity = str(own()) if callable(own) else ""
        # A fingerprint of rasters alone is the same wherever they are read: where the pairs lie belongs to it.
        where = np.stack([self.lonlat.lon, self.lonlat.lat, self.other.lon, self.other.lat])
        return digest(np.frombuffer(identity.encode() or b"-", dtype=np.uint8), self.anchors, self.neighbours, where)


def layer_facts(layers: Mapping[str, Any]) -> dict[str, Any]:
    """The tables of classes of layers as JSON, by name, for the card of what is trained on them."""
    return {name: layer.classes.to_json() for name, layer in layers.items() if layer.classes is not None}
