"""What Google Places answers, read with care."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from crawl_server import KEY, Fault, Served, Spot, serve
from placevec.errors import FormatError, UsageError
from placevec.sources.crawl import Client, Found, GooglePlaces, Pace, Tile
from placevec.sources.crawl.base import Gone, Lapsed

TILE = Tile("0.", (60.0, 24.0, 60.2, 24.2))


@pytest.fixture
def served() -> Iterator[Served]:
    with serve(Served()) as one:
        yield one


def google(served: Served, key: str = KEY, **options) -> GooglePlaces:
    client = Client(key, Pace(float("inf")), Pace(float("inf")), tries=3, backoff_s=0.001)
    return GooglePlaces(client, key, endpoint=served.address, **options)


def test_photos_of_a_place_share_its_id_and_position(served) -> None:
    served.spots = [Spot("park1", 60.1, 24.1, photos=2)]
    page = google(served).page(TILE, "")
    assert [photo.place for photo in page.photos] == ["park1", "park1"]
    assert len({photo.id for photo in page.photos}) == 2
    photo = page.photos[1]
    assert (photo.lon, photo.lat, photo.group) == (60.1, 24.1, "park1")
    assert photo.attributes["author"] == "Bo 1"
    assert photo.attributes["title"] == "The park1"
    assert photo.attributes["tags"] == "park"
    assert "park1-1" in photo.attributes["source_url"]
    assert photo.attributes["licence"] == "Google-Maps-Platform-terms"


def test_twenty_places_are_a_full_tile(served) -> None:
    served.spots = [Spot(f"p{n}", 60.1 + n * 1e-4, 24.1) for n in range(20)]
    page = google(served).page(TILE, "")
    assert (page.full, page.next, page.reach) == (True, "", 20)
    served.spots.pop()
    assert not google(served).page(TILE, "").full


def test_a_tile_beyond_the_greatest_circle_is_not_asked_for(served) -> None:
    assert google(served).page(Tile("0.", (60.0, 24.0, 61.0, 25.0)), "") is None
    assert served.asked == []


def test_text_search_goes_through_pages(served) -> None:
    served.spots = [Spot(f"p{n:02d}", 60.1, 24.1) for n in range(70)]
    service = google(served, query="parks")
    first = service.page(TILE, "")
    second = service.page(TILE, first.next)
    third = service.page(TILE, second.next)
    assert (first.full, second.full, third.full) == (False, False, True)
    assert third.next == ""
    assert len({p.place for page in (first, second, third) for p in page.photos}) == 60


def test_a_token_that_lapsed(served) -> None:
    with pytest.raises(Lapsed):
        google(served, query="parks").page(TILE, "20:gone")


def test_no_place_is_no_error(served) -> None:
    page = google(served).page(TILE, "")
    assert (page.photos, page.full) == ((), False)


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"location": {"latitude": 0, "longitude": 0}}, "its coordinates are 0, 0"),
        ({"location": None}, "no coordinates"),
        ({"location": {}}, "no coordinates"),
        ({"photos": []}, "the place has no photo"),
        ({"photos": None}, "the place has no photo"),
        ({"photos": [{"name": "../../secrets"}]}, "a photo has no name"),
        ({"photos": [None]}, "a photo has no name"),
        ({"id": "../x"}, "the place has no id"),
        ({"id": None}, "the place has no id"),
    ],
)
def test_places_that_cannot_be_used(served, more, reason) -> None:
    served.spots = [Spot("a", 60.1, 24.1, more=more), Spot("b", 60.1, 24.1)]
    page = google(served).page(TILE, "")
    assert [photo.place for photo in page.photos] == ["b"]
    assert [row.reason for row in page.skipped] == [reason]


def test_odd_names_and_types_are_no_harm(served) -> None:
    more = {"displayName": None, "types": [None, "park", 3]}
    served.spots = [Spot("a", 60.1, 24.1, more=more)]
    (photo,) = google(served).page(TILE, "").photos
    assert (photo.attributes["title"], photo.attributes["tags"]) == ("", "park")


def test_a_bad_key_is_said_without_the_key(served) -> None:
    with pytest.raises(UsageError, match="GOOGLE_MAPS_API_KEY") as error:
        google(served, "other0123456").page(TILE, "")
    assert "other0123456" not in str(error.value)


def test_the_key_is_in_no_address(served) -> None:
    served.spots = [Spot("a", 60.1, 24.1)]
    service = google(served)
    service.image(service.page(TILE, "").photos[0])
    assert [kind for kind, _ in served.asked] == ["search", "media", "image"]
    assert not any("key" in path.casefold() or KEY in path for path in served.paths)


def test_a_photo_that_is_not_known_any_more(served) -> None:
    with pytest.raises(Gone, match="does not know"):
        google(served).image(Found("google-x", "x", 0, 0, "places/x/photos/y"))
    served.spots = [Spot("x", 60.1, 24.1)]
    served.faults = [Fault("media", body=b"{}")]
    with pytest.raises(Gone, match="no address"):
        google(served).image(Found("google-x", "x", 0, 0, "places/x/photos/x-0"))


@pytest.mark.parametrize("body", [b"[]", b"3", b'{"places": 3}'])
def test_answers_that_are_no_page(served, body) -> None:
    served.faults = [Fault(body=body)]
    with pytest.raises(FormatError, match="check the endpoint"):
        google(served).page(TILE, "")


def test_a_search_that_is_refused(served) -> None:
    served.faults = [Fault(status=404)]
    with pytest.raises(FormatError, match="HTTP 404"):
        google(served).page(TILE, "")


@pytest.mark.parametrize(
    "options",
    [{"pixels": 4801}, {"pixels": 0}, {"per_place": 0}, {"types": ["a park"]}, {"types": ["a", "b"], "query": "x"}],
)
def test_options_that_are_none(served, options) -> None:
    with pytest.raises(UsageError):
        google(served, **options)


def test_types_and_photos_of_a_place_are_limited(served) -> None:
    served.spots = [Spot("a", 60.1, 24.1, photos=5), Spot("b", 60.1, 24.1, types=("bank",))]
    page = google(served, types=["park"], per_place=3).page(TILE, "")
    assert [photo.place for photo in page.photos] == ["a"] * 3
