"""Grids to pixels: each pixel of a map shows the grid pixel that holds its centre, tile by tile.

The encoder was run on the grid itself, so that nothing is interpolated; and a grid is never in memory whole: a map
takes the memory of its own pixels and of one tile of vectors, however large the grid is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec.atlas.frames import Frame, Projection, frame_around
from placevec.atlas.geotiff import TileSink
from placevec.atlas.rasterise import pixel_blocks
from placevec.errors import SchemaError
from placevec.geo.frames import to_lonlat
from placevec.geo.sphere import LonLat, distance_m
from placevec.grid import EmbeddingGrid, Tile, map_affine

SAMPLE = 200_000  # vectors that colours are fitted on
SAMPLE_TILES = 256  # tiles that are read for them
MESH = (41, 721)  # points of the outline, from north to south and from west to east

Paint = Callable[[NDArray[np.float32]], NDArray[Any]]


class GridCanvas:
    """The pixels of a map of a grid, and which pixel of the grid each shows.

    Args:
        grid: the grid.
        projection: of the map, see `frame_around`.
        width: pixels of the longer side of the map.
    """

    def __init__(self, grid: EmbeddingGrid, *, projection: Projection = "equal-area", width: int = 1600) -> None:
        self.grid = grid
        self.tiles = grid.tiles()
        edge = outline(grid)
        self.frame: Frame = frame_around(edge.lon, edge.lat, projection=projection, width=width)
        self._order, self._starts, self._rows, self._columns = self._lookup()

    def paint(self, paint: Paint, sink: TileSink | None = None) -> tuple[NDArray[Any], NDArray[np.bool_], int]:
        """Run over the grid once, give each pixel what `paint` makes of its vector, and write it to `sink` too.

        Args:
            paint: vectors (n, d) to numbers or colours, (n,) or (n, c); always of one type.
            sink: takes the same at the full resolution of the grid.

        Returns:
            The map (height, width) or (height, width, c); the mask of its pixels that show a value; and how many
            pixels of the grid hold one.

        Raises:
            SchemaError: no pixel of the grid holds a value.
        """
        height, width = self.frame.height, self.frame.width
        picture: NDArray[Any] | None = None
        seen, count = np.zeros(height * width, dtype=bool), 0
        for number, (tile, vectors, valid) in enumerate(self.grid.read(self.tiles)):
            if not len(vectors):
                continue
            made = paint(vectors)
            count += len(vectors)
            whole = np.zeros((*valid.shape, *made.shape[1:]), dtype=made.dtype)
            whole[valid] = made
            if picture is None:
                picture = np.zeros((height * width, *made.shape[1:]), dtype=made.dtype)
            shown = self._order[self._starts[number] : self._starts[number + 1]]
            row, column = self._rows[shown] - tile.row, self._columns[shown] - tile.column
            picture[shown] = whole[row, column]
            seen[shown] = valid[row, column]
            if sink is not None:
                sink(tile, whole, valid)
        if picture is None:
            raise SchemaError(f"{self.grid.path}: no pixel holds a value: there is nothing to map")
        return picture.reshape(height, width, *picture.shape[1:]), seen.reshape(height, width), count

    def _lookup(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32], NDArray[np.int32]]:
        """Pixels of the map in the order of the tiles they lie in, where each tile begins, and their grid pixels."""
        shape = (self.frame.height, self.frame.width)
        rows, columns = np.full(shape, -1, dtype=np.int32), np.full(shape, -1, dtype=np.int32)
        for block, here, where in pixel_blocks(self.frame):
            rows[block][here], columns[block][here] = self.grid.locate(where.lon, where.lat)
        tile = _tile_numbers(self.grid, self.tiles[0], rows.reshape(-1), columns.reshape(-1))
        order = np.argsort(tile, kind="stable")
        starts = np.searchsorted(tile[order], np.arange(len(self.tiles) + 1))
        return order, starts, rows.reshape(-1), columns.reshape(-1)


def sample_pixels(grid: EmbeddingGrid, size: int = SAMPLE) -> Iterator[tuple[LonLat, NDArray[np.float32]]]:
    """About `size` pixels of the grid, spread evenly over it, in parts: their centres and vectors (n, d).

    They are the same ones each time. Of a grid of more than 256 tiles only that many, evenly spread, are read.
    """
    tiles = grid.tiles()
    if len(tiles) > SAMPLE_TILES:
        tiles = [tiles[i] for i in np.unique(np.linspace(0, len(tiles) - 1, SAMPLE_TILES).astype(np.int64))]
    share = min(1.0, size / max(1, sum(tile.height * tile.width for tile in tiles)))
    for tile, vectors, valid in grid.read(tiles):
        row, column = (part + first for part, first in zip(np.nonzero(valid), (tile.row, tile.column), strict=True))
        # An even spread without a mesh that a pattern of the ground could beat with (Roberts 2018, the R2 sequence).
        number = 0.7548776662466927 * row + 0.5698402909980532 * column
        chosen = np.flatnonzero(number % 1.0 < share)
        if len(chosen):
            yield grid.centres(row[chosen], column[chosen]), vectors[chosen]


def vectors_at(grid: EmbeddingGrid, where: LonLat) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Which of the points (n) lie in a pixel that holds a value, and the vectors of those, in the same order."""
    rows, columns = grid.locate(where.lon, where.lat)
    tiles = grid.tiles()
    home = _tile_numbers(grid, tiles[0], rows, columns)
    wanted = np.unique(home[home >= 0])
    found, parts = [np.empty(0, np.int64)], [np.empty((0, grid.space.dims), np.float32)]
    for number, (tile, vectors, valid) in zip(wanted, grid.read([tiles[i] for i in wanted]), strict=True):
        points = np.flatnonzero(home == number)
        at = np.full(valid.shape, -1, dtype=np.int64)
        at[valid] = np.arange(len(vectors))
        row = at[rows[points] - tile.row, columns[points] - tile.column]
        found.append(points[row >= 0])
        parts.append(vectors[row[row >= 0]])
    hit, every = np.concatenate(found), np.concatenate(parts)
    order = np.argsort(hit)
    return hit[order], every[order]


