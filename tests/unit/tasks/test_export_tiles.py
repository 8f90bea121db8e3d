"""PMTiles and folders of tiles, read back: every cell once, parents with means, the antimeridian, bounds on size."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

from mvt_reader import read_tile
from placevec.cli.main import run
from placevec.errors import SchemaError, UsageError
from placevec.geo.cells import H3Cells
from placevec.geo.sphere import LonLat
from placevec.provenance import Space
from placevec.sources.mvt import EXTENT, mercator
from placevec.table import EmbeddingTable, Places, write_table
from placevec.tasks import export_tiles as module
from placevec.tasks.export_tiles import export_tiles, hilbert_number
from placevec.tasks.tile_levels import Levels

pmtiles = pytest.importorskip("pmtiles.reader")


def cells_of(box: shapely.Geometry, resolution: int = 5) -> Places:
    cells = H3Cells(resolution).cover(box)
    centres = H3Cells(resolution).centre(cells)
    rng = np.random.default_rng(0)
    share = np.where(rng.random(len(cells)) < 0.1, np.nan, rng.random(len(cells)))
    attributes = {
        "share": share,
        "kind": rng.choice(["forest", "grass", "urban"], len(cells)),
        "code": rng.integers(1, 5, len(cells)),
        "grows": rng.random(len(cells)) < 0.3,
    }
    return Places.create([f"{cell:x}" for cell in cells], centres, h3=cells, attributes=attributes)


def tiles_of(path: Path) -> dict[tuple[int, int, int], dict[str, Any]]:
    with path.open("rb") as file:
        every = list(pmtiles.all_tiles(pmtiles.MmapSource(file)))
    return {tile: read_tile(gzip.decompress(content)) for tile, content in every}


def about(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    with path.open("rb") as file:
        reader = pmtiles.Reader(pmtiles.MmapSource(file))
        return reader.header(), reader.metadata()


def centre_of(tile: tuple[int, int, int], rings: list[list[tuple[int, int]]]) -> np.ndarray:
    zoom, column, row = tile
    return (np.mean(rings[0], axis=0) / EXTENT + [column, row]) / 2**zoom


@pytest.fixture(scope="module")
def iberia(tmp_path_factory: pytest.TempPathFactory) -> tuple[Places, Path, dict[str, Any]]:
    places = cells_of(shapely.box(-7, 38, -1, 42))
    out = tmp_path_factory.mktemp("tiles") / "iberia.pmtiles"
    return places, out, export_tiles(places, out)


def test_numbers_of_tiles_are_those_of_pmtiles() -> None:
    from pmtiles.tile import zxy_to_tileid

    rng = np.random.default_rng(0)
    for zoom in range(20):
        for _ in range(20):
            x, y = (int(one) for one in rng.integers(0, 1 << zoom, 2))
            assert hilbert_number((zoom, x, y)) == zxy_to_tileid(zoom, x, y)


def test_the_last_zoom_shows_every_cell_where_it_lies(iberia: tuple[Places, Path, dict[str, Any]]) -> None:
    places, out, summary = iberia
    tiles = tiles_of(out)
    assert summary["tiles"] == len(tiles)
    first, last = summary["zooms"]
    assert {zoom for zoom, _, _ in tiles} == set(range(first, last + 1))
    shapes = dict(zip(places.ids, H3Cells(5).polygons(places.column("h3").astype("u8")), strict=True))
    seen: dict[str, dict[str, Any]] = {}
    for tile, layer in tiles.items():
        if tile[0] == last:
            for kind, rings, properties in layer["features"]:
                assert kind == 3
                seen[properties["id"]] = properties
                flat = shapely.transform(shapes[properties["id"]], mercator)
                # A corner cut off by the margin moves the centre; it stays within the cell.
                assert flat.buffer(1 / EXTENT / 2**last).contains(shapely.Point(centre_of(tile, rings)))
    assert set(seen) == set(places.ids)
    for row, name in enumerate(places.ids):
        share = places.column("share")[row]
        assert seen[name].get("share", np.nan) == pytest.approx(share, nan_ok=True)
        assert seen[name]["kind"] == places.column("kind")[row]
        assert (seen[name]["code"], seen[name]["grows"]) == (places.column("code")[row], places.column("grows")[row])


def test_further_out_parents_have_the_mean_or_the_most_frequent(iberia: tuple[Places, Path, dict[str, Any]]) -> None:
    places, out, summary = iberia
    coarse = {zoom: level for zoom, level in summary["levels"].items() if level != "h3:5"}
    assert coarse
    zoom, level = next(iter(coarse.items()))
    resolution = int(level.removeprefix("h3:"))
    parents = H3Cells(5).parent(places.column("h3").astype("u8"), resolution)
    found = {
        properties["h3"]: properties
        for tile, layer in tiles_of(out).items()
        if tile[0] == int(zoom)
        for _, _, properties in layer["features"]
    }
    assert set(found) == {f"{cell:x}" for cell in parents}
    for cell in np.unique(parents):
        rows, properties = np.flatnonzero(parents == cell), found[f"{cell:x}"]
        assert properties["rows"] == len(rows)
        shares = places.column("share")[rows]
        mean = np.nanmean(shares) if np.isfinite(shares).any() else np.nan
        assert properties.get("share", np.nan) == pytest.approx(mean, nan_ok=True)
        for name in ("kind", "code", "grows"):
            names, counts = np.unique(places.column(name)[rows], return_counts=True)
            assert properties[name] == names[np.argmax(counts)]
    _, metadata = about(out)
    assert metadata["placevec:aggregated"] == {"share": "mean", "kind": "mode", "code": "mode", "grows": "mode"}


def test_the_header_says_what_the_file_holds(iberia: tuple[Places, Path, dict[str, Any]]) -> None:
    places, out, summary = iberia
    header, metadata = about(out)
    assert [header["min_zoom"], header["max_zoom"]] == summary["zooms"]
    assert header["clustered"]
    assert header["min_lon_e7"] / 1e7 == pytest.approx(places.lon.min())
    assert header["max_lat_e7"] / 1e7 == pytest.approx(places.lat.max())
    (layer,) = metadata["vector_layers"]
    assert layer["id"] == "iberia"
    assert layer["fields"] == {
        "id": "String", "h3": "String", "rows": "Number", "share": "Number", "kind": "String", "code": "Number",
        "grows": "Boolean",
    }  # fmt: skip


def test_gdal_reads_the_same_cells(iberia: tuple[Places, Path, dict[str, Any]]) -> None:
    pyogrio = pytest.importorskip("pyogrio")
    if "PMTiles" not in pyogrio.list_drivers():
        pytest.skip("this GDAL reads no PMTiles")
    places, out, _ = iberia
    meta, _, shapes, columns = pyogrio.raw.read(out)
    assert meta["crs"] == "EPSG:3857"
    ids = columns[list(meta["fields"]).index("id")]
    assert set(ids) == set(places.ids)
    assert shapely.is_valid(shapely.from_wkb(shapes)).mean() > 0.99


def test_cells_across_the_antimeridian_stand_at_both_ends(tmp_path: Path) -> None:
    places = cells_of(shapely.MultiPolygon([shapely.box(178, -18, 180, -16), shapely.box(-180, -18, -179, -16)]), 4)
    summary = export_tiles(places, tmp_path / "fiji.pmtiles")
    last = summary["zooms"][1]
    side = 1 << last
    columns: dict[str, set[int]] = {}
    for (zoom, column, _), layer in tiles_of(tmp_path / "fiji.pmtiles").items():
        assert column in range(int(0.99 * (1 << zoom)) - 1, 1 << zoom) or column <= 0.01 * (1 << zoom)
        for _, rings, properties in layer["features"]:
            flat = np.array([point for ring in rings for point in ring])
            assert np.ptp(flat[:, 0]) <= EXTENT + 128
            if zoom == last:
                columns.setdefault(properties["id"], set()).add(column)
    assert set(columns) == set(places.ids)
    assert any({0, side - 1} <= found for found in columns.values())
    header, metadata = about(tmp_path / "fiji.pmtiles")
    assert (header["min_lon_e7"], header["max_lon_e7"]) == (-1_800_000_000, 1_800_000_000)
    assert metadata["bounds"][0] < metadata["bounds"][2]
    assert summary["zooms"][0] >= 5  # a small country, though its longitudes span the Earth


def test_cells_around_the_poles_do_not_break_it(tmp_path: Path) -> None:
    places = cells_of(shapely.box(-180, 80, 180, 90), 3)
    summary = export_tiles(places, tmp_path / "pole.pmtiles")
    assert summary["hidden"] == int((np.abs(places.lat) > 85.0511).sum()) > 0
    last = summary["zooms"][1]
    layers = [layer for tile, layer in tiles_of(tmp_path / "pole.pmtiles").items() if tile[0] == last]
    seen = {properties["id"] for layer in layers for _, _, properties in layer["features"]}
    assert set(places.ids[np.abs(places.lat) < 84]) <= seen


def test_points_are_brought_together_until_there_is_room_for_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from placevec.tasks import tile_levels

    monkeypatch.setattr(tile_levels, "FEATURES", 200)
    rng = np.random.default_rng(0)
    where = LonLat(rng.normal(10, 0.5, 1000), rng.normal(45, 0.3, 1000))
    places = Places.create([f"p{row}" for row in range(1000)], where, attributes={"height": rng.random(1000)})
    summary = export_tiles(places, tmp_path / "points.pmtiles")
    tiles = tiles_of(tmp_path / "points.pmtiles")
    first, last = summary["zooms"]
    assert first < last
    assert summary["levels"][str(last)] == "points"
    assert {p["id"] for t, one in tiles.items() if t[0] == last for _, _, p in one["features"]} == set(places.ids)
    merged = {p["h3"]: p["rows"] for t, one in tiles.items() if t[0] == first for _, _, p in one["features"]}
    assert sum(merged.values()) == 1000
    assert max(len(one["features"]) for one in tiles.values()) <= 1.4 * 200  # margins hold some twice


def test_tiles_that_would_be_too_large_show_coarser_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = cells_of(shapely.box(-7, 38, -1, 42))
    plain = export_tiles(places, tmp_path / "a.pmtiles")
    monkeypatch.setattr(module, "MOST_BYTES", plain["largest_bytes"] // 4)
    small = export_tiles(places, tmp_path / "b.pmtiles")
    assert small["largest_bytes"] <= plain["largest_bytes"] // 4
    assert small["zooms"][1] > plain["zooms"][1]
    last = small["zooms"][1]
    tiles = tiles_of(tmp_path / "b.pmtiles")
    assert {p["id"] for t, one in tiles.items() if t[0] == last for _, _, p in one["features"]} == set(places.ids)


def test_a_folder_holds_the_same_tiles(iberia: tuple[Places, Path, dict[str, Any]], tmp_path: Path) -> None:
    places, out, _ = iberia
    told: list[tuple[int, int]] = []
    export_tiles(places, tmp_path / "map.mvt", "mvt", layer="iberia", progress=lambda a, b, _: told.append((a, b)))
    found = {
        tuple(int(part.removesuffix(".mvt")) for part in file.relative_to(tmp_path / "map.mvt").parts): read_tile(
            file.read_bytes()
        )
        for file in (tmp_path / "map.mvt").rglob("*.mvt")
    }
    assert found == tiles_of(out)
    assert json.loads((tmp_path / "map.mvt/tiles.json").read_text())["tiles"] == ["{z}/{x}/{y}.mvt"]
    assert told[-1][0] == told[-1][1]
    again = tmp_path / "again.pmtiles"
    export_tiles(places, again, layer="iberia")
    assert again.read_bytes() == out.read_bytes()


def test_an_error_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places, out = cells_of(shapely.box(-3, 40, -2, 41)), tmp_path / "a.pmtiles"
    out.write_bytes(b"old")

    def full(*_: object) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "encode_tile", full)
    with pytest.raises(OSError, match="No space"):
        export_tiles(places, out)
    assert out.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.pmtiles"]


def test_what_cannot_be_shown_is_refused(tmp_path: Path) -> None:
    places = cells_of(shapely.box(-3, 40, -2, 41))
    with pytest.raises(UsageError, match="no attribute 'nothing'"):
        Levels(places, ["nothing"])
    with pytest.raises(SchemaError, match="no geometry|none of the rows"):
        Levels(Places.create(["a"]))
    mixed = np.concatenate([places.column("h3")[:3], H3Cells(4).cover(shapely.box(-3, 40, -2.9, 40.1))])
    ids = [str(row) for row in range(len(mixed))]
    where = LonLat(np.zeros(len(mixed)), np.zeros(len(mixed)))
    with pytest.raises(SchemaError, match=r"several resolutions \(4, 5\)"):
        Levels(Places.create(ids, where, h3=mixed.astype("u8")))
    twice = np.repeat(places.column("h3")[:1], 2).astype("u8")
    with pytest.raises(SchemaError, match="two rows"):
        Levels(Places.create(["a", "b"], LonLat(np.zeros(2), np.zeros(2)), h3=twice))


def test_the_command_line_writes_tiles_of_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    places = cells_of(shapely.box(-3, 40, -2, 41))
    table = EmbeddingTable.of(
        places, np.random.default_rng(0).normal(size=(len(places), 3)).astype("f4"), Space("a:b", 3)
    )
    write_table(table, tmp_path / "t.parquet")
    words = ["export", str(tmp_path / "t.parquet"), "-q", "-o"]
    assert run([*words, str(tmp_path / "t.pmtiles"), "--columns", "share,kind"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["form"], summary["rows"]) == ("pmtiles", len(places))
    fields = about(tmp_path / "t.pmtiles")[1]["vector_layers"][0]["fields"]
    assert "share" in fields
    assert "code" not in fields
    assert run([*words, str(tmp_path / "u.pmtiles"), "--vectors"]) == 2
    assert "no vectors" in capsys.readouterr().err
