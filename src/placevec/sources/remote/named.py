"""Public rasters by name, read straight from where they are published: `dataset:worldcover-2021` and others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from placevec.errors import UsageError
from placevec.provenance import SourceRef
from placevec.sources.remote.mosaic import MosaicReader, TileGrid, only_band

if TYPE_CHECKING:
    from placevec.sources.gdal import GdalReader

PREFIX = "dataset:"

_WORLDCOVER = "https://esa-worldcover.s3.eu-central-1.amazonaws.com/v200/2021/map"
_LC100 = (
    "https://zenodo.org/records/3939050/files/"
    "PROBAV_LC100_global_v3.0.1_2019-nrt_Discrete-Classification-map_EPSG-4326.tif"
)


@dataclass(frozen=True)
class RemoteRaster:
    """A public raster.

    Attributes:
        name: what users call it, after `dataset:`.
        about: one line.
        licence: its licence.
        attribution: whom to name.
        address: of the file, or of the folder of its tiles.
        classes: the class table that fits it.
        grid: where its tiles lie; None for one file.
    """

    name: str
    about: str
    licence: str
    attribution: str
    address: str
    classes: str
    grid: TileGrid | None = None


def worldcover_tile(row: int, col: int) -> str:
    """The address of the tile of ESA WorldCover in row 0 (81 to 84 N) to 47, column 0 (180 to 177 W) to 119.

    Tiles are named by their south-western corner, such as N00E006.
    """
    lat, lon = 81 - 3 * row, -180 + 3 * col
    corner = f"{'N' if lat >= 0 else 'S'}{abs(lat):02d}{'E' if lon >= 0 else 'W'}{abs(lon):03d}"
    return f"{_WORLDCOVER}/ESA_WorldCover_10m_2021_v200_{corner}_Map.tif"


# The overview of 64 does not divide a tile of 36,000 pixels, and is left out.
_WORLDCOVER_GRID = TileGrid(-180.0, 84.0, 3.0, 48, 120, 36_000, (2, 4, 8, 16, 32), 1024, "uint8", 0, worldcover_tile)

REMOTE_RASTERS: dict[str, RemoteRaster] = {
    raster.name: raster
    for raster in (
        RemoteRaster(
            "worldcover-2021",
            "ESA WorldCover 2021 v200: land cover of the Earth in 11 classes, 10 m",
            "CC-BY-4.0",
            "© ESA WorldCover project 2021 / Contains modified Copernicus Sentinel data (2021) processed by ESA "
            "WorldCover consortium",
            _WORLDCOVER,
            "worldcover",
            _WORLDCOVER_GRID,
        ),
        RemoteRaster(
            "lc100-2019",
            "Copernicus Global Land Cover 2019 (v3.0.1, near real time): 23 classes, 100 m",
            "CC-BY-4.0",
            "Copernicus Global Land Service; M. Buchhorn and others (2020), doi:10.5281/zenodo.3939050",
            _LC100,
            "lc100",
        ),
    )
}


def remote_raster(name: str) -> RemoteRaster:
    """The public raster called `name`, with or without `dataset:`; UsageError, with the names, if there is none."""
    own = name.removeprefix(PREFIX)
    if own not in REMOTE_RASTERS:
        raise UsageError(f"no public raster is called {own!r}; known: {', '.join(sorted(REMOTE_RASTERS))}")
    return REMOTE_RASTERS[own]


def source_refs(name: str) -> tuple[SourceRef, ...]:
    """What provenance says of a table made from it; its bytes are not hashed, since never all are read."""
    raster = remote_raster(name)
    return (SourceRef(raster.address, "", raster.licence, raster.attribution),)


def open_named(name: str, bands: Sequence[int] | None = None, *, refresh: bool = False) -> GdalReader | MosaicReader:
    """Open a public raster; nothing is fetched of a mosaic before it is read.

    Raises:
        UsageError: none has this name, or it has no such band.
        Unreachable: there is no network and nothing is kept of it.
    """
    from placevec.sources.gdal import GdalReader

    raster = remote_raster(name)
    if raster.grid is None:
        return GdalReader(raster.address, bands, refresh=refresh)
    only_band(name, bands)
    return MosaicReader(f"{PREFIX}{raster.name}", raster.grid, refresh=refresh)
