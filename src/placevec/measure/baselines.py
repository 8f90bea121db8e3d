"""The compulsory baselines of every probe: what a learned vector has to beat before it has shown anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.spatial import cKDTree

from placevec.errors import DataError, UsageError
from placevec.geo.cells import ring_index
from placevec.geo.sphere import LonLat
from placevec.measure.additive_gp import nested_additive_gp
from placevec.measure.fitted import FittedParts, some_rows
from placevec.measure.knn import Metric, Neighbourhood, nested_knn
from placevec.measure.linear import nested_ols
from placevec.measure.nested import Fit, Fitted, Floats, Folds, as_features, mean_fit
from placevec.measure.rbf import nested_gp
from placevec.measure.ridge import nested_ridge

Estimator = Literal["mean", "ridge", "ols", "knn", "gp"]
ESTIMATOR_NAMES: dict[str, str] = {"mean": "mean", "ridge": "ridge", "ols": "OLS", "knn": "kNN", "gp": "GP"}
RINGS = (1, 3)
"""Raw features are averaged over one ring of neighbours, and over three."""


@dataclass(frozen=True, eq=False)
class FeatureSet:
    """Features with a name, and the estimators that are run on them.

    Attributes:
        name: as tables show it.
        values: (n, d) vectors; n points; None for the mean, which needs no features; or features that are fitted on
            the training rows of each fold, see `placevec.measure.nested.Fitted`: estimators call them for every outer
            and inner set of training rows, k (k + 1) / 2 times for k folds (GP: k times), for each shuffle.
        estimators: each makes one row of a report.
        learned: whether it is a result; if not, it is a baseline.
        metric: by which neighbours are found.
        blocks: (name, first column, column after the last) of the parts of a vector that is laid together of several:
            the GP then has a kernel for each, see `measure.additive_gp`.
    """

    name: str
    values: NDArray[Any] | LonLat | Fitted | None
    estimators: tuple[Estimator, ...]
    learned: bool = False
    metric: Metric = "cosine"
    blocks: tuple[tuple[str, int, int], ...] = ()

    def label(self, estimator: Estimator) -> str:
        """The name of the row: features and estimator."""
        return self.name if estimator == "mean" else f"{self.name} · {ESTIMATOR_NAMES[estimator]}"

    def fit(self, estimator: Estimator, y: Floats, folds: Folds, *, shared: bool = False, seed: int = 0) -> Fit:
        """The out-of-fold predictions of one estimator; `shared` for one-hot targets.

        Raises:
            UsageError: the estimator does not take such features.
        """
        values = self.values
        if estimator == "mean":
            return mean_fit(y, folds)
        if estimator == "knn" and values is not None:
            around = values if callable(values) else self._around
            return nested_knn(around, y, folds, metric=self.metric, shared=shared)
        if estimator == "gp" and len(self.blocks) > 1 and isinstance(values, np.ndarray):
            return nested_additive_gp(values, y, folds, self.blocks, seed=seed)
        if estimator == "gp" and isinstance(values, FittedParts):
            return nested_additive_gp(values, y, folds, seed=seed)
        if estimator == "gp" and values is not None:
            return nested_gp(values, y, folds, metric=self.metric, seed=seed)
        if estimator == "ridge" and values is not None and not isinstance(values, LonLat):
            return nested_ridge(values, y, folds, shared=shared)
        if estimator == "ols" and values is not None and not isinstance(values, LonLat):
            return nested_ols(values, y, folds)
        raise UsageError(f"the estimator {estimator!r} cannot be run on {self.name!r}; choose ridge or knn for vectors")

    @cached_property
    def _around(self) -> Neighbourhood:
        assert self.values is not None
        assert not callable(self.values)
        return Neighbourhood(self.values, self.metric)

    def take(self, rows: NDArray[np.int64]) -> FeatureSet:
        """The same features of some rows."""
        values = self.values
        if callable(values):
            return replace(self, values=some_rows(values, rows))
        return replace(self, values=None if values is None else values[rows])


def coordinate_features(lonlat: LonLat) -> Floats:
    """The (n, 4) sines and cosines of longitude and latitude."""
    lon, lat = np.radians(lonlat.lon), np.radians(lonlat.lat)
    return np.stack([np.sin(lon), np.cos(lon), np.sin(lat), np.cos(lat)], axis=1)


def ring_means(raw: ArrayLike, lonlat: LonLat, rings: int, h3: ArrayLike | None = None) -> Floats:
    """Each place's features (n, p) averaged with those of its neighbours within `rings` rings; no labels are used.

    Args:
        raw: (n, p) features.
        lonlat: (n,) where the rows are.
        rings: how many rings; without cells, the 1 + 3r(r+1) nearest places, as many as the cells would be.
        h3: (n,) uint64 cells of one resolution; of rows in one cell the mean counts. Absent cells are left out.
    """
    values = as_features(raw).astype(np.float64)
    n = len(values)
    if len(lonlat) != n:
        raise DataError(f"raw features of {n} rows for {len(lonlat)} places; they must be the same rows")
    if h3 is not None:
        cells, row_cell = np.unique(np.asarray(h3, dtype=np.uint64), return_inverse=True)
        if len(row_cell) != n:
            raise DataError(f"{len(row_cell)} cells for {n} rows; give one per row")
        share = 1.0 / np.bincount(row_cell)[row_cell]
        by_cell = sparse.csr_array((share, (row_cell, np.arange(n))), shape=(len(cells), n)) @ values
        near = ring_index(cells, rings)
        row, column = np.nonzero(near >= 0)
        share = 1.0 / np.bincount(row)[row]
        mix = sparse.csr_array((share, (row, near[row, column])), shape=(len(cells), len(cells)))
        return np.asarray(mix @ by_cell)[row_cell]
    xyz = lonlat.unit()
    k = min(1 + 3 * rings * (rings + 1), n)
    _, found = cKDTree(xyz).query(xyz, k=np.arange(1, k + 1))
    mix = sparse.csr_array((np.full(n * k, 1.0 / k), found.ravel(), np.arange(0, n * k + 1, k)), shape=(n, n))
    return np.asarray(mix @ values)


def compulsory(
    lonlat: LonLat,
    *,
    h3: ArrayLike | None = None,
    raw: ArrayLike | None = None,
    untrained: Mapping[str, NDArray[Any]] | None = None,
    estimators: tuple[Estimator, ...] = ("ridge", "knn"),
    rings: tuple[int, ...] = RINGS,
) -> tuple[list[FeatureSet], list[str]]:
    """The compulsory baselines for these places, and the names of those that could not be made.

    The mean, ridge on sines and cosines, kNN and GP on coordinates always; raw features, as they are and averaged
    over rings, if there are any; untrained networks as their vectors are handed in.
    """
    sets = [
        FeatureSet("mean", None, ("mean",)),
        FeatureSet("sin/cos of coordinates", coordinate_features(lonlat), ("ridge",)),
        FeatureSet("coordinates", lonlat, ("knn", "gp")),
    ]
    absent = []
    if raw is not None:
        sets.append(FeatureSet("raw features", as_features(raw), estimators, metric="euclidean"))
        for r in rings:
            name = f"raw features, {r} ring{'s' if r > 1 else ''}"
            sets.append(FeatureSet(name, ring_means(raw, lonlat, r, h3), estimators, metric="euclidean"))
    else:
        absent.append("raw features")
        absent += [f"raw features, {r} ring{'s' if r > 1 else ''}" for r in rings]
    for name, vectors in (untrained or {}).items():
        sets.append(FeatureSet(f"untrained {name}", as_features(vectors), estimators))
    if not untrained:
        absent.append("an untrained network of the same shape")
    return sets, absent
