"""Files of targets: how cells are written, which column holds them, where points and polygons are."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from placevec.errors import CrsError, DataError, FormatError, SchemaError, UsageError
from placevec.geo.cells import H3Cells
from placevec.geo.sphere import LonLat
from placevec.sources.targets import cells_of_file, is_targets, read_cells, read_rows, read_targets
from placevec.sources.targets.columns import numbers, read_columns
from placevec.sources.targets.keys import parse_cells

CELLS = np.sort(H3Cells(9).assign(LonLat(np.linspace(4.30, 4.40, 12), np.linspace(52.0, 52.1, 12))))


@pytest.mark.parametrize(
    ("write", "kind"),
    [
        (lambda cells: [f"{c:x}" for c in cells], pa.string()),
        (lambda cells: [f"0x{c:X} " for c in cells], pa.large_string()),
        (lambda cells: [f"{c}" for c in cells], pa.string()),
        (lambda cells: cells, pa.uint64()),
        (lambda cells: cells, pa.int64()),
    ],
)
def test_cells_are_read_however_they_are_written(write: object, kind: pa.DataType) -> None:
    column = pa.array([*write([int(c) for c in CELLS]), None], kind)
    assert parse_cells(column).tolist() == [*CELLS.tolist(), 0]
    assert parse_cells(column.dictionary_encode() if pa.types.is_string(kind) else column)[0] == CELLS[0]


def test_what_is_no_cell_is_zero() -> None:
    texts = ["", "89", "x" * 15, "fffffffffffffff", "-1", "12,4,9", f"{int(CELLS[0]):x}z"]
    assert not parse_cells(pa.array(texts)).any()
    assert not parse_cells(pa.array([1, -5, 2**62])).any()
    assert not parse_cells(pa.array([1.5])).any()


def test_the_column_of_cells_is_found(tmp_path: Path) -> None:
    hexes = [f"{int(c):x}" for c in CELLS]
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"n": range(12), "where": hexes, "h3": ["x"] * 12}), path)
    assert read_rows(path).kind == "h3"
    assert read_rows(path).data.schema.names == ["n"]  # h3 has a meaning of its own, even where it holds none
    pq.write_table(pa.table({"name": hexes, "hex_id": [*hexes[:-1], "broken"]}), path)
    cells, lost = read_cells(path)
    assert cells.tolist() == CELLS[:-1].tolist()
    assert lost == 1
    with pytest.raises(SchemaError, match="no column 'h4'"):
        read_cells(path, "h4")
    pq.write_table(pa.table({"a": [1.0]}), path)
    with pytest.raises(DataError, match="no column holds H3 cells; its columns are: a"):
        cells_of_file(path)
    with pytest.raises(SchemaError, match="'a' holds no H3 cells"):
        read_rows(path, key="a")
    mixed = [*hexes, f"{int(H3Cells(9).parent(CELLS[:1], 8)[0]):x}"]
    pq.write_table(pa.table({"id": mixed}), path)
    with pytest.raises(DataError, match="of the resolutions 8, 9"):
        cells_of_file(path)


def test_csv_forms(tmp_path: Path) -> None:
    text = "id;n;word\n" + "\n".join(f"{int(c):x};{i};NA" for i, c in enumerate(CELLS)) + "\n"
    with gzip.open(tmp_path / "t.csv.gz", "wt") as handle:
        handle.write(text)
    rows = read_rows(tmp_path / "t.csv.gz")
    assert rows.cells is not None
    assert rows.cells.tolist() == CELLS.tolist()
    assert rows.data["n"].to_pylist() == list(range(12))
    assert numbers(rows.data["n"]) is not None
    (tmp_path / "latin.csv").write_bytes("id,név\n1,ő\n".encode("latin2"))
    with pytest.raises(FormatError, match=r"latin\.csv: "):
        read_rows(tmp_path / "latin.csv")
    (tmp_path / "wide.csv").write_bytes("id\n5\n".encode("utf-16"))
    with pytest.raises(FormatError, match=r"wide\.csv: the names of the columns are not in UTF-8"):
        read_rows(tmp_path / "wide.csv")
    (tmp_path / "twice.csv").write_text("a,a\n1,2\n")
    with pytest.raises(SchemaError, match="two columns are called 'a'"):
        read_columns(tmp_path / "twice.csv")
    (tmp_path / "cut.csv.gz").write_bytes((tmp_path / "t.csv.gz").read_bytes()[:40])
    with pytest.raises(FormatError, match="cannot be read"):
        read_rows(tmp_path / "cut.csv.gz")
    (tmp_path / "cut.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(FormatError):
        read_rows(tmp_path / "cut.parquet")
    with pytest.raises(UsageError, match="no such file"):
        read_rows(tmp_path / "none.csv")
    (tmp_path / "t.xlsx").write_text("")
    with pytest.raises(UsageError, match=r"targets are read from \.csv"):
        read_rows(tmp_path / "t.xlsx")


def test_points_and_polygons_of_any_system(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("x,y,price\n85000,450000,1\n86000,451000,2\n")
    rows = read_rows(tmp_path / "p.csv", lon="x", lat="y", crs="EPSG:28992")
    assert rows.kind == "points"
    assert rows.geometry is not None
    assert abs(shapely.get_x(rows.geometry[0]) - 4.39) < 0.05
    assert abs(shapely.get_y(rows.geometry[0]) - 52.03) < 0.05
    assert "Amersfoort" in rows.notes[0]
    (tmp_path / "w.csv").write_text('v,wkt\n7,"POLYGON((4 52,4.1 52,4.1 52.1,4 52))"\n')
    with pytest.raises(CrsError, match="--crs"):
        read_rows(tmp_path / "w.csv")
    assert read_rows(tmp_path / "w.csv", crs="OGC:CRS84").kind == "polygons"
    assert read_rows(tmp_path / "w.csv", crs="OGC:CRS84", kind="points").notes[-1].startswith("polygons were taken")
    with pytest.raises(DataError, match="holds no polygons"):
        read_rows(tmp_path / "p.csv", lon="x", lat="y", crs="EPSG:28992", kind="polygons")
    with pytest.raises(UsageError, match="--key names cells"):
        read_rows(tmp_path / "p.csv", key="x", lon="x", lat="y")
    (tmp_path / "n.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="neither cells nor places"):
        read_rows(tmp_path / "n.csv")
    with pytest.raises(DataError, match="no column holds H3 cells"):
        read_rows(tmp_path / "n.csv", kind="h3")


def test_features_say_their_system(tmp_path: Path) -> None:
    geopandas = pytest.importorskip("geopandas")
    square = shapely.box(85000, 450000, 85100, 450100)
    frame = geopandas.GeoDataFrame({"lbm": [4.2]}, geometry=[square], crs="EPSG:28992")
    frame.to_file(tmp_path / "lbm.gpkg")
    frame.to_file(tmp_path / "old.geojson", driver="GeoJSON", COORDINATE_PRECISION=3, RFC7946="NO")
    frame.to_parquet(tmp_path / "lbm.parquet")
    frame.to_crs(4326).to_file(tmp_path / "new.geojson", driver="GeoJSON")
    bounds = []
    for name in ("lbm.gpkg", "old.geojson", "lbm.parquet", "new.geojson"):
        rows = read_rows(tmp_path / name)
        assert rows.kind == "polygons"
        assert rows.data.schema.names == ["lbm"]
        assert rows.geometry is not None
        bounds.append(rows.geometry[0].bounds)
    assert np.allclose(bounds, bounds[0], atol=1e-6)
    assert 4.36 < bounds[0][0] < 4.37
    (tmp_path / "bad.gpkg").write_text("no database")
    with pytest.raises(FormatError, match="cannot be read"):
        read_rows(tmp_path / "bad.gpkg")


def test_other_files_are_no_targets(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "a.parquet")
    (tmp_path / "b.parquet").write_text("no")
    assert not is_targets(tmp_path / "a.parquet")
    assert not is_targets(tmp_path / "b.parquet")
    assert not is_targets(tmp_path / "c.csv")
    with pytest.raises(FormatError):
        read_targets(tmp_path / "a.parquet")
