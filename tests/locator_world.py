"""A world of regions and cells whose probabilities, spreads and floor are known, to calibrate a locator on."""

from __future__ import annotations

import numpy as np
import shapely

from placevec.geo.areas import polygon_areas
from placevec.geo.mixture import even_points, hypotheses, temper
from placevec.geo.sphere import LonLat, from_tangent
from placevec.measure.geo_calibration import Holdout

STARTS = np.array([0, 12, 24, 24, 40])  # region 2 has no cell
DOMAIN = shapely.box(60, 24, 75, 36)
GROUND = even_points(DOMAIN, 256)
AREA_M2 = float(polygon_areas(np.array([DOMAIN], dtype=object))[0])
SPREAD_M = 15e3


def known_world(n, *, temperature=2.0, widen=1.7, floor=0.03, blocks=40, seed=0, regions=2, cells=8) -> Holdout:
    """What an over-sure locator says of n places: its logits are `temperature` times too large, its spreads `widen`
    times too small, and a share `floor` of places lies anywhere."""
    rng = np.random.default_rng(seed)
    centres = LonLat(*np.random.default_rng(99).uniform([60, 24], [75, 36], (40, 2)).T)
    region_logs, cell_logs = 2 * rng.normal(size=(n, 4)), 2 * rng.normal(size=(n, 40))
    region, cell = temper(region_logs, cell_logs, STARTS)
    joint = np.exp(np.repeat(region, np.diff(STARTS), axis=1) + cell)
    true_cell = (joint.cumsum(axis=1) < rng.uniform(size=(n, 1))).sum(axis=1).clip(0, 39)
    offset = rng.normal(size=(2, n)) * SPREAD_M * widen
    near = from_tangent(centres[true_cell], *offset)
    far = rng.uniform(size=n) < floor
    anywhere = rng.uniform([60, 24], [75, 36], (n, 2)).T
    rows, _ = hypotheses(region_logs, cell_logs, STARTS, regions=regions, cells=cells)
    return Holdout(
        region_logs=temperature * region_logs,
        cell_logs=temperature * cell_logs,
        starts=STARTS,
        region=np.searchsorted(STARTS, true_cell, side="right") - 1,
        cell=true_cell,
        truth=LonLat(np.where(far, anywhere[0], near.lon), np.where(far, anywhere[1], near.lat)),
        rows=rows,
        unit=centres.unit()[rows],
        spread_m=np.full(rows.shape, SPREAD_M),
        area_m2=AREA_M2,
        groups=rng.integers(0, blocks, n),
        ground=GROUND,
    )
