"""Pictures of cells through image encoders: rasters, sheets and services, one picture a cell or seven."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h3
import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("rasterio")

import tiny_transformers
from placevec.encoders.image import ImageConfig, ImageEncoder
from placevec.encoders.model import load_encoder
from placevec.errors import CrsError, SchemaError, UsageError
from placevec.geo.cells import H3Cells
from placevec.nn.vision import SmallCNNConfig
from placevec.sources.chips import ChipSource
from placevec.sources.rasters import Raster
from placevec.sources.services import opening
from placevec.sources.services.client import Client
from placevec.sources.vrt import open_sheets
from placevec.table import read_table
from placevec.tasks.features import cell_features
from placevec.tasks.inputs import cell_places
from placevec.tasks.modalities import aerial
from placevec.tasks.modalities.aerial import AerialModality
from raster_writer import write_raster
from tile_server import MapServer, serve_map

LON, LAT = -34.9, -7.95  # within the Landsat scene
PIXELS = 16


def cells_at(lon: float, lat: float, resolution: int = 8, k: int = 2) -> Any:
    return np.array([h3.str_to_int(c) for c in h3.grid_disk(h3.latlng_to_cell(lat, lon, resolution), k)], np.uint64)


def encoder_folder(folder: Path, bands: int, chips: Any = None) -> str:
    """A model folder of a small network that has seen nothing but the statistics of the chips."""
    config = ImageConfig(SmallCNNConfig(bands=bands, width=4, dims=8, stages=2))
    ImageEncoder.untrained(config, 0, chips).save(folder)
    return str(folder)


@pytest.fixture(scope="module")
def six(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A raster of six bands in UTM, and an encoder for it."""
    folder = tmp_path_factory.mktemp("six")
    rng = np.random.default_rng(0)
    values = rng.integers(0, 255, (6, 120, 120)).astype(np.uint8)
    path = write_raster(folder / "six.tif", values, west=288_776.0, north=9_120_760.0, pixel=60.0, crs="EPSG:31985")
    chips = rng.integers(0, 255, (16, 6, PIXELS, PIXELS)).astype(np.uint8)
    return path, encoder_folder(folder / "model", 6, chips)


def middle_of(path: Path) -> tuple[float, float]:
    raster = Raster(path)
    centre = raster.lonlat([raster.width / 2], [raster.height / 2])
    return float(centre.lon[0]), float(centre.lat[0])


def test_a_cell_is_the_picture_around_its_centre(six: tuple[Path, str]) -> None:
    path, model = six
    cells = cells_at(*middle_of(path))
    steps: list[tuple[str, int, int]] = []
    settings = AerialModality(raster=(str(path),), model=model, pixels=PIXELS, licence="PD", attribution="USGS")
    found = settings.compute(cells, lambda *step: steps.append(step))
    assert found.present.all()
    encoder = load_encoder(model)
    assert found.space == encoder.space
    source = ChipSource(cell_places(cells, 8), Raster(path), 2 * H3Cells(8).edge_m, PIXELS)
    expected = encoder.encode(source.read(np.arange(len(cells))).data)
    place = {int(cell): row for row, cell in enumerate(source.places().column("h3"))}
    np.testing.assert_allclose(found.values, expected[[place[int(cell)] for cell in cells]], atol=1e-5)
    assert steps[-1] == ("pictures", len(cells), len(cells))
    assert (found.sources[0].licence, found.sources[0].attribution) == ("PD", "USGS")
    assert 0 < found.reach_m < 2 * H3Cells(8).edge_m
    shuffled = settings.compute(cells[::-1])
    np.testing.assert_allclose(shuffled.values[::-1], found.values, atol=1e-5)


def test_seven_pictures_are_those_of_the_finer_cells(six: tuple[Path, str]) -> None:
    path, model = six
    cells = cells_at(*middle_of(path), k=1)
    seven = AerialModality(raster=(str(path),), model=model, pixels=PIXELS, chips=7).compute(cells)
    finer = H3Cells(8).children(cells, 9)
    single = AerialModality(raster=(str(path),), model=model, pixels=PIXELS).compute(finer.cells)
    for row, (first, stop) in enumerate(zip(finer.offsets[:-1], finer.offsets[1:], strict=True)):
        mean = single.values[first:stop].mean(axis=0)
        np.testing.assert_allclose(seven.values[row], mean / np.linalg.norm(mean), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(seven.values, axis=1), 1.0, rtol=1e-5)


