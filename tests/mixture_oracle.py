"""Slow and obvious forms of what `geo.mixture` does, and mixtures to try it on."""

from __future__ import annotations

import numpy as np

from placevec.geo.mixture import Mixture
from placevec.geo.sphere import EARTH_RADIUS_M, LonLat

AREA_M2 = 8.8e11  # of Pakistan


def mixture_at(points, weights, spreads, **more):
    """One law from (lon, lat) pairs."""
    unit = LonLat(*np.array(points, dtype=float).T).unit()[None]
    return Mixture.of(unit, [weights], [spreads], **{"area_m2": AREA_M2, **more})


def random_mixture(n, m, *, seed=0, apart=0.03, spread=(5e3, 150e3), floor=0.02, **more):
    """n laws of m hypotheses around places all over the Earth, `apart` radians from each other."""
    rng = np.random.default_rng(seed)
    middle = rng.normal(size=(n, 1, 3))
    unit = middle / np.linalg.norm(middle, axis=2, keepdims=True) + apart * rng.normal(size=(n, m, 3))
    weights = rng.dirichlet(np.full(m, 0.5), size=n)
    spreads = np.exp(rng.uniform(*np.log(spread), size=(n, m)))
    return Mixture.of(unit, weights, spreads, **{"area_m2": AREA_M2, "floor": floor, **more})


def draw(law, count, seed=0):
    """Random unit vectors (count, 3) of the hypotheses of one law: each by its exact quantile, turned to its place."""
    rng = np.random.default_rng(seed)
    weights = law.weights[0] / law.weights[0].sum()
    out = np.empty((count, 3))
    which = rng.choice(len(weights), size=count, p=weights)
    for at in np.unique(which):
        rows = which == at
        kappa = (EARTH_RADIUS_M / law.spread_m[0, at]) ** 2
        height = -np.log1p(rng.uniform(size=rows.sum()) * np.expm1(-2 * kappa)) / kappa
        turn = rng.uniform(0, 2 * np.pi, rows.sum())
        side = np.sqrt(np.maximum(height * (2 - height), 0))
        axis = law.unit[0, at]
        basis = np.linalg.svd(axis[None])[2][1:]
        out[rows] = (1 - height)[:, None] * axis + side[:, None] * (
            np.cos(turn)[:, None] * basis[0] + np.sin(turn)[:, None] * basis[1]
        )
    return out


def density(law, x):
    """The density (k,) per square metre of the hypotheses of one law at unit vectors (k, 3), term by term."""
    total = np.zeros(len(x))
    for at in range(law.weights.shape[1]):
        kappa = np.longdouble((EARTH_RADIUS_M / law.spread_m[0, at]) ** 2)
        chord2 = ((x - law.unit[0, at]) ** 2).sum(axis=1).astype(np.longdouble)
        peak = kappa / (2 * np.pi * -np.expm1(-2 * kappa)) / np.longdouble(EARTH_RADIUS_M) ** 2
        total += np.asarray(law.weights[0, at] * peak * np.exp(-kappa * chord2 / 2), dtype=float)
    return total


def grid_around(law, side=900, reach=7.0):
    """A fine grid around one law, near the equator: unit vectors (side², 3), and the area of each grid cell."""
    lonlat = law.lonlat
    pad = np.degrees(reach * law.spread_m[0] / EARTH_RADIUS_M)
    west, east = (lonlat.lon - pad).min(), (lonlat.lon + pad).max()
    south, north = (lonlat.lat - pad).min(), (lonlat.lat + pad).max()
    dx, dy = (east - west) / side, (north - south) / side
    lon, lat = np.meshgrid(west + dx * (np.arange(side) + 0.5), south + dy * (np.arange(side) + 0.5))
    area = np.radians(dx) * np.radians(dy) * np.cos(np.radians(lat.ravel())) * EARTH_RADIUS_M**2
    return LonLat(lon.ravel(), lat.ravel()).unit(), area
