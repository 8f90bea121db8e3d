"""Checkpoints in the layout of open_clip (github.com/mlfoundations/open_clip), as RemoteCLIP's, GeoRSCLIP's, SkyCLIP's.

Such a file is the state dict of a CLIP with a vision transformer: `layout` tells its shape, `mapping` gives every
weight its place in the CLIP of transformers, `bpe` and `tokens` make the tokenizer, and `read` puts them together.
"""

from placevec.encoders.importers.open_clip.read import read_open_clip

__all__ = ["read_open_clip"]
