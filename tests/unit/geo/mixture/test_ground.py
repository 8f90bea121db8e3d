import numpy as np
import pytest
import shapely

from placevec.errors import DataError
from placevec.geo.mixture import even_points
from placevec.geo.sphere import LonLat


def test_points_are_even_and_inside() -> None:
    domain = shapely.union(shapely.box(60, 24, 75, 36), shapely.box(0, 0, 2, 2))
    p = LonLat.from_unit(even_points(domain, 2000))
    assert shapely.contains_xy(domain.buffer(1e-9), p.lon, p.lat).all()
    west = shapely.contains_xy(shapely.box(60, 24, 67.5, 36), p.lon, p.lat).mean()
    small = shapely.contains_xy(shapely.box(0, 0, 2, 2), p.lon, p.lat).mean()
    area = np.array([15 * (np.sin(np.radians(36)) - np.sin(np.radians(24))), 2 * np.sin(np.radians(2))])
    assert west == pytest.approx(area[0] / 2 / area.sum(), abs=0.01)
    assert small == pytest.approx(area[1] / area.sum(), abs=0.01)
    assert (even_points(domain, 2000) == even_points(domain, 2000)).all()


def test_islands_far_apart() -> None:
    """Of the box around them they fill a millionth; each is looked for in its own."""
    islands = shapely.MultiPolygon([shapely.box(x, 0, x + 0.01, 0.01) for x in (-170, -60, 30, 170)])
    p = LonLat.from_unit(even_points(islands, 101))
    assert sorted(np.unique(np.round(p.lon), return_counts=True)[1].tolist()) == [25, 25, 25, 26]


def test_across_the_antimeridian_and_the_whole_earth() -> None:
    p = LonLat.from_unit(even_points(shapely.box(178, -18, 183, -15), 100))
    assert (np.abs(p.lon) > 176).all()
    assert 0.3 < (p.lon > 0).mean() < 0.5
    unit = even_points(shapely.box(-180, -90, 180, 90), 4000)
    assert np.abs(unit.mean(axis=0)).max() < 0.01


def test_what_has_no_area() -> None:
    with pytest.raises(DataError, match="too thin"):
        even_points(shapely.Polygon([(0, 0), (60, 60), (60, 60 + 1e-9)]), 10)
    with pytest.raises(DataError, match="at least one"):
        even_points(shapely.box(0, 0, 1, 1), 0)
