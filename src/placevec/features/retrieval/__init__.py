"""Retrieval: what a bank of vectors says about a place, by likeness and by distance. No torch.

A *query* is a place with a vector; the *bank* is any EmbeddingTable. `Augmenter` looks the bank up for each query and
lays the answers side by side as blocks of columns: ``[query | harmonics | soft | geo-25km | ...]``. `Fusion` does so
for several banks at once, with or without each bank's own row of the place.
"""

from placevec.features.retrieval.bank import Bank
from placevec.features.retrieval.blocks import Augmented, Augmenter, Block, augment_rows
from placevec.features.retrieval.crossfit import CrossFit, Folded
from placevec.features.retrieval.fusion import Fusion
from placevec.features.retrieval.masks import Masks
from placevec.features.retrieval.modes import MODES, Mode, mode_of

__all__ = [
    "MODES",
    "Augmented",
    "Augmenter",
    "Bank",
    "Block",
    "CrossFit",
    "Folded",
    "Fusion",
    "Masks",
    "Mode",
    "augment_rows",
    "mode_of",
]
