"""The losses of a locator in the slow and obvious way: loops over samples and cells, by the haversine, in Python."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from placevec.geo.sphere import EARTH_RADIUS_M, LonLat


def lonlat_of(vector: Sequence[float]) -> tuple[float, float]:
    """Degrees of a unit vector."""
    x, y, z = (float(v) for v in vector)
    return math.degrees(math.atan2(y, x)), math.degrees(math.atan2(z, math.hypot(x, y)))


def haversine(a: Sequence[float], b: Sequence[float]) -> float:
    """Metres between two unit vectors, from their longitudes and latitudes."""
    (lon1, lat1), (lon2, lat2) = ([math.radians(v) for v in lonlat_of(one)] for one in (a, b))
    h = math.sin((lat2 - lat1) / 2) ** 2 + math.cos(lat1) * math.cos(lat2) * math.sin((lon2 - lon1) / 2) ** 2
    return 2.0 * EARTH_RADIUS_M * math.asin(math.sqrt(min(1.0, h)))


def soft(unit: np.ndarray, centres: np.ndarray, cells: Sequence[int], taus: Sequence[float], cut: float | None):
    """q(c) of each point, one cell after another; `taus` of each point."""
    rows = []
    for x, own, tau in zip(unit, cells, taus, strict=True):
        away = [haversine(x, centre) - haversine(x, centres[own]) for centre in centres]
        parts = [0.0 if cut is not None and d > cut * tau else math.exp(-d / tau) for d in away]
        rows.append([part / sum(parts) for part in parts])
    return np.array(rows)


def joint(region_logits: np.ndarray, cell_logits: np.ndarray, region: Sequence[int]) -> np.ndarray:
    """P(region)·p(cell | region) of each cell, over the regions that have cells."""
    out = []
    for regions, cells in zip(region_logits, cell_logits, strict=True):
        there = sorted(set(region))
        whole = sum(math.exp(regions[r]) for r in there)
        law = []
        for c, r in enumerate(region):
            own = sum(math.exp(cells[k]) for k in range(len(region)) if region[k] == r)
            law.append(math.exp(regions[r]) / whole * math.exp(cells[c]) / own)
        out.append(law)
    return np.array(out)


def divergence(q: np.ndarray, p: np.ndarray, weights: Sequence[float]) -> float:
    """The weighted mean of Σ q·log(q / p), where q log q of 0 is 0."""
    total = 0.0
    for weight, law, guess in zip(weights, q, p, strict=True):
        total += weight * sum(a * math.log(a / b) for a, b in zip(law, guess, strict=True) if a > 0)
    return total / sum(weights)


def cross_entropy(logits: np.ndarray, target: Sequence[int], weights: Sequence[float]) -> float:
    """The mean of -log p(target), weighted by the class of the target."""
    total = whole = 0.0
    for row, own in zip(logits, target, strict=True):
        total -= weights[own] * math.log(math.exp(row[own]) / sum(math.exp(value) for value in row))
        whole += weights[own]
    return total / whole


def fisher_log_density(mu: np.ndarray, x: np.ndarray, spread_m: float) -> float:
    """Log density per km² of the von Mises-Fisher law, by its textbook form in exact arithmetic of rationals."""
    from decimal import Decimal, getcontext

    getcontext().prec = 60
    kappa = (Decimal(EARTH_RADIUS_M) / Decimal(spread_m)) ** 2
    a, b = [Decimal(float(v)) for v in mu], [Decimal(float(v)) for v in x]
    size_a, size_b = (sum(v * v for v in one).sqrt() for one in (a, b))
    dot = sum(p * q for p, q in zip(a, b, strict=True)) / (size_a * size_b)
    # kappa / (4π sinh kappa)·e^(kappa·dot), per steradian, and R² km² to a steradian.
    sinh = (kappa.exp() - (-kappa).exp()) / 2 if kappa < 1000 else None
    log_sinh = sinh.ln() if sinh is not None else kappa - Decimal(2).ln()
    area = (4 * Decimal(math.pi)).ln() + 2 * (Decimal(EARTH_RADIUS_M) / 1000).ln()
    return float(kappa.ln() - log_sinh + kappa * dot - area)


def units(n: int, seed: int = 0, spread_deg: float = 5.0, lon: float = 70.0, lat: float = 30.0) -> np.ndarray:
    """N unit vectors around a point."""
    rng = np.random.default_rng(seed)
    return LonLat(
        lon + rng.uniform(-spread_deg, spread_deg, n), np.clip(lat + rng.uniform(-spread_deg, spread_deg, n), -90, 90)
    ).unit()
