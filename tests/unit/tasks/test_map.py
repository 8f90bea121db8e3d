"""`map` of tables and grids together: shared colours, likeness to a place, colours kept from an older model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from placevec.atlas.colour import ColourBasis
from placevec.cli.main import run
from placevec.errors import FormatError, SchemaError, SpaceMismatch, UsageError
from placevec.geo.cells import H3Cells
from placevec.geo.sphere import LonLat
from placevec.grid import EmbeddingGrid, GridSink
from placevec.provenance import Space, TableMeta
from placevec.table import EmbeddingTable, Places, write_table
from placevec.tasks.map import map_tables
from placevec.tasks.map_subjects import distance, heading_of, units_of

rasterio = pytest.importorskip("rasterio")

BOX = (-9.0, 36.0, 3.0, 43.0)
SHAPE = (140, 240)
NO_FIGURE = {"width": 100, "geotiff": False, "layouts": ()}  # a figure takes a second
OLD, NEW = Space("trained:old", 6), Space("trained:new", 9)


def vectors_at(lonlat: LonLat, space: Space, *, noise: float = 0.02) -> np.ndarray:
    """A landscape that both models see, each on axes of its own."""
    rng = np.random.default_rng(space.dims)
    wave = np.column_stack([3 * np.sin(lonlat.lon / 2), 2 * np.cos(lonlat.lat), np.sin(lonlat.lat + lonlat.lon)])
    return (wave @ rng.normal(size=(3, space.dims)) + noise * rng.normal(size=(len(wave), space.dims))).astype("f4")


def table_of(path: Path, space: Space, *, seed: int = 0, cells: bool = True) -> EmbeddingTable:
    rng = np.random.default_rng(seed)
    points = LonLat(rng.uniform(BOX[0], BOX[2], 500), rng.uniform(BOX[1], BOX[3], 500))
    ids, h3 = [f"p{i}" for i in range(500)], {}
    if cells:
        found = np.unique(H3Cells(4).assign(points))
        points, ids, h3 = H3Cells(4).centre(found), [f"{cell:x}" for cell in found], {"h3": found}
    rows = len(points)
    attributes = {
        "support": np.where(np.arange(rows) % 9, rng.lognormal(0, 2, rows), 0.0),
        "bank_m": rng.uniform(0, 90_000, rows),
        "few": rng.integers(0, 4, rows),
    }
    places = Places.create(ids, points, attributes=attributes, **h3)
    table = EmbeddingTable.of(places, vectors_at(points, space), space, tower="location", encoder="models/m")
    write_table(table, path)
    return table


def grid_of(path: Path, space: Space) -> EmbeddingGrid:
    west, south, east, north = BOX
    lon = west + (np.arange(SHAPE[1]) + 0.5) * (east - west) / SHAPE[1]
    lat = north - (np.arange(SHAPE[0]) + 0.5) * (north - south) / SHAPE[0]
    every = np.meshgrid(lon, lat)
    values = vectors_at(LonLat(every[0].ravel(), every[1].ravel()), space).reshape(*SHAPE, -1)
    values[:20, :30] = np.nan
    with GridSink(path, TableMeta(space, tower="location"), bounds=BOX, shape=SHAPE) as sink:
        sink.write(values)
    return EmbeddingGrid(path)


def test_a_table_and_a_grid_share_colours(tmp_path: Path) -> None:
    table = table_of(tmp_path / "cells.parquet", OLD)
    grid = grid_of(tmp_path / "region.tif", OLD)
    basis = tmp_path / "basis.json"
    paths = [tmp_path / "cells.parquet", tmp_path / "region.tif"]
    first, second = map_tables(paths, tmp_path / "map.png", basis=basis, width=300)
    assert (first.noun, first.rows) == ("places", len(table))
    assert (second.noun, second.rows) == ("pixels", SHAPE[0] * SHAPE[1] - 600)
    stored = ColourBasis.from_json(basis.read_text())
    with rasterio.open(second.geotiff) as raster:
        colours = raster.read()
    window = grid.window()
    assert np.array_equal(colours[:3, window.rows, window.columns].T, stored.apply(window.vectors))
    assert not colours[3, :20, :30].any()
    # Twice the same command, twice the same files.
    drawn = map_tables(paths, tmp_path / "again.png", basis=tmp_path / "again.json", width=300)
    assert drawn[1].png.read_bytes() == second.png.read_bytes()
    assert (tmp_path / "again.json").read_text() == basis.read_text()


def test_the_map_of_a_grid_never_overwrites_the_grid(tmp_path: Path) -> None:
    grid_of(tmp_path / "region.tif", OLD)
    before = (tmp_path / "region.tif").read_bytes()
    (drawn,) = map_tables([tmp_path / "region.tif"], tmp_path / "region.png", width=200)
    assert drawn.geotiff == tmp_path / "region-map.tif"
    assert (tmp_path / "region.tif").read_bytes() == before


@pytest.mark.parametrize("cells", [True, False])
def test_likeness_to_a_point_is_that_to_the_nearest_place_of_each(tmp_path: Path, cells: bool) -> None:
    table = table_of(tmp_path / "t.parquet", OLD, cells=cells)
    grid = grid_of(tmp_path / "g.tif", OLD)
    at = (-3.71, 40.41)
    first, second = map_tables(
        [table, tmp_path / "g.tif"], tmp_path / "sim.png", by="similarity", at=at, width=250, layouts=()
    )
    away = np.hypot((table.lon - at[0]) * np.cos(np.radians(at[1])), table.lat - at[1])
    assert str(table.ids[away.argmin()]) in first.said[0]
    assert "km from -3.71,40.41" in first.said[0]
    row, column = (int(part[0]) for part in grid.locate(np.array([at[0]]), np.array([at[1]])))
    with rasterio.open(second.geotiff) as raster:
        likeness = raster.read(1)
        assert np.isnan(likeness[:20, :30]).all()
        assert likeness[row, column] == pytest.approx(1, abs=1e-5)
    window = grid.window()
    unit = window.vectors / np.linalg.norm(window.vectors, axis=1, keepdims=True)
    query = unit[(window.rows == row) & (window.columns == column)][0]
    assert np.allclose(likeness[window.rows, window.columns], unit @ query, atol=1e-5)


def test_a_row_of_a_table_is_looked_for_on_a_grid(tmp_path: Path) -> None:
    table = table_of(tmp_path / "t.parquet", OLD)
    grid = grid_of(tmp_path / "g.tif", OLD)
    name = str(table.ids[7])
    _, drawn = map_tables([table, grid], tmp_path / "s.png", by="similarity", like=name, **NO_FIGURE)
    assert drawn.said == (f"query: {name}",)
    (own,) = map_tables([grid], tmp_path / "o.png", by="similarity", like="100,200", **NO_FIGURE)
    assert own.said == ("query: pixel 100,200",)
    other = grid_of(tmp_path / "other.tif", NEW)
    with pytest.raises(SpaceMismatch, match="likeness to"):
        map_tables([table, other], tmp_path / "x.png", by="similarity", like=name, **NO_FIGURE)
    with pytest.raises(UsageError, match="no row '0,0'"):
        map_tables([grid], tmp_path / "x.png", by="similarity", like="0,0")


def test_queries_that_say_nothing_are_refused(tmp_path: Path) -> None:
    table, grid = table_of(tmp_path / "t.parquet", OLD), grid_of(tmp_path / "g.tif", OLD)
    for subject in (table, grid):
        with pytest.raises(UsageError, match="longitude first"):
            map_tables([subject], tmp_path / "x.png", by="similarity", at=(40.4, -3.7))
    with pytest.raises(UsageError, match="no row 'p1'"):
        map_tables([table], tmp_path / "x.png", by="similarity", at=(-3.7, 40.4), like="p1")
    with pytest.raises(UsageError, match="not of --by pca"):
        map_tables([table], tmp_path / "x.png", at=(-3.7, 40.4))
    with pytest.raises(UsageError, match="not of --by support"):
        map_tables([table], tmp_path / "x.png", by="support", align=table)
    with pytest.raises(UsageError, match="no component of g; .*dim_0, dim_1"):
        map_tables([grid], tmp_path / "x.png", by="support")
    assert not list(tmp_path.glob("x*"))


@pytest.mark.parametrize("kinds", ["table table", "table grid", "grid table", "grid grid"])
def test_the_colours_of_a_new_model_are_those_of_the_old_one(tmp_path: Path, kinds: str) -> None:
    before, after = kinds.split()
    make = {"table": table_of, "grid": grid_of}
    ends = {"table": "parquet", "grid": "tif"}
    old, new = tmp_path / f"old.{ends[before]}", tmp_path / f"new.{ends[after]}"
    make[before](old, OLD)
    make[after](new, NEW)
    basis = tmp_path / "old.json"
    map_tables([old], tmp_path / "old.png", basis=basis, **NO_FIGURE)
    kept = basis.read_text()
    (by_file,) = map_tables([new], tmp_path / "file.png", basis=basis, **NO_FIGURE)
    (by_table,) = map_tables([new], tmp_path / "table.png", align=old, basis=tmp_path / "new.json", **NO_FIGURE)
    assert basis.read_text() == kept
    for drawn in (by_file, by_table):
        share = int(drawn.said[-1].split("%")[0].split()[-1])
        assert share > 90, drawn.said
    was, now = ColourBasis.from_json(kept), ColourBasis.from_json((tmp_path / "new.json").read_text())
    rng = np.random.default_rng(5)
    points = LonLat(rng.uniform(-8, 2, 500), rng.uniform(37, 42, 500))
    first, second = was.apply(vectors_at(points, OLD)), now.apply(vectors_at(points, NEW))
    assert np.abs(first.astype(int) - second.astype(int)).mean() < 15
    # Used again, the basis of the new model still says what it was turned towards.
    (again,) = map_tables([new], tmp_path / "again.png", basis=tmp_path / "new.json", **NO_FIGURE)
    assert again.said == by_table.said


def test_a_basis_that_does_not_fit_says_what_to_do(tmp_path: Path) -> None:
    old, new = table_of(tmp_path / "old.parquet", OLD), table_of(tmp_path / "new.parquet", NEW)
    basis = tmp_path / "old.json"
    map_tables([old], tmp_path / "old.png", basis=basis, **NO_FIGURE)
    plain = ColourBasis.from_json(basis.read_text())
    basis.write_text(replace(plain, anchors=None).to_json())
    with pytest.raises(SpaceMismatch, match="remembers no places.*--align"):
        map_tables([new], tmp_path / "x.png", basis=basis)
    (drawn,) = map_tables([new], tmp_path / "y.png", basis=basis, align=old, **NO_FIGURE)
    assert "colours agree" in drawn.said[-1]
    third = table_of(tmp_path / "third.parquet", Space.mint(4))
    with pytest.raises(SpaceMismatch, match="its map was drawn with"):
        map_tables([new], tmp_path / "x.png", basis=basis, align=third)
    few = old.take(np.arange(20))
    with pytest.raises(UsageError, match="at least 50 places.*got 20"):
        map_tables([few], tmp_path / "x.png", align=new)
    basis.write_text("no json")
    with pytest.raises(FormatError, match=r"old\.json"):
        map_tables([new], tmp_path / "x.png", basis=basis)


def test_rows_under_other_names_are_found_where_they_lie(tmp_path: Path) -> None:
    old, new = table_of(tmp_path / "old.parquet", OLD), table_of(tmp_path / "new.parquet", NEW)
    places = Places.create([f"n{i}" for i in range(len(new))], new.lonlat(), h3=new.column("h3"))
    renamed = EmbeddingTable.of(places, new.vectors(), NEW)
    by_id, by_place = (map_tables([table], tmp_path / "m.png", align=old, **NO_FIGURE)[0] for table in (new, renamed))
    assert by_id.said == by_place.said
    far = places.lonlat()
    moved = Places.create(places.ids, LonLat(far.lon + 30, far.lat))
    with pytest.raises(UsageError, match="got 0"):
        map_tables([EmbeddingTable.of(moved, new.vectors(), NEW)], tmp_path / "m.png", align=old, **NO_FIGURE)


def test_with_one_space_the_older_colours_are_used_as_they_are(tmp_path: Path) -> None:
    old, other = table_of(tmp_path / "old.parquet", OLD), table_of(tmp_path / "other.parquet", OLD, seed=4)
    map_tables([old], tmp_path / "old.png", basis=tmp_path / "old.json", **NO_FIGURE)
    (drawn,) = map_tables([other], tmp_path / "o.png", align=old, basis=tmp_path / "o.json", **NO_FIGURE)
    assert drawn.said == ()
    was, now = (ColourBasis.from_json((tmp_path / name).read_text()) for name in ("old.json", "o.json"))
    assert np.array_equal(was.components, now.components)


def test_support_and_distance_have_units_and_a_logarithmic_scale(tmp_path: Path) -> None:
    table = table_of(tmp_path / "t.parquet", OLD)
    (linear,) = map_tables([table], tmp_path / "a.png", by="support", width=100, layouts=())
    assert "--scale log" in linear.said[0]
    (log,) = map_tables([table], tmp_path / "b.png", by="support", scale="log", width=100, layouts=())
    assert log.said == ()
    (metres,) = map_tables([table], tmp_path / "c.png", by="bank_m", width=100, layouts=())
    with rasterio.open(metres.geotiff) as raster:
        assert raster.units == ("m",)
        assert np.nanmax(raster.read(1)) > 80_000
    (component,) = map_tables([grid_of(tmp_path / "g.tif", OLD)], tmp_path / "d.png", by="dim_2", width=100, layouts=())
    assert component.geotiff is not None
    assert units_of("bank_m", "") == "m"
    assert units_of("bank_m", "miles") == "miles"
    assert units_of("support", "") == ""
    assert heading_of("bank_m") == "Distance to the bank"
    assert [distance(value) for value in (347.2, 7_600, 123_456)] == ["347 m", "7.6 km", "123 km"]


def test_an_empty_grid_is_refused(tmp_path: Path) -> None:
    with GridSink(tmp_path / "g.tif", TableMeta(OLD), bounds=BOX, shape=(9, 9)) as sink:
        sink.write(np.full((9, 9, 6), np.nan, np.float32))
    for options in ({}, {"by": "dim_0"}, {"by": "similarity", "at": (0.0, 40.0)}):
        with pytest.raises(SchemaError, match="no pixel|no vectors"):
            map_tables([tmp_path / "g.tif"], tmp_path / "x.png", width=100, **options)
    assert not list(tmp_path.glob("x*"))


def test_the_command_says_where_the_query_lies(tmp_path: Path, capfd) -> None:
    grid_of(tmp_path / "g.tif", OLD)
    words = ["map", str(tmp_path / "g.tif"), "-o", str(tmp_path / "s.png"), "--by", "similarity", "--at=-3.7,40.4"]
    assert run([*words, "--width", "150", "--projection", "lonlat"]) == 0
    said = capfd.readouterr().err
    assert "pixels" in said
    assert "from -3.7,40.4" in said
    assert run([*words, "--like", "3,4"]) == 2
