"""Transit of cells against counting by hand, and the figures of Porto Alegre against a plain form."""

from __future__ import annotations

import csv
import io
import zipfile
from collections import defaultdict
from pathlib import Path

import h3
import numpy as np
import pytest

from feed_files import SHEETS, write_feed
from placevec.errors import DataError
from placevec.features.transit import PLAIN, transit_cells
from placevec.geo.cells import H3Cells
from placevec.geo.sphere import LonLat
from placevec.sources.gtfs import read_feed


def cells_of(*lonlat: tuple[float, float]) -> np.ndarray:
    return H3Cells(9).assign(LonLat(*np.array(lonlat).T))


def test_a_small_town_by_hand(tmp_path: Path) -> None:
    feed = read_feed(write_feed(tmp_path / "town.zip")).of_day()
    cells = cells_of((10.007, 50.0), (10.0, 50.0), (10.014, 50.0), (10.03, 50.0), (10.2, 50.0))
    found = transit_cells(feed, cells)
    row = dict(zip(found.names, found.values[0], strict=True))
    assert row["stops"] == 1
    assert row["calls"] == 4  # t1, t2, t3, t4
    assert row["calls_7_to_10"] == 3
    assert row["departures_am_peak_per_h"] == pytest.approx(3 / 3)
    assert row["departures_night_per_h"] == pytest.approx(1 / 6)  # at 24:10
    assert row["departures_midday_per_h"] == 0
    assert row["routes"] == row["routes_at_best_stop"] == 2
    assert (row["routes_bus"], row["routes_tram"], row["routes_rail"]) == (1, 1, 0)
    assert row["span_h"] == pytest.approx((24 * 60 + 10 - 7 * 60 - 2) / 60)
    assert row["headway_min"] == pytest.approx(((7 * 60 + 33 - 7 * 60 - 2) + 16 * 60) / 2)
    # Nobody boards at the end of a line.
    end = dict(zip(found.names, found.values[2], strict=True))
    assert (end["stops"], end["calls"], end["departures_am_peak_per_h"], end["span_h"]) == (1, 2, 0, 0)
    assert end["headway_min"] == 1440
    none = dict(zip(found.names, found.values[3], strict=True))
    assert none["stops"] == none["calls"] == none["routes"] == 0
    assert none["nearest_stop_m"] == pytest.approx(1140, abs=150)
    assert found.present.tolist() == [True, True, True, True, False]
    assert found.outside == 1  # Delta
    assert not set(PLAIN) - set(found.names)


def test_all_services_and_stated_times(tmp_path: Path) -> None:
    feed = read_feed(write_feed(tmp_path / "town.zip"))
    beta = cells_of((10.007, 50.0))
    every = transit_cells(feed, beta)
    assert every.values[0, every.names.index("calls")] == 4
    assert every.values[0, every.names.index("calls_7_to_10")] == 3
    stated = transit_cells(feed, beta, stated=True)
    assert stated.values[0, stated.names.index("calls")] == 4
    assert stated.values[0, stated.names.index("calls_7_to_10")] == 2


def test_a_timetable_without_calls(tmp_path: Path) -> None:
    header = SHEETS["stop_times.txt"].splitlines()[0]
    feed = read_feed(write_feed(tmp_path / "town.zip", {"stop_times.txt": header}))
    with pytest.raises(DataError, match="no trip of the timetable calls at any stop"):
        transit_cells(feed, cells_of((10.0, 50.0)))


def test_porto_alegre_against_a_plain_form(data_dir: Path) -> None:
    """The counts of the reference script: all services, and the stated hours 7, 8 and 9."""
    folder = data_dir / "porto_alegre"
    with (folder / "poa_hexgrid.csv").open() as handle:
        ids = [row["id"] for row in csv.DictReader(handle)]
    plain = defaultdict(lambda: np.zeros(4))
    for name in ("poa_eptc.zip", "poa_trensurb.zip"):
        with zipfile.ZipFile(folder / name) as archive:

            def rows(sheet: str, archive: zipfile.ZipFile = archive) -> list[dict[str, str]]:
                return list(csv.DictReader(io.TextIOWrapper(archive.open(sheet), "utf-8-sig")))

            route = {trip["trip_id"]: trip["route_id"] for trip in rows("trips.txt")}
            calls, peak, routes = defaultdict(int), defaultdict(int), defaultdict(set)
            for call in rows("stop_times.txt"):
                hour = (call["departure_time"] or call["arrival_time"])[:2]
                calls[call["stop_id"]] += 1
                peak[call["stop_id"]] += hour.isdigit() and 7 <= int(hour) <= 9
                routes[call["stop_id"]].add(route[call["trip_id"]])
            for stop in rows("stops.txt"):
                own = plain[h3.latlng_to_cell(float(stop["stop_lat"]), float(stop["stop_lon"]), 9)]
                key = stop["stop_id"]
                own += (1, calls[key], peak[key], 0)
                own[3] = max(own[3], len(routes[key]))
    cells = np.array([int(name, 16) for name in ids], dtype=np.uint64)
    found = transit_cells(read_feed([folder / "poa_eptc.zip", folder / "poa_trensurb.zip"]), cells, stated=True)
    columns = [found.names.index(n) for n in ("stops", "calls", "calls_7_to_10", "routes_at_best_stop")]
    assert np.array_equal(found.values[:, columns], np.array([plain[name] for name in ids]))
    assert found.present.all()
