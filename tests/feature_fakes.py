"""A modality of the tests, as somebody's own would be, and a small area."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from placevec import registry
from placevec.area import StudyArea
from placevec.errors import DataError
from placevec.features.modality import CellFeatures, Told
from placevec.geo.cells import H3Cells
from placevec.provenance import Saw, Space
from placevec.tasks.modalities.base import Modality, option


@dataclass(frozen=True)
class Greens(Modality):
    """How green the cells are, as a fake says.

    Only those in the north of the area are known.
    """

    example: ClassVar[str] = "placevec area features greens poa --map parks.txt"
    inputs: ClassVar[tuple[str, ...]] = ("map",)

    map: str = option("A file that has to be there")
    share: float = option("Of the cells that are known, from the north", 0.5)
    kinds: tuple[str, ...] = option("What is green", ("tree",), many=True)
    count: int | None = option("How many", None)
    level: Literal["low", "high"] = option("How high", "low")
    deep: bool = option("Look deep", True)
    reach: float = option("How far a row looks, in metres", 0.0)
    space: str | None = option("A Space of its own", None)

    def compute(self, cells: NDArray[np.uint64], told: Told | None = None) -> CellFeatures:
        if not Path(self.map).exists():
            raise DataError(f"{self.map} is not there")
        lat = H3Cells(int(cells[0] >> np.uint64(52)) & 15).centre(cells).lat
        if told is not None:
            told("looking", len(cells), len(cells))
        values = np.column_stack([(cells % np.uint64(1000)).astype(float), lat])
        return CellFeatures(
            ("mod_1000", "lat"),
            values.astype(np.float32),
            lat >= np.quantile(lat, 1.0 - self.share) if self.share else np.zeros(len(cells), dtype=bool),
            "too far south",
            reach_m=self.reach,
            space=None if self.space is None else Space.published(f"{self.space}@1", 2),
            notes=("looked deep",) if self.deep else (),
            saw=(Saw("", "lat"),),
        )


class NoModality:
    """Registered by mistake."""


def register(monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry knows `greens`, and two that cannot be used."""
    own = dict(registry._BUILT_IN["modality"])
    own |= {"greens": "feature_fakes:Greens", "broken": "no_such_module:Nothing", "odd": "feature_fakes:NoModality"}
    monkeypatch.setitem(registry._BUILT_IN, "modality", own)


def small_area(folder: Path) -> StudyArea:
    """A box of some 60 cells of resolution 8."""
    return StudyArea.from_bbox((-51.26, -30.08, -51.19, -30.02), name="box", resolutions=(8, 7)).save(folder)
