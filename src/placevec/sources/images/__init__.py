"""Images of any kind as content: JPEG, PNG, WebP, BMP, TIFF and GeoTIFF, of 8 or 16 bit, with any number of bands."""

from placevec.sources.images.decode import MAX_PIXELS, SUFFIXES, read_image
from placevec.sources.images.files import ImageFiles
from placevec.sources.images.locate import Footprint, footprint
from placevec.sources.images.resize import Fit, resized
from placevec.sources.images.stretch import Stretch

__all__ = [
    "MAX_PIXELS",
    "SUFFIXES",
    "Fit",
    "Footprint",
    "ImageFiles",
    "Stretch",
    "footprint",
    "read_image",
    "resized",
]
