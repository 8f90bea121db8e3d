"""Position encodings: fixed functions of longitude and latitude that a network can learn from.

Each is a module from (n, 2) float64 degrees, longitude first, to (n, dims) float32, and has a commented dataclass that
describes and builds it. A new one is one dataclass and one line in `POSITIONS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from placevec.nn import configs
from placevec.nn.position.base import (
    POSITIONS,
    GridLayer,
    PositionConfig,
    PositionEncoding,
    SeparableEncoding,
)
from placevec.nn.position.fourier import RandomFourier, equal_earth
from placevec.nn.position.harmonics import Harmonics, HarmonicsEncoding
from placevec.nn.position.local import Local
from placevec.nn.position.scales import Scales
from placevec.nn.position.simple import Cartesian, Direct, Wrap
from placevec.nn.position.space2vec import Space2VecGrid, Space2VecTheory
from placevec.nn.position.sphere2vec import (
    Sphere2VecC,
    Sphere2VecCPlus,
    Sphere2VecDFS,
    Sphere2VecM,
    Sphere2VecMPlus,
)

__all__ = [
    "POSITIONS",
    "Cartesian",
    "Direct",
    "GridLayer",
    "Harmonics",
    "HarmonicsEncoding",
    "Local",
    "PositionConfig",
    "PositionEncoding",
    "RandomFourier",
    "Scales",
    "SeparableEncoding",
    "Space2VecGrid",
    "Space2VecTheory",
    "Sphere2VecC",
    "Sphere2VecCPlus",
    "Sphere2VecDFS",
    "Sphere2VecM",
    "Sphere2VecMPlus",
    "Wrap",
    "equal_earth",
    "position_config",
]

POSITIONS.update(
    {
        config.kind: config
        for config in (
            Harmonics,
            Direct,
            Cartesian,
            Wrap,
            Space2VecGrid,
            Space2VecTheory,
            Sphere2VecC,
            Sphere2VecCPlus,
            Sphere2VecM,
            Sphere2VecMPlus,
            Sphere2VecDFS,
            RandomFourier,
            Local,
            Scales,
        )
    }
)


def position_config(value: Mapping[str, Any]) -> PositionConfig:
    """The position config that a JSON object describes, such as ``{"kind": "harmonics", "degrees": 40}``.

    Raises:
        UsageError: an unknown kind or setting.
    """
    config: PositionConfig = configs.from_json(configs.pick(POSITIONS, str(value.get("kind", "")), "position"), value)
    return config
