"""The timetable of the generated country as a feed of GTFS."""

from __future__ import annotations

import io
import zipfile
from typing import Any

from placevec.sources.world.grid import Grid
from placevec.sources.world.places import Transit
from placevec.sources.world.sheets import csv_text

_EPOCH = (2025, 1, 1, 0, 0, 0)
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def gtfs(transit: Transit, grid: Grid, agency: str) -> bytes:
    """A zip of GTFS: every line runs both ways, every day from 5:00 until after midnight.

    Args:
        transit: stops and lines.
        grid: on which the stops lie.
        agency: the name of who runs them.
    """
    where = grid.lonlat(transit.stop_col, transit.stop_row)
    used = sorted({stop for _, _, stops, _, _ in transit.lines for stop in stops})
    stops = [(f"S{s}", transit.stop_name[s], f"{where.lat[s]:.6f}", f"{where.lon[s]:.6f}") for s in used]
    routes, trips, times = [], [], []
    for r, (name, kind, line, after, every) in enumerate(transit.lines):
        routes.append((f"L{r}", "A", name, f"{transit.stop_name[line[0]]} - {transit.stop_name[line[-1]]}", kind))
        for direction in (0, 1):
            order = line if direction == 0 else line[::-1]
            offset = after if direction == 0 else [after[-1] - t for t in after[::-1]]
            # Until 25:00: the trips after midnight belong to the day before, as real feeds have it.
            for n, start in enumerate(range(5 * 3600 + (r * 137 + direction * 311) % every, 25 * 3600, every)):
                trip = f"L{r}.{direction}.{n}"
                trips.append((f"L{r}", "daily", trip, direction))
                for k, (stop, t) in enumerate(zip(order, offset, strict=True), 1):
                    clock = _clock(start + t)
                    times.append((trip, clock, clock, f"S{stop}", k))
    sheets: dict[str, tuple[list[str], list[tuple[Any, ...]]]] = {
        "agency.txt": (
            ["agency_id", "agency_name", "agency_url", "agency_timezone"],
            [("A", agency, "https://example.org", "Europe/Rome")],
        ),
        "calendar.txt": (
            ["service_id", *_DAYS, "start_date", "end_date"],
            [("daily", *(1 for _ in _DAYS), "20250101", "20251231")],
        ),
        "routes.txt": (["route_id", "agency_id", "route_short_name", "route_long_name", "route_type"], routes),
        "stops.txt": (["stop_id", "stop_name", "stop_lat", "stop_lon"], stops),
        "stop_times.txt": (["trip_id", "arrival_time", "departure_time", "stop_id", "stop_sequence"], times),
        "trips.txt": (["route_id", "service_id", "trip_id", "direction_id"], trips),
    }
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, (header, rows) in sheets.items():
            info = zipfile.ZipInfo(name, _EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, csv_text(header, rows))
    return out.getvalue()


def _clock(seconds: int) -> str:
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
