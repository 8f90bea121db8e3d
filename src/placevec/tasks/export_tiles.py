"""A table as a web map: vector tiles in one PMTiles file, or in a folder of z/x/y.mvt.

From the zoom at which the region fills half a tile to that at which its cells are 5 pixels wide: there they are shown
as they are, with their ids; further out their H3 parents are, with means and most frequent values (`Levels`). A tile
has about 10,000 cells at most, and a megabyte: where attributes are so many that it would be larger, that zoom takes
the next coarser cells.
"""

from __future__ import annotations

import gzip
import json
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import shapely
from numpy.typing import NDArray

from placevec import __version__
from placevec.atlas.frames import arc
from placevec.files import whole
from placevec.registry import need
from placevec.sources.mvt import Features, Tile, encode_tile, fields_of, tiles_of
from placevec.table import Places
from placevec.tasks.tile_levels import DEEPEST, Levels

Progress = Callable[[int, int, Mapping[str, Any]], None]
MOST_BYTES = 1_000_000  # of a tile, uncompressed
_TRIED = 8  # of the fullest tiles that are encoded to see whether a zoom fits
_EXTRA = {"extra": "tiles", "purpose": "writing PMTiles"}


def export_tiles(
    places: Places,
    out: str | Path,
    form: Literal["pmtiles", "mvt"] = "pmtiles",
    *,
    columns: Sequence[str] | None = None,
    layer: str | None = None,
    attribution: str = "",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write places as vector tiles; returns path, rows, unlocated, hidden, zooms, tiles, largest tile and levels.

    Args:
        places: rows with their attributes; cells where they have `h3`, else points.
        out: the file, or for "mvt" the folder; written whole or not at all.
        form: "pmtiles" or "mvt".
        columns: attributes to keep; all by default.
        layer: the name of the layer; by default that of `out`.
        attribution: who must be named beside the map.
        progress: called with the zooms done, all zooms that are expected, and the tiles so far.

    Raises:
        SchemaError: no row has a geometry, or cells overlap.
        UsageError: a column that is no attribute.
        MissingExtra: the package pmtiles is not installed, for "pmtiles".
    """
    levels = Levels(places, columns)
    name = layer or Path(out).stem
    count, largest, shown = 0, 0, dict[str, str]()
    fields: dict[str, str] = {}
    with _archive(out, form) as archive:
        zoom = first = levels.shallowest
        while True:
            features, words, last = _level(levels, zoom, name)
            fields = {**fields_of(features.columns), **fields}
            for tile, content in _tiles(features, zoom, name):
                archive.add(tile, content)
                count, largest = count + 1, max(largest, len(content))
            shown[str(zoom)] = words
            if progress is not None:
                progress(zoom - first + 1, max(zoom - first + 1, _expected(levels, first)), {"tiles": count})
            if last:
                break
            zoom += 1
        archive.finish(_about(levels, name, first, zoom, fields, attribution))
    return {
        "path": str(out),
        "rows": levels.rows,
        "unlocated": len(places) - levels.rows,
        "hidden": levels.hidden,
        "zooms": [first, zoom],
        "tiles": count,
        "largest_bytes": largest,
        "levels": shown,
    }


def _expected(levels: Levels, first: int) -> int:
    if levels.resolution is None:
        return 1
    return next((z - first + 1 for z in range(first, DEEPEST) if levels.finest(z) == levels.resolution), 1)


def _level(levels: Levels, zoom: int, layer: str) -> tuple[Features, str, bool]:
    """What this zoom shows, in words too, and whether it is the last: each row is shown as it is."""
    finest = levels.finest(zoom)
    whole_rows = levels.alone(zoom) if levels.resolution is None else finest == levels.resolution
    if whole_rows:
        own = levels.own()
        if zoom >= DEEPEST or _fits(own, zoom, layer):
            return own, "points" if levels.resolution is None else f"h3:{levels.resolution}", True
        finest = finest - 1 if levels.resolution is not None else finest
    for resolution in range(max(finest, 0), -1, -1):
        features = levels.coarse(resolution)
        if resolution == 0 or _fits(features, zoom, layer):
            break
    return features, f"h3:{resolution}", False


def _fits(features: Features, zoom: int, layer: str) -> bool:
    """Whether the fullest tiles of a zoom are small enough."""
    groups = sorted(_groups(features, zoom), key=lambda group: -len(group[1]))[:_TRIED]
    return all(len(encode_tile(features.take(rows), tile, layer)) <= MOST_BYTES for tile, rows in groups)


def _tiles(features: Features, zoom: int, layer: str) -> Iterator[tuple[Tile, bytes]]:
    for tile, rows in _groups(features, zoom):
        content = encode_tile(features.take(rows), tile, layer)
        if content:
            yield tile, content


def _groups(features: Features, zoom: int) -> list[tuple[Tile, NDArray[np.int64]]]:
    """The features of each tile, in the order of PMTiles (the Hilbert curve)."""
    # A cell across the antimeridian is of two parts, one at each end of the map.
    parts, owner = shapely.get_parts(features.shapes, return_index=True)
    box, column, row = tiles_of(shapely.bounds(parts), zoom)
    pairs = np.unique(np.column_stack([column, row, owner[box]]), axis=0)
    edges = np.flatnonzero((pairs[1:, :2] != pairs[:-1, :2]).any(axis=1)) + 1
    groups = [((zoom, int(one[0, 0]), int(one[0, 1])), one[:, 2]) for one in np.split(pairs, edges) if len(one)]
    return sorted(groups, key=lambda group: hilbert_number(group[0]))


def hilbert_number(tile: Tile) -> int:
    """The number of a tile in PMTiles (version 3, "Tile ID"): zoom by zoom, along the Hilbert curve."""
    zoom, x, y = tile
    number = ((1 << 2 * zoom) - 1) // 3
    for bit in range(zoom - 1, -1, -1):
        side = 1 << bit
        right, low = int(x & side > 0), int(y & side > 0)
        number += side * side * (3 * right ^ low)
        if not low:
            if right:
                x, y = side - 1 - (x & side - 1), side - 1 - (y & side - 1)
            x, y = y, x
        x, y = x & side - 1, y & side - 1
    return number


def _about(
    levels: Levels, layer: str, first: int, last: int, fields: Mapping[str, str], attribution: str
) -> dict[str, Any]:
    """What is known of the map: TileJSON 3."""
    west, east = arc(levels.points.lon)
    middle = [(west + east) / 2, float(levels.points.lat.min() + levels.points.lat.max()) / 2]
    bounds = [west, float(levels.points.lat.min()), east, float(levels.points.lat.max())]
    if east > 180.0:
        # Readers take west < east for granted.
        bounds[0], bounds[2], middle[0] = -180.0, 180.0, (middle[0] + 180.0) % 360.0 - 180.0
    kinds = {name: kind for name, kind in levels.kinds.items() if name in fields}
    return {
        "tilejson": "3.0.0",
        "name": layer,
        "generator": f"placevec {__version__}",
        "minzoom": first,
        "maxzoom": last,
        "bounds": bounds,
        "center": [*middle, first],
        "attribution": attribution,
        "vector_layers": [{"id": layer, "fields": dict(fields), "minzoom": first, "maxzoom": last}],
        "placevec:aggregated": kinds,
    }


class _Archive(ABC):
    """Where tiles go."""

    @abstractmethod
    def add(self, tile: Tile, content: bytes) -> None:
        """Take a tile; they come in the order of `hilbert_number`."""

    @abstractmethod
    def finish(self, about: dict[str, Any]) -> None:
        """All tiles are there."""


class _Pmtiles(_Archive):
    """One file by the package pmtiles: tiles gzipped, directories in front, so that HTTP ranges are enough."""

    def __init__(self, file: IO[bytes], held: IO[bytes]) -> None:
        self._writer = need("pmtiles.writer", **_EXTRA).Writer(file)
        self._forms = need("pmtiles.tile", **_EXTRA)
        # Tiles wait in a file until the directories are known: beside the goal, where there is room for them.
        self._writer.tile_f.close()
        self._writer.tile_f = held

    def add(self, tile: Tile, content: bytes) -> None:
        self._writer.write_tile(hilbert_number(tile), gzip.compress(content, 6, mtime=0))

    def finish(self, about: dict[str, Any]) -> None:
        west, south, east, north = (round(value * 1e7) for value in about["bounds"])
        lon, lat, zoom = about["center"]
        header = {
            "version": 3,
            "tile_type": self._forms.TileType.MVT,
            "tile_compression": self._forms.Compression.GZIP,
            "min_lon_e7": west,
            "min_lat_e7": south,
            "max_lon_e7": east,
            "max_lat_e7": north,
            "center_zoom": zoom,
            "center_lon_e7": round(lon * 1e7),
            "center_lat_e7": round(lat * 1e7),
        }
        self._writer.finalize(header, about)


class _Folder(_Archive):
    """A folder of z/x/y.mvt, not compressed, as file servers hand them on; tiles.json says what they hold."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir()

    def add(self, tile: Tile, content: bytes) -> None:
        zoom, column, row = tile
        home = self._folder / str(zoom) / str(column)
        home.mkdir(parents=True, exist_ok=True)
        (home / f"{row}.mvt").write_bytes(content)

    def finish(self, about: dict[str, Any]) -> None:
        text = json.dumps({**about, "tiles": ["{z}/{x}/{y}.mvt"]}, indent=1, ensure_ascii=False)
        (self._folder / "tiles.json").write_text(text + "\n", encoding="utf-8")


@contextmanager
def _archive(out: str | Path, form: str) -> Iterator[_Archive]:
    with whole(out) as part:
        if form == "mvt":
            yield _Folder(part)
            return
        with part.open("wb") as file, tempfile.TemporaryFile(dir=part.parent) as held:
            yield _Pmtiles(file, held)
