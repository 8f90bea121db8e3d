"""Patches: several rasters over one square of the ground around each place."""

from placevec.sources.patches.layers import Layer
from placevec.sources.patches.pairs import draw_pairs, pair_parts
from placevec.sources.patches.source import PatchSource
from placevec.sources.patches.stored import PatchSet
from placevec.sources.patches.write import Written, write_patches

__all__ = ["Layer", "PatchSet", "PatchSource", "Written", "draw_pairs", "pair_parts", "write_patches"]