def nearest_pixel(grid: EmbeddingGrid, lon: float, lat: float) -> tuple[NDArray[np.float32], LonLat, float]:
    """The vector (d,) of the pixel with a value nearest to a point, its centre, and its distance in metres.

    Tiles are read from the nearest on, until none that is left can hold a nearer pixel.

    Raises SchemaError if no pixel holds a value.
    """
    point = LonLat.of(lon, lat)
    best: tuple[float, NDArray[np.float32], LonLat] | None = None
    tiles = grid.tiles()
    least = np.array([_least_distance(grid, tile, point) for tile in tiles])
    for number in np.argsort(least, kind="stable"):
        if best is not None and least[number] >= best[0]:
            break
        for tile, vectors, valid in grid.read([tiles[number]]):
            if not len(vectors):
                continue
            row, column = np.nonzero(valid)
            centres = grid.centres(row + tile.row, column + tile.column)
            away = distance_m(LonLat(np.full(len(row), lon), np.full(len(row), lat)), centres)
            at = int(away.argmin())
            if best is None or away[at] < best[0]:
                best = float(away[at]), vectors[at], centres[at : at + 1]
    if best is None:
        raise SchemaError(f"{grid.path}: no pixel holds a value: there is nothing to map")
    return best[1], best[2], best[0]


def pixel_vector(grid: EmbeddingGrid, row: int, column: int) -> tuple[NDArray[np.float32], LonLat] | None:
    """The vector (d,) and the centre of one pixel; None if it lies outside the grid or holds no value."""
    height, width = grid.shape
    if not (0 <= row < height and 0 <= column < width):
        return None
    for _, vectors, _ in grid.read([Tile(row, column, 1, 1)]):
        if len(vectors):
            return vectors[0], grid.centres(np.array([row]), np.array([column]))
    return None


def ground_m(grid: EmbeddingGrid) -> float:
    """Side of a pixel on the ground in the middle of the grid, metres: the root of its area."""
    row, column = (np.array([side // 2, side // 2]) for side in grid.shape)
    sides = []
    for step_row, step_column in ((0, 1), (1, 0)):
        x, y = map_affine(
            grid.transform, column + 0.5 + np.array([0, step_column]), row + 0.5 + np.array([0, step_row])
        )
        ends = to_lonlat(x, y, grid.crs.to_wkt())
        sides.append(float(distance_m(ends[0:1], ends[1:2])[0]))
    return float(np.sqrt(sides[0] * sides[1]))


def _tile_numbers(grid: EmbeddingGrid, first: Tile, rows: NDArray[Any], columns: NDArray[Any]) -> NDArray[np.int64]:
    """The number of the tile in which each pixel (n,) lies; -1 for a row of -1."""
    across = -(-grid.shape[1] // first.width)
    return np.where(rows < 0, -1, rows.astype(np.int64) // first.height * across + columns // first.width)


def _least_distance(grid: EmbeddingGrid, tile: Tile, point: LonLat) -> float:
    """No pixel of the tile is nearer to the point than this, metres: distance to its middle less its reach."""
    high, wide = tile.height - 1, tile.width - 1
    rows = tile.row + np.array([high // 2, 0, 0, high, high, 0, high, high // 2, high // 2])
    columns = tile.column + np.array([wide // 2, 0, wide, 0, wide, wide // 2, wide // 2, 0, wide])
    ring = grid.centres(rows, columns)
    middle = LonLat(np.full(len(rows), ring.lon[0]), np.full(len(rows), ring.lat[0]))
    # A tenth more: on some projections a side bulges beyond its corners.
    reach = 1.1 * float(distance_m(middle, ring).max())
    return max(0.0, float(distance_m(ring[0:1], point)[0]) - reach)


def outline(grid: EmbeddingGrid) -> LonLat:
    """A mesh of points over the whole grid, its edge among them, dense enough to tell the extent on any projection."""
    height, width = grid.shape
    # Of a map of the Earth both ends are one meridian: its edge alone would not tell how wide the map is.
    row, column = np.meshgrid(np.linspace(0.0, height, MESH[0]), np.linspace(0.0, width, MESH[1]), indexing="ij")
    x, y = map_affine(grid.transform, column.ravel(), row.ravel())
    if grid.crs.is_geographic:
        y = np.clip(y, -90.0, 90.0)
    return to_lonlat(x, y, grid.crs.to_wkt())
