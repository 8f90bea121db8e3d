"""Signatures of patches of land cover, without any learning: shares of classes, and which classes touch."""

from placevec.features.signatures.encoders import NOTHING, CooccurrenceEncoder, FractionsEncoder
from placevec.features.signatures.layers import SignatureLayer, layers_of
from placevec.features.signatures.masking import MaskedCentre

__all__ = ["NOTHING", "CooccurrenceEncoder", "FractionsEncoder", "MaskedCentre", "SignatureLayer", "layers_of"]
