"""The locator: where an image was taken, how sure that is, and which training images look alike."""

from placevec.encoders.locator.decoding import Decoding, Refinement
from placevec.encoders.locator.folder import locator_card
from placevec.encoders.locator.gallery import Gallery
from placevec.encoders.locator.guesses import Shown
from placevec.encoders.locator.locator import Locator
from placevec.encoders.locator.net import LocatorNet, Outputs
from placevec.encoders.locator.prediction import Prediction
from placevec.encoders.locator.reading import open_images

__all__ = [
    "Decoding",
    "Gallery",
    "Locator",
    "LocatorNet",
    "Outputs",
    "Prediction",
    "Refinement",
    "Shown",
    "locator_card",
    "open_images",
]
