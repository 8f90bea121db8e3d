"""Building geocells: clusters by density, then splits until every radius is within its limit, then merges."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec.errors import DataError
from placevec.geo.geocells.cells import GeoCells
from placevec.geo.geocells.config import GeoCellConfig
from placevec.geo.geocells.density import seeds
from placevec.geo.geocells.levels import group_levels
from placevec.geo.geocells.limits import Limits
from placevec.geo.geocells.merge import merge
from placevec.geo.geocells.points import Centres, Division, Ints, Points, middles
from placevec.geo.geocells.split import bisect
from placevec.geo.hilbert import hilbert_key
from placevec.geo.regions import Regions
from placevec.geo.sphere import LonLat

Progress = Callable[[int, int, Mapping[str, Any]], None]

_ROUNDS = 12  # of splitting with all centres moving; what is then left is split with centres that stay
_POLISH = 4  # rounds of moving centres to their means once all limits hold
_STAGES = ("clusters", "splits", "merges", "targets", "levels")


def build_geocells(
    lonlat: LonLat,
    regions: Regions,
    config: GeoCellConfig | None = None,
    *,
    region: Ints | None = None,
    progress: Progress | None = None,
) -> GeoCells:
    """Divide regions into cells by where training points lie; see `GeoCells` for what is promised of them.

    Give it the points of the training folds alone: cells that were built with test points have seen them.

    Args:
        lonlat: (n,) training points.
        regions: the regions; no cell crosses a border.
        config: the settings; by default those of `GeoCellConfig`.
        region: (n,) row of the region of each point, -1 for none; by default where it lies.
        progress: told the stages done, how many there are, and the cells so far.

    Raises:
        DataError: no point lies in a region, or `region` does not fit.
        MissingExtra: hdbscan is not installed.
    """
    config = config or GeoCellConfig()
    rows = regions.assign(lonlat) if region is None else _checked(region, len(lonlat), len(regions))
    points = Points.of(lonlat, rows, regions)
    if len(points) == 0:
        raise DataError(
            f"none of the {len(lonlat):,} training points lies in a region ({', '.join(regions.names[:4])}"
            f"{', ...' if len(regions) > 4 else ''}); check that both are in lon, lat"
        )

    def tell(stage: int, cells: int) -> None:
        if progress is not None:
            progress(stage, len(_STAGES), {"stage": _STAGES[min(stage, len(_STAGES) - 1)], "cells": cells})

    tell(0, 0)
    limits = Limits(points, config)
    division = Division.by_label(points, seeds(points, config))
    tell(1, len(division.centres))
    division = _split_all(points, division, limits)
    tell(2, len(division.centres))
    least = np.full(len(regions), config.min_points)
    division = _merge(points, division, limits, least)
    division = _polish(points, division, limits)
    division = _merge(points, division, limits, least)
    tell(3, len(division.centres))
    if config.targeted:
        division = _to_targets(points, division, limits, config)
    tell(4, len(division.centres))
    made = _finish(points, division, limits, config, outside=len(lonlat) - len(points))
    tell(5, len(made))
    return made


def _checked(region: Ints, n: int, count: int) -> Ints:
    rows = np.asarray(region)
    if rows.shape != (n,) or rows.dtype.kind not in "iu":
        raise DataError(f"regions of the points have the shape {rows.shape} and are {rows.dtype}, not {(n,)} int64")
    if n and not -1 <= rows.min() <= rows.max() < count:
        raise DataError(f"a point has the region {rows.min()} or {rows.max()}; there are {count}, from 0, and -1")
    return rows.astype(np.int64)


def _split_all(points: Points, division: Division, limits: Limits) -> Division:
    """Split cells until every radius is within its limit."""
    for _ in range(_ROUNDS):
        bad = division.radius_m > limits.strict(division.centres.unit)
        if not bad.any():
            return division
        division = Division.by_label(points, bisect(points.unit, division.label, bad))
    return _add_centres(points, division, limits)


def _add_centres(points: Points, division: Division, limits: Limits) -> Division:
    """Make the farthest point of each cell beyond its limit a centre, until there is none.

    No centre moves, so that distances to the nearest one only fall: each round adds points that were no centres,
    and the end is at the latest a centre on each point.
    """
    while True:
        bad = division.radius_m > limits.strict(division.centres.unit)
        if not bad.any():
            return division
        rows = np.flatnonzero(bad[division.label])
        rows = rows[division.away_m[rows] == division.radius_m[division.label[rows]]]
        rows = rows[np.unique(division.label[rows], return_index=True)[1]]
        unit = np.concatenate([division.centres.unit, points.unit[rows]])
        region = np.concatenate([division.centres.region, points.region[rows]])
        division = Division.by_nearest(points, Centres(unit, region))


def _merge(points: Points, division: Division, limits: Limits, least: Ints) -> Division:
    spare = np.bincount(division.centres.region, minlength=len(least)) - 1
    return merge(points, division, limits.strict(division.centres.unit), least, spare)


def _polish(points: Points, division: Division, limits: Limits) -> Division:
    """Move centres to the means of their points, but those that would put a point beyond a limit."""
    for _ in range(_POLISH):
        unit, region = middles(points, division.label)
        moves = np.ones(len(region), dtype=bool)
        for _ in range(_POLISH):
            kept = np.where(moves[:, None], unit, division.centres.unit)
            found = Division.by_nearest(points, Centres(kept, region))
            if len(found.centres) < len(region):
                return division
            bad = found.radius_m > limits.strict(kept)
            if not bad.any():
                break
            lost = bad[found.label]
            moves &= ~bad
            moves[division.label[lost]] = False
        else:
            return division
        division = found
    return division


def _to_targets(points: Points, division: Division, limits: Limits, config: GeoCellConfig) -> Division:
    """Merge and split cells towards the wanted count of each region, as far as limits and points allow."""
    size = np.bincount(points.region, minlength=len(points.regions))
    wanted = config.per_1000_km2 * points.regions.areas_m2 / 1e9 + config.per_1000_points * size / 1e3
    wanted = np.clip(np.rint(wanted), 1, np.maximum(size // config.min_points, 1)).astype(np.int64)

    def cells() -> Ints:
        return np.bincount(division.centres.region, minlength=len(wanted))

    spare = np.maximum(cells() - wanted, 0)
    division = merge(points, division, limits.strict(division.centres.unit), size + 1, spare)
    while True:
        lacking = np.maximum(wanted - cells(), 0)
        spread = np.bincount(division.label, division.away_m**2)
        able = (division.count >= 2 * config.min_points) & (division.radius_m > 0.0)
        order = np.lexsort((-spread, ~able, division.centres.region))
        region = division.centres.region[order]
        starts = np.searchsorted(region, np.arange(len(wanted)))
        # Half of what is lacking at once: the halves of a large cell may have to be split before a smaller one.
        chosen = able[order] & (np.arange(len(order)) - starts[region] < -(-lacking[region] // 2))
        split: NDArray[np.bool_] = np.zeros(len(order), dtype=bool)
        split[order[chosen]] = True
        if not split.any():
            return division
        label = bisect(points.unit, division.label, split)
        middle, owner = middles(points, label)
        stays = np.flatnonzero(~split)
        middle[stays] = division.centres.unit[stays]
        before = len(division.centres)
        division = _add_centres(points, Division.by_nearest(points, Centres(middle, owner)), limits)
        if len(division.centres) <= before:
            return division


def _finish(points: Points, division: Division, limits: Limits, config: GeoCellConfig, outside: int) -> GeoCells:
    """The cells in their order: by region, then along the Hilbert curve."""
    centres = points.degrees(division.centres.unit)
    region = division.centres.region
    order = np.lexsort((centres.lat, centres.lon, hilbert_key(centres.lon, centres.lat), region))
    # What is stored is degrees: the radii are those of the centres as they are read back.
    found = Division.by_nearest(points, Centres(centres[order].unit(), region[order]))
    limit_m = limits.at(found.centres.unit)
    levels = group_levels(found.centres.unit, found.centres.region, found.radius_m, config)
    return GeoCells(
        regions=points.regions,
        centres=centres[order],
        region=region[order],
        radius_m=found.radius_m,
        limit_m=limit_m,
        count=found.count,
        levels=levels,
        outside=outside,
    )
