"""The modality `poi-hex2vec`: vectors learned from points of interest, so that near cells have near vectors."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from placevec.features.modality import CellFeatures, Told
from placevec.tasks.modalities.base import Modality, option
from placevec.tasks.modalities.poi_input import poi_counts


@dataclass(frozen=True)
class PoiHex2VecModality(Modality):
    """Learned vectors of points of interest (hex2vec): an encoder of counts learns to tell neighbours from far cells.

    It is trained here, on the cells of the area and without any label. Counts of a file of points are seen, as by the
    modality poi.
    """

    example: ClassVar[str] = "placevec area features poi-hex2vec monaco --osm monaco.osm.pbf --dims 32 --epochs 30"
    inputs: ClassVar[tuple[str, ...]] = ("osm", "points")

    osm: str | None = option("An OpenStreetMap file: .osm.pbf, .osm, .osm.gz", None)
    points: str | None = option("A file of points, such as schools: CSV, Parquet or GeoJSON", None)
    category: str | None = option("Its column of categories; without one all points are of one", None)
    weight: str | None = option("Its column of how much a point counts, such as a school's places", None)
    dims: int = option("Of the vectors", 50)
    epochs: int = option("Passes over the cells", 20)
    batch_size: int = option("Cells of one step", 512)
    learning_rate: float = option("At its highest", 1e-3)
    rings: int = option("Cells within so many steps are never drawn as far", 2)
    negatives: int = option("Far cells that are drawn for each pair of neighbours", 5)
    seed: int = option("Of weights and draws", 0)
    accelerator: str = option("cpu, cuda, mps or auto; vectors can be repeated to the bit on a cpu", "cpu")
    run: str | None = option("A folder for the training, which goes on there if it is killed", None)

    def compute(self, cells: NDArray[np.uint64], told: Told | None = None) -> CellFeatures:
        """See `Modality.compute`."""
        from placevec.nn.hex2vec import Hex2VecConfig
        from placevec.train.config import LoopConfig
        from placevec.train.hex2vec import Hex2VecTraining, train_hex2vec

        config = Hex2VecTraining(
            net=Hex2VecConfig(dims=self.dims),
            rings=self.rings,
            negatives=self.negatives,
            loop=LoopConfig(
                epochs=self.epochs,
                batch_size=self.batch_size,
                learning_rate=self.learning_rate,
                seed=self.seed,
                accelerator=self.accelerator,
            ),
        )
        found = poi_counts(cells, self.osm, self.points, self.category, self.weight, told)
        # Sorted, so that the order in which cells are given changes nothing.
        rows = np.flatnonzero(found.present)
        rows = rows[np.argsort(cells[rows])]
        values = np.zeros((len(cells), self.dims), dtype=np.float32)
        with ExitStack() as stack:
            folder = self.run or stack.enter_context(TemporaryDirectory(prefix="placevec-hex2vec-"))
            trained = train_hex2vec(
                found.counts[rows],
                cells[rows],
                config,
                Path(folder),
                progress=None if told is None else lambda step, total, _: told("training", step, total),
            )
        values[rows] = trained.embed(found.counts[rows])
        return CellFeatures(
            names=tuple(f"hex2vec_{k}" for k in range(self.dims)),
            values=values,
            present=found.present,
            absent=found.absent,
            sources=found.sources,
            space=trained.space,
            recipe={"training": config.to_json(), "scores": trained.result.metrics},
            notes=found.notes,
            saw=found.saw,
        )