def test_cells_without_a_picture_are_absent_and_counted(six: tuple[Path, str]) -> None:
    path, model = six
    lon, lat = middle_of(path)
    cells = np.concatenate([cells_at(lon, lat, k=1), cells_at(lon + 3.0, lat, k=1)])
    found = AerialModality(raster=(str(path),), model=model, pixels=PIXELS).compute(cells)
    assert found.present.tolist() == [True] * 7 + [False] * 7
    assert found.notes == ("7 pictures left out: outside the raster",)


def test_plain_statistics_need_no_model_and_a_model_of_transformers_serves(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = write_raster(tmp_path / "rgb.tif", rng.integers(0, 255, (3, 60, 60)).astype(np.uint8), west=LON, north=LAT,
                        pixel=0.0005)  # fmt: skip
    cells = cells_at(LON + 0.015, LAT - 0.015, k=1)
    plain = AerialModality(raster=(str(path),), model="features:pixels", pixels=PIXELS).compute(cells)
    assert plain.names[0].startswith("band0_") or "mean" in plain.names[0]
    tiny_transformers.write_clip(tmp_path / "clip")
    found = AerialModality(raster=(str(path),), model=f"hf:{tmp_path / 'clip'}", pixels=32).compute(cells)
    assert found.present.any()
    assert found.space is not None
    assert found.space.origin == "published"


def test_faults(six: tuple[Path, str]) -> None:
    path, model = six
    cells = cells_at(*middle_of(path), k=0)
    with pytest.raises(UsageError, match="which encoder"):
        AerialModality(raster=(str(path),)).compute(cells)
    with pytest.raises(UsageError, match="chips is 3"):
        AerialModality(raster=(str(path),), model=model, chips=3).compute(cells)
    with pytest.raises(UsageError, match="give it alone"):
        AerialModality(raster=("http://x/{z}/{x}/{y}.png", str(path)), model=model).compute(cells)
    with pytest.raises(UsageError, match="resolution 15"):
        AerialModality(raster=(str(path),), model=model, chips=7).compute(cells_at(LON, LAT, 15, 0))


def test_sheets_are_one_raster(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    values = rng.integers(1, 255, (3, 40, 60)).astype(np.uint8)
    whole = write_raster(tmp_path / "whole.tif", values, west=LON, north=LAT, pixel=0.001)
    (tmp_path / "sheets").mkdir()
    for name, rows, cols in (("a", slice(0, 25), slice(0, 30)), ("b", slice(25, 40), slice(0, 30)),
                             ("c", slice(0, 25), slice(30, 60))):  # fmt: skip
        write_raster(tmp_path / f"sheets/{name}.tif", values[:, rows, cols], west=LON + 0.001 * cols.start,
                     north=LAT - 0.001 * rows.start, pixel=0.001)  # fmt: skip
    joined = open_sheets(sorted((tmp_path / "sheets").glob("*.tif")), "sheets")
    single = Raster(whole)
    assert (joined.height, joined.width, joined.count, joined.dtype) == (40, 60, 3, np.uint8)
    np.testing.assert_allclose(joined.transform, single.transform, atol=1e-12)
    i, j = (part.ravel() + 0.5 for part in np.meshgrid(np.arange(60.0), np.arange(40.0)))
    got, valid = joined.gather(i, j, resampling="nearest")
    expected, _ = single.gather(i, j, resampling="nearest")
    there = ~((i > 30) & (j > 25))
    np.testing.assert_array_equal(valid.all(axis=1), there)
    np.testing.assert_array_equal(got[there], expected[there])
    odd = write_raster(tmp_path / "odd.tif", values, west=LON + 0.0003, north=LAT, pixel=0.001)
    with pytest.raises(SchemaError, match="between the pixels"):
        open_sheets([whole, odd])
    with pytest.raises(SchemaError, match="another size"):
        open_sheets([whole, write_raster(tmp_path / "big.tif", values, west=LON, north=LAT, pixel=0.002)])
    with pytest.raises(SchemaError, match="1 bands of uint8"):
        open_sheets([whole, write_raster(tmp_path / "one.tif", values[0], west=LON, north=LAT, pixel=0.001)])
    with pytest.raises(CrsError, match="sheets of one system"):
        open_sheets(
            [whole, write_raster(tmp_path / "utm.tif", values, west=3e5, north=9e6, pixel=9.0, crs="EPSG:31985")]
        )
    with pytest.raises(UsageError, match="no sheet"):
        open_sheets([])


@pytest.fixture(scope="module")
def landsat(data_dir: Path) -> Raster:
    return Raster(data_dir / "landsat/L7_ETMs.tif", bands=(3, 2, 1))


@pytest.fixture(scope="module")
def services(landsat: Raster) -> Iterator[MapServer]:
    """The Landsat scene as a map service."""

    def colour(lon: Any, lat: Any) -> Any:
        col, row = landsat.pixel(lon, lat)
        values, valid = landsat.gather(col, row)
        return np.where(valid, values, np.nan)

    with serve_map(MapServer(colour=colour, side=128)) as server:
        yield server


@pytest.mark.parametrize("kind", ["xyz", "wms"])
def test_a_service_gives_what_its_raster_gives(
    landsat: Raster, services: MapServer, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same cells from the Landsat scene and from a server of it, within what resampling twice takes away."""
    address = {
        "xyz": f"{services.address}/xyz/{{z}}/{{x}}/{{y}}.png#zoom=14&side=128",
        "wms": f"wms:{services.address}/wms?layers=ortho&crs=EPSG:31985#resolution=14&side=128",
    }[kind]
    monkeypatch.setattr(opening, "Client", lambda folder: Client(folder, backoff=0.01))
    centre = landsat.lonlat([170.0], [170.0])
    cells = cells_at(float(centre.lon[0]), float(centre.lat[0]), 8, 1)
    rng = np.random.default_rng(0)
    model = encoder_folder(tmp_path / "model", 3, rng.integers(30, 120, (16, 3, 24, 24)).astype(np.uint8))
    three = write_raster(tmp_path / "three.tif", _bands(landsat), west=landsat.transform[2],
                         north=landsat.transform[5], pixel=28.5, crs="EPSG:31985")  # fmt: skip
    by_file = AerialModality(raster=(str(three),), model=model, pixels=24).compute(cells)
    settings = AerialModality(raster=(address,), model=model, pixels=24, cache=str(tmp_path / "tiles"), licence="PD")
    by_service = settings.compute(cells)
    assert by_file.present.all()
    assert by_service.present.all()
    between = (by_file.values * by_service.values).sum(axis=1)
    among = by_file.values @ by_file.values.T
    others = among[~np.eye(len(cells), dtype=bool)]
    assert between.min() > 0.97
    assert between.min() > np.quantile(others, 0.9)
    assert by_service.sources[0].licence == "PD"
    asked = len(services.asked)
    settings.compute(cells)
    assert len(services.asked) == asked


def _bands(raster: Raster) -> Any:
    level = raster.level(1, 1, "nearest")
    return np.stack([raster.window(level, 0, 0, raster.height, raster.width, band)[0] for band in range(3)])


def test_landsat_s_six_bands_per_cell(data_dir: Path, tmp_path: Path) -> None:
    path = data_dir / "landsat/L7_ETMs.tif"
    lon, lat = middle_of(path)
    cells = cells_at(lon, lat, 8, 2)
    source = ChipSource(cell_places(cells, 8), Raster(path), 1000.0, 24)
    model = encoder_folder(tmp_path / "model", 6, source.read(np.arange(len(cells))).data["image"])
    found = AerialModality(raster=(str(path),), model=model, pixels=24, ground_m=1000.0).compute(cells)
    assert found.present.all()
    apart = found.values @ found.values.T
    assert apart[~np.eye(len(cells), dtype=bool)].std() > 0.2  # cells differ
    np.testing.assert_allclose(np.linalg.norm(found.values, axis=1), 1.0, rtol=1e-4)


def test_twelve_bands_of_sentinel_2_through_an_image_encoder(data_dir: Path, tmp_path: Path) -> None:
    """The patches as image files through `embed`, and one of them cell by cell: one encoder of twelve bands."""
    from placevec.sources.images import ImageFiles
    from placevec.tasks.embed import embed

    every = tuple(range(1, 13))
    patches = ImageFiles(data_dir / "sentinel2", pixels=24, bands=every, stretch=(0, 4000))
    chips = patches.read(np.arange(len(patches.places()))).data["image"]
    assert chips.shape == (6, 12, 24, 24)
    model = encoder_folder(tmp_path / "model", 12, chips)
    summary = embed(patches, load_encoder(model), tmp_path / "patches.parquet")
    assert (summary.rows, summary.skipped) == (6, 0)
    table = read_table(tmp_path / "patches.parquet")
    assert np.isfinite(table.places().lon).all()
    path = data_dir / "sentinel2/patch_25630.tif"
    raw = ChipSource(cell_places(cells_at(*middle_of(path), 9, 1), 9), Raster(path), 300.0, 24)
    own = encoder_folder(tmp_path / "raw", 12, raw.read(np.arange(7)).data["image"])
    cells = cells_at(*middle_of(path), 9, 2)
    found = AerialModality(raster=(str(path),), model=own, pixels=24, ground_m=300.0).compute(cells)
    assert found.values.shape == (19, 8)
    assert found.present.all()
    assert found.values.std(axis=0).min() > 0.01


def test_a_run_that_was_killed_goes_on(six: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, model = six
    monkeypatch.setattr(aerial, "_PART", 5)
    cells = cells_at(*middle_of(path))  # 19: four parts
    settings = AerialModality(raster=(str(path),), model=model, pixels=PIXELS)
    whole = settings.compute(cells)
    read = ChipSource.read
    asked: list[int] = []

    def killed(source: ChipSource, rows: Any, *args: Any) -> Any:
        asked.extend(rows.tolist())
        if 12 in rows:
            raise KeyboardInterrupt
        return read(source, rows, *args)

    out = tmp_path / "aerial.parquet"
    monkeypatch.setattr(ChipSource, "read", killed)
    with pytest.raises(KeyboardInterrupt):
        cell_features(settings, out, cells=cells)
    kept = list((tmp_path / "aerial.parquet.run").rglob("*.npz"))
    assert len(kept) == 2
    kept[1].write_bytes(b"cut short")  # such a part is made again
    asked.clear()
    monkeypatch.setattr(ChipSource, "read", lambda source, rows: asked.extend(rows.tolist()) or read(source, rows))
    steps: list[tuple[str, int, int]] = []
    summary = cell_features(settings, out, cells=cells, told=lambda *step: steps.append(step))
    done = int(kept[0].stem) * 5
    assert asked == [row for row in range(19) if not done <= row < done + 5]
    assert summary.notes[0] == "went on with a run that had 5 of 19 pictures"
    assert steps == [("pictures", done, 19) for done in (5, 10, 15, 19)]
    assert [each.name for each in tmp_path.iterdir()] == [out.name]  # nothing is left beside it
    table = read_table(out)
    own = dict(zip(table.places().column("h3").tolist(), table.vectors(), strict=True))
    np.testing.assert_array_equal([own[int(cell)] for cell in cells], whole.values)


def test_what_was_kept_for_other_pictures_is_not_taken(six: tuple[Path, str], tmp_path: Path) -> None:
    path, model = six
    cells = cells_at(*middle_of(path), k=0)
    for pixels in (PIXELS, 2 * PIXELS):
        settings = AerialModality(raster=(str(path),), model=model, pixels=pixels)
        found = settings.compute_in(tmp_path / "run", cells)
        assert len(list((tmp_path / "run").iterdir())) == 1
        assert not any("went on" in note for note in found.notes)
        again = settings.compute_in(tmp_path / "run", cells)
        assert again.notes[0] == "went on with a run that had 1 of 1 pictures"
        np.testing.assert_array_equal(again.values, found.values)
    rng = np.random.default_rng(5)
    write_raster(tmp_path / "a.tif", rng.integers(0, 255, (6, 60, 60)).astype(np.uint8), west=288_776.0,
                 north=9_120_760.0, pixel=120.0, crs="EPSG:31985")  # fmt: skip
    settings = AerialModality(raster=(str(tmp_path / "a.tif"),), model=model, pixels=PIXELS)
    first = settings.compute_in(tmp_path / "run", cells)
    write_raster(tmp_path / "a.tif", rng.integers(0, 99, (6, 60, 60)).astype(np.uint8), west=288_776.0,
                 north=9_120_760.0, pixel=120.0, crs="EPSG:31985")  # fmt: skip
    second = settings.compute_in(tmp_path / "run", cells)
    assert not np.array_equal(first.values, second.values)
