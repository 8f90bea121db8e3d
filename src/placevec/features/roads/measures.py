"""The columns of the modality `roads`: lengths by class, junctions, shape, and sampled centrality of cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from placevec.errors import UsageError
from placevec.features.modality import Told, log1p_columns
from placevec.features.roads.centrality import centrality
from placevec.features.roads.lengths import entropy, lengths
from placevec.features.roads.nodes import junctions, shape
from placevec.features.roads.placing import CellRows
from placevec.features.roads.street import StreetGraph, street_graph
from placevec.features.roads.tally import sums
from placevec.geo.areas import cell_areas
from placevec.sources.osm.road_rules import ROAD_CLASSES
from placevec.sources.osm.roads import Roads

Columns = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class RoadSettings:
    """What is measured."""

    classes: tuple[str, ...] = ROAD_CLASSES[:-1]  # that have a column of metres; the others share "other"
    cut: bool = True  # share long segments among the cells they pass
    centrality: int = 0  # nodes from which ways are sought; 0: no centrality
    limit_m: float = 1000.0  # of these ways
    seed: int = 0  # of the draw of these nodes

    def __post_init__(self) -> None:
        known = ROAD_CLASSES[:-1]
        odd = next((name for name in self.classes if name not in known), None)
        if odd is not None:
            raise UsageError(f"{odd!r} is no class of roads; choose of {', '.join(known)} (the others share a column)")
        if len(set(self.classes)) != len(self.classes):
            raise UsageError(f"classes {', '.join(self.classes)}: name each class once")
        if self.centrality < 0 or not self.limit_m > 0:
            raise UsageError(
                f"centrality = {self.centrality}, limit = {self.limit_m:g} m: give 0 or more nodes, and metres above 0"
            )


def road_columns(
    roads: Roads, cells: ArrayLike, settings: RoadSettings | None = None, told: Told | None = None
) -> tuple[tuple[str, ...], NDArray[np.float32]]:
    """The names (d) and the values (n, d) of what roads say of cells.

    Lengths and counts are ln(1 + x), named log1p(x): metres of each class, nodes at which three and four or more
    segments meet and at which one ends, per cell and per km², km of road per km², metres of the mean street, and with
    `settings.centrality` the mean and greatest betweenness of the cell's nodes and their mean closeness. Ratios are
    plain. A cell without a road has 0 everywhere, and a circuity of 1.

    Args:
        roads: of the area and its surroundings.
        cells: (n,) H3 cells of one resolution.
        settings: what is measured.
        told: told of the progress.

    Raises:
        DataError: the cells are of several resolutions, or one is there twice.
    """
    say = told or (lambda what, done, total: None)
    chosen = settings or RoadSettings()
    own = CellRows(cells)
    say("measuring roads", 0, 4)
    found, plain = _length_columns(roads, own, chosen)
    say("measuring roads", 1, 4)
    found |= _junction_columns(roads, own)
    say("measuring roads", 2, 4)
    graph = street_graph(roads)
    ratios = shape(graph, own)._asdict()
    found |= ratios
    plain += [name for name in ratios if name != "mean_street_m"]
    say("measuring roads", 3, 4)
    if chosen.centrality:
        found |= _centrality_columns(graph, own, chosen, say)
    say("measuring roads", 4, 4)
    values = np.stack(list(found.values()), axis=1)
    names, logs = log1p_columns(list(found), values, plain)
    return names, logs


def _length_columns(roads: Roads, own: CellRows, chosen: RoadSettings) -> tuple[Columns, list[str]]:
    metres = lengths(roads, own, cut=chosen.cut)
    column = {name: metres.by_class[:, k] for k, name in enumerate(ROAD_CLASSES)}
    found = {f"{name}_m": column.pop(name) for name in chosen.classes}
    found["other_m"] = np.sum(list(column.values()), axis=0)
    total = metres.by_class.sum(axis=1)
    found["road_km_per_km2"] = total / 1000.0 / (cell_areas(own.cells) / 1e6)
    drivable = np.where(metres.drivable > 0, metres.drivable, 1.0)
    found["one_way_share"] = metres.one_way / drivable
    found["orientation_entropy"] = entropy(metres.by_orientation)
    return found, ["one_way_share", "orientation_entropy"]


def _junction_columns(roads: Roads, own: CellRows) -> Columns:
    nodes = junctions(roads, own)
    km2 = cell_areas(own.cells) / 1e6
    return {
        "intersections_3": nodes.three,
        "intersections_4": nodes.four,
        "dead_ends": nodes.dead,
        "intersections_per_km2": nodes.crossings / km2,
        "dead_ends_per_km2": nodes.dead / km2,
    }


def _centrality_columns(graph: StreetGraph, own: CellRows, chosen: RoadSettings, say: Told) -> Columns:
    central = centrality(
        graph,
        chosen.centrality,
        chosen.limit_m,
        seed=chosen.seed,
        told=lambda done, total: say("finding shortest ways", done, total),
    )
    row = own.at(graph.lon, graph.lat)
    inside = np.flatnonzero(row >= 0)
    row, n = row[inside], len(own)
    nodes = np.maximum(sums(row, n), 1.0)
    greatest = np.zeros(n)
    np.maximum.at(greatest, row, central.betweenness[inside])
    return {
        "betweenness_mean": sums(row, n, central.betweenness[inside]) / nodes,
        "betweenness_max": greatest,
        "closeness_per_km": sums(row, n, central.closeness[inside]) / nodes,
    }


def names_of(classes: Sequence[str]) -> tuple[str, ...]:
    """The classes that have a column: those named, or all."""
    return tuple(classes) or ROAD_CLASSES[:-1]
