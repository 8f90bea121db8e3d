"""What Flickr answers, read with care."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from crawl_server import KEY, Fault, Served, Shot, serve
from placevec.errors import FormatError, UsageError
from placevec.sources.crawl import Client, Flickr, Pace, Tile
from placevec.sources.crawl.flickr import moment, taken
from placevec.sources.remote.http import Unreachable

BOX = (60.0, 24.0, 62.0, 26.0)


@pytest.fixture
def served() -> Iterator[Served]:
    with serve(Served()) as one:
        yield one


def flickr(served: Served, key: str = KEY, **options) -> Flickr:
    client = Client(key, Pace(float("inf")), Pace(float("inf")), tries=3, backoff_s=0.001)
    return Flickr(client, key, endpoint=served.flickr, **options)


def first(service: Flickr, kept=None, box=BOX):
    service.prepare(kept or {})
    (tile,) = service.roots(box, None)
    return service.page(tile, "")


def test_a_page_holds_photos_with_licence_author_and_source(served) -> None:
    served.shots = [Shot(7, 60.5, 25.5)]
    page = first(flickr(served))
    (photo,) = page.photos
    assert (photo.id, photo.place, photo.lon, photo.lat) == ("flickr-7", "flickr-7", 60.5, 25.5)
    assert photo.attributes == {
        "taken": "2014-07-05T13:30:00",
        "hour": 13.5,
        "month": 7,
        "tags": "river,bridge",
        "title": "photo 7",
        "licence": "CC-BY-2.0",
        "licence_url": "https://creativecommons.org/licenses/by/2.0/",
        "author": "Ana 1",
        "author_url": "https://www.flickr.com/people/1@N01",
        "source_url": "https://www.flickr.com/photos/1@N01/7",
        "accuracy": 16,
    }
    assert (page.total, page.next, page.full, page.reach) == (1, "", False, 1)


@pytest.mark.parametrize(
    ("pixels", "size"), [(100, "n"), (320, "n"), (321, "l"), (1024, "l"), (1025, "o"), (9999, "o")]
)
def test_the_smallest_size_that_is_large_enough(served, pixels, size) -> None:
    served.shots = [Shot(7, 60.5, 25.5)]
    assert first(flickr(served, pixels=pixels)).photos[0].address.endswith(f"7_{size}.jpg")


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"latitude": 0, "longitude": 0}, "its coordinates are 0, 0"),
        ({"latitude": "91"}, "its coordinates are out of range"),
        ({"longitude": None}, "no coordinates"),
        ({"longitude": "east"}, "its coordinates are no numbers"),
        ({"longitude": "nan"}, "its coordinates are no numbers"),
        ({"latitude": [1]}, "its coordinates are no numbers"),
        ({"accuracy": "11"}, "its position has the accuracy 11"),
        ({"license": "0"}, "licence 0 is not among those taken"),
        ({"license": None}, "licence None is not among those taken"),
        ({"url_n": "", "url_l": None, "url_o": 5}, "its owner gives no size of it"),
        ({"id": "../../etc/passwd"}, "it has no id"),
        ({"id": None}, "it has no id"),
    ],
)
def test_photos_that_cannot_be_used_are_skipped_with_the_reason(served, more, reason) -> None:
    served.shots = [Shot(7, 60.5, 25.5, more=more), Shot(8, 60.5, 25.5)]
    page = first(flickr(served))
    assert [photo.id for photo in page.photos] == ["flickr-8"]
    assert [(row.stage, row.reason) for row in page.skipped] == [("search", reason)]


def test_rows_that_are_no_photos(served) -> None:
    body = b'{"stat": "ok", "photos": {"total": 3, "pages": 1, "photo": [null, 5, {}]}}'
    served.faults = [Fault("search", body=body)]
    assert [row.reason for row in first(flickr(served)).skipped] == ["it has no id"] * 3


@pytest.mark.parametrize(
    "body",
    [
        b'{"stat": "ok"}',
        b'{"stat": "ok", "photos": []}',
        b'{"stat": "ok", "photos": {"total": "many", "pages": 1, "photo": []}}',
        b'{"stat": "ok", "photos": {"total": Infinity, "pages": 1, "photo": []}}',
        b'{"stat": "ok", "photos": {"total": 1, "pages": 1, "photo": 5}}',
        b"[1]",
        b'"hello"',
    ],
)
def test_answers_that_are_no_page(served, body) -> None:
    served.faults = [Fault("search", body=body)]
    with pytest.raises(FormatError, match="check the endpoint"):
        first(flickr(served))


def test_a_bad_key_is_said_without_the_key(served) -> None:
    with pytest.raises(UsageError, match="FLICKR_API_KEY") as error:
        flickr(served, "other0123456").prepare({})
    assert "other0123456" not in str(error.value)
    assert served.count("licences") == 1  # not tried again


@pytest.mark.parametrize("code", ["0", "10", "105", 106])
def test_codes_that_may_pass_are_tried_again(served, code) -> None:
    body = f'{{"stat": "fail", "code": "{code}", "message": "not now"}}'.encode()
    served.faults = [Fault("licences", body=body, times=2)]
    flickr(served).prepare({})
    served.faults = [Fault("licences", body=body, times=9)]
    with pytest.raises(Unreachable, match=f"Flickr says {code}: not now"):
        flickr(served).prepare({})


def test_other_codes_are_not(served) -> None:
    served.faults = [Fault("licences", body=b'{"stat": "fail", "code": 4, "message": "no"}', times=9)]
    with pytest.raises(FormatError, match=r"refuses the search \(4: no\)"):
        flickr(served).prepare({})
    assert served.count("licences") == 1


def test_redirects_are_not_followed_with_the_key(served) -> None:
    served.faults = [Fault(status=302, times=9)]
    with pytest.raises(FormatError, match="HTTP 302"):
        flickr(served).prepare({})
    assert len(served.asked) == 1


def test_what_is_kept_is_not_asked_again(served) -> None:
    kept = flickr(served).prepare({})
    assert flickr(served).prepare(kept) == kept
    assert served.count("licences") == 1


def test_pages_end_where_the_service_repeats_itself(served) -> None:
    served.shots = [Shot(n, 60.5, 25.5, uploaded=1_200_000_000 + n) for n in range(4300)]
    service = flickr(served)
    page = first(service)
    assert (page.full, page.total, page.reach, page.next) == (True, 4300, 4000, "2")
    (tile,) = service.roots(BOX, None)
    assert service.page(tile, "16").next == ""


def test_time_is_part_of_the_query(served) -> None:
    served.shots = [Shot(n, 60.5, 25.5, uploaded=1_200_000_000 + n) for n in range(10)]
    service = flickr(served)
    service.prepare({})
    assert len(service.page(Tile("0.", BOX, 1_200_000_003, 1_200_000_004), "").photos) == 2


@pytest.mark.parametrize(
    "options", [{"accuracy": 0}, {"accuracy": 17}, {"since": "spring"}, {"since": "2016", "until": "x"}]
)
def test_options_that_are_none(served, options) -> None:
    with pytest.raises(UsageError):
        flickr(served, **options)


def test_times() -> None:
    assert moment("2015-06-30") == "2015-06-30 00:00:00"
    assert moment("2015-06-30", end=True) == "2015-06-30 23:59:59"
    assert moment("2015-06-30T12:00", end=True) == "2015-06-30 12:00:00"
    assert moment(None) is None
    with pytest.raises(UsageError, match="exchange the two"):
        Flickr(Client("k", Pace(1), Pace(1)), "k", since="2016-01-01", until="2015-01-01")


def test_a_time_that_is_not_exact_is_none() -> None:
    row = {"datetaken": "2014-07-05 13:30:00", "datetakengranularity": "0", "datetakenunknown": "0"}
    assert taken(row)["hour"] == 13.5
    for more in ({"datetakengranularity": 4}, {"datetakenunknown": 1}, {"datetaken": "0000-00-00 00:00:00"}):
        assert taken({**row, **more}) == {"taken": None, "hour": None, "month": None}
    assert taken({})["taken"] is None
