"""`placevec data crawl` on the command line: what it says, and what it never says."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from crawl_server import KEY, Fault, Served, Shot, Spot, serve
from placevec.cli.main import run

FAST = ["--rate", "100000", "--download-rate", "100000", "--backoff", "0.001", "--tries", "2"]
WRONG = "wrong-but-secret"


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setenv("FLICKR_API_KEY", KEY)
    monkeypatch.setenv("GOOGLE_MAPS_API_KEY", KEY)
    with serve(Served()) as one:
        one.shots = [Shot(n, 60.0 + n / 101.0, 25.3) for n in range(20)]
        one.spots = [Spot("a", 60.05, 24.05, photos=2)]
        yield one


def flickr(served: Served, out, *more: str) -> int:
    region = ["--bbox", "60,24,62,26", "--endpoint", served.flickr, "-o", str(out)]
    return run(["data", "crawl", "flickr", *region, *FAST, *more])


def google(served: Served, out, *more: str) -> int:
    region = ["--bbox", "60,24,60.1,24.1", "--endpoint", served.address, "-o", str(out)]
    return run(["data", "crawl", "google-places", *region, *FAST, *more])


def test_a_record_at_the_end(served, tmp_path, capsys) -> None:
    served.shots[0].more = {"latitude": 0, "longitude": 0}
    served.shots[1].licence = 0
    assert flickr(served, tmp_path) == 0
    told = capsys.readouterr()
    record = json.loads(told.out)
    assert record["photos"] == record["new"] == 18  # all rights of one are reserved: it is not even listed
    assert record["requests"] == 1 + 1 + 18
    assert record["skipped"] == {"search: its coordinates are 0, 0": 1}
    assert record["bytes"] > 0
    assert "1 photos skipped: search: its coordinates are 0, 0" in told.err


def test_counts_tile_by_tile(served, tmp_path, capsys) -> None:
    assert flickr(served, tmp_path, "--count", "--tile", "120km") == 0
    told = capsys.readouterr()
    rows = [json.loads(line) for line in told.out.splitlines()]
    assert sum(row["photos"] for row in rows) == 20
    assert all(row["west"] < row["east"] for row in rows)
    assert "20 photos in 4 tiles, 5 requests" in told.err


def test_googles_terms_come_first(served, tmp_path, capsys) -> None:
    assert google(served, tmp_path / "no") == 2
    assert "--accept-terms" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()
    assert google(served, tmp_path / "yes", "--accept-terms", "--type", "park", "--per-place", "1") == 0
    told = capsys.readouterr()
    assert "Google's terms allow keeping place ids" in told.err
    assert json.loads(told.out)["photos"] == 1


def test_the_key_is_in_nothing_that_is_said_or_written(served, tmp_path, capsys, caplog, monkeypatch) -> None:
    caplog.set_level("DEBUG")
    assert flickr(served, tmp_path / "good") == 0
    assert google(served, tmp_path / "good2", "--accept-terms") == 0
    served.faults = [Fault("search", times=100, drop=True)]
    assert flickr(served, tmp_path / "down") == 1
    served.faults = []
    monkeypatch.setenv("FLICKR_API_KEY", WRONG)
    monkeypatch.setenv("GOOGLE_MAPS_API_KEY", WRONG)
    assert flickr(served, tmp_path / "bad") == 2
    assert google(served, tmp_path / "bad2", "--accept-terms") == 2
    told = capsys.readouterr()
    assert "FLICKR_API_KEY" in told.err
    assert "GOOGLE_MAPS_API_KEY" in told.err
    said = told.out + told.err + caplog.text  # the log of urllib3 names every address
    assert "services/rest" in caplog.text
    assert KEY not in said
    assert WRONG not in said
    for file in tmp_path.rglob("*"):
        if file.is_file():
            assert not any(key.encode() in file.read_bytes() for key in (KEY, WRONG))


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--tile", "50"], "is no distance"),
        (["--licences", "mine"], "choose of: reuse"),
        (["--since", "spring"], "is no date"),
        (["--rate", "0"], "positive"),
        (["--area", "nowhere"], "either --area or --bbox"),
    ],
)
def test_options_that_are_none_end_with_one_line(served, tmp_path, capsys, more, told) -> None:
    assert flickr(served, tmp_path, *more) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


def test_without_a_key(served, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.delenv("FLICKR_API_KEY")
    assert flickr(served, tmp_path) == 2
    assert capsys.readouterr().err.startswith(
        "placevec: Flickr needs a key: set the environment variable FLICKR_API_KEY"
    )
