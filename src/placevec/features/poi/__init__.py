"""What the points of interest of a cell say of it: how many, how dense, how mixed, and how telling."""

from placevec.features.poi.columns import FORMS, Form, poi_columns
from placevec.features.poi.counts import count_points, grouped
from placevec.features.poi.measures import entropy, kinds, per_km2, rarity, tf_idf

__all__ = ["FORMS", "Form", "count_points", "entropy", "grouped", "kinds", "per_km2", "poi_columns", "rarity", "tf_idf"]
