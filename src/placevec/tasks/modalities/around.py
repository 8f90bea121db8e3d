"""What of a country's file matters for the cells of a city."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from placevec.features.modality import Told
from placevec.geo.boxes import Box, in_box
from placevec.geo.cells import H3Cells
from placevec.sources.osm.covered import header_box
from placevec.sources.osm.roads import Roads, read_roads
from placevec.sources.targets.keys import resolutions

_DEGREE_M = 111_000.0
STREET_M = 5_000.0
"""Beyond the cells and what they look at, so that no street of theirs is cut short before its next junction."""


def box_around(cells: NDArray[np.uint64], metres: float = 0.0) -> Box | None:
    """A box around cells (n,) of one resolution and so many metres more; None where it would be half the Earth."""
    if not len(cells):
        return None
    system = H3Cells(int(resolutions(cells[:1])[0]))
    centre = system.centre(cells)
    slack = (2.0 * system.edge_m + metres) / _DEGREE_M
    south, north = float(centre.lat.min()) - slack, float(centre.lat.max()) + slack
    if max(abs(south), abs(north)) > 85.0 or np.ptp(centre.lon) > 180.0:
        return None
    wide = slack / float(np.cos(np.radians(max(abs(south), abs(north)))))
    return float(centre.lon.min()) - wide, south, float(centre.lon.max()) + wide, north


def roads_around(
    path: str | Path, cells: NDArray[np.uint64], metres: float, *, every: bool = False, told: Told | None = None
) -> Roads:
    """The roads of a file around cells and so many metres more; what the file covers stays known.

    See `sources.osm.roads.read_roads`. A file whose header has no box is read whole: how far it reaches is known from
    all its roads alone.
    """
    box = box_around(cells, metres + STREET_M)
    roads = read_roads(path, box=None if box is None or header_box(path) is None else box, every=every, told=told)
    if box is None:
        return roads
    inside = in_box(roads.lon, roads.lat, box)
    return roads.take(inside[roads.a] | inside[roads.b])
