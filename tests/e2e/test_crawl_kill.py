"""`placevec data crawl` killed in the middle goes on where it was, and asks for nothing twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from crawl_server import KEY, Fault, Served, Shot, Spot, serve
from placevec.sources.photos import read_photo_list

ENV = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "PYTHONWARNINGS": "ignore",
    "FLICKR_API_KEY": KEY,
    "GOOGLE_MAPS_API_KEY": KEY,
    "COLUMNS": "100",
}
FAST = ("--rate", "1000", "--download-rate", "1000", "--backoff", "0.01")


@pytest.fixture
def served() -> Iterator[Served]:
    with serve(Served()) as one:
        one.shots = [Shot(n, 60.0 + n / 100.0, 25.0, uploaded=1_300_000_000 + n) for n in range(60)]
        one.spots = [Spot(f"p{n}", 60.01 + n / 1000.0, 24.05, photos=2) for n in range(30)]
        yield one


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "placevec", "data", "crawl", *words]


def flickr(served: Served, out: Path, *more: str) -> list[str]:
    return command("flickr", "--bbox", "60,24,62,26", "--endpoint", served.flickr, "-o", str(out), *FAST, *more)


def google(served: Served, out: Path, *more: str) -> list[str]:
    region = ("--bbox", "60,24,60.1,24.1", "--endpoint", served.address, "-o", str(out))
    return command("google-places", *region, "--accept-terms", *FAST, *more)


def run(words: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, check=False, env=ENV, timeout=60)


def stopped_in_the_middle(words: list[str], served: Served, images: int, sign: int) -> str:
    """Run a command until so many photos were asked for; returns what it said on stderr."""
    served.faults = [Fault("image", times=10_000, wait=0.02)]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=ENV) as process:
        until = time.monotonic() + 60
        while served.count("image") < images and time.monotonic() < until:
            time.sleep(0.005)
        process.send_signal(sign)
        error = process.communicate(timeout=60)[1]
    served.faults = []
    assert process.returncode == (-sign if sign == signal.SIGKILL else 130), error
    return error


@pytest.mark.slow
@pytest.mark.parametrize("service", [flickr, google])
def test_killed_twice_it_asks_only_for_the_rest(served, tmp_path, service) -> None:
    total = 60
    words = service(served, tmp_path, "--threads", "3")
    stopped_in_the_middle(words, served, 15, signal.SIGKILL)
    known = len(list((tmp_path / "photos").rglob("*.jpg")))
    assert 0 < known < total
    stopped_in_the_middle(words, served, 35, signal.SIGKILL)
    done = run(words)
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert (record["photos"], record["finished"]) == (total, True)
    assert len(read_photo_list(tmp_path / "photos.parquet")) == total
    asked = Counter(served.asked)
    # What was on its way at each of two kills, at most: one search, and a photo of each of three threads, which Google
    # gives in two steps.
    again = Counter({request: times - 1 for request, times in asked.items() if times > 1})
    assert sum(times for (kind, _), times in again.items() if kind == "search") <= 2
    assert sum(again.values()) <= 2 + 2 * 2 * 3
    assert not [file for file in tmp_path.rglob("*.part-*") if file.is_file()]
    before = len(served.asked)
    assert json.loads(run(words).stdout)["requests"] == 0
    assert len(served.asked) == before


@pytest.mark.slow
def test_ctrl_c_leaves_a_list_and_says_how_to_go_on(served, tmp_path) -> None:
    words = flickr(served, tmp_path)
    error = stopped_in_the_middle(words, served, 20, signal.SIGINT)
    assert "the same command goes on from there" in error
    assert "Traceback" not in error
    assert 0 < len(read_photo_list(tmp_path / "photos.parquet")) < 60
    assert json.loads(run(words).stdout)["photos"] == 60
