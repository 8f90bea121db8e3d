"""Map services where a raster is asked for: chips, patches, statistics; and what opens files alone says of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h3
import numpy as np
import pytest

pytest.importorskip("rasterio")

from placevec.errors import UsageError
from placevec.geo.cells import H3Cells
from placevec.sources import catalog
from placevec.sources.rasters import Raster
from placevec.sources.services import ServiceRaster
from placevec.tasks.inputs import Chips, cell_places, open_raster
from placevec.tasks.modalities.raster import RasterModality
from placevec.tasks.patch_inputs import LayerOption
from tile_server import MapServer, serve_map, smooth

LON, LAT = 5.12, 52.09


@pytest.fixture(scope="module")
def server() -> Iterator[MapServer]:
    with serve_map(MapServer(side=64)) as running:
        yield running


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "cache_folder", lambda: tmp_path / "cache")


def addresses(server: MapServer) -> dict[str, str]:
    return {
        "xyz": f"{server.address}/xyz/{{z}}/{{x}}/{{y}}.png#zoom=17&side=64",
        "wms": f"wms:{server.address}/wms?layers=ortho&crs=EPSG:28992#resolution=3&side=64",
        "wmts": f"wmts:{server.address}/wmts?layer=ortho&tilematrixset=RD",
    }


def cells(resolution: int, k: int = 1) -> Any:
    return np.array([h3.str_to_int(c) for c in h3.grid_disk(h3.latlng_to_cell(LAT, LON, resolution), k)], np.uint64)


@pytest.mark.parametrize("kind", ["xyz", "wms"])
def test_chips_of_a_service(server: MapServer, kind: str) -> None:
    address = addresses(server)[kind]
    raster, refs = open_raster(address)
    assert isinstance(raster, ServiceRaster)
    assert refs == (raster.ref,)
    places = cell_places(cells(11), 11)
    chips = Chips(raster=address, ground_m=40.0, pixels=3).open(places).read(np.arange(7))
    assert len(chips) == 7
    expected = smooth(places.lon, places.lat)
    np.testing.assert_allclose(chips.data["image"][:, :, 1, 1], expected, atol=3.0)


def test_the_keys_in_an_address_are_not_handed_on(server: MapServer) -> None:
    address = f"{server.address}/xyz/{{z}}/{{x}}/{{y}}.png?api_key=SECRET#zoom=17&side=64"
    source = Chips(raster=address, ground_m=40.0, pixels=3).open(cell_places(cells(11, 0), 11))
    assert "SECRET" not in source.raster.href


def test_a_band_of_a_service_is_a_layer_of_patches(server: MapServer) -> None:
    layer = LayerOption(name="green", raster=addresses(server)["xyz"], band=2).open()
    assert isinstance(layer.raster, ServiceRaster)
    lon, lat = np.array([LON]), np.array([LAT])
    col, row = layer.raster.pixel(lon, lat)
    fine = layer.raster.level(1.0, 1.0)
    found, _ = layer.raster.window(fine, int(row[0]), int(col[0]), 1, 1, layer.band - 1)
    assert float(found[0, 0]) == pytest.approx(smooth(lon, lat)[0, 1], abs=3.0)


def test_statistics_of_a_service(server: MapServer) -> None:
    own = cells(11)
    found = RasterModality(raster=(addresses(server)["xyz"],)).compute(own)
    assert found.present.all()
    centre = H3Cells(11).centre(own)
    np.testing.assert_allclose(found.values, smooth(centre.lon, centre.lat), atol=3.0)


def test_what_opens_files_says_how_services_are_opened(server: MapServer) -> None:
    with pytest.raises(UsageError, match="open_service"):
        Raster(addresses(server)["xyz"])
    with pytest.raises(UsageError, match="resolution=METRES"):
        open_raster(f"wms:{server.address}/wms?layers=ortho&crs=EPSG:28992")


def test_a_point_off_a_projection_is_on_no_pixel() -> None:
    """Without a warning, which would be an error here: 0 times infinity."""
    raster = Raster.from_array(np.zeros((1, 4, 4)), bounds=(0.0, 0.0, 100.0, 100.0), crs="EPSG:3857")
    at = raster.pixel(np.array([0.0, 10.0]), np.array([0.0, -90.0]))
    assert np.isfinite(at[0][0])
    assert raster.contains(*at).tolist() == [True, False]
