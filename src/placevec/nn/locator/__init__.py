"""The network of an image locator: fusion of image features, heads of regions and cells, offsets, and their losses."""

from placevec.nn.locator.branch_configs import BRANCHES, BranchConfig, LocationConfig, MetadataConfig, TagsConfig
from placevec.nn.locator.config import HeadConfig
from placevec.nn.locator.net import LocatorHead
from placevec.nn.locator.rough import rough_positions

__all__ = [
    "BRANCHES",
    "BranchConfig",
    "HeadConfig",
    "LocationConfig",
    "LocatorHead",
    "MetadataConfig",
    "TagsConfig",
    "rough_positions",
]
