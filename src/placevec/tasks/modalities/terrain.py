"""Terrain: what an elevation model says about cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from placevec.features.modality import CellFeatures, Told
from placevec.features.rasters import TERRAIN, Zones, terrain_statistics
from placevec.features.rasters.percentiles import check_percentiles
from placevec.tasks.modalities.base import Modality, option
from placevec.tasks.modalities.opening import check_band, check_share, open_rasters


@dataclass(frozen=True)
class TerrainModality(Modality):
    """Height, slope, aspect, ruggedness and topographic position of cells, from a raster of heights in metres."""

    example: ClassVar[str] = "placevec area features terrain AREA --raster dem.tif -o terrain.parquet"
    inputs: ClassVar[Sequence[str]] = ("raster",)

    raster: tuple[str, ...] = option("Heights in metres: a file, a folder of tiles, an address, a dataset", many=True)
    band: int = option("Number of the band, from 1", 1)
    lowest: float = option("Heights below this are no data, in metres", -500.0)
    rings: int = option("How many cells around the topographic position looks", 2)
    percentile: tuple[float, ...] = option("Also this percentile of the heights, such as 10 or 50", (), many=True)
    min_valid: float = option("Cells of which a smaller share is known are left out", 0.5)

    def compute(self, cells: NDArray[np.uint64], told: Told | None = None) -> CellFeatures:
        """See `Modality`."""
        rasters, refs = open_rasters(self.raster)
        found = terrain_statistics(
            rasters,
            Zones(cells),
            band=check_band(rasters, self.band),
            lowest=self.lowest,
            rings=self.rings,
            min_valid=check_share(self.min_valid),
            percentiles=self.percentile,
            told=told,
        )
        count = int((found.sampled & found.present).sum())
        notes = (f"{count:,} cells hold no pixel centre: their values are those at their centre",) if count else ()
        return CellFeatures(
            (*TERRAIN, *(f"elevation_p{each:g}_m" for each in check_percentiles(self.percentile))),
            np.concatenate([found.values, found.percentiles], axis=1).astype(np.float32),
            found.present,
            f"heights are known for less than {self.min_valid:.0%} of the cell",
            sources=refs,
            reach_m=found.reach_m,
            recipe=asdict(self),
            notes=notes,
        )
