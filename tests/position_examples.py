"""One small config of every position encoding, and the points where encodings go wrong."""

from __future__ import annotations

import torch

from placevec.nn.position import (
    Cartesian,
    Direct,
    Harmonics,
    Local,
    PositionConfig,
    RandomFourier,
    Scales,
    Space2VecGrid,
    Space2VecTheory,
    Sphere2VecC,
    Sphere2VecCPlus,
    Sphere2VecDFS,
    Sphere2VecM,
    Sphere2VecMPlus,
    Wrap,
)

EXAMPLES: tuple[PositionConfig, ...] = (
    Harmonics(6),
    Direct(),
    Cartesian(),
    Wrap(180.0),
    Space2VecGrid(3, 0.5, 40.0),
    Space2VecTheory(3, 0.5, 40.0),
    Sphere2VecC(3, 0.5),
    Sphere2VecCPlus(3, 0.5),
    Sphere2VecM(3, 0.5),
    Sphere2VecMPlus(3, 0.5),
    Sphere2VecDFS(3, 0.5),
    RandomFourier((1.0, 8.0), 5, seed=3),
    Local(Harmonics(5), lon=-178.0, lat=52.0, radius=6.0),
    Scales((Wrap(), Local(Space2VecGrid(2), lon=3.0, lat=40.0, radius=4.0), Harmonics(3))),
)

NEAR_EDGES = torch.tensor(
    [
        [0.0, 0.0],
        [180.0, 0.0],
        [-180.0, 0.0],
        [179.999999, 51.0],
        [-179.999999, 51.0],
        [12.0, 90.0],
        [-75.0, -90.0],
        [2.35, 48.86],
        [-3.7, 40.4],
    ],
    dtype=torch.float64,
)
"""(n, 2) degrees: the origin, both sides of the antimeridian, the poles, and two cities."""
