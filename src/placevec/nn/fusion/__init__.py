"""Fusing modalities on hexagons."""

from placevec.nn.fusion.config import FusionConfig, ModalityConfig, plain_unet
from placevec.nn.fusion.net import FusionNet, VectorReader
from placevec.nn.fusion.tokens import Tokens

__all__ = ["FusionConfig", "FusionNet", "ModalityConfig", "Tokens", "VectorReader", "plain_unet"]
