"""The modality `access`: what can be reached from a cell within so many minutes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from placevec.errors import UsageError
from placevec.features.access import (
    Network,
    potential,
    read_opportunities,
    rides,
    transit_network,
    walk_network,
    window,
)
from placevec.features.modality import CellFeatures, Told, log1p_columns
from placevec.features.roads import walk_graph
from placevec.geo.cells import H3Cells
from placevec.geo.sphere import LonLat
from placevec.provenance import SourceRef, sha256_file
from placevec.sources.gtfs import read_feed
from placevec.sources.osm.roads import read_roads
from placevec.tasks.modalities.base import Modality, option
from placevec.tasks.modalities.transit import feed_sources


@dataclass(frozen=True)
class Access(Modality):
    """Accessibility potential: opportunities within reach of each cell, by foot and by public transport.

    One column for each kind of opportunity, way of moving and limit of time: jobs_walk_15min, jobs_transit_30min ....
    What is counted is noted in the table, and `probe` refuses to predict it from the table: jobs are not predicted from
    access to jobs. Cells farther than --snap from any street have no row.
    """

    osm: str = option("The roads: an OpenStreetMap file (.osm.pbf)")
    opportunities: tuple[Path, ...] = option(
        "What there is to reach: a CSV, Parquet or GeoJSON of points or H3 cells", many=True
    )
    gtfs: tuple[Path, ...] = option("A GTFS zip or folder; without one, by foot only", (), many=True)
    column: tuple[str, ...] = option(
        "A column of --opportunities to count; without one each point counts 1", (), many=True
    )
    minutes: tuple[int, ...] = option("A limit of time", (15, 30, 45, 60), many=True)
    decay: Literal["cumulative", "exponential", "gaussian"] = option(
        "cumulative: all within the limit count alike; the others: the nearer the more", "cumulative"
    )
    beta: float = option("Of the exponential decay, per minute", 0.05)
    depart: str = option("The part of the day whose timetable counts", "07:00-09:00")
    date: str = option(
        "The service day, such as 2024-05-14; busiest: that with most trips, Tuesday to Thursday", "busiest"
    )
    walk_kmh: float = option("How fast one walks", 4.8)
    longest_wait: float = option("Minutes: a wait is half the time between departures, at most this", 30.0)
    snap: float = option("Metres from the nearest street beyond which nothing is known of a cell", 500.0)

    example: ClassVar[str] = (
        "placevec area features access porto-alegre --osm poa.osm.pbf --gtfs eptc.zip --opportunities cells.csv "
        "--column schools"
    )
    inputs: ClassVar[Sequence[str]] = ("osm", "gtfs", "opportunities")

    def compute(self, cells: NDArray[np.uint64], told: Told | None = None) -> CellFeatures:
        """The features of `cells` (n,)."""
        if len(set(self.minutes)) < len(self.minutes):
            raise UsageError(f"--minutes {self.minutes}: a limit stands there twice")
        start, end = window(self.depart)
        goals = read_opportunities(self.opportunities, self.column)
        roads = read_roads(self.osm, told=told)
        feed = read_feed(self.gtfs, date=self.date, told=told).of_day() if self.gtfs else None
        homes = H3Cells(int(cells[0] >> np.uint64(52)) & 15).centre(cells) if len(cells) else LonLat(*np.zeros((2, 0)))
        stops = () if feed is None else (feed.where,)
        walk = walk_network(walk_graph(roads), homes, goals.where, *stops, kmh=self.walk_kmh, snap_m=self.snap)
        origin, goal = walk.points[0], walk.points[1]
        networks: dict[str, Network] = {"walk": walk}
        notes = [*roads.notes, *goals.notes]
        lost = goals.weights[~goal.near].sum(axis=0)
        notes += [
            f"{amount:,.0f} {name} are on no street" for name, amount in zip(goals.names, lost, strict=True) if amount
        ]
        if feed is not None:
            taken = rides(feed, start, end, longest_wait=60.0 * self.longest_wait)
            networks["transit"] = transit_network(walk, taken, feed.where, walk.points[2])
            far = int((~walk.points[2].near).sum())
            notes += [*feed.told, *([f"{far:,} stops are on no street of the map"] if far else [])]
        names: list[str] = []
        values: list[NDArray[np.float64]] = []
        for mode, network in networks.items():
            found = potential(
                network, origin, goal, goals.weights, self.minutes, decay=self.decay, beta=self.beta, told=told
            )
            names += [f"{name}_{mode}_{within}min" for name in goals.names for within in self.minutes]
            values.append(found.values.reshape(len(cells), -1))
        files = [Path(self.osm), *map(Path, self.opportunities)]
        logs, columns = log1p_columns(names, np.concatenate(values, axis=1))
        return CellFeatures(
            names=logs,
            values=columns,
            present=origin.near & roads.covers(cells),
            absent=f"no street within {self.snap:g} m, or outside of what the map covers",
            sources=(
                *(SourceRef(path.name, sha256_file(path)) for path in files),
                *feed_sources(self.gtfs),
            ),
            # By foot; where a vehicle may go in the time is bounded by nothing but the city.
            reach_m=max(self.minutes) / 60.0 * self.walk_kmh * 1000.0,
            recipe={} if feed is None else {"service_days": list(feed.days)},
            notes=tuple(notes),
            saw=goals.saw,
        )
