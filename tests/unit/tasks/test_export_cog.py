"""Attributes as Cloud Optimized GeoTIFFs: layout, overviews, values, strips, the antimeridian."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import shapely

from placevec.atlas import cog
from placevec.cli.main import run
from placevec.errors import SchemaError, UsageError
from placevec.geo.cells import H3Cells
from placevec.geo.frames import to_lonlat
from placevec.geo.sphere import LonLat
from placevec.provenance import Space
from placevec.table import EmbeddingTable, Places, write_table
from placevec.tasks.export_cog import export_cog

rasterio = pytest.importorskip("rasterio")


def cells_of(box: shapely.Geometry, resolution: int) -> Places:
    cells = H3Cells(resolution).cover(box)
    count = len(cells)
    attributes = {
        "height_m": np.arange(count) + 0.5,
        "kind": np.array(["b", "a", None], dtype=object)[np.arange(count) % 3],
        "code": np.arange(count) % 4,
        "big": np.arange(count) + 2**26,
        "nothing": np.where(np.arange(count) % 2, np.nan, 1.0),
    }
    return Places.create(
        [f"{cell:x}" for cell in cells], H3Cells(resolution).centre(cells), h3=cells, attributes=attributes
    )


def test_every_pixel_has_the_value_of_the_cell_that_holds_it(tmp_path: Path) -> None:
    places = cells_of(shapely.box(-4, 39, -1, 41), 5)
    out = tmp_path / "a.tif"
    for projection in ("lonlat", "mercator", "equal-area"):
        summary = export_cog(places, out, columns=["height_m", "kind", "nothing"], projection=projection)
        assert summary["bands"] == ["height_m", "kind", "nothing"]
        assert summary["hidden"] == 0
        with rasterio.open(out) as raster:
            assert raster.crs is not None
            assert np.isnan(raster.nodata)
            heights, kinds, nothing = raster.read()
            classes = json.loads(raster.tags(2)["CLASSES"])
            assert raster.units[0] == "m"
            row, column = np.mgrid[0 : raster.height, 0 : raster.width]
            x, y = rasterio.transform.xy(raster.transform, row.ravel(), column.ravel())
            where = to_lonlat(np.asarray(x), np.asarray(y), raster.crs.to_wkt())
        found = H3Cells(5).assign(where)
        at = {int(cell): row for row, cell in enumerate(places.column("h3"))}
        rows = np.array([at.get(int(cell), -1) for cell in found])
        # A pixel whose centre lies on a border may round to either cell.
        expected = np.where(rows >= 0, places.column("height_m")[rows], np.nan)
        assert np.isclose(heights.ravel(), expected, equal_nan=True).mean() > 0.999
        named = [None if np.isnan(one) else classes[str(int(one))] for one in kinds.ravel()]
        spelt = [None if row < 0 else places.column("kind")[row] for row in rows]
        assert np.mean([a == b for a, b in zip(named, spelt, strict=True)]) > 0.999
        assert np.isnan(nothing).mean() > 0.4


def test_the_file_is_a_cog_with_overviews_of_means_or_of_the_most_frequent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cog, "BLOCK", 128)  # a small raster has as many levels then as a large one
    places = cells_of(shapely.box(-4, 39, -1, 41), 5)
    export_cog(places, tmp_path / "mean.tif", columns=["height_m"], pixel_m=600)
    export_cog(places, tmp_path / "mode.tif", columns=["code"], pixel_m=600)
    for name in ("mean", "mode"):
        with rasterio.open(tmp_path / f"{name}.tif") as raster:
            assert raster.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
            assert raster.profile["tiled"]
            assert raster.block_shapes == [(cog.BLOCK, cog.BLOCK)]
            levels = raster.overviews(1)
            assert levels[:2] == [2, 4]
            assert max(raster.width, raster.height) / levels[-1] <= cog.BLOCK
        with rasterio.open(tmp_path / f"{name}.tif", overview_level=1) as small:
            values = small.read(1)
            whole_numbers = set(np.unique(values[np.isfinite(values)]).tolist()) <= {0.0, 1.0, 2.0, 3.0}
            assert whole_numbers == (name == "mode")


def test_strips_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = cells_of(shapely.box(-4, 39, -1, 41), 5)
    export_cog(places, tmp_path / "whole.tif", pixel_m=700)
    monkeypatch.setattr(cog, "STRIP_PIXELS", 1000)
    monkeypatch.setattr(cog, "BLOCK", 128)
    told: list[tuple[int, int]] = []
    export_cog(places, tmp_path / "strips.tif", pixel_m=700, progress=lambda a, b, _: told.append((a, b)))
    assert told[-1][0] == told[-1][1] > 1
    with rasterio.open(tmp_path / "whole.tif") as one, rasterio.open(tmp_path / "strips.tif") as other:
        assert one.count == 4
        assert one.dtypes[0] == "float64"  # whole numbers beyond 2^24 stand in one of the bands
        assert np.array_equal(one.read(), other.read(), equal_nan=True)


def test_cells_across_the_antimeridian_are_one_piece(tmp_path: Path) -> None:
    places = cells_of(shapely.MultiPolygon([shapely.box(178, -18, 180, -16), shapely.box(-180, -18, -179, -16)]), 5)
    summary = export_cog(places, tmp_path / "fiji.tif", columns=["height_m"])
    with rasterio.open(tmp_path / "fiji.tif") as raster:
        values = raster.read(1)
        assert raster.bounds.right > 180
        assert raster.bounds.right - raster.bounds.left < 5
    assert summary["hidden"] == 0
    assert set(np.unique(values[np.isfinite(values)])) == set(places.column("height_m"))


def test_points_are_drawn_as_the_ground_around_them(tmp_path: Path) -> None:
    x, y = np.meshgrid(np.arange(0, 1, 0.1), np.arange(45, 46, 0.1))
    where = LonLat(x.ravel(), y.ravel())
    places = Places.create([str(row) for row in range(100)], where, attributes={"v": np.arange(100.0)})
    export_cog(places, tmp_path / "p.tif")
    with rasterio.open(tmp_path / "p.tif") as raster:
        found = np.array([value[0] for value in raster.sample(zip(where.lon, where.lat, strict=True))])
    assert np.array_equal(found, np.arange(100.0))


def test_what_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    places, out = cells_of(shapely.box(-4, 39, -3.9, 39.1), 6), tmp_path / "a.tif"
    for columns, text in ((["height"], "no attribute 'height'"), (["id"], "no attribute 'id'"), ([], "shows numbers")):
        with pytest.raises(UsageError, match=text):
            export_cog(places, out, columns=columns)
    with pytest.raises(UsageError, match="length above 0"):
        export_cog(places, out, pixel_m=0)
    with pytest.raises(UsageError, match="too large"):
        export_cog(places, out, pixel_m=0.05)
    with pytest.raises(SchemaError, match="nothing to draw"):
        export_cog(Places.create(["a"], attributes={"v": [1.0]}), out)
    assert not list(tmp_path.iterdir())


def test_the_command_line_writes_a_raster_of_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    places = cells_of(shapely.box(-4, 39, -3, 40), 5)
    vectors = np.random.default_rng(0).normal(size=(len(places), 3)).astype("f4")
    write_table(EmbeddingTable.of(places, vectors, Space("a:b", 3)), tmp_path / "t.parquet")
    words = ["export", str(tmp_path / "t.parquet"), "-q", "-o", str(tmp_path / "t.tif"), "--column", "height_m"]
    assert run([*words, "--pixel", "500m", "--where", "code == 1"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["form"], summary["rows"]) == ("cog", int((places.column("code") == 1).sum()))
    with rasterio.open(tmp_path / "t.tif") as raster:
        assert raster.descriptions == ("height_m",)
