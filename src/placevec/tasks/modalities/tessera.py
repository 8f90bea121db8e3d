"""TESSERA: the mean of its pixels' vectors in cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from placevec.errors import SchemaError
from placevec.features.modality import CellFeatures, Told
from placevec.features.rasters import Zones, zonal_statistics
from placevec.provenance import SourceRef, Space
from placevec.sources.rasters import Raster
from placevec.sources.tessera import BANDS, open_tessera, tessera_tiles
from placevec.tasks.modalities.base import Modality, option
from placevec.tasks.modalities.opening import check_share, open_rasters
from placevec.tasks.modalities.vectors import any_pixel, component_names, unit_means, unit_pixels


@dataclass(frozen=True)
class TesseraModality(Modality):
    """Mean TESSERA vector of cells, from tiles as geotessera downloads them (NumPy with scales) or as GeoTIFF."""

    example: ClassVar[str] = "placevec area features tessera AREA --tiles embeddings/ -o tessera.parquet"
    inputs: ClassVar[Sequence[str]] = ("tiles",)

    tiles: tuple[str, ...] = option("A folder of geotessera, a .npy of it, or rasters of 128 bands", many=True)
    version: str = option("Version of the vectors, such as 1.0 or 1.1-cambridge: versions do not compare", "1.0")
    unit: bool = option("Bring pixels and means to length 1", False)
    min_valid: float = option("Cells of which a smaller share is known are left out", 0.5)

    def compute(self, cells: NDArray[np.uint64], told: Told | None = None) -> CellFeatures:
        """See `Modality`."""
        rasters, refs = self._open()
        odd = next((raster for raster in rasters if raster.count != BANDS), None)
        if odd is not None:
            raise SchemaError(f"{odd.href} has {odd.count} bands; TESSERA has {BANDS}")
        found = zonal_statistics(
            rasters,
            Zones(cells),
            prepare=unit_pixels if self.unit else any_pixel,
            min_valid=check_share(self.min_valid),
            spread=False,
            told=told,
        )
        values, present, notes = found.mean, found.present, found.notes()
        if self.unit:
            values, present, more = unit_means(values, present)
            notes = (*notes, *more)
        return CellFeatures(
            component_names(BANDS),
            np.where(present[:, None], values, 0.0).astype(np.float32),
            present,
            f"vectors are known for less than {self.min_valid:.0%} of the cell",
            sources=refs,
            space=Space.published(f"tessera@{self.version}", BANDS),
            recipe=asdict(self),
            notes=notes,
        )

    def _open(self) -> tuple[list[Raster], tuple[SourceRef, ...]]:
        rasters: list[Raster] = []
        refs: list[SourceRef] = []
        for name in self.tiles:
            tiles = tessera_tiles(name) if Path(name).is_dir() else [Path(name)] if name.endswith(".npy") else []
            if tiles:
                rasters += [open_tessera(tile) for tile in tiles]
                refs += [SourceRef(href=tile.name) for tile in tiles]
            else:
                opened, named = open_rasters([name])
                rasters += opened
                refs += named
        return rasters, tuple(dict.fromkeys(refs))
