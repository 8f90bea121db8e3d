"""The modalities `columns` and `table`: what is there already, brought to cells."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from placevec.area import StudyArea
from placevec.errors import DataError, UsageError
from placevec.geo.cells import H3Cells
from placevec.geo.sphere import LonLat
from placevec.provenance import Saw, Space
from placevec.table import EmbeddingTable, Places, write_table
from placevec.tasks.inputs import cell_places
from placevec.tasks.modalities.columns import Columns
from placevec.tasks.modalities.spread import Table

# Two islands, one on each side of the antimeridian.
AREA = StudyArea.from_bbox((179.9, -17.1, -179.9, -17.0), name="fiji", resolutions=(7,))
CELLS = AREA.cells()
SHUFFLED = np.random.default_rng(0).permutation(CELLS)


def _points(n: int, seed: int) -> tuple[EmbeddingTable, np.ndarray, LonLat]:
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((n, 3)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    lon = rng.uniform(179.85, 180.15, n)
    where = LonLat(np.where(lon > 180, lon - 360, lon), rng.uniform(-17.12, -16.98, n))
    places = Places.create([str(i) for i in range(n)], where)
    return EmbeddingTable.of(places, vectors, Space.published("net@1", 3), saw=(Saw("", "jobs"),)), vectors, where


def test_points_become_the_means_of_cells(tmp_path: Path) -> None:
    table, vectors, where = _points(150, 1)
    write_table(table, tmp_path / "p.parquet")
    found = Table(str(tmp_path / "p.parquet"), least=2).compute(SHUFFLED)
    own = H3Cells(7).assign(where)
    for row, cell in enumerate(SHUFFLED):
        inside = vectors[own == cell]
        assert found.present[row] == (len(inside) >= 2)
        if found.present[row]:
            mean = inside.mean(axis=0)
            assert np.allclose(found.values[row], mean / np.linalg.norm(mean), atol=1e-5)
    assert found.space == table.space
    assert found.saw == table.meta.saw
    assert found.absent == "p.parquet has fewer than 2 vectors there"
    assert found.reach_m == 0.0
    assert any("lie in none of the cells" in note for note in found.notes)
    far = StudyArea.from_bbox((4.0, 52.0, 4.1, 52.1), resolutions=(7,)).cells()
    with pytest.raises(DataError, match="is it of another region"):
        Table(str(tmp_path / "p.parquet")).compute(far)


def test_coarser_cells_are_copied_and_keep_a_buffer(tmp_path: Path) -> None:
    coarse = AREA.cells(6)
    places = cell_places(coarse, 6)
    vectors = np.arange(len(coarse) * 2, dtype=np.float32).reshape(-1, 2)
    table = EmbeddingTable.of(places, vectors, Space.published("named@1", 2, metric="l2"), dims=("a", "b"))
    write_table(table, tmp_path / "c.parquet")
    found = Table(str(tmp_path / "c.parquet")).compute(SHUFFLED)
    by_cell = dict(zip(places.column("h3").tolist(), vectors, strict=True))
    parents = H3Cells(7).parent(SHUFFLED, 6)
    assert found.present.all()
    assert np.array_equal(found.values, np.array([by_cell[int(one)] for one in parents]))
    assert found.names == ("a", "b")
    assert found.reach_m == pytest.approx(2 * H3Cells(6).edge_m)


def test_columns_of_cells_in_any_order(tmp_path: Path) -> None:
    rows = [f"{int(cell):x},{i},{-i},word" for i, cell in enumerate(CELLS)]
    rows[3] = rows[3].replace(",3,", ",,")
    (tmp_path / "t.csv").write_text("\n".join(["id,n,m,e", *rows]) + "\n")
    path = str(tmp_path / "t.csv")
    found = Columns(path, ("m",), ("n",)).compute(SHUFFLED)
    assert found.names == ("m", "log1p(n)")
    at = np.searchsorted(CELLS, SHUFFLED)
    assert found.present.tolist() == (at != 3).tolist()
    assert np.allclose(found.values[at != 3], np.column_stack([-at, np.log1p(at)])[at != 3])
    assert {one.column for one in found.saw} == {"m", "n"}
    assert found.absent == "t.csv has no value of m or n"
    with pytest.raises(UsageError, match="name them with --column"):
        Columns(path).compute(CELLS)
    with pytest.raises(DataError, match="m is negative somewhere"):
        Columns(path, log1p=("m",)).compute(CELLS)
    with pytest.raises(UsageError, match="'e' holds no numbers"):
        Columns(path, ("e",)).compute(CELLS)
    with pytest.raises(UsageError, match="no column 'k'"):
        Columns(path, ("k",)).compute(CELLS)


def test_columns_of_coarser_cells_keep_a_buffer(tmp_path: Path) -> None:
    coarse = AREA.cells(6)
    (tmp_path / "t.csv").write_text("\n".join(["id,n", *(f"{int(cell):x},7" for cell in coarse)]) + "\n")
    found = Columns(str(tmp_path / "t.csv"), ("n",), how=("sum",)).compute(SHUFFLED)
    assert np.allclose(found.values, 1.0)
    assert found.reach_m == pytest.approx(2 * H3Cells(6).edge_m)
