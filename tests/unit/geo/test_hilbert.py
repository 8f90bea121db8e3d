from __future__ import annotations

import numpy as np

from placevec.geo.hilbert import hilbert_key, hilbert_order
from placevec.geo.sphere import LonLat, distance_m


def slow_key(x: int, y: int, bits: int) -> int:
    """The textbook loop (Wikipedia, xy2d)."""
    key, side = 0, 1 << bits
    s = side >> 1
    while s:
        rx, ry = int((x & s) > 0), int((y & s) > 0)
        key += s * s * ((3 * rx) ^ ry)
        if ry == 0:
            if rx == 1:
                x, y = side - 1 - x, side - 1 - y
            x, y = y, x
        s >>= 1
    return key


def test_against_the_textbook():
    rng = np.random.default_rng(0)
    lon, lat = rng.uniform(-180, 180, 300), rng.uniform(-90, 90, 300)
    want = [
        slow_key(int((a + 180) / 360 * 2**26), int((b + 90) / 180 * 2**26), 26) for a, b in zip(lon, lat, strict=True)
    ]
    assert hilbert_key(lon, lat).tolist() == want


def test_the_curve_visits_neighbours():
    side = 32
    x, y = (v.ravel() for v in np.meshgrid(np.arange(side), np.arange(side)))
    order = hilbert_order(-180 + (x + 0.5) * 360 / side, -90 + (y + 0.5) * 180 / side)
    step = np.abs(np.diff(x[order])) + np.abs(np.diff(y[order]))
    assert (step == 1).all()


def test_nan_last_and_ties_in_order():
    lon = np.array([np.nan, 10.0, 10.0, -5.0, 3.0])
    lat = np.array([0.0, 20.0, 20.0, np.nan, -80.0])
    order = hilbert_order(lon, lat)
    assert order[-2:].tolist() == [0, 3]
    assert order.tolist().index(1) + 1 == order.tolist().index(2)
    assert order.dtype == np.int64
    assert hilbert_order([], []).tolist() == []


def test_corners_of_the_world():
    keys = hilbert_key([-180.0, 180.0, -180.0, 180.0], [-90.0, 90.0, 90.0, -90.0])
    assert len(set(keys.tolist())) == 4
    assert keys.min() >= 0


def test_order_brings_places_near_each_other():
    rng = np.random.default_rng(1)
    p = LonLat(rng.uniform(-10, 10, 2000), rng.uniform(-10, 10, 2000))
    walked = p[hilbert_order(p.lon, p.lat)]
    assert distance_m(walked[:-1], walked[1:]).mean() < 0.1 * distance_m(p[:-1], p[1:]).mean()
