"""Evidence: where in an image is what a text (or a second image) asks for."""

from placevec.features.evidence.boxes import Region, regions
from placevec.features.evidence.calibrate import Background, HeatMap, heat_map
from placevec.features.evidence.crops import Crops, crop_field, grid_field
from placevec.features.evidence.field import Field, dense_field
from placevec.features.evidence.select import Selection, select
from placevec.features.evidence.slide import slide_field

__all__ = [
    "Background",
    "Crops",
    "Field",
    "HeatMap",
    "Region",
    "Selection",
    "crop_field",
    "dense_field",
    "grid_field",
    "heat_map",
    "regions",
    "select",
    "slide_field",
]
