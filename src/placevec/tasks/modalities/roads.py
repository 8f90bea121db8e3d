"""The modality `roads`: lengths by class, intersections, connectivity and centrality from OpenStreetMap."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from placevec.features.modality import CellFeatures, Told
from placevec.tasks.modalities.base import Modality, option


@dataclass(frozen=True)
class RoadModality(Modality):
    """Roads of OpenStreetMap: metres by class, intersections, dead ends, connectivity, and centrality if asked for."""

    example: ClassVar[str] = "placevec area features roads porto-alegre --osm poa_osm.pbf"
    inputs: ClassVar[tuple[str, ...]] = ("osm",)

    osm: str = option("An OpenStreetMap file: .osm.pbf, .osm, .osm.gz.")
    classes: tuple[str, ...] = option(
        "A class of roads that has a column of its own, such as primary; the others share one. By default all have.",
        (),
        many=True,
    )
    cut: bool = option("Share segments that are long against the cells among those they pass.", True)
    every: bool = option("Count all highway=* ways, platforms, building sites and outlines too.", False)
    centrality: int = option("Street nodes from which shortest ways are sought, for centrality; 0: none.", 0)
    limit_m: float = option("Of these ways, in metres: as far does a row look beyond its cell.", 1000.0)
    seed: int = option("Of the draw of these nodes.", 0)

    def compute(self, cells: NDArray[np.uint64], told: Told | None = None) -> CellFeatures:
        """See `Modality.compute`."""
        from placevec.features.roads.measures import RoadSettings, names_of, road_columns
        from placevec.provenance import SourceRef, sha256_file
        from placevec.tasks.modalities.around import roads_around

        settings = RoadSettings(names_of(self.classes), self.cut, self.centrality, self.limit_m, self.seed)
        reach = self.limit_m if self.centrality else 0.0
        roads = roads_around(self.osm, cells, reach, every=self.every, told=told)
        names, values = road_columns(roads, cells, settings, told)
        recipe: dict[str, Any] = {
            "classes": list(settings.classes),
            "cut": self.cut,
            "every": self.every,
            "centrality": self.centrality,
        }
        if self.centrality:
            recipe |= {"limit_m": self.limit_m, "seed": self.seed}
        name = Path(self.osm).name
        return CellFeatures(
            names=names,
            values=values,
            present=roads.covers(cells),
            absent=f"outside of what {name} covers",
            sources=(
                SourceRef(
                    name, sha256_file(Path(self.osm)), licence="ODbL-1.0", attribution="© OpenStreetMap contributors"
                ),
            ),
            reach_m=reach,
            recipe=recipe,
            notes=roads.notes,
        )
