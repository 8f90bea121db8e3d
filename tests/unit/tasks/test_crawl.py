"""Crawls of two services, from the first tile to the photo list, with what goes wrong in between."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
import shapely

from crawl_server import KEY, Fault, Served, Shot, Spot, jpeg, serve
from placevec.engine.locks import Lock
from placevec.errors import JobError, UsageError
from placevec.sources.crawl import Tile
from placevec.sources.photos import PhotoList, is_photo_list, read_photo_card, read_photo_list
from placevec.sources.remote.http import Unreachable
from placevec.table import read_skipped
from placevec.tasks.crawl import crawl_flickr, crawl_google_places

BOX = "60,24,62,26"
FAST = {"per_second": float("inf"), "downloads_per_second": float("inf"), "tries": 4, "backoff_s": 0.001}


@pytest.fixture
def served(monkeypatch) -> Iterator[Served]:
    monkeypatch.setenv("FLICKR_API_KEY", KEY)
    monkeypatch.setenv("GOOGLE_MAPS_API_KEY", KEY)
    with serve(Served()) as one:
        yield one


def shots(count: int, seed: int = 0, **more) -> list[Shot]:
    rng = np.random.default_rng(seed)
    points = rng.uniform((60.0, 24.0), (62.0, 26.0), (count, 2)).round(6)
    return [Shot(n + 1, lon, lat, uploaded=1_300_000_000 + n, **more) for n, (lon, lat) in enumerate(points.tolist())]


def flickr(served: Served, out, **options):
    return crawl_flickr(out, endpoint=served.flickr, **{"bbox": BOX, **FAST, **options})


def google(served: Served, out, **options):
    return crawl_google_places(out, endpoint=served.address, **{"bbox": BOX, "accept_terms": True, **FAST, **options})


def small_pages(monkeypatch, most: int, per_page: int) -> None:
    monkeypatch.setattr("placevec.sources.crawl.flickr.MOST", most)
    monkeypatch.setattr("placevec.sources.crawl.flickr.PER_PAGE", per_page)


def test_all_photos_of_a_region_are_listed_and_can_be_read(served, tmp_path) -> None:
    served.shots = shots(30)
    made = flickr(served, tmp_path)
    assert (made.photos, made.new, made.finished, made.skipped) == (30, 30, True, {})
    path = tmp_path / "photos.parquet"
    assert is_photo_list(path)
    places = read_photo_list(path)
    order = {f"flickr-{shot.number}": shot for shot in served.shots}
    assert [order[name].lon for name in places.ids] == pytest.approx(places.lon)
    assert (places.column("hour") == 13.5).all()
    card = read_photo_card(path)
    assert card.sources[0].licence == "CC-BY-2.0"
    assert card.settings["licences"] == ["reuse"]
    batch = PhotoList(path, pixels=16).read(np.arange(30))
    assert batch.data["image"].shape == (30, 3, 16, 16)
    assert batch.data["metadata"].shape == (30, 6)
    assert batch.data["tags"][0] == "river,bridge"


def test_tiles_are_split_until_none_holds_too_many(served, tmp_path, monkeypatch) -> None:
    """Against the obvious: every photo of the box, once, though a query gives 20 at most, in pages of 7."""
    small_pages(monkeypatch, most=20, per_page=7)
    served.most = 20
    rng = np.random.default_rng(0)
    served.shots = shots(60)
    served.shots += [
        Shot(100 + n, 61.5, 25.5, uploaded=int(rng.integers(1_100_000_000, 1_700_000_000))) for n in range(30)
    ]
    made = flickr(served, tmp_path)
    assert made.photos == 90
    assert made.split > 3
    assert made.cut == 0
    # A point in time and space where more stand than can be had ends, and is said.
    served.shots += [Shot(200 + n, 60.1, 24.1, uploaded=1_250_000_000) for n in range(25)]
    made = flickr(served, tmp_path, restart=True)
    assert made.cut == 1
    assert made.photos == 90 + 3 * 7


def test_photos_on_the_border_of_tiles_come_once(served, tmp_path) -> None:
    served.shots = [Shot(1, 61.0, 25.0), Shot(2, 61.0, 24.5), Shot(3, 60.5, 25.0)]
    made = flickr(served, tmp_path, side_m=150_000.0)
    assert (made.tiles, made.photos, made.repeated) == (4, 3, 5)
    assert served.count("image") == 3


def test_only_tiles_of_the_area_are_asked_for(served, tmp_path) -> None:
    triangle = shapely.Polygon([(60, 24), (62, 24), (60, 26)])
    boundary = tmp_path / "area.geojson"
    boundary.write_text(shapely.to_geojson(triangle))
    served.shots = shots(40)
    made = flickr(served, tmp_path / "out", bbox=None, area=boundary, side_m=60_000.0)
    inside = [shot for shot in served.shots if triangle.intersects(shapely.Point(shot.lon, shot.lat))]
    assert made.photos == len(inside)
    for kind, detail in served.asked:
        if kind == "search":
            assert triangle.intersects(shapely.box(*map(float, detail.split()[0].split(","))))
    counts = Counter(row.reason for row in read_skipped(tmp_path / "out" / "photos.parquet"))
    assert set(counts) == {"outside the area"}
    assert made.skipped["search: outside the area"] == counts["outside the area"]


def test_a_region_across_the_antimeridian(served, tmp_path) -> None:
    served.shots = [Shot(1, 179.5, -17.0), Shot(2, -179.5, -17.0), Shot(3, 180.0, -17.5), Shot(4, 0.5, -17.0)]
    assert flickr(served, tmp_path, bbox="177,-19,-178,-16").photos == 3


def test_a_second_run_asks_for_nothing(served, tmp_path) -> None:
    served.shots = shots(12)
    flickr(served, tmp_path, side_m=100_000.0)
    asked = len(served.asked)
    again = flickr(served, tmp_path, side_m=100_000.0)
    assert (again.requests, again.photos, again.new, again.finished) == (0, 12, 0, True)
    assert len(served.asked) == asked


@pytest.mark.parametrize(
    "fault",
    [
        Fault("search", status=500, times=3),
        Fault("search", status=429, retry_after="0", times=3),
        Fault("search", cut=True, times=2),
        Fault("search", body=b'{"photos": {', times=3),
        Fault("licences", drop=True, times=3),
        Fault("image", status=503, times=3),
        Fault("image", drop=True, times=3),
        Fault("image", cut=True, times=3),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.status or ('drop' if fault.drop else 'cut' if fault.cut else 'body')}",
)
def test_bursts_of_faults_leave_no_trace(served, tmp_path, fault) -> None:
    served.shots = shots(10)
    served.faults = [fault]
    made = flickr(served, tmp_path)
    assert (made.photos, made.finished, made.failed) == (10, True, {})


def test_a_quota_ends_the_run_and_the_next_goes_on(served, tmp_path, monkeypatch) -> None:
    small_pages(monkeypatch, most=4000, per_page=4)
    served.shots = shots(20)
    served.quota = 3
    with pytest.raises(Unreachable, match="asks to wait 3,600 s"):
        flickr(served, tmp_path)
    # What is there so far is a valid list.
    assert len(read_photo_list(tmp_path / "photos.parquet")) == 8
    before = Counter(served.asked)
    served.quota = None
    made = flickr(served, tmp_path)
    assert (made.photos, made.new) == (20, 12)
    after = Counter(served.asked) - before
    refused = {("search", "60.000000,24.000000,62.000000,26.000000 3")}
    assert not (set(after) & set(before)) - refused


def test_photos_whose_server_does_not_answer_are_tried_by_the_next_run(served, tmp_path) -> None:
    served.shots = shots(3)
    served.faults = [Fault("image", status=502, times=4)]
    made = flickr(served, tmp_path, threads=1)
    assert (made.photos, made.finished) == (2, False)
    assert made.failed == {"the server did not answer": 1}
    made = flickr(served, tmp_path, threads=1)
    assert (made.photos, made.new, made.finished, made.requests) == (3, 1, True, 1)


def test_a_server_of_photos_that_is_down_ends_the_run(served, tmp_path) -> None:
    served.shots = shots(30)
    served.faults = [Fault("image", status=502, times=10_000)]
    with pytest.raises(Unreachable, match="run the same again"):
        flickr(served, tmp_path, threads=2)
    assert served.count("image") <= 2 * 2 * 4
    assert len(read_photo_list(tmp_path / "photos.parquet")) == 0


def test_a_result_that_changes_between_pages_is_read_again(served, tmp_path, monkeypatch) -> None:
    """A photo that vanishes from page 1 pulls one from page 3 to page 2, after page 2 was read."""
    small_pages(monkeypatch, most=4000, per_page=5)
    served.shots = shots(15)

    def vanish(searches: int) -> None:
        if searches == 3:
            del served.shots[0]

    served.before = vanish
    made = flickr(served, tmp_path)
    assert made.photos == 15  # the vanished one had been fetched
    assert "flickr-11" in read_photo_list(tmp_path / "photos.parquet").ids
    assert served.count("search") == 6
    asked = len(served.asked)
    flickr(served, tmp_path)
    assert len(served.asked) == asked


def test_bad_files_are_skipped_with_the_reason(served, tmp_path) -> None:
    served.shots = shots(7)
    served.images = {
        "1": jpeg(1)[:300],
        "2": b"<html>not a photo</html>",
        "3": jpeg(4),
        "4": jpeg(4),
        "5": b"",
        "6": b"GIF89a" + b"\0" * 40,
    }
    made = flickr(served, tmp_path)
    assert made.photos == 2
    reasons = {row.id: row.reason for row in read_skipped(tmp_path / "photos.parquet")}
    assert reasons["flickr-1"].startswith("the image is damaged or cut short")
    assert reasons["flickr-2"].startswith("the file is no JPEG")
    assert reasons["flickr-4"] == "the same file as another photo"
    assert reasons["flickr-5"] == "the photo is not given (HTTP 404)"
    assert reasons["flickr-6"].startswith("the file is no JPEG")
    files = {path.name for path in (tmp_path / "photos").rglob("*.*")}
    assert files == {"flickr-3.jpg", "flickr-7.jpg"}
    assert flickr(served, tmp_path).requests == 0  # they are not asked for again


def test_licences_that_are_not_wanted_are_not_fetched(served, tmp_path) -> None:
    served.shots = [Shot(n + 1, 60.5, 24.5 + n / 100, licence=n) for n in range(11)]
    assert flickr(served, tmp_path / "reuse").photos == 8
    assert flickr(served, tmp_path / "all", licences=["all"]).photos == 11
    assert flickr(served, tmp_path / "by", licences=["cc-by", "CC0-1.0"]).photos == 2
    with pytest.raises(UsageError, match="choose of"):
        flickr(served, tmp_path / "none", licences=["mine"])


def test_a_limit_stops_and_a_greater_one_goes_on(served, tmp_path) -> None:
    served.shots = shots(20)
    made = flickr(served, tmp_path, limit=6, threads=4)
    assert (made.photos, made.finished, served.count("image")) == (6, False, 6)
    assert flickr(served, tmp_path, limit=6).requests == 0
    made = flickr(served, tmp_path, limit=11)
    assert (made.photos, made.requests) == (11, 5)
    made = flickr(served, tmp_path)
    assert (made.photos, made.finished, served.count("image")) == (20, True, 20)


def test_a_limit_for_each_tile_covers_a_region_evenly(served, tmp_path, monkeypatch) -> None:
    small_pages(monkeypatch, most=20, per_page=5)
    served.most = 20
    crowd = [Shot(1000 + n, 60.2, 24.2, uploaded=1_200_000_000 + n) for n in range(50)]
    served.shots = [*crowd, Shot(1, 61.8, 25.8), Shot(2, 61.8, 24.2)]
    made = flickr(served, tmp_path, side_m=120_000.0, per_tile=3)
    assert made.photos == 3 + 1 + 1
    assert made.split == 0  # twenty can be had of the crowd, and three are wanted
    assert flickr(served, tmp_path, side_m=120_000.0, per_tile=3).requests == 0


def test_counting_fetches_nothing_and_is_not_asked_again(served, tmp_path, monkeypatch) -> None:
    small_pages(monkeypatch, most=20, per_page=10)
    served.shots = shots(50)
    made = flickr(served, tmp_path, count=True)
    assert sum(row["photos"] for row in made.counts) == 50
    assert served.count("image") == 0
    searches = served.count("search")
    assert searches == made.tiles
    assert not (tmp_path / "photos.parquet").exists()
    fetched = flickr(served, tmp_path)
    assert fetched.photos == 50
    assert flickr(served, tmp_path, count=True).counts == made.counts
    pages_left = sum(-(-row["photos"] // 10) - 1 for row in made.counts if row["photos"])
    assert served.count("search") == searches + pages_left


def test_a_folder_of_another_crawl_is_refused_until_restart(served, tmp_path) -> None:
    served.shots = shots(3)
    flickr(served, tmp_path)
    with pytest.raises(UsageError, match="another area"):
        flickr(served, tmp_path, bbox="60,24,61,25")
    with pytest.raises(UsageError, match="another pixels"):
        flickr(served, tmp_path, pixels=320)
    with pytest.raises(UsageError, match="another service"):
        google(served, tmp_path)
    assert flickr(served, tmp_path, pixels=320, restart=True).new == 3


def test_two_crawls_do_not_share_a_folder(served, tmp_path) -> None:
    with Lock(tmp_path / "crawl.lock"), pytest.raises(JobError, match="this crawl is being worked on"):
        flickr(served, tmp_path)


def test_keys_and_regions_are_asked_for(served, tmp_path, monkeypatch) -> None:
    for options in ({"bbox": None}, {"area": tmp_path}):
        with pytest.raises(UsageError, match="either --area or --bbox"):
            flickr(served, tmp_path, **options)
    with pytest.raises(UsageError, match="--accept-terms"):
        google(served, tmp_path, accept_terms=False)
    monkeypatch.delenv("FLICKR_API_KEY")
    with pytest.raises(UsageError, match="FLICKR_API_KEY"):
        flickr(served, tmp_path)
    assert served.asked == []


def test_an_interrupted_crawl_leaves_a_list(served, tmp_path) -> None:
    served.shots = shots(30)

    def stop(done, total, facts) -> None:
        if facts["photos"] >= 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="stopped with 8 photos"):
        flickr(served, tmp_path, progress=stop)
    assert len(read_photo_list(tmp_path / "photos.parquet")) == 8
    assert flickr(served, tmp_path).new == 22
    assert max(Counter(served.asked).values()) == 1


def test_the_key_is_nowhere(served, tmp_path) -> None:
    served.shots = shots(3)
    served.spots = [Spot("a", 60.1, 24.1)]
    flickr(served, tmp_path / "f")
    google(served, tmp_path / "g")
    for file in tmp_path.rglob("*"):
        if file.is_file():
            assert KEY.encode() not in file.read_bytes()
    assert not any(KEY in path or "api_key" in path for path in served.paths)


def spots(count: int, seed: int = 0) -> list[Spot]:
    rng = np.random.default_rng(seed)
    points = rng.normal((61.0, 25.0), 0.1, (count, 2)).round(6).tolist()
    return [Spot(f"place{n}", lon, lat, photos=n % 4) for n, (lon, lat) in enumerate(points)]


@pytest.mark.parametrize("query", [None, "parks"])
def test_places_are_found_by_splitting_alone(served, tmp_path, query) -> None:
    served.spots = spots(90)
    made = google(served, tmp_path, query=query)
    assert made.photos == sum(spot.photos for spot in served.spots)
    assert made.split > 0
    assert made.skipped == {"search: the place has no photo": sum(spot.photos == 0 for spot in served.spots)}
    places = read_photo_list(tmp_path / "photos.parquet")
    assert Counter(places.column("place")) == {spot.name: spot.photos for spot in served.spots if spot.photos}
    assert google(served, tmp_path, query=query).requests == 0


def test_counting_places_gives_what_is_fetched(served, tmp_path) -> None:
    served.spots = spots(60)
    made = google(served, tmp_path, count=True)
    total = sum(spot.photos for spot in served.spots)
    assert sum(row["photos"] for row in made.counts) == total
    searches = served.count("search")
    assert google(served, tmp_path).photos == total
    assert google(served, tmp_path, count=True).counts == made.counts
    assert served.count("search") == searches


def test_a_place_outside_the_box_but_in_its_circle(served, tmp_path) -> None:
    served.spots = [Spot("in", 60.05, 24.05), Spot("out", 60.05, 24.101)]
    made = google(served, tmp_path, bbox="60,24,60.1,24.1")
    assert made.photos == 1
    assert made.skipped == {"search: outside the area": 1}


def test_pages_that_lapsed_are_read_from_the_first(served, tmp_path) -> None:
    served.spots = [Spot(f"p{n:02d}", 60.5, 24.5) for n in range(30)]
    with pytest.raises(Unreachable):
        served.faults = [Fault("media", times=2000, status=503)]
        google(served, tmp_path, query="parks")
    served.faults = []
    # The token of the second page is forgotten by the server meanwhile.
    journal = tmp_path / "crawl.jsonl"
    journal.write_text(journal.read_text().replace("20:token20", "20:gone"))
    made = google(served, tmp_path, query="parks")
    assert (made.photos, made.finished) == (30, True)


def test_the_tiles_of_the_journal_are_those_of_the_crawl(served, tmp_path, monkeypatch) -> None:
    small_pages(monkeypatch, most=20, per_page=7)
    served.shots = shots(50)
    flickr(served, tmp_path)
    records = [json.loads(line) for line in (tmp_path / "crawl.jsonl").read_text().splitlines()]
    ends = {record["tile"]: record["end"] for record in records if record["is"] == "tile"}
    root = Tile("0.", (60.0, 24.0, 62.0, 26.0))
    assert ends["0."] == "split"
    assert {part.path for part in root.split()} <= set(ends)
