"""XML of services, read without trust: no document types, so no entities, and of bounded size."""

from __future__ import annotations

from typing import Any
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from placevec.errors import FormatError

MAX_BYTES = 64 << 20


def read_xml(data: bytes, where: str) -> Element:
    """The root of a document.

    Raises:
        FormatError: it is too large, no XML, or declares a document type.
    """
    if len(data) > MAX_BYTES:
        raise FormatError(f"{where}: {len(data):,} bytes of XML are more than a service sends; check the address")
    builder = TreeBuilder()

    def doctype(name: str, *_: Any) -> None:
        # It can define entities that grow without end, or that name files.
        raise FormatError(f"{where}: the XML declares a document type ({name!r}), which no service needs: refused")

    parser = expat.ParserCreate(namespace_separator="}")
    parser.StartDoctypeDeclHandler = doctype
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise FormatError(f"{where} sends no XML ({error}); check the address") from None
    return builder.close()


def plain(tag: str) -> str:
    """The name of an element without its namespace."""
    return tag.rpartition("}")[2]


def children(parent: Element, name: str) -> list[Element]:
    """The children of an element that are called so, in whatever namespace."""
    return [child for child in parent if plain(child.tag) == name]


def text(parent: Element, *path: str) -> str:
    """The text at the first element along a path of names; "" if there is none."""
    at: Element | None = parent
    for name in path:
        found = [] if at is None else children(at, name)
        at = found[0] if found else None
    return (at.text or "").strip() if at is not None else ""


def all_text(root: Element, name: str) -> list[str]:
    """The texts of all elements called so."""
    return [(node.text or "").strip() for node in root.iter() if plain(node.tag) == name]
