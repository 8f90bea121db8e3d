"""Land cover: which classes of a categorical raster cover cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from placevec.errors import UsageError
from placevec.features.modality import CellFeatures, Told
from placevec.features.rasters import Zones, count_classes
from placevec.sources.classes import TABLES, class_table
from placevec.tasks.modalities.base import Modality, option
from placevec.tasks.modalities.opening import check_band, check_share, open_rasters


@dataclass(frozen=True)
class LandCoverModality(Modality):
    """Share of each land-cover class in cells, how mixed they are, and how finely."""

    example: ClassVar[str] = (
        "placevec area features landcover AREA --raster worldcover.tif --classes worldcover -o landcover.parquet"
    )
    inputs: ClassVar[Sequence[str]] = ("raster", "classes")
    known: ClassVar[Sequence[str]] = tuple(TABLES)

    raster: tuple[str, ...] = option("Classes: a file, a folder of tiles, an address, a dataset", many=True)
    classes: str = option("Class table: nlcd, worldcover, lc100, corine, or a JSON file of your own")
    band: int = option("Number of the band, from 1", 1)
    unknown: str = option("A code that the table does not have is an error, or nodata", "error")
    min_valid: float = option("Cells of which a smaller share is known are left out", 0.5)

    def compute(self, cells: NDArray[np.uint64], told: Told | None = None) -> CellFeatures:
        """See `Modality`."""
        if self.unknown not in ("error", "nodata"):
            raise UsageError(f"unknown is {self.unknown!r}; choose error or nodata")
        table = class_table(self.classes)
        rasters, refs = open_rasters(self.raster)
        found = count_classes(
            rasters,
            Zones(cells),
            table,
            band=check_band(rasters, self.band),
            unknown=self.unknown,
            min_valid=check_share(self.min_valid),
            told=told,
        )
        columns = [found.shares(), found.diversity()[:, None], found.edge_share()[:, None]]
        values = np.concatenate(columns, axis=1).astype(np.float32)
        count = int((found.sampled & found.present).sum())
        notes = (f"{count:,} cells hold no pixel centre: their class is that at their centre",) if count else ()
        return CellFeatures(
            (*(f"share {name}" for name in table.names), "diversity_nats", "edge_share"),
            values,
            found.present,
            f"the class is known for less than {self.min_valid:.0%} of the cell",
            sources=refs,
            recipe=asdict(self),
            notes=notes,
        )
