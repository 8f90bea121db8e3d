"""Encoders that learn nothing, without torch: what every learned one has to beat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec.encoders.base import Carded, ModelCard, Vectors
from placevec.provenance import Space


class SinCos(Carded):
    """Sine and cosine of longitude and of latitude: four columns.

    They are not the point on the unit sphere but the sines and cosines of both angles, the baseline of CoordBench.
    """

    def __init__(self) -> None:
        super().__init__(
            ModelCard(
                kind="sincos",
                space=Space.published("placevec/sincos", 4, metric="l2"),
                tower="location",
                inputs=("lonlat",),
                name="sine and cosine of longitude and latitude",
            )
        )

    def encode(self, data: Mapping[str, NDArray[Any]]) -> Vectors:
        """(n, 4): sin lon, cos lon, sin lat, cos lat, from `lonlat` (n, 2) in degrees."""
        radians = np.deg2rad(self.take(data, "lonlat").astype(np.float64))
        lon, lat = radians[:, 0], radians[:, 1]
        return np.stack([np.sin(lon), np.cos(lon), np.sin(lat), np.cos(lat)], axis=1).astype(np.float32)
