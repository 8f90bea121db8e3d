"""Any raster: the means of its bands in cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from placevec.errors import UsageError
from placevec.features.modality import CellFeatures, Told
from placevec.features.rasters import Zones, zonal_statistics
from placevec.features.rasters.percentiles import check_percentiles
from placevec.provenance import Space
from placevec.registry import need
from placevec.sources.rasters import Raster
from placevec.tasks.modalities.base import Modality, option
from placevec.tasks.modalities.opening import check_share, open_rasters
from placevec.tasks.modalities.vectors import unit_means, unit_pixels

_STATISTICS = ("mean", "sd", "min", "max")


@dataclass(frozen=True)
class RasterModality(Modality):
    """Statistics of the bands of any raster in cells: temperatures, night lights, vectors of a model.

    With `unit` the bands are the components of one vector: pixels are brought to length 1, and so are their means.
    """

    example: ClassVar[str] = "placevec area features raster AREA --raster lights.tif -o lights.parquet"
    inputs: ClassVar[Sequence[str]] = ("raster",)

    raster: tuple[str, ...] = option("Values: a file, a folder of tiles, an address, a dataset", many=True)
    statistics: tuple[str, ...] = option("Of each band: mean, sd, min, max", ("mean",), many=True)
    percentile: tuple[float, ...] = option("Also this percentile of each band, such as 10 or 50", (), many=True)
    names: tuple[str, ...] = option("Names of the bands; by default those in the file, else band1 ...", (), many=True)
    unit: bool = option("The bands are one vector, of length 1", False)
    space: str | None = option("With unit: the name of the vectors' Space, for which you vouch", None)
    min_valid: float = option("Cells of which a smaller share is known are left out", 0.5)

    def compute(self, cells: NDArray[np.uint64], told: Told | None = None) -> CellFeatures:
        """See `Modality`."""
        odd = next((name for name in self.statistics if name not in _STATISTICS), None)
        if odd is not None or not self.statistics:
            raise UsageError(f"no statistic is called {odd!r}; choose of {', '.join(_STATISTICS)}")
        if self.unit and (self.statistics != ("mean",) or self.percentile):
            raise UsageError("with unit there are means alone: leave out the statistics and percentiles")
        percentiles = check_percentiles(self.percentile)
        if self.space is not None and not self.unit:
            raise UsageError("a Space is for vectors: give unit as well")
        rasters, refs = open_rasters(self.raster)
        bands = band_names(rasters[0], self.names)
        found = zonal_statistics(
            rasters,
            Zones(cells),
            prepare=unit_pixels if self.unit else None,
            min_valid=check_share(self.min_valid),
            spread=self.statistics != ("mean",),
            percentiles=percentiles,
            told=told,
        )
        parts = {"mean": found.mean, "sd": found.sd, "min": found.low, "max": found.high}
        values = np.concatenate([*(parts[name] for name in self.statistics), *found.percentiles], axis=1)
        names = tuple(band if name == "mean" else f"{band}_{name}" for name in self.statistics for band in bands)
        names += tuple(f"{band}_p{each:g}" for each in percentiles for band in bands)
        present, notes = found.present, found.notes()
        space = None
        if self.unit:
            space = Space.asserted(self.space, len(bands)) if self.space else Space.unknown(len(bands))
            values, present, more = unit_means(values, present)
            notes = (*notes, *more)
        return CellFeatures(
            names,
            np.where(present[:, None], values, 0.0).astype(np.float32),
            present,
            f"the raster is known for less than {self.min_valid:.0%} of the cell",
            sources=refs,
            space=space,
            recipe=asdict(self),
            notes=notes,
        )


def band_names(raster: Raster, given: Sequence[str] = ()) -> tuple[str, ...]:
    """What the bands are called: as given, as the file says if it names each of them differently, else by number.

    Raises:
        UsageError: as many names are not given as there are bands, or two are the same.
    """
    if given:
        if len(given) != raster.count or len(set(given)) != len(given):
            raise UsageError(f"{len(set(given))} different names for {raster.count} bands of {raster.href}; name each")
        return tuple(given)
    stored = _descriptions(raster)
    if all(stored) and len(set(stored)) == len(stored):
        return stored
    return tuple(f"band{band}" for band in raster.bands)


def _descriptions(raster: Raster) -> tuple[str, ...]:
    """What a file on this machine calls the bands; "" where it does not say."""
    if not Path(raster.href).is_file():
        return ("",)
    rasterio = need("rasterio", extra="raster", purpose="reading rasters")
    with rasterio.open(raster.href) as source:
        return tuple(str(source.descriptions[band - 1] or "") for band in raster.bands)
