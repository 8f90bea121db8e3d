"""WMTS 1.0.0: the tile matrices of a layer, from the service's capabilities."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote, urlencode
from xml.etree.ElementTree import Element

from placevec.errors import FormatError, UsageError
from placevec.geo.frames import read_crs
from placevec.sources.services.levels import Frame, ServiceLevel, same_ground
from placevec.sources.services.wms import axes_swapped
from placevec.sources.services.xml import children, plain, read_xml, text

_PIXEL_M = 0.00028  # the "standardised rendering pixel" of the specification
_DEGREE_M = 111319.49079327358  # metres of a degree on the equator, as the specification counts


@dataclass(frozen=True)
class Wmts:
    """What capabilities say of a layer.

    Attributes:
        frame: its tiles.
        layer: its identifier.
        provider: who runs the service, "" if it does not say.
        constraints: what it says of access, "" if nothing.
    """

    frame: Frame
    layer: str
    provider: str
    constraints: str


def wmts_frame(data: bytes, base: str, options: dict[str, str], finest: str = "") -> Wmts:
    """The tiles of a layer.

    Args:
        data: the capabilities.
        base: the address of the service without a query.
        options: of the query: layer, and if need be tilematrixset, style, format, and what else the service wants.
        finest: the identifier of the finest matrix to be read; by default the finest that there is.

    Raises:
        UsageError: there is no such layer, matrix set or matrix; the message names those that are.
        FormatError: these are no capabilities, or they are incomplete.
    """
    root = read_xml(data, base)
    contents = children(root, "Contents")
    if plain(root.tag) != "Capabilities" or not contents:
        raise FormatError(f"{base}: these are no capabilities of a WMTS ({plain(root.tag)}); check the address")
    given = {name.lower(): value for name, value in options.items()}
    layer = _named(children(contents[0], "Layer"), given.pop("layer", ""), "layer", base)
    linked = [text(link, "TileMatrixSet") for link in children(layer, "TileMatrixSetLink")]
    sets = [one for one in children(contents[0], "TileMatrixSet") if text(one, "Identifier") in linked]
    wanted = given.pop("tilematrixset", "")
    if not wanted and len(sets) > 1:
        wanted = next((text(one, "Identifier") for one in sets if "3857" in text(one, "SupportedCRS")), "")
        wanted = wanted or text(sets[0], "Identifier")
    matrices = _named(sets, wanted, "tile matrix set", base)
    name = text(layer, "Identifier")
    style = given.pop("style", "") or next(
        (text(one, "Identifier") for one in children(layer, "Style") if one.get("isDefault") == "true"), "default"
    )
    form = given.pop("format", "") or text(layer, "Format") or "image/png"
    for fixed in ("service", "request", "version"):
        given.pop(fixed, None)
    pattern = next(
        (
            node.get("template", "")
            for node in children(layer, "ResourceURL")
            if node.get("resourceType") == "tile" and node.get("format", form) == form
        ),
        "",
    ) or _kvp(base, name, style, form, text(matrices, "Identifier"), given)
    fixed_parts = {"style": style, "tilematrixset": text(matrices, "Identifier"), "layer": name}
    defaults = {text(one, "Identifier").lower(): text(one, "Default") for one in children(layer, "Dimension")}
    frame = _frame(matrices, pattern, {**defaults, **given, **fixed_parts}, finest, base)
    provider = next((text(one, "ProviderName") for one in children(root, "ServiceProvider")), "")
    access = next((text(one, "AccessConstraints") for one in children(root, "ServiceIdentification")), "")
    return Wmts(frame, name, provider, "" if access.lower() in ("none", "") else access)


def _named(found: list[Element], name: str, what: str, base: str) -> Element:
    """The element with an identifier, or the only one."""
    known = [text(one, "Identifier") for one in found]
    if not name and len(found) == 1:
        return found[0]
    if name not in known:
        shown = ", ".join(known[:12]) + (" …" if len(known) > 12 else "")
        asked = f"has no {what} {name!r}" if name else f"has several of the kind {what}: say which"
        raise UsageError(f"{base} {asked}; known: {shown or 'none'}")
    return found[known.index(name)]


def _kvp(base: str, layer: str, style: str, form: str, matrices: str, more: dict[str, str]) -> str:
    query = {"service": "WMTS", "request": "GetTile", "version": "1.0.0", "layer": layer, "style": style}
    query |= {"format": form, "tilematrixset": matrices, **more}
    joint = "&" if "?" in base else "?"
    tail = "&tilematrix={TileMatrix}&tilerow={TileRow}&tilecol={TileCol}"
    return f"{base}{joint}{urlencode(query, quote_via=quote, safe='/:')}{tail}"


def _frame(matrices: Element, pattern: str, parts: dict[str, str], finest: str, base: str) -> Frame:
    name = text(matrices, "SupportedCRS")
    crs = read_crs(name)
    swapped = axes_swapped(crs, name)
    unit = _DEGREE_M if crs.is_geographic else float(crs.axis_info[0].unit_conversion_factor or 1.0)
    found: list[tuple[ServiceLevel, tuple[float, float], int, str]] = []
    try:
        for node in children(matrices, "TileMatrix"):
            first, second = (float(part) for part in text(node, "TopLeftCorner").split())
            corner = (second, first) if swapped else (first, second)
            sides = int(text(node, "TileWidth")), int(text(node, "TileHeight"))
            if sides[0] != sides[1] or not 16 <= sides[0] <= 4096:
                raise FormatError(f"{base}: tiles of {sides[0]} x {sides[1]} pixels are not read")
            step = float(text(node, "ScaleDenominator")) * _PIXEL_M / unit
            rows, cols = int(text(node, "MatrixHeight")), int(text(node, "MatrixWidth"))
            identifier = text(node, "Identifier")
            level = ServiceLevel(step, rows, cols, _address(pattern, {**parts, "tilematrix": identifier}))
            found.append((level, corner, sides[0], identifier))
    except ValueError as error:
        raise FormatError(f"{base}: its tile matrices cannot be read ({error})") from None
    found.sort(key=lambda one: one[0].step)
    known = [one[3] for one in found]
    if finest and finest not in known:
        raise UsageError(f"{base} has no tile matrix {finest!r}; known: {', '.join(known)}")
    found = found[known.index(finest) :] if finest else found
    if not found:
        raise FormatError(f"{base}: the tile matrix set has no matrices; choose another")
    _, corner, side, _ = found[0]
    near = found[0][0].step / 100
    alike = [
        level
        for level, own, width, _ in found
        if width == side and max(abs(own[0] - corner[0]), abs(own[1] - corner[1])) < near
    ]
    return Frame(crs, corner[0], corner[1], side, same_ground(alike, side))


def _address(pattern: str, parts: dict[str, str]) -> Callable[[int, int], str]:
    lower = {f"{{{name.lower()}}}": quote(value, safe=":") for name, value in parts.items()}

    def address(row: int, col: int) -> str:
        own = {**lower, "{tilerow}": str(row), "{tilecol}": str(col)}
        return re.sub(r"\{[^{}]+\}", lambda match: own.get(match[0].lower(), match[0]), pattern)

    return address
