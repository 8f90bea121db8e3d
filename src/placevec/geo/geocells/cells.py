"""GeoCells: learned cells of regions, each the spherical Voronoi cell of its centre within its region."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from placevec.errors import DataError, UsageError
from placevec.geo.geocells import store
from placevec.geo.geocells.adjacency import touching
from placevec.geo.geocells.points import Centres, Ints
from placevec.geo.geocells.views import CoarseCells, View
from placevec.geo.geocells.voronoi import voronoi_polygons
from placevec.geo.regions import Regions
from placevec.geo.sphere import Floats, LonLat


@dataclass(frozen=True, eq=False)
class GeoCells(View):
    """Cells that were built from training points, sorted by region; see `placevec.geo.cells.Cells`.

    A point belongs to the nearest centre among the cells of its region. The number of a cell is its row + 1. What
    is promised: no training point lies farther from the centre of its cell than the limit of that cell, every cell
    has a point, and the cells of a region that has any tile it.

    Level 0 is these cells, level 1 and on are groups of them, the last level is the regions that have cells.

    Attributes:
        regions: the P regions.
        centres: N centres, each within its region.
        region: (N,) row of the region of each cell, ascending.
        radius_m: (N,) distance in metres from the centre to the farthest training point of the cell.
        limit_m: (N,) what the radius may be at most, by the density of training points about the centre.
        count: (N,) training points.
        levels: (L, N) the group of each cell at the levels 1 to L, numbered from 0.
        outside: training points that lay in no region and were left out.

    Raises:
        DataError: the arrays do not fit each other, or a promise is broken.
    """

    regions: Regions
    centres: LonLat
    region: Ints
    radius_m: Floats
    limit_m: Floats
    count: Ints
    levels: Ints
    outside: int = 0

    def __post_init__(self) -> None:
        n = len(self.centres)
        for name in ("region", "radius_m", "limit_m", "count"):
            if getattr(self, name).shape != (n,):
                raise DataError(f"geocells: {name} has the shape {getattr(self, name).shape}, not {(n,)}")
        if n == 0:
            raise DataError("there is no geocell; give training points that lie in the regions")
        if self.region.min() < 0 or self.region.max() >= len(self.regions) or (np.diff(self.region) < 0).any():
            raise DataError(f"geocells: the regions of cells are rows of {len(self.regions)} regions, ascending")
        # Also false for NaN.
        within = (self.radius_m >= 0.0) & (self.radius_m <= self.limit_m) & np.isfinite(self.limit_m)
        if not within.all():
            row = int(np.argmin(within))
            raise DataError(
                f"geocell {row + 1} reaches {self.radius_m[row]:,.0f} m, its limit is {self.limit_m[row]:,.0f} m"
            )
        if (self.count < 1).any():
            raise DataError(f"geocell {int(np.argmin(self.count)) + 1} has no training point")
        if self.levels.ndim != 2 or self.levels.shape[1] != n or not len(self.levels):
            raise DataError(f"geocells: levels have the shape {self.levels.shape}, not (1 or more, {n})")
        for fine, coarse in zip((np.arange(n), *self.levels[:-1]), self.levels, strict=True):
            groups = len(np.unique(coarse))
            nested = len(np.unique(np.stack([fine, coarse], axis=1), axis=0)) == len(np.unique(fine))
            if not nested or coarse.min() != 0 or coarse.max() != groups - 1:
                raise DataError("geocells: a level is no grouping of the one before, numbered from 0")

    def __len__(self) -> int:
        return len(self.centres)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GeoCells) and other.fingerprint() == self.fingerprint()

    def __hash__(self) -> int:
        return hash(self.fingerprint())

    def __repr__(self) -> str:
        return f"GeoCells(<{len(self):,} cells of {len(np.unique(self.region))} regions>)"

    @property
    def base(self) -> GeoCells:
        """These cells, as the views of them call them."""
        return self

    @property
    def level(self) -> int:
        """0: the finest."""
        return 0

    def at(self, level: float) -> View:
        """The cells of a level: 0 is these cells, the last is the regions.

        Raises:
            UsageError: there is no such level.
        """
        if isinstance(level, bool) or level != int(level) or not 0 <= level <= len(self.levels):
            raise UsageError(f"geocells have no level {level}; choose 0 (finest) to {len(self.levels)} (regions)")
        return CoarseCells(self, int(level)) if level else self

    @cached_property
    def starts(self) -> Ints:
        """(P + 1,): the cells of region r are the rows starts[r] to starts[r + 1]; none where these are equal."""
        return np.searchsorted(self.region, np.arange(len(self.regions) + 1)).astype(np.int64)

    @cached_property
    def _nearest(self) -> Centres:
        return Centres(self.centres.unit(), self.region)

    def rows(self, p: LonLat, region: Ints | None = None) -> Ints:
        """The row (n,) of the cell of each point: the nearest centre of its region.

        -1 outside of all regions, and in a region without cells.

        Args:
            p: n points.
            region: (n,) rows of the regions of the points, -1 for none; by default where they lie.
        """
        own = self.regions.assign(p) if region is None else np.asarray(region, dtype=np.int64)
        if own.shape != (len(p),):
            raise DataError(f"regions of {len(p)} points have the shape {own.shape}; give one for each")
        found = np.full(len(p), -1, dtype=np.int64)
        inside = np.flatnonzero(own >= 0)
        if len(inside):
            found[inside] = self._nearest.nearest(p[inside].unit(), own[inside])[0][:, 0]
        return found

    @cached_property
    def _drawn(self) -> dict[int, NDArray[np.object_]]:
        return {}

    def outlines(self, rows: Ints) -> NDArray[np.object_]:
        """The outlines (n,) of the cells with these rows; those of a region are drawn when one is first asked for."""
        found = np.empty(len(rows), dtype=object)
        for region in np.unique(self.region[rows]).tolist():
            start, end = self.starts[region], self.starts[region + 1]
            if region not in self._drawn:
                self._drawn[region] = voronoi_polygons(self.centres[start:end], self.regions.polygons[region])
            own = self.region[rows] == region
            found[own] = self._drawn[region][rows[own] - start]
        return found

    @cached_property
    def touching(self) -> tuple[Ints, Ints]:
        """The pairs of rows of cells that touch each other, both ways round, across borders of regions as well."""
        return touching(self.outlines(np.arange(len(self))))

    @cached_property
    def tree(self) -> shapely.STRtree:
        """The outlines of all cells, to be searched."""
        return shapely.STRtree(self.outlines(np.arange(len(self))))

    def records(self) -> list[dict[str, Any]]:
        """For each region: its name, training points, cells, largest radius in km, and largest radius by its limit."""
        found = []
        for row, name in enumerate(self.regions.names):
            own = slice(self.starts[row], self.starts[row + 1])
            some = self.starts[row] < self.starts[row + 1]
            share = self.radius_m[own] / self.limit_m[own]
            found.append(
                {
                    "region": name,
                    "points": int(self.count[own].sum()),
                    "cells": int(self.starts[row + 1] - self.starts[row]),
                    "largest_km": round(float(self.radius_m[own].max()) / 1000.0, 3) if some else None,
                    "of_limit": round(float(share.max()), 4) if some else None,
                }
            )
        return found

    def to_bytes(self) -> bytes:
        """The cells as an asset of a model folder; see `store`."""
        return store.to_bytes(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> GeoCells:
        """Read what `to_bytes` gave; FormatError if it is not that."""
        return store.from_bytes(data)

    def fingerprint(self) -> str:
        """The SHA-256 of regions, cells and levels: two models with equal ones mean the same by a cell."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        digest = hashlib.sha256(json.dumps(self.regions.names).encode())
        for polygon in self.regions.polygons:
            digest.update(shapely.to_wkb(polygon, byte_order=1))
        for column in (self.centres.lon, self.centres.lat, self.radius_m, self.limit_m):
            digest.update(np.ascontiguousarray(column, dtype="<f8").tobytes())
        for whole in (self.region, self.count, self.levels):
            digest.update(np.ascontiguousarray(whole, dtype="<i8").tobytes())
        return digest.hexdigest()
