"""Fusions of modalities without parameters, and how learned ones are measured beside them."""

from __future__ import annotations

from placevec.measure.fusion.baselines import Method, fuse_plain, parse_method
from placevec.measure.fusion.blocks import Block, concatenated, standardised
from placevec.measure.fusion.coordinates import rbf_coordinates, rbf_width_m
from placevec.measure.fusion.rings import neighbour_mean, ring_means, ring_stack, spacing_m

__all__ = [
    "Block",
    "Method",
    "concatenated",
    "fuse_plain",
    "neighbour_mean",
    "parse_method",
    "rbf_coordinates",
    "rbf_width_m",
    "ring_means",
    "ring_stack",
    "spacing_m",
    "standardised",
]
