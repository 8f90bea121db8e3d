"""Captions made from maps: OpenStreetMap and land cover said in sentences, so that any region is searched in words."""

from placevec.sources.tag_captions.captions import TagCaptions, tag_captions
from placevec.sources.tag_captions.cover import LEGENDS, LandClass, cover_shares, legend
from placevec.sources.tag_captions.facts import Fact, tile_facts
from placevec.sources.tag_captions.write import write_caption_set

__all__ = [
    "LEGENDS",
    "Fact",
    "LandClass",
    "TagCaptions",
    "cover_shares",
    "legend",
    "tag_captions",
    "tile_facts",
    "write_caption_set",
]
