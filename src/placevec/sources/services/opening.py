"""From the address of a service to a raster."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import numpy as np
from numpy.typing import NDArray

from placevec.errors import FormatError, UsageError
from placevec.provenance import SourceRef
from placevec.sources.reader_raster import ReaderRaster
from placevec.sources.remote.http import shown
from placevec.sources.services.address import is_service
from placevec.sources.services.client import Client
from placevec.sources.services.levels import Frame, xyz_frame
from placevec.sources.services.wms import wms_frame
from placevec.sources.services.wmts import wmts_frame
from placevec.sources.tiles import PixelReader

BANDS = 3
_HELD = 96  # decoded tiles in memory: 25 MB of 256 x 256 pixels
_OPTIONS = ("zoom", "side", "resolution", "matrix")
_SIDE = {"xyz": 256, "wms": 512}


class ServiceRaster(ReaderRaster):
    """A map service as a raster of red, green and blue; where it has nothing, or is see-through, nothing is valid.

    Attributes:
        client: what gets its pictures.
        ref: what provenance says of it.
    """

    def __init__(self, href: str, frame: Frame, client: Client, ref: SourceRef) -> None:
        self.client = client
        self.ref = ref
        reader = ServiceReader(frame, client)
        shapes = tuple(frame.shape(at) for at in range(1, len(frame.levels)))
        super().__init__(href, reader, frame.crs, frame.transform, bands=BANDS, overviews=shapes)


class ServiceReader(PixelReader):
    """Windows of the tiles of a service, each fetched once and held for a while."""

    sequential = False
    local = False

    def __init__(self, frame: Frame, client: Client) -> None:
        self.frame = frame
        self.client = client
        self.block = (frame.side, frame.side)
        self._held: OrderedDict[tuple[int, int, int], NDArray[np.uint8] | None] = OrderedDict()

    def shape(self, overview: int) -> tuple[int, int]:
        """(rows, columns) at an overview, -1 for the finest level."""
        return self.frame.shape(overview + 1)

    def read(
        self, overview: int, row: int, col: int, height: int, width: int
    ) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """Values (3, height, width) of a window, and their validity, or None where all are valid."""
        side, level = self.frame.side, overview + 1
        values = np.zeros((BANDS, height, width), dtype=np.uint8)
        valid = np.zeros((height, width), dtype=bool)
        wanted = [
            (level, y, x)
            for y in range(row // side, -(-(row + height) // side))
            for x in range(col // side, -(-(col + width) // side))
        ]
        for (_, y, x), tile in zip(wanted, self._tiles(wanted), strict=True):
            if tile is None:
                continue
            top, left = max(row, y * side), max(col, x * side)
            below, right = min(row + height, (y + 1) * side), min(col + width, (x + 1) * side)
            cut = slice(top - y * side, below - y * side), slice(left - x * side, right - x * side)
            into = slice(top - row, below - row), slice(left - col, right - col)
            values[:, *into] = tile[:BANDS, *cut]
            valid[into] = tile[BANDS][cut] > 0
        return values, None if valid.all() else np.broadcast_to(valid, values.shape)

    def _tiles(self, wanted: list[tuple[int, int, int]]) -> list[NDArray[np.uint8] | None]:
        missing = [key for key in wanted if key not in self._held]
        addresses = [self.frame.levels[level].address(y, x) for level, y, x in missing]
        side = self.frame.side
        for key, address, tile in zip(
            missing, addresses, self.client.pictures(addresses) if missing else [], strict=True
        ):
            if tile is not None and tile.shape[1:] != (side, side):
                raise FormatError(
                    f"{shown(address)}: a tile of {tile.shape[2]} x {tile.shape[1]} pixels where {side} x {side} are "
                    f"expected; add #side={tile.shape[2]} to the address"
                )
            self._held[key] = tile
        found = []
        for key in wanted:
            self._held.move_to_end(key)
            found.append(self._held[key])
        while len(self._held) > max(_HELD, len(wanted)):
            self._held.popitem(last=False)
        return found


def open_service(
    address: str,
    *,
    resolution: float | None = None,
    folder: str | Path | None = None,
    licence: str = "",
    attribution: str = "",
    client: Client | None = None,
) -> ServiceRaster:
    """A map service as a raster. Nothing is asked for before it is read, but the capabilities of a WMTS.

    Args:
        address: ``https://HOST/{z}/{x}/{y}.png`` (XYZ; {-y} for TMS, {q} for quadkeys),
            ``wms:https://HOST/PATH?layers=NAME&crs=EPSG:28992``, or
            ``wmts:https://HOST/PATH?layer=NAME&tilematrixset=NAME``, whose path may be that of the capabilities. Behind
            a #: ``zoom=19`` the finest level of an XYZ service (18 by default), ``side=512``
            the side of its tiles in pixels, ``matrix=ID`` the finest matrix of a WMTS, ``resolution=0.25`` the side
            of a pixel of a WMS in units of its coordinate system.
        resolution: of a WMS whose address names none.
        folder: where tiles are kept; by default in the user's cache folder.
        licence: of the pictures, for provenance.
        attribution: whom to name, for provenance.
        client: what gets the pictures, if not one of its own.

    Raises:
        UsageError: it is no such address, or a part of it is missing.
        Unreachable, FormatError: the capabilities of a WMTS cannot be read.
    """
    if not is_service(address):
        raise UsageError(f"{address!r} is no map service: give an address with {{z}}, or wms:https://…, wmts:https://…")
    kind = next((kind for kind in ("wms", "wmts") if address.startswith(f"{kind}:")), "xyz")
    bare, _, fragment = address.removeprefix(f"{kind}:").partition("#")
    if not bare.startswith(("http://", "https://")):
        raise UsageError(f"{bare!r} is no address on the web; write {kind if kind != 'xyz' else ''}:https://…".strip())
    options = _fragment(fragment, kind)
    client = client or Client(_folder(folder, bare))
    side = int(_number(options, "side", _SIDE.get(kind, 256)))
    parts = urlsplit(bare)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    base = parts._replace(query="", fragment="").geturl()
    layer = ""
    if kind == "xyz":
        frame = xyz_frame(bare, int(_number(options, "zoom", 18)), side)
    elif kind == "wms":
        step = _number(options, "resolution", resolution if resolution is not None else 0.0)
        if not step:
            raise UsageError(f"{shown(bare)}: at which resolution? add #resolution=METRES of a pixel to the address")
        frame = wms_frame(base, query, step, side)
        layer = f"?layers={query.get('layers', query.get('LAYERS', ''))}"
    else:
        found = wmts_frame(client.fetch(_capabilities(base, query)), base, query, options.get("matrix", ""))
        frame, layer = found.frame, f"?layer={found.layer}"
        licence, attribution = licence or found.constraints, attribution or found.provider
    ref = SourceRef(f"{shown(bare)}{layer}", "", licence, attribution)
    return ServiceRaster(f"{shown(bare)}{layer}", frame, client, ref)


def _capabilities(base: str, query: dict[str, str]) -> str:
    if base.lower().endswith(".xml"):
        return base
    kept = {name: value for name, value in query.items() if name.lower() not in _OF_TILES}
    text = "&".join([*(f"{name}={value}" for name, value in kept.items()), "service=WMTS", "request=GetCapabilities"])
    return f"{base}?{text}"


_OF_TILES = ("layer", "tilematrixset", "style", "format", "service", "request", "version")


def _fragment(text: str, kind: str) -> dict[str, str]:
    found = dict(parse_qsl(text, keep_blank_values=True))
    odd = next((name for name in found if name not in _OPTIONS), None)
    if odd is not None:
        raise UsageError(f"#{odd} is no option of a map service; known: {', '.join(_OPTIONS)}")
    mine = {"xyz": ("zoom", "side"), "wms": ("resolution", "side"), "wmts": ("matrix",)}[kind]
    odd = next((name for name in found if name not in mine), None)
    if odd is not None:
        raise UsageError(f"#{odd} is no option of {kind.upper()}; it has {', '.join(mine)}")
    return found


def _number(options: dict[str, str], name: str, default: float) -> float:
    try:
        found = float(options.get(name, default))
    except ValueError:
        raise UsageError(f"#{name}={options[name]} is no number") from None
    if name == "side" and not 16 <= found <= 4096:
        raise UsageError(f"#side={found:g}: tiles have 16 to 4096 pixels along a side")
    return found


def _folder(given: str | Path | None, address: str) -> Path:
    if given is not None:
        return Path(given)
    from placevec.sources.catalog import cache_folder

    # One folder a service, whatever its layers; keys in addresses are hashed with the rest.
    return cache_folder() / "services" / hashlib.sha256(shown(address).encode()).hexdigest()[:16]
