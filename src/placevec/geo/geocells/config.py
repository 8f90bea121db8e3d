"""How an area is to be divided into geocells."""

from __future__ import annotations

from dataclasses import dataclass

from placevec.errors import UsageError


@dataclass(frozen=True)
class GeoCellConfig:
    """The settings of geocells.

    Raises:
        UsageError: a setting is out of range; the message names it.
    """

    min_points: int = 40  # points of the smallest cluster; a smaller cell is merged where the limits allow it
    min_samples: int = 10  # so many neighbours make the surroundings of a point dense (HDBSCAN)
    dense_km: float = 5.0  # the greatest radius of a cell where training points are dense
    sparse_km: float = 50.0  # the greatest radius of a cell where they are sparse
    per_1000_km2: float = 0.0  # cells that a region should have for every 1,000 km2 of it
    per_1000_points: float = 0.0  # ... and for every 1,000 points in it; without either, what the limits ask for
    levels_km: tuple[float, ...] = (100.0, 300.0)  # the greatest radii of the coarser levels, fine to coarse

    def __post_init__(self) -> None:
        for name, least in (("min_points", 2), ("min_samples", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or value != int(value) or value < least:
                raise UsageError(f"{name} is {value}; give a whole number of {least} or more")
        for name in ("dense_km", "sparse_km", "per_1000_km2", "per_1000_points"):
            value = getattr(self, name)
            if not (0.0 <= value < 1e6):
                raise UsageError(f"{name} is {value}; give a number of 0 or more")
        if not 0.001 <= self.dense_km <= self.sparse_km <= 20_000.0:
            raise UsageError(
                f"cells of at most {self.dense_km:g} km where dense and {self.sparse_km:g} km where sparse cannot be; "
                "give 0.001 <= dense_km <= sparse_km <= 20000"
            )
        object.__setattr__(self, "levels_km", tuple(float(radius) for radius in self.levels_km))
        if any(not a < b for a, b in zip((0.0, *self.levels_km), (*self.levels_km, 20_038.0), strict=True)):
            raise UsageError(f"levels_km is {self.levels_km}; give ascending radii in km, or none")

    @property
    def targeted(self) -> bool:
        """Whether it says how many cells a region should have."""
        return self.per_1000_km2 > 0.0 or self.per_1000_points > 0.0
