"""Stencils: the H3 cells of an area or of all land, in one file of parts, with no more in memory than a part."""

from placevec.sources.stencil.cover import Part, cover_parts, part_level
from placevec.sources.stencil.file import Stencil, StencilCard, is_stencil, open_stencil, write_stencil
from placevec.sources.stencil.source import StencilSource

__all__ = [
    "Part",
    "Stencil",
    "StencilCard",
    "StencilSource",
    "cover_parts",
    "is_stencil",
    "open_stencil",
    "part_level",
    "write_stencil",
]
