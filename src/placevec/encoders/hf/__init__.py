"""Models of the transformers library as encoders: any vision model, and both towers of CLIP, SigLIP and SigLIP 2."""

from placevec.encoders.hf.image import BATCH, HfImageEncoder, Pooling
from placevec.encoders.hf.text import HfTextEncoder

__all__ = ["BATCH", "HfImageEncoder", "HfTextEncoder", "Pooling"]
