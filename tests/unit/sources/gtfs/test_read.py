"""Feeds as they are found: read whole, or what is wrong with them counted."""

from __future__ import annotations

import csv
import io
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from feed_files import SHEETS, write_feed
from generated import arcadia
from placevec.errors import DataError, FormatError, SchemaError, UsageError
from placevec.sources.gtfs import MODES, UNTIMED, Feed, read_feed
from placevec.sources.gtfs.times import seconds_of
from placevec.sources.world.write import _gtfs


def calls(feed: Feed, trip: str) -> list[tuple[str, int, int]]:
    rows = np.flatnonzero(feed.trip_id[feed.trip] == trip)
    return [(feed.stop_id[feed.stop[k]], int(feed.arrival[k]), int(feed.departure[k])) for k in rows]


def test_a_feed_as_arrays(tmp_path: Path) -> None:
    feed = read_feed(write_feed(tmp_path / "town.zip"))
    assert feed.stop_id.tolist() == ["a", "b", "c", "d"]
    assert feed.stop_name.tolist()[1] == "Beta"
    assert feed.lon.tolist() == [10.0, 10.007, 10.014, 10.007]
    assert feed.route_name.tolist() == ["1", "North"]
    assert [MODES[mode] for mode in feed.mode] == ["bus", "tram"]
    assert feed.days == ("2024-05-15",)
    assert feed.runs.tolist() == [True, True, True, True, False]
    assert calls(feed, "t2") == [("a", 27000, 27000), ("b", 27120, 27180), ("c", 27360, 27360)]
    assert feed.last.sum() == 5
    assert not feed.counts
    day = feed.of_day()
    assert day.trip_id.tolist() == ["t1", "t2", "t3", "t4"]
    assert calls(day, "t4") == [("b", 87000, 87000), ("d", 87120, 87120)]


def test_times_between_two_stated_ones_are_interpolated_along_the_way(tmp_path: Path) -> None:
    feed = read_feed(write_feed(tmp_path / "town.zip"))
    # Beta is half-way between Alpha at 7:00 and Gamma at 7:04.
    assert calls(feed, "t1")[1] == ("b", 25320, 25320)
    assert feed.stated[np.flatnonzero(feed.trip_id[feed.trip] == "t1")].tolist() == [True, False, True]


def test_a_folder_and_a_folder_within_a_zip_are_the_same(tmp_path: Path) -> None:
    plain = read_feed(write_feed(tmp_path / "town.zip"))
    for other in (write_feed(tmp_path / "folder"), write_feed(tmp_path / "deep.zip", inside="gtfs/2024/")):
        feed = read_feed(other)
        assert np.array_equal(feed.departure, plain.departure)
        assert feed.trip_id.tolist() == plain.trip_id.tolist()


@pytest.mark.parametrize("sheet", ["stops.txt", "routes.txt", "trips.txt", "stop_times.txt"])
def test_a_missing_sheet_is_named(tmp_path: Path, sheet: str) -> None:
    with pytest.raises(FormatError, match=f"has no {sheet}, which GTFS asks for; it has "):
        read_feed(write_feed(tmp_path / "town.zip", {sheet: None}))


def test_a_feed_without_any_calendar(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"has no calendar\.txt"):
        read_feed(write_feed(tmp_path / "town.zip", {"calendar.txt": None, "calendar_dates.txt": None}))
    # One of the two is enough.
    only = read_feed(write_feed(tmp_path / "dates.zip", {"calendar.txt": None}))
    assert only.days == ("2024-05-15",)
    assert only.counts["trips of a service in no calendar"] == 1  # `week` stands among the exceptions, `sun` nowhere
    week = read_feed(write_feed(tmp_path / "week.zip", {"calendar_dates.txt": None}))
    assert week.days == ("2024-05-07",)


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    bad = SHEETS["stops.txt"].replace("stop_lat", "latitude")
    with pytest.raises(
        SchemaError, match=r"stops.txt has no column 'stop_lat'; its columns are: stop_id, stop_name, lat"
    ):
        read_feed(write_feed(tmp_path / "town.zip", {"stops.txt": bad}))


def test_encodings(tmp_path: Path) -> None:
    text = SHEETS["stops.txt"].replace("Alpha", "Praça")
    marked = read_feed(write_feed(tmp_path / "bom.zip", {"stops.txt": b"\xef\xbb\xbf" + text.encode()}))
    assert marked.stop_name[0] == "Praça"
    assert not any("Latin" in note for note in marked.notes)
    latin = read_feed(write_feed(tmp_path / "latin.zip", {"stops.txt": text.encode("latin-1")}))
    assert latin.stop_name[0] == "Praça"
    assert "latin.zip: stops.txt is not in UTF-8; it was read as Latin-1" in latin.notes
    with pytest.raises(FormatError, match="is in UTF-16"):
        read_feed(write_feed(tmp_path / "wide.zip", {"stops.txt": text.encode("utf-16")}))


