"""Reading an OpenStreetMap file: points, lines and areas whose tags have a word."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from placevec.errors import UsageError
from placevec.geo.boxes import Box, box_polygon, check_box
from placevec.sources.osm.storage import existing, load_osmium, node_storage, stream
from placevec.sources.osm.words import VISIBLE, Word

KINDS = ("point", "line", "area")

_CHUNK = 1 << 14  # objects whose geometry waits as text
# What is tagged so lies under a roof or under the ground, and no image shows it.
_HIDDEN = {
    "tunnel": {"yes", "culvert", "covered", "building_passage"},
    "location": {"underground", "indoor"},
    "indoor": {"yes", "room", "area"},
    "parking": {"underground"},
    "covered": {"yes"},
}


@dataclass(frozen=True, eq=False)
class Features:
    """What an OpenStreetMap file holds, as arrays of one length n."""

    geometry: NDArray[Any]  # (n,) shapely points, lines and polygons in longitude and latitude
    kind: NDArray[np.uint8]  # (n,) index into KINDS
    word: NDArray[np.int16]  # (n,) index into `words`
    words: tuple[Word, ...]  # the words that were looked for

    def __len__(self) -> int:
        return len(self.geometry)

    @cached_property
    def _points(self) -> NDArray[np.float64]:
        return np.asarray(shapely.get_coordinates(shapely.point_on_surface(self.geometry)))

    @property
    def lon(self) -> NDArray[np.float64]:
        """Longitude (n,) of a point on each, in degrees."""
        return self._points[:, 0]

    @property
    def lat(self) -> NDArray[np.float64]:
        """Latitude (n,) of a point on each, in degrees."""
        return self._points[:, 1]

    @property
    def names(self) -> NDArray[Any]:
        """What each is called (n,), in the plural."""
        return np.array([word.many for word in self.words], dtype=object)[self.word]

    def counts(self) -> dict[str, int]:
        """How many there are of each word, the most frequent first."""
        names, counts = np.unique(self.names.astype(str), return_counts=True)
        order = np.lexsort((names, -counts))
        return {str(names[i]): int(counts[i]) for i in order}


def tagged(path: str | Path, *, words: Sequence[Word] = VISIBLE, box: Box | None = None) -> Features:
    """The objects of an OpenStreetMap file that one of `words` fits.

    The file is read as a stream: what is held are the objects found (within `box`) and the positions of all nodes,
    which are kept on disk for a large file. Things in tunnels, indoors and under the ground are left out, and so are
    objects whose nodes are missing in the file.

    Args:
        path: .osm.pbf, .osm, .osm.gz or .osm.bz2.
        words: the words; of an object with several fitting tags the first word counts. Land is read from areas,
            lines from ways, things from areas and, where they have a size as a point, from nodes and open ways.
        box: (west, south, east, north) in degrees; objects that do not touch it are left out.

    Raises:
        FormatError: the file does not exist or is no OpenStreetMap file.
        UsageError: no words are given.
        MissingExtra: osmium is not installed.
    """
    osmium = load_osmium()
    if not words:
        raise UsageError("no words are given: name the tags that are to be read")
    where = existing(path)
    within = None if box is None else box_polygon(check_box(box))
    found = _Found(tuple(words), within)
    keys = sorted({word.key for word in words})
    with node_storage(where) as storage:
        only = osmium.filter.KeyFilter(*keys)
        objects = osmium.FileProcessor(str(where)).with_locations(storage).with_areas(only).with_filter(only)
        found.read(stream(path, objects), osmium.geom.WKBFactory())
    return found.features()


class _Found:
    """Objects as they come, their geometries made in chunks."""

    def __init__(self, words: tuple[Word, ...], within: Any) -> None:
        self.words = words
        self.within = within
        self.exact = {(word.key, word.value): k for k, word in reversed(list(enumerate(words)))}
        self.waiting: list[tuple[str, int, int]] = []
        self.parts: list[tuple[NDArray[Any], NDArray[np.uint8], NDArray[np.int16]]] = []
        if within is not None:
            shapely.prepare(within)

    def read(self, stream: Iterable[Any], wkb: Any) -> None:
        invalid = load_osmium().InvalidLocationError
        for each in stream:
            form = each.type_str()
            if form == "r":  # its areas come as such
                continue
            word = self._word(each.tags, form, form == "w" and each.is_closed())
            if word is None:
                continue
            try:
                if form == "n":
                    self.waiting.append((wkb.create_point(each), 0, word))
                elif form == "w":
                    self.waiting.append((wkb.create_linestring(each), 1, word))
                else:
                    self.waiting.append((wkb.create_multipolygon(each), 2, word))
            except (invalid, RuntimeError):  # an extract cuts objects whose other nodes lie elsewhere
                continue
            if len(self.waiting) >= _CHUNK:
                self._flush()
        self._flush()

    def features(self) -> Features:
        geometry, kind, word = (
            np.concatenate([part[k] for part in self.parts]) if self.parts else np.empty(0, dtype)
            for k, dtype in enumerate((object, np.uint8, np.int16))
        )
        return Features(geometry, kind, word, self.words)

    def _word(self, tags: Any, form: str, closed: bool) -> int | None:
        """The first word that fits an object of this form."""
        fitting = []
        for key, values in tags:
            if values in _HIDDEN.get(key, ()):
                return None
            for value in values.split(";"):
                fitting += [self.exact.get((key, value.strip())), None if value == "no" else self.exact.get((key, "*"))]
        for k in sorted(k for k in fitting if k is not None):
            word = self.words[k]
            if word.form == "line":
                if form == "w":
                    return k
            elif form == "a" or (word.form == "thing" and word.metres > 0 and not closed):
                return k
        return None

    def _flush(self) -> None:
        if not self.waiting:
            return
        texts, kinds, words = zip(*self.waiting, strict=True)
        self.waiting = []
        geometry = shapely.from_wkb(np.array(texts, dtype=object))
        kind, word = np.array(kinds, dtype=np.uint8), np.array(words, dtype=np.int16)
        bad = ~shapely.is_valid(geometry)
        geometry[bad] = shapely.make_valid(geometry[bad])
        keep = ~shapely.is_empty(geometry)
        if self.within is not None:
            keep &= shapely.intersects(self.within, geometry)
        self.parts.append((geometry[keep], kind[keep], word[keep]))
