"""Aerial imagery: vectors of what cells look like from above, by an image encoder."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from placevec.encoders.base import Encoder, unit_rows
from placevec.errors import UsageError
from placevec.features.modality import CellFeatures, Told
from placevec.geo.cells import H3Cells
from placevec.provenance import SourceRef
from placevec.sources.chips import ChipSource
from placevec.sources.rasters import Raster
from placevec.sources.services import is_service, open_service
from placevec.sources.vrt import open_sheets
from placevec.table import Places
from placevec.tasks.encoders import build_encoder
from placevec.tasks.inputs import cell_places
from placevec.tasks.modalities.base import Modality, option
from placevec.tasks.modalities.finished import Finished, Part, counts_of, state_of, text_of
from placevec.tasks.modalities.opening import check_share, open_rasters, raster_names
from placevec.tasks.modalities.vectors import component_names

CHIPS = (1, 7)
_BATCH = 64  # chips that are cut and encoded at once
_PART = 256  # chips whose vectors are kept together: at most so many are lost when a run is killed


@dataclass(frozen=True)
class AerialModality(Modality):
    """Vector of the picture of each cell: any orthophoto (file, folder of sheets, XYZ, WMTS, WMS) through an encoder.

    Each cell is one square picture around its centre; or seven, around the centres of its finer cells, whose vectors
    are averaged. Vectors are kept beside the output until all are there, and pictures of a service on disk: a run that
    was killed goes on.
    """

    example: ClassVar[str] = (
        "placevec area features aerial AREA --raster ortho.tif --model hf:facebook/dinov2-small -o aerial.parquet"
    )
    inputs: ClassVar[Sequence[str]] = ("raster", "model")

    raster: tuple[str, ...] = option(
        "pictures: a file, a folder of sheets, https://…/{z}/{x}/{y}.png, wms:https://…?layers=…, wmts:…", many=True
    )
    model: str | None = option("The encoder: a model folder, hf:NAME (such as DINOv2), or features:pixels", None)
    chips: int = option("Pictures of a cell: 1, or 7 (one for each finer cell)", 1)
    ground_m: float | None = option("Side of a picture in metres; by default as wide as the cell", None)
    pixels: int = option("Side of a picture in pixels", 224)
    min_valid: float = option("Pictures of which a smaller share is there are left out", 0.5)
    licence: str | None = option("Licence of the pictures, for provenance", None)
    attribution: str | None = option("Whom to name for the pictures, for provenance", None)
    cache: str | None = option("Folder in which pictures of a service are kept; by default the user's cache", None)

    def compute(self, cells: NDArray[np.uint64], told: Told | None = None) -> CellFeatures:
        """See `Modality`."""
        return self._compute(None, cells, told)

    def compute_in(self, folder: Path, cells: NDArray[np.uint64], told: Told | None = None) -> CellFeatures:
        """See `Modality`."""
        return self._compute(folder, cells, told)

    def _compute(self, folder: Path | None, cells: NDArray[np.uint64], told: Told | None) -> CellFeatures:
        if not self.model:
            raise UsageError(
                "which encoder? give --model: a model folder (placevec train --objective image), "
                "hf:NAME such as hf:facebook/dinov2-small, or features:pixels for plain statistics"
            )
        if self.chips not in CHIPS:
            raise UsageError(f"chips is {self.chips}; give 1, or 7 for one in each finer cell")
        system = H3Cells(int(cells[0] >> np.uint64(52)) & 15) if len(cells) else H3Cells(0)
        places, of_cell = _chip_places(cells, system, self.chips)
        finer = system if self.chips == 1 else H3Cells(system.resolution + 1)
        ground = self.ground_m if self.ground_m is not None else 2.0 * finer.edge_m
        raster, refs = self._open(ground)
        encoder = build_encoder(self.model, bands=raster.count, reads="image")
        source = ChipSource(places, raster, ground, self.pixels, min_valid=check_share(self.min_valid))
        sums = np.zeros((len(cells), encoder.dims))
        counts = np.zeros(len(cells), dtype=np.int64)
        reasons: Counter[str] = Counter()
        finished, resumed = Finished(folder, self._about(cells, raster, encoder)), 0
        for number, first in enumerate(range(0, len(places), _PART)):
            stop = min(first + _PART, len(places))
            part = finished.get(number)
            if part is None:
                part = _vectors(source, encoder, first, stop)
                finished.put(number, part)
            else:
                resumed += stop - first
            own = of_cell[part["rows"]]
            np.add.at(sums, own, part["vectors"].astype(np.float64))
            counts += np.bincount(own, minlength=len(cells))
            reasons.update(counts_of(part["reasons"]))
            if told is not None:
                told("pictures", stop, len(places))
        went_on = (f"went on with a run that had {resumed:,} of {len(places):,} pictures",) if resumed else ()
        present = counts > 0
        values = (sums / np.maximum(counts, 1)[:, None]).astype(np.float32)
        if self.chips > 1 and encoder.card.normalized:
            values = unit_rows(values)
        return CellFeatures(
            tuple(getattr(encoder, "names", ())) or component_names(encoder.dims),
            values,
            present,
            "no picture of the cell is there",
            sources=(*refs, *encoder.card.sources),
            space=encoder.space,
            reach_m=_reach(system, finer, ground, self.chips),
            recipe={**asdict(self), "weights_sha256": encoder.card.weights_sha256, "ground_m": ground},
            saw=tuple(encoder.card.saw),
            notes=(*went_on, *(f"{count:,} pictures left out: {why}" for why, count in reasons.most_common(5))),
        )

    def _about(self, cells: NDArray[np.uint64], raster: Raster, encoder: Encoder) -> list[Any]:
        """All that the vectors depend on."""
        size = [raster.width, raster.height, list(raster.transform), list(raster.bands)]
        files = [name for given in self.raster for name in ([given] if is_service(given) else raster_names([given]))]
        model = [self.model, encoder.card.weights_sha256, encoder.dims]
        settings = [self.chips, self.ground_m, self.pixels, self.min_valid, _PART]
        return [hashlib.sha256(cells.tobytes()).hexdigest(), state_of(files), size, model, settings]

    def _open(self, ground: float) -> tuple[Raster, tuple[SourceRef, ...]]:
        told: dict[str, Any] = {"licence": self.licence or "", "attribution": self.attribution or ""}
        services = [name for name in self.raster if is_service(name)]
        if services:
            if len(self.raster) > 1:
                raise UsageError(f"{services[0]} is a service: give it alone")
            service = open_service(services[0], resolution=ground / self.pixels, folder=self.cache, **told)
            return service, (service.ref,)
        names = raster_names(self.raster)
        if len(names) == 1:
            rasters, refs = open_rasters(names)
            raster = rasters[0]
        else:
            raster = open_sheets(names, self.raster[0])
            refs = (SourceRef(href=self.raster[0]),)
        given = {name: value for name, value in told.items() if value}
        return raster, tuple(replace(ref, **given) for ref in refs)


def _vectors(source: ChipSource, encoder: Encoder, first: int, stop: int) -> Part:
    """The vectors of the pictures `first` to `stop`, their numbers, and why others have none."""
    reasons: Counter[str] = Counter()
    rows, vectors = [np.zeros(0, dtype=np.int64)], [np.zeros((0, encoder.dims), dtype=np.float32)]
    for start in range(first, stop, _BATCH):
        batch = source.read(np.arange(start, min(start + _BATCH, stop), dtype=np.int64))
        reasons.update(skip.reason for skip in batch.skipped)
        if len(batch):
            rows.append(np.asarray(batch.rows, dtype=np.int64))
            vectors.append(encoder.encode(batch.data))
    return {"rows": np.concatenate(rows), "vectors": np.concatenate(vectors), "reasons": text_of(reasons)}


def _chip_places(cells: NDArray[np.uint64], system: H3Cells, chips: int) -> tuple[Places, NDArray[np.int64]]:
    """The places of all pictures, near ones together, and the row of the cell of each."""
    order = np.argsort(cells, kind="stable").astype(np.int64)
    if chips == 1:
        places = cell_places(cells, system.resolution)
        own = np.asarray(places.column("h3"), dtype=np.uint64)
        return places, order[np.searchsorted(cells[order], own)]
    if system.resolution == 15:
        raise UsageError("cells of resolution 15 have no finer ones: give chips = 1")
    finer = system.children(cells, system.resolution + 1)
    places = cell_places(finer.cells, system.resolution + 1)
    own = H3Cells(system.resolution + 1).parent(np.asarray(places.column("h3"), dtype=np.uint64), system.resolution)
    return places, order[np.searchsorted(cells[order], own)]


def _reach(system: H3Cells, finer: H3Cells, ground: float, chips: int) -> float:
    """How far a picture looks beyond its cell: to its corners, less the inner radius of the cell."""
    off = 0.0 if chips == 1 else math.sqrt(3.0) * finer.edge_m  # of the centre of a finer cell
    return max(0.0, off + ground / math.sqrt(2.0) - system.edge_m * math.sqrt(3.0) / 2.0)