def test_white_space_quotes_and_lines_within_quotes(tmp_path: Path) -> None:
    stops = (
        '\nstop_id , "stop_name",stop_lat, stop_lon\r\n'
        'a ,"Alpha\nSquare, East", 50.0,10.0\r\n'
        '"b","say ""hi""",50.0,10.007\r\nc,Gamma,50.0,10.014,what\r\nd,Delta,50.0045,10.007\r\n'
    )
    feed = read_feed(write_feed(tmp_path / "town.zip", {"stops.txt": stops}))
    assert feed.stop_name.tolist() == ["Alpha\nSquare, East", 'say "hi"', "Delta"]
    assert feed.counts["rows of stops.txt with another number of cells than its header"] == 1
    assert feed.counts["calls at an unknown stop"] == 3


def test_stops_without_a_position_stations_and_platforms(tmp_path: Path) -> None:
    stops = (
        "stop_id,stop_name,stop_lat,stop_lon,location_type,parent_station\n"
        "a,Alpha,0,0,,S\nb,Beta,,,,\nc,Gamma,50.0,10.014,0,\nd,Delta,95.0,10.007,,\nS,Station,50.0,10.0,1,\n"
        "E,Door,50.0,10.0,2,S\n"
    )
    feed = read_feed(write_feed(tmp_path / "town.zip", {"stops.txt": stops}))
    assert feed.stop_id.tolist() == ["a", "c"]
    assert feed.lon.tolist() == [10.0, 10.014]  # of a: its station's
    assert feed.counts["stops without a position"] == 2
    assert feed.counts["calls at stops without a position"] == 6
    assert calls(feed, "t1") == [("a", 25200, 25200), ("c", 25440, 25500)]


def test_no_stop_with_a_position(tmp_path: Path) -> None:
    stops = "stop_id,stop_lat,stop_lon\na,,\nb,,\nc,,\nd,,\n"
    with pytest.raises(DataError, match="no stop has a position"):
        read_feed(write_feed(tmp_path / "town.zip", {"stops.txt": stops}))


def test_rows_that_cannot_be_read_are_counted(tmp_path: Path) -> None:
    changes = {
        "routes.txt": SHEETS["routes.txt"] + "R1,again,,3\nR3,odd,,88\nR4,odd,,x\n",
        "trips.txt": SHEETS["trips.txt"] + "R1,week,t1\nR9,week,t8\nR1,none,t9\n",
        "stop_times.txt": SHEETS["stop_times.txt"]
        + "t7,9:00:00,9:00:00,a,1\nt3,9:00:00,9:00:00,z,7\nt3,9:00:00,9:00:00,a,x\nt3,9:0,,c,3\nt3,,,c,2\n",
    }
    counts = read_feed(write_feed(tmp_path / "town.zip", changes)).counts
    assert counts == {
        "rows of routes.txt whose route_id stands there already": 1,
        "routes of an unknown type": 2,
        "rows of trips.txt whose trip_id stands there already": 1,
        "trips of an unknown route": 1,
        "trips of a service in no calendar": 1,
        "times that are no time": 1,
        "calls of an unknown trip": 1,
        "calls at an unknown stop": 1,
        "calls without a number in their trip": 1,
        "calls whose number stands twice in their trip": 1,
        "calls before the first time of a trip or after its last": 1,
        "trips with fewer than two calls": 1,  # t9
    }


def test_times_that_run_backwards(tmp_path: Path) -> None:
    times = (
        "trip_id,arrival_time,departure_time,stop_id,stop_sequence\n"
        "t1,23:50:00,23:50:00,a,1\nt1,23:59:50,0:00:10,b,2\nt1,0:05:00,0:05:00,c,3\n"
        "t2,7:30:00,7:30:00,a,1\nt2,7:20:00,7:33:00,b,2\n"
    )
    feed = read_feed(write_feed(tmp_path / "town.zip", {"stop_times.txt": times}))
    assert calls(feed, "t1") == [("a", 85800, 85800), ("b", 86390, 86410), ("c", 86700, 86700)]
    assert calls(feed, "t2") == [("a", 27000, 27000), ("b", 27000, 27180)]
    assert feed.counts["times after midnight written as those of the same day"] == 1
    assert feed.counts["times before those of the stop before"] == 1


