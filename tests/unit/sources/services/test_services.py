"""Map services as rasters: the right pixels, few requests, and clear words for every fault."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyproj import CRS

pytest.importorskip("PIL")

from placevec.errors import FormatError, UsageError
from placevec.geo.sphere import LonLat
from placevec.sources.remote import Unreachable
from placevec.sources.services import ServiceRaster, is_service, open_service
from placevec.sources.services.client import AT_ONCE, Client, decode
from placevec.sources.services.levels import ServiceLevel, quadkey, same_ground
from placevec.sources.services.wms import axes_swapped
from placevec.sources.services.wmts import wmts_frame
from placevec.sources.services.xml import read_xml
from tile_server import MapServer, capabilities, serve_map, smooth

LON, LAT = 5.12, 52.09


@pytest.fixture(scope="module")
def running() -> Iterator[MapServer]:
    with serve_map(MapServer()) as server:
        yield server


@pytest.fixture
def server(running: MapServer) -> MapServer:
    running.colour, running.side = smooth, 64
    running.fail_first, running.answer, running.at_once = 0, None, 0
    running.asked.clear()
    return running


def points(n: int = 40, spread: float = 0.002) -> LonLat:
    rng = np.random.default_rng(0)
    return LonLat(LON + rng.uniform(-spread, spread, n), LAT + rng.uniform(-spread, spread, n))


def opened(address: str, folder: Path | None, **options: Any) -> ServiceRaster:
    return open_service(address, client=Client(folder, backoff=0.01), **options)


ADDRESSES = {
    "xyz": "{server}/xyz/{{z}}/{{x}}/{{y}}.png#zoom=17&side=64",
    "tms": "{server}/tms/{{z}}/{{x}}/{{-y}}.png#zoom=17&side=64",
    "quadkeys": "{server}/quad/{{q}}.png#zoom=17&side=64",
    "wms 1.3.0 metres": "wms:{server}/wms?layers=ortho&crs=EPSG:28992#resolution=3&side=128",
    "wms 1.3.0 degrees": "wms:{server}/wms?layers=ortho&crs=EPSG:4326#resolution=0.00003&side=64",
    "wms 1.3.0 CRS:84": "wms:{server}/wms?layers=ortho&crs=CRS:84#resolution=0.00003&side=64",
    "wms 1.1.1": "wms:{server}/wms?layers=ortho&srs=EPSG:4326&version=1.1.1#resolution=0.00003&side=64",
    "wms of the web": "wms:{server}/wms?layers=ortho#resolution=4&side=64",
    "wmts": "wmts:{server}/wmts?layer=ortho",
    "wmts by a file": "wmts:{server}/WMTSCapabilities.xml?layer=ortho&tilematrixset=web#matrix=m:17",
}


@pytest.mark.parametrize("kind", sorted(ADDRESSES))
def test_every_service_shows_the_same_picture_at_the_same_place(server: MapServer, tmp_path: Path, kind: str) -> None:
    raster = opened(ADDRESSES[kind].format(server=server.address), tmp_path)
    assert (raster.count, raster.dtype) == (3, np.uint8)
    where = points(3, 0.0005)
    np.testing.assert_allclose(raster.sample(where), smooth(where.lon, where.lat), atol=1.6)
    assert "{" not in "".join(server.asked)


def test_a_picture_on_a_coarse_grid_is_read_from_coarse_tiles(server: MapServer, tmp_path: Path) -> None:
    raster = opened(ADDRESSES["xyz"].format(server=server.address), tmp_path)
    box = (LON - 0.3, LAT - 0.2, LON + 0.3, LAT + 0.2)
    picture = raster.grid(box, 64, 64)
    assert len(server.asked) < 40
    zooms = {int(path.split("/")[2]) for path in server.asked}
    assert max(zooms) <= 13
    centre = picture[:, 31:33, 31:33].mean(axis=(1, 2))
    near = smooth(*(np.array(part) for part in ([LON], [LAT])))[0]
    np.testing.assert_allclose(centre, near, atol=6)


def test_a_run_that_was_stopped_asks_for_nothing_twice(server: MapServer, tmp_path: Path) -> None:
    address = ADDRESSES["xyz"].format(server=server.address)
    first = opened(address, tmp_path / "tiles").sample(points())
    asked = len(server.asked)
    assert asked == len(set(server.asked))
    second = opened(address, tmp_path / "tiles")
    np.testing.assert_array_equal(second.sample(points()), first)
    assert len(server.asked) == asked
    assert (second.client.asked, second.client.kept) == (0, asked)
    assert server.at_once <= AT_ONCE
    damaged = next(path for path in (tmp_path / "tiles").rglob("*") if path.is_file())
    damaged.write_bytes(damaged.read_bytes()[:60])
    third = opened(address, tmp_path / "tiles")
    np.testing.assert_array_equal(third.sample(points()), first)
    assert third.client.asked == 1


def test_where_a_service_has_nothing_nothing_is_valid(server: MapServer, tmp_path: Path) -> None:
    def west(lon: Any, lat: Any) -> Any:
        return np.where(lon[:, None] < LON, smooth(lon, lat), np.nan)

    server.colour = west
    where = points(30, 0.003)
    for kind in ("xyz", "wms 1.3.0 degrees"):
        server.asked.clear()
        address = ADDRESSES[kind].format(server=server.address)
        found = opened(address, tmp_path / kind).sample(where)
        known = np.isfinite(found).all(axis=1)
        clear = np.abs(where.lon - LON) > 0.0002
        np.testing.assert_array_equal(known[clear], (where.lon < LON)[clear])
        asked = len(server.asked)
        opened(address, tmp_path / kind).sample(where)
        assert len(server.asked) == asked  # that there is nothing is remembered too


def test_a_busy_server_is_asked_again(server: MapServer, tmp_path: Path) -> None:
    server.fail_first = 3
    raster = opened(ADDRESSES["xyz"].format(server=server.address), tmp_path)
    assert np.isfinite(raster.sample(points(1))).all()
    server.fail_first = 10**6
    with pytest.raises(Unreachable, match=r"does not answer now \(HTTP 503\).*kept"):
        raster.sample(LonLat.of(-60.0, -20.0))


def report(code: str) -> bytes:
    return f"<?xml version='1.0'?><ExceptionReport><Exception exceptionCode='{code}'/></ExceptionReport>".encode()


EXCEPTION = (
    "<?xml version='1.0'?>{}<ServiceExceptionReport><ServiceException>{}</ServiceException></ServiceExceptionReport>"
)
ENTITY = '<!DOCTYPE a [<!ENTITY b "cc">]>'


@pytest.mark.parametrize(
    ("status", "kind", "body", "message"),
    [
        (200, "text/html", b"<!DOCTYPE html><html>log in</html>", "web page, not a picture"),
        (200, "text/plain", b"hello", "sends no picture"),
        (403, "text/plain", b"no", r"may not be read \(HTTP 403\)"),
        (400, "text/plain", b"no", "HTTP 400"),
        (200, "image/png", b"\x89PNG\r\n\x1a\n" + b"x" * 50, "damaged"),
        (200, "text/xml", EXCEPTION.format("", "odd layer").encode(), "refuses: odd layer"),
        (400, "text/xml", report("NoStyle"), "refuses: NoStyle"),
        (200, "text/xml", EXCEPTION.format(ENTITY, "&b;").encode(), "document type"),
    ],
)
def test_what_is_no_picture_is_told(server: MapServer, status: int, kind: str, body: bytes, message: str) -> None:
    server.answer = (status, kind, body)
    raster = opened(f"{server.address}/xyz/{{z}}/{{x}}/{{y}}.png?key=SECRET", None)
    with pytest.raises(FormatError, match=message) as caught:
        raster.sample(points(1))
    assert "SECRET" not in str(caught.value)
    assert "SECRET" not in raster.ref.href


def test_a_layer_that_there_is_not(server: MapServer) -> None:
    raster = opened(f"wms:{server.address}/wms?layers=none#resolution=1", None)
    with pytest.raises(FormatError, match="no layer none"):
        raster.sample(points(1))
    with pytest.raises(UsageError, match=r"no layer 'x'; known: ortho"):
        opened(f"wmts:{server.address}/wmts?layer=x", None)


def test_a_tile_beyond_the_limits_is_nothing(server: MapServer) -> None:
    server.answer = (400, "text/xml", report("TileOutOfRange"))
    raster = opened(f"{server.address}/xyz/{{z}}/{{x}}/{{y}}.png", None)
    assert np.isnan(raster.sample(points(1))).all()


def test_tiles_of_another_size_are_told(server: MapServer) -> None:
    server.side = 128
    with pytest.raises(FormatError, match="add #side=128"):
        opened(f"{server.address}/xyz/{{z}}/{{x}}/{{y}}.png", None).sample(points(1))
    raster = opened(f"{server.address}/xyz/{{z}}/{{x}}/{{y}}.png#zoom=16&side=128", None)
    where = points(2)
    np.testing.assert_allclose(raster.sample(where), smooth(where.lon, where.lat), atol=1.6)


def test_capabilities_name_layer_provider_and_terms(server: MapServer) -> None:
    raster = opened(f"wmts:{server.address}/wmts", None)  # of one layer no name is needed
    assert (raster.ref.licence, raster.ref.attribution) == ("CC-BY-4.0", "The Survey")
    assert raster.href.endswith("/wmts?layer=ortho")
    named = opened(f"wmts:{server.address}/wmts", None, licence="own", attribution="me")
    assert (named.ref.licence, named.ref.attribution) == ("own", "me")
    found = wmts_frame(capabilities(server.address, rest=False).encode(), f"{server.address}/wmts", {"layer": "ortho"})
    assert [round(level.step / found.frame.levels[0].step) for level in found.frame.levels] == [2**k for k in range(9)]
    assert found.frame.levels[0].address(3, 4).endswith("tilematrix=m:18&tilerow=3&tilecol=4")
    assert "style=plain" in found.frame.levels[0].address(3, 4)
    with pytest.raises(UsageError, match=r"no tile matrix '99'; known: m:18"):
        wmts_frame(capabilities("x").encode(), "http://x", {}, "99")
    with pytest.raises(FormatError, match="no capabilities"):
        wmts_frame(b"<a/>", "http://x", {})
    with pytest.raises(FormatError, match="sends no XML"):
        wmts_frame(b"<a>", "http://x", {})


def test_hostile_xml_is_refused() -> None:
    bomb = '<!DOCTYPE a [<!ENTITY b "cccccccc"><!ENTITY d "&b;&b;&b;&b;">]><a>&d;</a>'
    for data in (bomb.encode(), f'<?xml version="1.0" encoding="UTF-16"?>{bomb}'.encode("utf-16")):
        with pytest.raises(FormatError, match="document type"):
            read_xml(data, "http://x")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("ortho.tif", "no map service"),
        ("wms:ftp://x/y?layers=a", "no address on the web"),
        ("http://x/{z}/{x}.png", "has {z}, {x} and {y}"),
        ("http://x/{z}/{x}/{y}.png#zoom=30", "no zoom 30"),
        ("http://x/{z}/{x}/{y}.png#zoom=a", "is no number"),
        ("http://x/{z}/{x}/{y}.png#side=2", "16 to 4096"),
        ("http://x/{z}/{x}/{y}.png#size=2", "#size is no option"),
        ("http://x/{z}/{x}/{y}.png#resolution=2", "no option of XYZ"),
        ("wms:http://x/wms", "of which layers"),
        ("wms:http://x/wms?layers=a&version=1.0.0", "WMS 1.0.0"),
        ("wms:http://x/wms?layers=a#resolution=-1", "cannot measure"),
    ],
)
def test_addresses_that_are_none(address: str, message: str) -> None:
    resolution = None if "#" in address else 1.0
    with pytest.raises(UsageError, match=message.replace("{", r"\{").replace("}", r"\}")):
        open_service(address, resolution=resolution)


def test_a_wms_needs_a_resolution_and_has_one_from_the_caller(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at which resolution"):
        open_service("wms:http://x/wms?layers=a", folder=tmp_path)
    raster = open_service("wms:http://x/wms?layers=a&crs=EPSG:28992", resolution=0.25, folder=tmp_path)
    assert raster.transform[0] == 0.25
    assert is_service("wms:http://x/wms?layers=a")
    assert not is_service("https://x/y.tif")
    assert not is_service("folder/{z}")


@given(zoom=st.integers(1, 20), data=st.data())
def test_quadkeys_name_tiles_as_their_makers_do(zoom: int, data: st.DataObject) -> None:
    col, row = (data.draw(st.integers(0, 2**zoom - 1)) for _ in range(2))
    digits = quadkey(zoom, col, row)
    assert len(digits) == zoom
    assert int(digits, 4) == sum(((col >> k & 1) + 2 * (row >> k & 1)) * 4**k for k in range(zoom))
    assert quadkey(3, 3, 5) == "213"  # the example of the documentation


def test_levels_that_do_not_fit_are_left_out() -> None:
    def level(step: float, rows: int, cols: int) -> ServiceLevel:
        return ServiceLevel(step, rows, cols, lambda row, col: "")

    found = same_ground([level(4, 4, 4), level(1, 16, 16), level(2, 8, 8), level(3, 6, 6), level(8, 3, 2)], 256)
    assert [one.step for one in found] == [1, 2, 4]


def test_the_order_of_axes() -> None:
    assert axes_swapped(CRS("EPSG:4326"), "EPSG:4326")
    assert axes_swapped(CRS("EPSG:31467"), "urn:ogc:def:crs:EPSG::31467")
    assert not axes_swapped(CRS("EPSG:28992"), "EPSG:28992")
    assert not axes_swapped(CRS("OGC:CRS84"), "CRS:84")


def test_a_grey_or_palette_picture_has_three_bands() -> None:
    import io

    from PIL import Image

    for mode in ("L", "P", "1", "RGB", "LA"):
        out = io.BytesIO()
        Image.new(mode, (4, 4)).save(out, "PNG")
        found = decode(out.getvalue(), "http://x")
        assert found is not None
        assert found.shape == (4, 4, 4)
