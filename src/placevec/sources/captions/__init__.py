"""Images with captions: the Karpathy JSON, CSV, JSON lines, and the folders that Kaggle has of RSICD."""

from placevec.sources.captions.base import CaptionSet
from placevec.sources.captions.detect import read_captions

__all__ = ["CaptionSet", "read_captions"]
