"""Values of cells from elsewhere: files of H3 cells, of points or of polygons, brought to the cells of an area."""

from placevec.sources.targets.file import TargetsCard, is_targets, read_targets, write_targets
from placevec.sources.targets.keys import cells_of_file, read_cells
from placevec.sources.targets.levels import Group, at_level
from placevec.sources.targets.overlap import area_weighted
from placevec.sources.targets.rows import TargetRows, read_rows

__all__ = [
    "Group",
    "TargetRows",
    "TargetsCard",
    "area_weighted",
    "at_level",
    "cells_of_file",
    "is_targets",
    "read_cells",
    "read_rows",
    "read_targets",
    "write_targets",
]
