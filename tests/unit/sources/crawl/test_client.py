"""Requests: pace, patience, tries again, and keys that are not told."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from crawl_server import KEY, Fault, Served, serve
from placevec.errors import FormatError, UsageError
from placevec.sources.crawl.base import Gone
from placevec.sources.crawl.client import Client, endpoint_of, key_from, seconds_of
from placevec.sources.crawl.pace import Pace, Stopped
from placevec.sources.remote.http import Unreachable

FIELDS = {"method": "flickr.photos.licenses.getInfo", "api_key": KEY}


@pytest.fixture
def served() -> Iterator[Served]:
    with serve(Served()) as one:
        yield one


def client(**options: float) -> Client:
    given = {"tries": 4, "backoff_s": 0.001, "seed": 0, **options}
    return Client(KEY, Pace(float("inf")), Pace(float("inf")), **given)


def fine(status: int, value: object) -> None:
    if status != 200:
        raise FormatError(f"HTTP {status}")


def ask(one: Client, served: Served) -> object:
    return one.ask("POST", served.flickr, fine, fields=FIELDS)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=500, times=3),
        Fault(status=503, times=3),
        Fault(status=429, retry_after="0", times=3),
        Fault(drop=True, times=3),
        Fault(cut=True, times=3),
        Fault(body=b'{"stat": "ok", "lic', times=3),
        Fault(body=b"<html>busy</html>", times=2),
        Fault(body=b"[" * 100_000, times=1),
        Fault(body=b"\xff\xfe{}", times=1),
    ],
    ids=["500", "503", "429", "dropped", "cut", "half JSON", "no JSON", "deep JSON", "no UTF-8"],
)
def test_what_may_pass_is_tried_again(served, fault) -> None:
    served.faults = [fault]
    times = fault.times
    one = client()
    assert "licenses" in ask(one, served)
    assert one.requests == served.count("licences") == times + 1


@pytest.mark.parametrize("fault", [Fault(status=502, times=9), Fault(drop=True, times=9), Fault(body=b"x", times=9)])
def test_what_does_not_pass_ends_with_the_address_and_no_key(served, fault) -> None:
    served.faults = [fault]
    with pytest.raises(Unreachable, match=r"services/rest does not answer as it should after 4 tries") as error:
        ask(client(), served)
    assert KEY not in str(error.value)
    assert served.count("licences") == 4


def test_a_server_that_is_not_there(served) -> None:
    with pytest.raises(Unreachable, match="run the same again later"):
        client(tries=2).ask("POST", "http://127.0.0.1:9/services/rest", fine, fields=FIELDS)


def test_a_retry_after_is_waited_for_by_all(served) -> None:
    now, slept = [0.0], []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    pace = Pace(float("inf"), clock=lambda: now[0], sleep=sleep)
    one = Client(KEY, pace, pace, tries=3, backoff_s=100.0)
    served.faults = [Fault(status=429, retry_after="7", times=2)]
    ask(one, served)
    assert slept == pytest.approx([7.0, 7.0])


def test_a_retry_after_beyond_patience_ends_at_once(served) -> None:
    served.faults = [Fault(status=429, retry_after="3600", times=1)]
    with pytest.raises(Unreachable, match="asks to wait 3,600 s"):
        ask(client(patience_s=60.0), served)
    assert served.count("licences") == 1


def test_backoff_doubles_with_jitter() -> None:
    waits = [
        Client(KEY, Pace(1), Pace(1), backoff_s=1.0, seed=seed)._wait(turn) for seed in range(20) for turn in (0, 3, 9)
    ]
    for turn, most in enumerate((1.0, 8.0, 60.0)):
        own = waits[turn::3]
        assert most / 2 <= min(own) < max(own) <= most


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0.0), ("120", 120.0), ("Thu, 01 Jan 1970 00:02:00 GMT", 20.0), ("", None), ("soon", None), ("-5", None)],
)
def test_retry_after_is_seconds_or_a_date(text, seconds) -> None:
    assert seconds_of(text, now=100.0) == seconds


def test_a_date_in_the_past_is_no_wait() -> None:
    assert seconds_of("Thu, 01 Jan 1970 00:00:10 GMT", now=100.0) == 0.0


def test_halves_of_surrogates_become_text(served) -> None:
    served.faults = [Fault(body=b'{"title": "a\\ud83d b\\ud83d\\ude00"}')]
    answer = ask(client(), served)
    answer["title"].encode()  # can be written
    assert "\N{GRINNING FACE}" in answer["title"]


def test_downloads_follow_no_odd_address(served) -> None:
    for address in ("file:///etc/passwd", "ftp://a/b", "", "http://[::1", "https://"):
        with pytest.raises((Gone, Unreachable)):
            client(tries=1).download(address)


def test_a_photo_that_is_gone_is_not_tried_again(served) -> None:
    served.images["7"] = b""
    with pytest.raises(Gone, match="HTTP 404"):
        client().download(f"{served.address}/live/7_l.jpg")
    assert served.count("image") == 1


def test_an_answer_that_is_too_long_is_refused(served, monkeypatch) -> None:
    monkeypatch.setattr("placevec.sources.crawl.client.MOST_BYTES", 100)
    with pytest.raises(Gone, match="larger"):
        client().download(f"{served.address}/live/7_l.jpg")


def test_pace_spaces_requests() -> None:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    pace = Pace(2.0, clock=lambda: now[0], sleep=sleep)
    turns = []
    for _ in range(5):
        pace.wait()
        turns.append(now[0])
    assert turns == pytest.approx([0.0, 0.5, 1.0, 1.5, 2.0])
    pace.hold(10.0)
    pace.wait()
    assert now[0] == pytest.approx(12.0)


def test_a_stopped_pace_wakes_those_who_wait() -> None:
    import threading

    pace = Pace(0.01)
    pace.wait()
    ended = []

    def work() -> None:
        try:
            pace.wait()
        except Stopped:
            ended.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    begun = time.monotonic()
    pace.stop()
    thread.join(5.0)
    assert ended == [True]
    assert time.monotonic() - begun < 5.0


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan")])
def test_a_rate_is_positive(rate) -> None:
    with pytest.raises(UsageError, match="positive"):
        Pace(rate)


def test_keys_go_to_https_or_this_machine() -> None:
    assert endpoint_of("https://api.example.org/rest/") == "https://api.example.org/rest"
    assert endpoint_of("http://127.0.0.1:80") == "http://127.0.0.1:80"
    with pytest.raises(UsageError, match="in the clear"):
        endpoint_of("http://api.example.org/rest")
    with pytest.raises(UsageError, match="no endpoint"):
        endpoint_of("api.example.org")


def test_a_key_comes_from_the_environment() -> None:
    assert key_from({"K": " abc\n"}, "K", "Flickr") == "abc"
    with pytest.raises(UsageError, match="environment variable K"):
        key_from({}, "K", "Flickr")
    with pytest.raises(UsageError, match="odd characters") as error:
        key_from({"K": "secret\x00value"}, "K", "Flickr")
    assert "secret" not in str(error.value)


def test_messages_are_clean() -> None:
    one = client()
    assert KEY not in one.clean(f"bad key {KEY}\nreally")
    assert "%" not in one.clean("k3y%2Bof%2Ftests%3D0123")