def test_frequencies_are_written_out(tmp_path: Path) -> None:
    often = "trip_id,start_time,end_time,headway_secs\nt1,06:00:00,07:00:00,900\nt1,25:00:00,25:10:00,300\nt2,1,2,3\n"
    feed = read_feed(write_feed(tmp_path / "town.zip", {"frequencies.txt": often}))
    made = [trip for trip in feed.trip_id if "@" in trip]
    assert made == [f"t1@{at}:00" for at in ("06:00", "06:15", "06:30", "06:45", "25:00", "25:05")]
    assert "t1" not in feed.trip_id
    assert calls(feed, "t1@25:05:00") == [("a", 90300, 90300), ("b", 90420, 90420), ("c", 90540, 90600)]
    assert feed.runs[feed.trip_id == "t1@06:15:00"].all()
    assert feed.counts["rows of frequencies.txt without a known trip, times and headway"] == 1
    assert np.array_equal(feed.trip, np.sort(feed.trip))


def test_many_frequencies_are_refused_before_they_fill_the_memory(tmp_path: Path) -> None:
    """A million seconds in each of ten thousand rows: they are counted as they come."""
    row = "t1,00:00:00,900:00:00,1\n"
    often = "trip_id,start_time,end_time,headway_secs\n" + 10_000 * row
    with pytest.raises(DataError, match="over 200,000,000 calls"):
        read_feed(write_feed(tmp_path / "town.zip", {"frequencies.txt": often}))


def test_numbers_of_thousands_of_digits_are_none(tmp_path: Path) -> None:
    digits = "9" * 5000
    calls_of = SHEETS["stop_times.txt"].replace(",1\n", f",{digits}\n", 1)
    often = f"trip_id,start_time,end_time,headway_secs\nt1,00:00:00,24:00:00,{digits}\n"
    feed = read_feed(write_feed(tmp_path / "town.zip", {"stop_times.txt": calls_of, "frequencies.txt": often}))
    assert feed.counts["calls without a number in their trip"] == 1
    assert feed.counts["rows of frequencies.txt without a known trip, times and headway"] == 1


def test_frequencies_beyond_reason_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("placevec.sources.gtfs.frequencies.MOST_CALLS", 1000)
    often = "trip_id,start_time,end_time,headway_secs\nt1,00:00:00,24:00:00,1\n"
    with pytest.raises(DataError, match="over 1,000 calls; is a headway wrong"):
        read_feed(write_feed(tmp_path / "town.zip", {"frequencies.txt": often}))


def test_a_trip_without_any_time(tmp_path: Path) -> None:
    times = SHEETS["stop_times.txt"].replace("t3,08:10:00,08:10:00", "t3,,").replace("t3,08:12:00,08:12:00", "t3,,")
    feed = read_feed(write_feed(tmp_path / "town.zip", {"stop_times.txt": times}))
    assert calls(feed, "t3") == [("b", UNTIMED, UNTIMED), ("d", UNTIMED, UNTIMED)]
    assert (~feed.timed).sum() == 2


def test_days(tmp_path: Path) -> None:
    path = write_feed(tmp_path / "town.zip")
    sunday = read_feed(path, date="2024-05-12").of_day()
    assert sunday.trip_id.tolist() == ["t5"]
    with pytest.raises(UsageError, match="no trip runs on 2024-05-09: choose a day from 2024-05-06 to 2024-05-26"):
        read_feed(path, date="20240509")  # an exception takes the service away
    with pytest.raises(UsageError, match="'tomorrow' is no date"):
        read_feed(path, date="tomorrow")


def test_several_feeds_are_one(tmp_path: Path) -> None:
    one, two = write_feed(tmp_path / "one.zip"), write_feed(tmp_path / "two.zip", {"calendar_dates.txt": None})
    feed = read_feed([one, two])
    assert feed.stop_id.tolist() == [f"{name}:{stop}" for name in ("one", "two") for stop in "abcd"]
    assert feed.days == ("2024-05-15", "2024-05-15")
    assert calls(feed, "two:t5") == [("two:c", 36000, 36000), ("two:a", 36540, 36540)]
    assert "service day 2024-05-15, the busiest from Tuesday to Thursday" in feed.notes


