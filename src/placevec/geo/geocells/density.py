"""Clusters of training points by density: HDBSCAN on unit vectors."""

from __future__ import annotations

import warnings

import numpy as np

from placevec.geo.geocells.config import GeoCellConfig
from placevec.geo.geocells.points import Centres, Ints, Points, middles
from placevec.geo.sphere import Floats
from placevec.registry import need


def density_labels(unit: Floats, config: GeoCellConfig) -> Ints:
    """The cluster (n,) of each unit vector (n, 3); -1 is noise.

    HDBSCAN (Campello, Moulavi and Sander 2013) by dual-tree Boruvka on chords, in one thread: the same points in the
    same order have the same clusters.
    """
    n = len(unit)
    # Fewer points are no cluster, and all in one place are one: HDBSCAN has densities of 1 / 0 there.
    if n < max(config.min_points, 3) or bool((unit == unit[0]).all()):
        return np.zeros(n, dtype=np.int64)
    hdbscan = need("hdbscan", extra="geocells", purpose="building geocells")
    with warnings.catch_warnings():
        # It calls scikit-learn by names that are leaving it, and divides by the distance of coincident points.
        warnings.simplefilter("ignore")
        found = hdbscan.HDBSCAN(
            min_cluster_size=config.min_points,
            min_samples=min(config.min_samples, n - 1),
            algorithm="boruvka_kdtree",
            approx_min_span_tree=False,
            core_dist_n_jobs=1,
        ).fit_predict(unit)
    return np.asarray(found, dtype=np.int64)


def seeds(points: Points, config: GeoCellConfig) -> Ints:
    """The first group (n,) of each point, numbered from 0 without gaps: the clusters of each region.

    Noise goes to the nearest cluster of its region; a region without any is one group.
    """
    label = np.empty(len(points), dtype=np.int64)
    clusters = 0
    for own in np.split(np.arange(len(points)), np.flatnonzero(np.diff(points.region)) + 1):
        found = density_labels(points.unit[own], config)
        if found.max() < 0:
            found[:] = 0
        label[own] = np.where(found < 0, -1, found + clusters)
        clusters += int(found.max()) + 1
    noise = label < 0
    if noise.any():
        clustered = points[~noise]
        near, _ = Centres(*middles(clustered, label[~noise])).nearest(points.unit[noise], points.region[noise])
        label[noise] = near[:, 0]
    return label
