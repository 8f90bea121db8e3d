"""The modality `transit`: stops, departures, routes and modes, from timetables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from placevec.errors import UsageError
from placevec.features.modality import CellFeatures, Told, log1p_columns
from placevec.features.transit import PLAIN, transit_cells
from placevec.provenance import SourceRef, sha256_file
from placevec.sources.gtfs import read_feed
from placevec.tasks.modalities.base import Modality, option


@dataclass(frozen=True)
class Transit(Modality):
    """Public transport of each cell: stops, departures by part of the day, routes, modes, headways.

    Read from GTFS timetables. Cells farther than --reach from every stop have no row: a feed does not say what it
    covers. Nearer ones without a stop have zeros, the distance to the nearest stop, and a headway of a day.
    """

    gtfs: tuple[Path, ...] = option("A GTFS zip, or a folder of its .txt files", many=True)
    date: str = option(
        "The service day, such as 2024-05-14; busiest: that with most trips, Tuesday to Thursday", "busiest"
    )
    service: Literal["day", "all"] = option("day: the trips of the service day; all: those of every calendar", "day")
    times: Literal["interpolated", "stated"] = option(
        "stated: count by the clock only calls whose time the feed states", "interpolated"
    )
    reach: float = option("Metres from the nearest stop beyond which nothing is known of a cell", 5000.0)

    example: ClassVar[str] = "placevec area features transit porto-alegre --gtfs eptc.zip --gtfs trensurb.zip"
    inputs: ClassVar[Sequence[str]] = ("gtfs",)

    def compute(self, cells: NDArray[np.uint64], told: Told | None = None) -> CellFeatures:
        """The features of `cells` (n,)."""
        if not self.reach > 0:
            raise UsageError(f"--reach {self.reach:g}: give metres above 0")
        feed = read_feed(self.gtfs, date=self.date, told=told)
        found = transit_cells(
            feed.of_day() if self.service == "day" else feed,
            cells,
            reach_m=self.reach,
            stated=self.times == "stated",
        )
        names, values = log1p_columns(found.names, found.values, PLAIN)
        return CellFeatures(
            names=names,
            values=values,
            present=found.present,
            absent=f"no stop within {self.reach:g} m: the timetable may not be of this place",
            sources=feed_sources(self.gtfs),
            recipe={"service_days": list(feed.days), "counts": dict(feed.counts)},
            notes=(*feed.told, *found.notes),
        )


def feed_sources(paths: Sequence[Path]) -> tuple[SourceRef, ...]:
    """The feeds as sources; the hash of a zip tells which edition it was."""
    return tuple(SourceRef(Path(path).name, sha256_file(Path(path)) if Path(path).is_file() else "") for path in paths)
