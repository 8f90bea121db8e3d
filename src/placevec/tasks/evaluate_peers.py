"""What others have published of their location encoders, each figure under the protocol that it was measured by.

These figures stand in a table of their own, never beside ours: splits, places and targets are other ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """A published table.

    Attributes:
        source: the paper and the table in it.
        protocol: how its figures were measured.
        columns: what was predicted.
        rows: the figures of each method, as printed.
    """

    source: str
    protocol: str
    columns: tuple[str, ...]
    rows: Mapping[str, tuple[float, ...]]

    def records(self) -> list[dict[str, str | float]]:
        """One record for each method."""
        return [{"method": name, **dict(zip(self.columns, row, strict=True))} for name, row in self.rows.items()]


PUBLISHED = (
    Published(
        "RANGE (CVPR 2025), table 2",
        "random 80/20 split, ridge; accuracy in % for classes, R² for amounts",
        (
            "biome",
            "ecoregion",
            "country",
            "air temperature",
            "elevation",
            "population",
            "California housing",
        ),
        {
            "SatCLIP": (68.9, 69.3, 82.8, 0.825, 0.666, 0.684, 0.400),
            "GeoCLIP": (70.2, 71.6, 81.3, 0.916, 0.604, 0.698, 0.708),
            "RANGE": (83.3, 75.7, 93.7, 0.895, 0.844, 0.799, 0.422),
            "RANGE+": (83.3, 75.3, 94.7, 0.931, 0.851, 0.811, 0.336),
        },
    ),
    Published(
        "CoordBench",
        "frozen encoder, probe of air temperature, R²; random split and blocks of 10°",
        ("air temperature, random", "air temperature, 10° blocks"),
        {
            "sin/cos": (0.852, 0.842),
            "SatCLIP L40": (0.834, 0.760),
            "GeoCLIP": (0.922, 0.909),
            "Climplicit": (0.982, 0.976),
        },
    ),
)
