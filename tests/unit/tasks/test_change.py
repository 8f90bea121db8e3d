"""Change between two dates: joined places, the noise floor, a table that every verb reads, and a known truth."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from placevec.cli.main import run
from placevec.errors import SchemaError, SpaceMismatch, UsageError
from placevec.geo.areas import cell_areas
from placevec.geo.cells import H3Cells
from placevec.geo.sphere import LonLat
from placevec.provenance import Space
from placevec.sources.world.country import World
from placevec.table import EmbeddingTable, Filter, Places, open_table, read_skipped, read_table, write_table
from placevec.tasks.change import _floor, change
from placevec.tasks.change_join import match
from placevec.tasks.export import export_table
from placevec.tasks.map import map_tables

SPACE = Space("trained:dates", 4)
CELLS = H3Cells(6).cover(shapely.box(-4, 39, -3.5, 39.5))


def dated(
    cells: np.ndarray = CELLS, *, seed: int = 0, moved: float = 0.0, space: Space = SPACE, **more: object
) -> EmbeddingTable:
    """Cells whose vectors depend on the cell alone, and on `moved` in every fifth."""
    rng = np.random.default_rng(0)
    known = dict(zip(CELLS.tolist(), rng.normal(size=(len(CELLS), space.dims)), strict=True))
    vectors = np.array([known[int(cell)] for cell in cells])
    vectors += 0.001 * np.random.default_rng(seed).normal(size=vectors.shape)
    fifth = np.array([list(known).index(int(cell)) % 5 == 0 for cell in cells])
    vectors[fifth] += moved * np.array([1.0, -1.0, 0.0, 0.0])[: space.dims]
    attributes = {"fifth": fifth, "year": np.full(len(cells), 2015 + seed), **more}
    places = Places.create(
        [f"{seed}-{cell:x}" for cell in cells], H3Cells(6).centre(cells), h3=cells, attributes=attributes
    )
    return EmbeddingTable.of(places, vectors.astype("f4"), space, tower="image", encoder="models/m")


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_change_is_the_distance_and_the_difference_in_a_space_of_its_own(tmp_path: Path, metric: str) -> None:
    space = replace(SPACE, metric=metric)
    before, after = dated(space=space), dated(np.flip(CELLS), seed=1, moved=2.0, space=space)
    out = tmp_path / "change.parquet"
    summary = change(before, after, out)
    table = read_table(out)
    assert (summary.rows, summary.only_before, summary.only_after, summary.by) == (len(CELLS), 0, 0, "h3")
    assert summary.fingerprint == table.fingerprint()
    # Slow: row by row.
    vectors = {int(cell): vector for cell, vector in zip(before.column("h3"), before.vectors(), strict=True)}
    later = {int(cell): vector for cell, vector in zip(after.column("h3"), after.vectors(), strict=True)}
    for row, cell in enumerate(table.column("h3").tolist()):
        a, b = vectors[cell].astype("f8"), later[cell].astype("f8")
        if metric == "cosine":
            a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
        expected = 1 - a @ b if metric == "cosine" else np.linalg.norm(b - a)
        assert table.column("change")[row] == pytest.approx(expected, rel=1e-4, abs=1e-9)
        assert np.allclose(table.vectors()[row], b - a, atol=1e-5)
        assert str(table.ids[row]) == f"1-{cell:x}"
    assert np.array_equal(table.column("changed"), table.column("change") > np.float32(summary.floor))
    assert table.column("changed")[table.column("fifth")].all()
    assert table.column("changed")[~table.column("fifth")].mean() < 0.05
    km2 = cell_areas(table.column("h3")[table.column("changed")].astype("u8")).sum() / 1e6
    assert summary.changed_km2 == pytest.approx(km2)
    assert table.space.id != SPACE.id
    assert table.space.parents == (SPACE.id,)
    assert table.space.metric == "l2"
    assert table.meta.parents == (before.fingerprint(), after.fingerprint())
    with pytest.raises(SpaceMismatch):
        table.space.require(before.space)


def test_stored_tables_and_tables_in_memory_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from placevec.tasks import change as module

    before, after = dated(CELLS[:-3]), dated(np.flip(CELLS[2:]), seed=1, moved=2.0)
    write_table(before, tmp_path / "a.parquet", order="keep")
    write_table(after, tmp_path / "b.parquet", order="keep")
    first = change(before, after, tmp_path / "c.parquet")
    monkeypatch.setattr(module, "ROWS", 7)
    told: list[tuple[int, int]] = []
    second = change(
        tmp_path / "a.parquet",
        tmp_path / "b.parquet",
        tmp_path / "d.parquet",
        progress=lambda a, b, _: told.append((a, b)),
    )
    assert first.fingerprint == second.fingerprint == open_table(tmp_path / "d.parquet").fingerprint()
    assert told[-1] == (2 * second.rows, 2 * second.rows)


def test_places_of_one_date_alone_are_counted_and_kept_with_their_reason(tmp_path: Path) -> None:
    out = tmp_path / "c.parquet"
    summary = change(dated(CELLS[:-3]), dated(CELLS[2:], seed=1), out)
    assert (summary.rows, summary.only_before, summary.only_after) == (len(CELLS) - 5, 2, 3)
    reasons = [row.reason for row in read_skipped(out)]
    assert sorted(reasons) == ["only in the table of after"] * 3 + ["only in the table of before"] * 2
    assert summary.rows + len(reasons) == len(CELLS)
    with pytest.raises(UsageError, match="no h3 is in both"):
        change(dated(CELLS[:3]), dated(CELLS[3:6], seed=1), out)


def test_attributes_of_both_dates_are_kept(tmp_path: Path) -> None:
    count = len(CELLS)
    before = dated(people=np.arange(count), old=np.ones(count))
    after = dated(seed=1, people=np.arange(count) + 1, new=np.zeros(count))
    change(before, after, tmp_path / "c.parquet")
    table = read_table(tmp_path / "c.parquet")
    names = {"fifth", "year", "people", "new", "year_before", "people_before", "old_before", "change", "changed"}
    assert set(table.attributes) == names
    assert (table.column("people") - table.column("people_before") == 1).all()
    assert set(table.column("year_before")) == {2015}


def test_tables_join_by_place_then_cell_then_id() -> None:
    cells = CELLS[:4]
    plain = dated(cells)
    with_place = EmbeddingTable(plain.with_column("place", [f"p{k}" for k in range(4)]).data, plain.meta)
    assert match(with_place, with_place).by == "place"
    assert match(with_place, plain).by == "h3"
    assert match(with_place, with_place, "id").by == "id"
    other = EmbeddingTable(plain.data.drop_columns(["h3"]), plain.meta)
    assert match(other, plain).by == "id"
    joined = match(plain, plain.take(np.array([2, 0])))
    assert joined.before.tolist() == [2, 0]
    assert joined.only_before.tolist() == [1, 3]
    with pytest.raises(UsageError, match="the earlier table has no place"):
        match(plain, with_place, "place")
    twice = EmbeddingTable(plain.with_column("place", ["p0", "p0", "p1", "p2"]).data, plain.meta)
    with pytest.raises(SchemaError, match="'p0' stands 2 times in the later"):
        match(with_place, twice)


@given(st.lists(st.floats(0, 10), min_size=1, max_size=60), st.floats(0.05, 0.95))
def test_a_floor_lets_pass_what_it_says(values: list[float], quantile: float) -> None:
    scores = np.array(values, dtype=np.float32)
    found = _floor(scores, quantile, None, "l2")
    assert (scores <= np.float32(found.value)).mean() >= quantile - 1 / len(scores)
    robust = _floor(scores, None, None, "l2")
    assert (scores > robust.value).mean() <= 0.5
    everything = _floor(scores, None, np.ones(len(scores), dtype=bool), "l2")
    assert (scores > np.float32(everything.value)).mean() <= 0.01 + 1 / len(scores)


def test_floors_are_given_once_and_in_range(tmp_path: Path) -> None:
    before, after, out = dated(), dated(seed=1, moved=2.0), tmp_path / "c.parquet"
    stable = change(before, after, out, stable=Filter(where="fifth == False"))
    assert stable.floor_by.startswith("99th percentile of")
    table = read_table(out)
    assert table.column("changed")[table.column("fifth")].all()
    assert table.column("changed")[~table.column("fifth")].mean() < 0.02
    assert change(before, after, out, floor=0.5).changed == pytest.approx(len(CELLS) / 2, abs=1)
    for wrong in ({"floor": 1.5}, {"floor": 0.9, "stable": Filter(where="fifth == True")}):
        with pytest.raises(UsageError, match="noise floor"):
            change(before, after, out, **wrong)
    with pytest.raises(UsageError, match="none of the places"):
        change(before, after, out, stable=Filter(where="year == 1900"))


def test_tables_that_do_not_compare_are_refused(tmp_path: Path) -> None:
    out = tmp_path / "c.parquet"
    with pytest.raises(SpaceMismatch, match="change between two dates"):
        change(dated(), dated(seed=1, space=Space("trained:other", 4)), out)
    text = EmbeddingTable(dated().data, dated().meta.replace(tower="text"))
    with pytest.raises(UsageError, match="two towers"):
        change(dated(), text, out)
    with pytest.raises(UsageError, match=r"ends in \.parquet"):
        change(dated(), dated(seed=1), tmp_path / "c.csv")
    with pytest.raises(SchemaError, match="'change' already"):
        change(dated(), dated(seed=1, change=np.zeros(len(CELLS))), out)
    write_table(dated(), out)
    with pytest.raises(UsageError, match="one of the two tables"):
        change(out, dated(seed=1), out)
    assert not list(tmp_path.glob("*part*"))


def country() -> tuple[EmbeddingTable, EmbeddingTable, np.ndarray]:
    """The generated country: shares of its classes at two dates by cell, and the share of pixels that changed."""
    world = World(0, "small")
    row, column = np.nonzero(world.terrain.land)
    cells = H3Cells(6).assign(world.grid.lonlat(column + 0.5, row + 0.5))
    each, cell_of, count = np.unique(cells, return_inverse=True, return_counts=True)
    truth = np.bincount(cell_of, weights=world.cover.changed[row, column]) / count
    space = Space("trained:shares", 7)
    tables = []
    for cover in (world.cover.before, world.cover.now):
        share = np.zeros((len(each), 7))
        np.add.at(share, (cell_of, cover[row, column] - 1), 1.0)
        places = Places.create([f"{cell:x}" for cell in each], H3Cells(6).centre(each), h3=each)
        tables.append(EmbeddingTable.of(places, np.sqrt(share / count[:, None]).astype("f4"), space))
    return tables[0], tables[1], truth


def test_the_known_change_of_the_generated_country_is_found(tmp_path: Path) -> None:
    before, after, truth = country()
    summary = change(before, after, tmp_path / "c.parquet")
    table = read_table(tmp_path / "c.parquet").align(after)
    scores, changed = table.column("change"), table.column("changed")
    from scipy.stats import rankdata

    for least, wanted in ((0.0, 0.97), (0.1, 0.95), (0.3, 0.97)):
        positive = truth > least
        ranks = rankdata(scores)
        auc = (ranks[positive].sum() - positive.sum() * (positive.sum() + 1) / 2) / (positive.sum() * (~positive).sum())
        assert auc > wanted
    assert not changed[truth == 0].any()
    assert changed[truth > 0.1].mean() > 0.99
    assert 0 < summary.changed_km2 < summary.total_km2


def test_every_verb_reads_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_table(dated(), tmp_path / "a.parquet")
    write_table(dated(seed=1, moved=2.0), tmp_path / "b.parquet")
    out = tmp_path / "c.parquet"
    assert run(["change", str(tmp_path / "a.parquet"), str(tmp_path / "b.parquet"), "-o", str(out), "-q"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["changed"] == pytest.approx(int(dated().column("fifth").sum()), abs=3)
    assert "noise floor" in said.err
    (drawn,) = map_tables([out], tmp_path / "c.png", by="change", width=120, layouts=())
    assert drawn.rows == len(CELLS)
    assert export_table(out, tmp_path / "c.geojson", geometry="cell")["rows"] == len(CELLS)
    row = int(np.flatnonzero(read_table(out).column("changed"))[0])
    name = str(read_table(out).ids[row])
    assert run(["search", str(out), "--like", name, "-k", "3"]) == 0
    hits = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert all(hit["changed"] for hit in hits)
    assert run(["change", str(out), str(tmp_path / "b.parquet"), "-o", str(tmp_path / "d.parquet")]) == 1


def test_times_become_the_span_between_the_dates(tmp_path: Path) -> None:
    cells = CELLS[:3]
    tables = []
    for seed, year in enumerate(("2015", "2025")):
        plain = dated(cells, seed=seed)
        stamped = plain.with_column("time_start", np.full(3, np.datetime64(f"{year}-01-01", "us")))
        tables.append(EmbeddingTable(stamped.data, plain.meta))
    change(*tables, tmp_path / "c.parquet")
    table = read_table(tmp_path / "c.parquet")
    assert str(table.data["time_start"][0].as_py().year) == "2015"
    assert str(table.data["time_end"][0].as_py().year) == "2025"


def test_points_have_no_area(tmp_path: Path) -> None:
    where = LonLat(np.zeros(3), np.arange(3.0))
    places = Places.create(["a", "b", "c"], where)
    tables = [EmbeddingTable.of(places, np.eye(3, 4, seed, dtype="f4") + 0.1, SPACE) for seed in (0, 1)]
    summary = change(*tables, tmp_path / "c.parquet")
    assert summary.by == "id"
    assert summary.changed_km2 is None
