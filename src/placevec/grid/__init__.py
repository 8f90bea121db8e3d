"""EmbeddingGrid: a dense raster of vectors, kept as a tiled GeoTIFF instead of a table of pixels.

A pixel table of ids and geometries would outweigh its vectors. The grid is a cloud-optimised GeoTIFF with one band
for each component and the footer `emb` of a table in its tags. `EmbeddingGrid` reads it by window and by block,
`GridSink` writes it strip by strip.
"""

from __future__ import annotations

from placevec.grid.means import CellMeans, cell_rows
from placevec.grid.raster import BLOCK, CACHE_BYTES, TAG, EmbeddingGrid, Tile, Window, map_affine, pixel_windows
from placevec.grid.sink import WRITE_CACHE, GridSink

__all__ = [
    "BLOCK",
    "CACHE_BYTES",
    "TAG",
    "WRITE_CACHE",
    "CellMeans",
    "EmbeddingGrid",
    "GridSink",
    "Tile",
    "Window",
    "cell_rows",
    "map_affine",
    "pixel_windows",
]
