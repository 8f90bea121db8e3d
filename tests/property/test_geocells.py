"""Whatever the points, the regions and the settings: the promises of geocells hold."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("hdbscan")

from placevec.geo.geocells import GeoCellConfig, GeoCells, build_geocells
from placevec.geo.regions import Regions, spherical_areas_m2
from placevec.geo.sphere import LonLat, distance_m, pairwise_m


@st.composite
def cases(draw: st.DrawFn) -> tuple[LonLat, Regions, GeoCellConfig]:
    """Towns of few or many points, some of them coincident, in an area of any size anywhere, cut into regions."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    west, south = draw(st.integers(-1800, 1790)) / 10, draw(st.integers(-890, 800)) / 10
    wide = draw(st.sampled_from([0.01, 1.0, 30.0, 300.0]))
    tall = min(wide, 89.5 - south)
    cuts = np.sort(rng.uniform(0, 1, draw(st.integers(0, 3))))
    edges = west + wide * np.concatenate([[0.0], cuts, [1.0]])
    boxes = {f"r{at}": shapely.box(a, south, b, south + tall) for at, (a, b) in enumerate(itertools.pairwise(edges))}
    n = draw(st.integers(1, 250))
    town = rng.uniform(0, 1, (draw(st.integers(1, 6)), 2))
    xy = town[rng.integers(0, len(town), n)] + 10 ** rng.uniform(-4, -0.5) * rng.standard_normal((n, 2))
    xy[rng.random(n) < draw(st.sampled_from([0.0, 0.5]))] = town[0]
    xy = np.clip(xy, 0, 1)
    lon = (west + wide * xy[:, 0] + 180.0) % 360.0 - 180.0
    sparse = draw(st.sampled_from([1.0, 40.0, 900.0]))
    config = GeoCellConfig(
        min_points=draw(st.integers(2, 30)),
        min_samples=draw(st.integers(1, 8)),
        dense_km=sparse / draw(st.sampled_from([1.0, 10.0])),
        sparse_km=sparse,
        per_1000_points=draw(st.sampled_from([0.0, 30.0])),
        levels_km=draw(st.sampled_from([(), (2000.0,), (100.0, 300.0)])),
    )
    return LonLat(lon, south + tall * xy[:, 1]), Regions.of(boxes), config


@settings(max_examples=25)
@given(cases())
def test_the_promises(case: tuple[LonLat, Regions, GeoCellConfig]) -> None:
    points, regions, config = case
    region = regions.assign(points)
    if (region < 0).all():  # rounding at the outer border of very small areas
        return
    cells = build_geocells(points, regions, config)
    rows = cells.rows(points)
    inside = np.flatnonzero(region >= 0)
    np.testing.assert_array_equal(rows >= 0, region >= 0)
    # The nearest of its region, by the slow way.
    away = np.where(region[inside][:, None] == cells.region, pairwise_m(points[inside], cells.centres), np.inf)
    own = distance_m(points[inside], cells.centres[rows[inside]])
    assert (own <= away.min(axis=1) + 1e-6).all()
    assert (own <= cells.limit_m[rows[inside]]).all()
    assert cells.limit_m.max() <= 1000 * config.sparse_km
    assert cells.limit_m.min() >= 1000 * config.dense_km
    np.testing.assert_array_equal(np.bincount(rows[inside], minlength=len(cells)), cells.count)
    np.testing.assert_array_equal(cells.assign(cells.centres), np.arange(1, len(cells) + 1))
    area = spherical_areas_m2(cells.polygons(np.arange(1, len(cells) + 1)))
    has = np.diff(cells.starts) > 0
    np.testing.assert_allclose(
        np.bincount(cells.region, area, minlength=len(regions))[has], regions.areas_m2[has], rtol=1e-7
    )
    assert GeoCells.from_bytes(cells.to_bytes()) == cells
    again = np.random.default_rng(0).permutation(len(points))
    assert build_geocells(points[again], regions, config) == cells
