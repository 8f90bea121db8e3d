"""Networks over patches of land: classes and values of several layers on one square of ground."""

from placevec.nn.landscape.config import LandscapeConfig, PlaneConfig
from placevec.nn.landscape.net import LandscapeNet

__all__ = ["LandscapeConfig", "LandscapeNet", "PlaneConfig"]
