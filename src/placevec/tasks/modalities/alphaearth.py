"""AlphaEarth: the mean of its pixels' vectors in cells, of length 1 again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from placevec.errors import SchemaError, UsageError
from placevec.features.modality import CellFeatures, Told
from placevec.features.rasters import Zones, zonal_statistics
from placevec.provenance import SourceRef, Space, TableMeta
from placevec.registry import need
from placevec.sources.gdal import gdal_path
from placevec.sources.rasters import Raster, decode_alphaearth
from placevec.sources.tables.detect import form_of
from placevec.table.codec import decode
from placevec.tasks.modalities.base import Modality, option
from placevec.tasks.modalities.opening import SUFFIXES, check_share, open_rasters, raster_names
from placevec.tasks.modalities.vectors import table_means, unit_means, unit_pixels

DIMS = 64
SPACE = Space.published("google/satellite-embedding@v1-annual", DIMS)
LICENCE = "CC-BY-4.0"
ATTRIBUTION = "The AlphaEarth Foundations Satellite Embedding dataset is produced by Google and Google DeepMind."

Vectors = Callable[[NDArray[np.float32], NDArray[np.bool_]], tuple[NDArray[np.float32], NDArray[np.bool_]]]


@dataclass(frozen=True)
class AlphaEarthModality(Modality):
    """Mean AlphaEarth vector of cells: int8 COGs (north-up or south-up), CSV or Parquet exports, or an EmbeddingGrid.

    Exports hold points, or H3 cells, with the columns A00 to A63 or one column of lists.
    """

    example: ClassVar[str] = "placevec area features alphaearth AREA --files tiles/ -o alphaearth.parquet"
    inputs: ClassVar[Sequence[str]] = ("files",)

    files: tuple[str, ...] = option("COGs or a folder of them, exports (CSV, Parquet), an EmbeddingGrid", many=True)
    prefix: str = option("Exports: what the names of component columns begin with", "A")
    min_valid: float = option("Rasters: cells of which a smaller share is known are left out", 0.5)

    def compute(self, cells: NDArray[np.uint64], told: Told | None = None) -> CellFeatures:
        """See `Modality`."""
        check_share(self.min_valid)
        names = raster_names(self.files, (*SUFFIXES, ".csv", ".parquet", ".geoparquet"))
        rasters = [name for name in names if form_of(name) == "raster"]
        zones = Zones(cells)
        if not rasters:
            return self._from_tables(names, zones)
        if len(rasters) < len(names):
            odd = next(name for name in names if name not in rasters)
            raise UsageError(f"{odd} is a table, {rasters[0]} a raster: give the one or the other")
        return self._from_rasters(names, zones, told)

    def _from_rasters(self, names: list[str], zones: Zones, told: Told | None) -> CellFeatures:
        opened, refs = open_rasters(names)
        forms = [_form(raster) for raster in opened]
        space = forms[0][0]
        for raster, (other, _) in zip(opened, forms, strict=True):
            space.require(other, f"{raster.href}: joining rasters of vectors")
        stored = {raster.dtype for raster in opened}
        if len(stored) > 1:
            raise SchemaError(f"tiles of {' and '.join(sorted(map(str, stored)))} are not of one kind; give one kind")
        found = zonal_statistics(
            opened, zones, prepare=forms[0][1], min_valid=self.min_valid, at_centre="nearest", spread=False, told=told
        )
        values, present, notes = unit_means(found.mean, found.present)
        absent = f"vectors are known for less than {self.min_valid:.0%} of the cell"
        return self._features(values, present, absent, refs, space, (*found.notes(), *notes))

    def _from_tables(self, names: list[str], zones: Zones) -> CellFeatures:
        found = table_means(names, zones, prefix=self.prefix, dims=DIMS, unit=True)
        values, present, notes = unit_means(found.means, found.present)
        absent = "no row of the export lies in the cell"
        return self._features(values, present, absent, found.sources, found.space or SPACE, (*found.notes, *notes))

    def _features(
        self,
        values: NDArray[np.float64],
        present: NDArray[np.bool_],
        absent: str,
        refs: tuple[SourceRef, ...],
        space: Space,
        notes: tuple[str, ...],
    ) -> CellFeatures:
        if space == SPACE:
            refs = tuple(
                replace(ref, licence=ref.licence or LICENCE, attribution=ref.attribution or ATTRIBUTION) for ref in refs
            )
        return CellFeatures(
            tuple(f"A{i:02d}" for i in range(DIMS)),
            np.where(present[:, None], values, 0.0).astype(np.float32),
            present,
            absent,
            sources=refs,
            space=space,
            recipe=asdict(self),
            notes=notes,
        )


def _form(raster: Raster) -> tuple[Space, Vectors]:
    """The Space of a raster's vectors, and how its pixels become vectors of length 1.

    Raises:
        SchemaError: it has other bands or values than AlphaEarth, and does not say how they are decoded.
    """
    if raster.count != DIMS:
        raise SchemaError(f"{raster.href} has {raster.count} bands; AlphaEarth has {DIMS}")
    own = _grid_meta(raster)
    if own is not None:
        codec: Mapping[str, Any] | None = own.codec
        return own.space, lambda values, valid: unit_pixels(*_decoded(values, valid, raster.dtype, codec))
    if raster.dtype == np.int8:
        return SPACE, lambda values, valid: unit_pixels(*_alphaearth(values, valid))
    if raster.dtype.kind == "f":
        return SPACE, unit_pixels
    raise SchemaError(f"{raster.href} holds {raster.dtype}; AlphaEarth is stored as int8, or decoded as floats")


def _alphaearth(values: NDArray[np.float32], valid: NDArray[np.bool_]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    decoded = decode_alphaearth(np.where(valid, values, -128.0).astype(np.int8))
    return decoded, np.isfinite(decoded)


def _decoded(
    values: NDArray[np.float32], valid: NDArray[np.bool_], dtype: np.dtype[Any], codec: Mapping[str, Any] | None
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    return decode(values.astype(dtype), codec), valid


def _grid_meta(raster: Raster) -> TableMeta | None:
    """What an EmbeddingGrid says of itself; None of any other raster."""
    from placevec.grid.raster import TAG

    if not raster.local:
        return None
    rasterio = need("rasterio", extra="raster", purpose="reading rasters")
    with rasterio.open(gdal_path(raster.href)) as source:
        footer = source.tags().get(TAG)
    return None if footer is None else TableMeta.from_footer(json.loads(footer))
