"""WMS 1.1.1 and 1.3.0: a map of any place, asked for in tiles of one grid, so that no part is asked for twice."""

from __future__ import annotations

import math
from urllib.parse import quote, urlencode

from pyproj import CRS

from placevec.errors import UsageError
from placevec.geo.frames import LONLAT, read_crs
from placevec.sources.services.levels import Frame, ServiceLevel, world_of

_LEVELS = 7  # the finest, and six that are coarser by twos


def wms_frame(base: str, options: dict[str, str], resolution: float, side: int) -> Frame:
    """The tiles in which a WMS is read.

    Args:
        base: the address without a query.
        options: of the query: layers, and if need be version, crs, format, styles, and what else the service wants.
        resolution: side of a pixel in units of the coordinate system.
        side: pixels along a side of a tile.

    Raises:
        UsageError: no layers are named, the version is neither, or the resolution is none.
        CrsError: the coordinate system is unknown.
    """
    given = {name.lower(): value for name, value in options.items()}
    version = given.pop("version", "1.3.0")
    if version not in ("1.1.1", "1.3.0"):
        raise UsageError(f"WMS {version} is not spoken here; give version=1.1.1 or version=1.3.0")
    if not given.get("layers"):
        raise UsageError(f"{base}: of which layers? add layers=NAME, from the service's list of capabilities")
    if not (math.isfinite(resolution) and resolution > 0.0):
        raise UsageError(f"a pixel cannot measure {resolution}; give its side in units of the coordinate system")
    name = given.pop("crs", given.pop("srs", "EPSG:3857"))
    crs = read_crs(LONLAT if name.upper() == "CRS:84" else name)
    # Version 1.3.0 writes boxes in the order of axes that the authority has laid down: latitude first for EPSG:4326.
    swapped = version == "1.3.0" and axes_swapped(crs, name)
    for fixed in ("service", "request", "width", "height", "bbox"):
        given.pop(fixed, None)
    query = {
        "service": "WMS",
        "version": version,
        "request": "GetMap",
        "styles": "",
        "format": "image/png",
        **given,
        "crs" if version == "1.3.0" else "srs": name,
        "width": str(side),
        "height": str(side),
    }
    west, south, east, north = world_of(crs)
    group = 2 ** (_LEVELS - 1)

    def tiles(length: float) -> int:
        return int(math.ceil(length / (side * resolution) / group) * group)

    rows, cols = tiles(north - south), tiles(east - west)

    def level(power: int) -> ServiceLevel:
        step = resolution * 2**power

        def address(row: int, col: int) -> str:
            x0, y1 = west + col * side * step, north - row * side * step
            x1, y0 = x0 + side * step, y1 - side * step
            box = (y0, x0, y1, x1) if swapped else (x0, y0, x1, y1)
            text = ",".join(f"{value:.10g}" if abs(value) < 1e3 else f"{value:.6f}" for value in box)
            joint = "&" if "?" in base else "?"
            return f"{base}{joint}{urlencode({**query, 'bbox': text}, quote_via=quote, safe=',/:')}"

        return ServiceLevel(step, rows >> power, cols >> power, address)

    return Frame(crs, west, north, side, tuple(level(power) for power in range(_LEVELS)))


def axes_swapped(crs: CRS, name: str) -> bool:
    """Whether the authority of a coordinate system names the northing, or the latitude, first."""
    if name.upper().startswith(("CRS:", "OGC:", "URN:OGC:DEF:CRS:OGC")):
        return False
    return bool(crs.axis_info and crs.axis_info[0].direction.lower() in ("north", "south"))
