"""The modalities `transit` and `access`, and that what is counted is not predicted from its own counts."""

from __future__ import annotations

from pathlib import Path

import h3
import numpy as np
import pytest

from feed_files import write_feed
from generated import arcadia
from placevec.errors import LeakError, UsageError
from placevec.features.access import potential, rides, transit_network, walk_network, window
from placevec.features.roads import walk_graph
from placevec.geo.cells import H3Cells
from placevec.geo.sphere import LonLat
from placevec.sources.gtfs import read_feed
from placevec.sources.world.write import _gtfs
from placevec.table import open_table
from placevec.tasks.features import cell_features
from placevec.tasks.modalities.access import Access
from placevec.tasks.modalities.transit import Transit
from placevec.tasks.probe import probe
from road_fakes import grid_city, roads_of

CITY = grid_city(16, 10, lon=10.0, lat=49.998, step_m=110.0)
CENTRE = h3.latlng_to_cell(50.002, 10.012, 9)
CELLS = np.array(sorted(h3.str_to_int(cell) for cell in h3.grid_disk(CENTRE, 4)), dtype=np.uint64)


@pytest.fixture
def town(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """A feed, a file of roads that is never read but as the made city, and cells with jobs."""
    monkeypatch.setattr("placevec.tasks.modalities.access.read_roads", lambda path, told=None: CITY)
    (tmp_path / "town.osm").write_text("roads")
    rng = np.random.default_rng(0)
    where = H3Cells(9).centre(CELLS)
    rows = [
        f"{int(cell):x},{lon:.6f},{lat:.6f},{rng.integers(0, 50)},{rng.integers(0, 9)}"
        for cell, lon, lat in zip(CELLS, where.lon, where.lat, strict=True)
    ]
    (tmp_path / "cells.csv").write_text("id,lon,lat,jobs,people\n" + "\n".join(rows) + "\n")
    return {"osm": tmp_path / "town.osm", "gtfs": write_feed(tmp_path / "town.zip"), "cells": tmp_path / "cells.csv"}


def test_a_table_of_transit(town: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "transit.parquet"
    made = cell_features("transit", out, cells=CELLS, options={"gtfs": str(town["gtfs"]), "reach": "600"})
    table = open_table(out).read()
    assert made.rows + made.absent == len(CELLS)
    assert made.absent > 0
    assert "log1p(departures_am_peak_per_h)" in table.meta.dims
    assert table.meta.recipe["service_days"] == ["2024-05-15"]
    assert len(table.meta.sources[0].sha256) == 64
    again = Transit(gtfs=(town["gtfs"],)).compute(CELLS)
    assert any(note.startswith("service day 2024-05-15") for note in again.notes)
    with pytest.raises(UsageError, match="give metres above 0"):
        Transit(gtfs=(town["gtfs"],), reach=0).compute(CELLS)


def test_access_is_more_with_vehicles_and_with_time(town: dict[str, Path]) -> None:
    found = Access(
        osm=str(town["osm"]), opportunities=(town["cells"],), column=("jobs",), gtfs=(town["gtfs"],),
        minutes=(5, 15), longest_wait=1.0,
    ).compute(CELLS)  # fmt: skip
    assert found.names == tuple(f"log1p(jobs_{mode}_{t}min)" for mode in ("walk", "transit") for t in (5, 15))
    walk5, walk15, ride5, ride15 = found.values[found.present].T
    assert (walk15 >= walk5).all()
    assert (ride15 > walk15).any()
    assert (ride5 >= walk5).all()
    assert not found.present.all()
    assert found.reach_m == 1200
    assert [one.column for one in found.saw] == ["jobs"]


def test_jobs_are_not_predicted_from_access_to_jobs(town: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "access.parquet"
    options = {"osm": str(town["osm"]), "opportunities": str(town["cells"]), "column": "jobs", "minutes": [5]}
    cell_features("access", out, cells=CELLS, options=options)
    assert [one.column for one in open_table(out).read().meta.saw] == ["jobs"]
    with pytest.raises(LeakError, match="'jobs'"):
        probe([str(out)], ["jobs"], labels=str(town["cells"]), splits="random", estimators=("ols",), shuffles=1)
    told = probe([str(out)], ["people"], labels=str(town["cells"]), splits="random", estimators=("ols",), shuffles=1)
    assert told[0].target == "people"


def test_a_column_that_is_not_there_is_named(town: dict[str, Path]) -> None:
    with pytest.raises(UsageError, match=r"cells.csv has no column 'job' to count: did you mean 'jobs'"):
        Access(osm=str(town["osm"]), opportunities=(town["cells"],), column=("job",)).compute(CELLS)


def test_settings_that_contradict_themselves(town: dict[str, Path]) -> None:
    given = {"osm": str(town["osm"]), "opportunities": (town["cells"],), "column": ("jobs",)}
    with pytest.raises(UsageError, match="a limit stands there twice"):
        Access(**given, minutes=(5, 5)).compute(CELLS)
    with pytest.raises(UsageError, match="write a part of the day"):
        Access(**given, depart="noon").compute(CELLS)
    with pytest.raises(UsageError, match="there is no decay 'steep'"):
        Access(**given, decay="steep").compute(CELLS)


def test_the_generated_country(tmp_path: Path) -> None:
    """Its timetable and its roads: the capital's centre reaches more people by train and bus than by foot."""
    world = arcadia()
    (tmp_path / "gtfs.zip").write_bytes(_gtfs(world))
    feed = read_feed(tmp_path / "gtfs.zip").of_day()
    nodes = world.grid.lonlat(world.roads.nodes[:, 0], world.roads.nodes[:, 1])
    roads = roads_of(nodes.lon, nodes.lat, world.roads.edges, metres=world.roads.length_m)
    towns = world.grid.lonlat(world.towns.col, world.towns.row)
    cells = np.unique(H3Cells(7).assign(towns))
    transit = Transit(gtfs=(tmp_path / "gtfs.zip",)).compute(cells)
    assert transit.present.any()
    assert transit.values[transit.present].max() > 0
    walk = walk_network(walk_graph(roads), LonLat(towns.lon, towns.lat), LonLat(towns.lon, towns.lat), feed.where)
    network = transit_network(walk, rides(feed, *window("07:00-09:00")), feed.where, walk.points[2])
    people = np.asarray(world.towns.people, dtype=float)[:, None]
    by_foot = potential(walk, walk.points[0], walk.points[1], people, (60,)).values[:, 0, 0]
    by_train = potential(network, walk.points[0], walk.points[1], people, (60, 180)).values[:, 0]
    assert (by_train[:, 0] >= by_foot).all()
    assert by_train[0, 1] > 2 * by_foot[0]
