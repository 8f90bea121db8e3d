"""The modality `poi`: points of interest by category, from OpenStreetMap or any file of points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from placevec.features.modality import CellFeatures, Told
from placevec.features.poi import poi_columns
from placevec.tasks.modalities.base import Modality, option
from placevec.tasks.modalities.poi_input import poi_counts


@dataclass(frozen=True)
class PoiModality(Modality):
    """Points of interest by category: how many, how dense, how telling, and how mixed they are.

    Categories of OpenStreetMap are those of a tree of 14 groups and some 110 leaves. TF-IDF weights are fitted on the
    cells of the area, without any label. A file of points is taken to be complete over the area; columns and
    categories of it count as seen, so that a probe of schools on counts of schools is refused.
    """

    example: ClassVar[str] = "placevec area features poi monaco --osm monaco.osm.pbf --form density --by group"
    inputs: ClassVar[tuple[str, ...]] = ("osm", "points")

    osm: str | None = option("An OpenStreetMap file: .osm.pbf, .osm, .osm.gz", None)
    points: str | None = option("A file of points, such as schools: CSV, Parquet or GeoJSON", None)
    category: str | None = option("Its column of categories; without one all points are of one", None)
    weight: str | None = option("Its column of how much a point counts, such as a school's places", None)
    form: Literal["counts", "density", "tfidf"] = option("What is told of a category", "counts")
    by: Literal["leaf", "group"] = option("Categories: the leaves of the tree, or its groups", "leaf")

    def compute(self, cells: NDArray[np.uint64], told: Told | None = None) -> CellFeatures:
        """See `Modality.compute`."""
        found = poi_counts(cells, self.osm, self.points, self.category, self.weight, told)
        kinds, counts = found.by(self.by)
        names, values = poi_columns(counts, kinds, cells, self.form, found.present)
        return CellFeatures(
            names=names,
            values=values,
            present=found.present,
            absent=found.absent,
            sources=found.sources,
            recipe={"form": self.form, "by": self.by, "category": self.category, "weight": self.weight},
            notes=found.notes,
            saw=found.saw,
        )
