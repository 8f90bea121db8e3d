"""What a locator answers for a batch of images, before it becomes guesses."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec.encoders.base import Vectors
from placevec.geo.mixture import Mixture
from placevec.geo.sphere import LonLat

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Prediction:
    """Where n images are thought to be.

    Attributes:
        fused: (n, d) their vectors, of length 1.
        region_logs: (n, P) log p(region), calibrated; −inf for a region without cells.
        cell_logs: (n, N) log p(cell | its region), calibrated; cells are sorted by region.
        starts: (P + 1,) the cells of region r are starts[r] to starts[r + 1].
        rows: (n, m) the cells of the hypotheses, the most probable first; 0 with the weight 0 where there are fewer.
        mixture: the law of the place: n laws of m hypotheses.
        points: n places, the one answer each.
        confidence: (n,) calibrated probability that the place lies within `confidence_m` of the point.
        confidence_m: that distance in metres.
        radius_m: (n,) radius in metres about the point that holds the place with the probability `radius_level`.
        radius_level: see `radius_m`; NaN where the calibration knows no such radius.
        moved: (n, m) which hypotheses the training images have moved; None without refinement.
        oracle: with true cells given, n places that the offsets say within them: a diagnostic, no answer.
    """

    fused: Vectors
    region_logs: Floats
    cell_logs: Floats
    starts: Rows
    rows: Rows
    mixture: Mixture
    points: LonLat
    confidence: Floats
    confidence_m: float
    radius_m: Floats
    radius_level: float
    moved: NDArray[np.bool_] | None = None
    oracle: LonLat | None = None

    def __len__(self) -> int:
        return len(self.points)

    @property
    def region(self) -> Rows:
        """The row (n,) of the most probable region of each image."""
        best: Rows = np.argmax(self.region_logs, axis=1)
        return best

    @property
    def region_probability(self) -> Floats:
        """The probability (n,) of that region."""
        best: Floats = np.exp(self.region_logs.max(axis=1))
        return best

    @property
    def joint_logs(self) -> Floats:
        """The joint law over all cells, log p(cell) (n, N)."""
        return np.repeat(self.region_logs, np.diff(self.starts), axis=1) + self.cell_logs

    @property
    def cell(self) -> Rows:
        """The row (n,) of the most probable cell of each image."""
        best: Rows = np.argmax(self.joint_logs, axis=1)
        return best

    def take(self, rows: slice | Rows) -> Prediction:
        """Some of the images."""
        named: dict[str, Any] = {}
        for one in fields(self):
            value = getattr(self, one.name)
            same = one.name in ("starts", "confidence_m", "radius_level") or value is None
            named[one.name] = value if same else value[rows]
        return Prediction(**named)
