"""An area that all tests of the networks share."""

from __future__ import annotations

import pytest

from hexes import some_edges, torn
from placevec.geo.hex_levels import HexLevels, hex_levels
from placevec.nn.hexunet import HexGraph


@pytest.fixture(scope="session")
def levels() -> HexLevels:
    """Resolutions 10 to 8: some 1,000 cells with a hole and an island."""
    return hex_levels(torn(10, 18), (10, 9, 8))


@pytest.fixture(scope="session")
def graph(levels: HexLevels) -> HexGraph:
    """With accessibility weights at the two finer levels."""
    return HexGraph.from_levels(levels, {10: some_edges(levels, 0), 9: some_edges(levels, 1, seed=1)})