def test_feeds_of_different_years_have_a_day_each(tmp_path: Path) -> None:
    one = write_feed(tmp_path / "one.zip")
    two = write_feed(tmp_path / "two.zip", {"calendar.txt": SHEETS["calendar.txt"].replace("2024", "2019")})
    feed = read_feed([one, two, write_feed(tmp_path / "three.zip", {"calendar.txt": None})], date="2024-05-15")
    assert feed.runs.sum() == 4 + 1 + 1
    apart = read_feed(
        [one, write_feed(tmp_path / "old.zip", {k: v.replace("2024", "2019") for k, v in SHEETS.items()})]
    )
    assert apart.days == ("2024-05-15", "2019-05-15")
    assert any("no day is in the calendars of all feeds" in note for note in apart.notes)


def test_a_service_that_never_runs(tmp_path: Path) -> None:
    never = SHEETS["calendar.txt"].replace("1,1,1,1,1", "0,0,0,0,0").replace("0,0,0,0,0,0,1", "0,0,0,0,0,0,0")
    with pytest.raises(DataError, match="on no day of its calendar does any trip run"):
        read_feed(write_feed(tmp_path / "town.zip", {"calendar.txt": never, "calendar_dates.txt": None}))


def test_what_is_no_feed(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no such feed; give a GTFS zip"):
        read_feed(tmp_path / "none.zip")
    (tmp_path / "text.zip").write_text("hello")
    with pytest.raises(FormatError, match="this is no zip"):
        read_feed(tmp_path / "text.zip")
    with pytest.raises(FormatError, match="it has no .txt at all"):
        read_feed(write_feed(tmp_path / "empty.zip", dict.fromkeys(SHEETS)))
    with pytest.raises(FormatError, match="stops.txt is empty"):
        read_feed(write_feed(tmp_path / "hollow.zip", {"stops.txt": ""}))
    with pytest.raises(UsageError, match="no feed is given"):
        read_feed([])


def test_a_zip_that_is_cut_or_damaged(tmp_path: Path) -> None:
    data = write_feed(tmp_path / "town.zip").read_bytes()
    (tmp_path / "cut.zip").write_bytes(data[: len(data) // 2])
    with pytest.raises(FormatError, match="this is no zip, or a damaged one"):
        read_feed(tmp_path / "cut.zip")
    at = data.index(b"stop_times.txt") + 60
    (tmp_path / "bad.zip").write_bytes(data[:at] + bytes(b ^ 0xFF for b in data[at : at + 40]) + data[at + 40 :])
    with pytest.raises(FormatError, match="stop_times.txt is damaged"):
        read_feed(tmp_path / "bad.zip")


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    bomb = write_feed(tmp_path / "bomb.zip", {"stop_times.txt": b"0" * (20 << 20)})
    with pytest.raises(FormatError, match=r"stop_times.txt would unpack from [\d,]+ to 20,971,520 bytes"):
        read_feed(bomb)


def test_sheets_with_a_header_only(tmp_path: Path) -> None:
    header = SHEETS["stop_times.txt"].splitlines()[0]
    for text in (header, header + "\n"):
        feed = read_feed(write_feed(tmp_path / "town.zip", {"stop_times.txt": text}))
        assert len(feed) == 0
        assert len(feed.of_day().last) == 0


def test_the_real_feeds_of_porto_alegre_against_the_csv_module(data_dir: Path) -> None:
    folder = data_dir / "porto_alegre"
    paths = [folder / "poa_eptc.zip", folder / "poa_trensurb.zip"]
    feed = read_feed(paths)
    assert feed.days == ("2019-04-16", "2019-04-16")
    assert not feed.counts
    for path in paths:
        with zipfile.ZipFile(path) as archive:
            text = io.TextIOWrapper(archive.open("stop_times.txt"), "utf-8-sig")
            rows = list(csv.DictReader(text))
        found = Counter(feed.stop_id[feed.stop].tolist())
        plain = Counter(f"{path.stem}:{row['stop_id']}" for row in rows)
        assert {stop: found[stop] for stop in plain} == dict(plain)
        first = rows[0]
        own = calls(feed, f"{path.stem}:{first['trip_id']}")
        assert own[0][2] == seconds_of(first["departure_time"])
    # Interpolated times run forwards, and leave none out.
    assert feed.timed.all()
    same = feed.trip[1:] == feed.trip[:-1]
    assert (feed.arrival[1:][same] >= feed.departure[:-1][same]).all()


def test_the_generated_country_is_read(tmp_path: Path) -> None:
    world = arcadia()
    path = tmp_path / "gtfs.zip"
    path.write_bytes(_gtfs(world))
    feed = read_feed(path)
    assert not feed.counts
    assert feed.runs.all()
    assert len(feed.route_id) == len(world.transit.lines)
    assert set(feed.mode.tolist()) == {MODES.index("bus"), MODES.index("rail")}
    assert feed.departure.max() > 24 * 3600
