"""`area targets`: values of cells, points and polygons at the cells of an area."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from feature_fakes import small_area
from placevec.area import StudyArea
from placevec.cli.main import run as cli
from placevec.errors import DataError, SchemaError, UsageError
from placevec.geo.cells import H3Cells
from placevec.sources.places import read_places
from placevec.sources.targets import read_targets
from placevec.table import Places, read_skipped
from placevec.tasks.targets import import_targets, parse_how


@pytest.fixture(scope="module")
def area(tmp_path_factory: pytest.TempPathFactory) -> StudyArea:
    return small_area(tmp_path_factory.mktemp("targets") / "box")


def _values(path: Path, name: str) -> dict[int, float]:
    places = read_targets(path)[0]
    return dict(zip(places.column("h3").astype(np.uint64).tolist(), places.column(name), strict=True))


def _write(path: Path, **columns: object) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def test_cells_of_the_same_resolution_are_taken_as_they_are(area: StudyArea, tmp_path: Path) -> None:
    cells = area.cells()
    far = H3Cells(8).assign(shapely_point(10.0, 10.0))
    keys = [f"{int(c):x}" for c in [*cells[:20], *far]] + ["broken", f"{int(area.cells(7)[0]):x}"]
    source = _write(
        tmp_path / "t.parquet", id=keys, n=[*range(20), 1, 2, 3], word=["a"] * 23, hole=[None] * 19 + [1.5] * 4
    )
    made = import_targets(source, tmp_path / "o.parquet", area=area)
    assert (made.kind, made.resolution, made.rows, made.outside, made.skipped) == ("h3", 8, 20, 1, 2)
    assert made.unknown == len(cells) - 20
    assert _values(made.path, "n") == {int(c): i for i, c in enumerate(cells[:20])}
    places, card = read_targets(made.path)
    assert set(places.column("word")) == {"a"}
    assert places.data["hole"].null_count == 19
    assert [one.href for one in card.sources] == ["t.parquet"]
    assert card.how == {"n": "", "word": "", "hole": ""}
    reasons = {one.reason for one in read_skipped(made.path)}
    assert reasons == {"its key is no H3 cell", "a cell of resolution 7 among those of 8"}
    assert "1 cells of the file lie outside of the area" in made.notes
    # What is read as places elsewhere, such as the labels of a probe.
    assert read_places(made.path).ids.tolist() == places.ids.tolist()


def shapely_point(lon: float, lat: float) -> object:
    from placevec.geo.sphere import LonLat

    return LonLat(np.array([lon]), np.array([lat]))


def test_a_cell_that_stands_there_twice_is_an_error_or_made_one(area: StudyArea, tmp_path: Path) -> None:
    cell = int(area.cells()[4])
    source = _write(tmp_path / "t.parquet", h3=pa.array([cell, cell, int(area.cells()[5])], pa.uint64()), n=[1, 3, 7])
    out = tmp_path / "o.parquet"
    with pytest.raises(SchemaError, match=f"the cell {cell:x} stands in 2 rows, and 1 cells do so"):
        import_targets(source, out, area=area)
    assert not out.exists()
    assert _values(import_targets(source, out, area=area, how="sum").path, "n")[cell] == 4
    made = import_targets(source, out, area=area, how={"n": "mean"})
    assert _values(made.path, "n")[cell] == 2
    assert "1 cells stood in several rows, which became one" in made.notes


def test_other_resolutions_go_up_and_down(area: StudyArea, tmp_path: Path) -> None:
    fine = area.cells(9)
    source = _write(tmp_path / "f.parquet", cell=pa.array(fine, pa.uint64()), people=np.ones(len(fine)), grade=fine % 7)
    out = tmp_path / "o.parquet"
    made = import_targets(source, out, area=area, how={"people": "sum"})
    own = area.cells()
    children = np.bincount(np.searchsorted(own, H3Cells(9).parent(fine, 8)[np.isin(H3Cells(9).parent(fine, 8), own)]))
    assert _values(out, "people") == {int(c): n for c, n in zip(own, children, strict=True) if n}
    assert any(note.startswith("grade was taken as a mean") for note in made.notes)
    assert any("of resolution 9 were brought to 8" in note for note in made.notes)
    coarse = area.cells(7)
    source = _write(tmp_path / "c.parquet", cell=pa.array(coarse, pa.uint64()), people=np.full(len(coarse), 49.0))
    assert set(_values(import_targets(source, out, area=area, how="sum").path, "people").values()) == {7.0}
    shared = _values(import_targets(source, out, area=area, how="sum", land="area").path, "people")
    assert np.isclose(sum(shared.values()), 49.0 * len(coarse))
    assert set(_values(import_targets(source, out, area=area).path, "people").values()) == {49.0}
    # Without an area the cells are those of the file, or their parents.
    assert import_targets(source, out, resolution=6, how="sum").resolution == 6
    with pytest.raises(UsageError, match="for finer ones give the study area"):
        import_targets(source, out, resolution=9)


def test_points_are_counted_summed_and_averaged(area: StudyArea, tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("lon,lat,price,word\n-51.22,-30.05,10,a\n-51.22,-30.05,20,b\n5,5,1,c\n")
    out = tmp_path / "o.parquet"
    made = import_targets(tmp_path / "p.csv", out, area=area, how={"price": "mean"})
    assert (made.kind, made.rows, made.outside) == ("points", 1, 1)
    assert list(_values(out, "count").values()) == [2.0]
    assert list(_values(out, "price").values()) == [15.0]
    assert any(note == "word holds no numbers: left out" for note in made.notes)
    made = import_targets(tmp_path / "p.csv", out, area=area, how={"price": "sum"}, columns=["price"], zeros=True)
    assert made.rows == len(area.cells())
    assert sum(_values(out, "price").values()) == 30.0
    assert sorted(_values(out, "count").values())[-2:] == [0.0, 2.0]


def test_polygons_by_area(area: StudyArea, tmp_path: Path) -> None:
    west, south, east, north = area.bbox
    halves = [shapely.box(west, south, -51.23, north), shapely.box(-51.23, south, east, north)]
    features = [
        {"type": "Feature", "properties": {"people": 100.0, "grade": g}, "geometry": shapely.geometry.mapping(half)}
        for g, half in zip((1.0, 2.0), halves, strict=True)
    ]
    features.append({"type": "Feature", "properties": {"people": 1.0, "grade": 9.0}, "geometry": None})
    source = tmp_path / "p.geojson"
    source.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    out = tmp_path / "o.parquet"
    made = import_targets(source, out, area=area, how={"people": "sum", "grade": "mean"})
    assert (made.kind, made.rows, made.skipped) == ("polygons", len(area.cells()), 1)
    assert np.isclose(sum(_values(out, "people").values()), 200.0, rtol=1e-6)
    grades = np.array(list(_values(out, "grade").values()))
    assert grades.min() == pytest.approx(1.0)
    assert grades.max() == pytest.approx(2.0)
    assert ((grades > 1.01) & (grades < 1.99)).any()
    made = import_targets(source, out, area=area, how="mean", min_cover=0.9)
    assert made.rows < len(area.cells())
    assert any("are covered by less than 0.9" in note for note in made.notes)


def test_islands_and_the_antimeridian(tmp_path: Path) -> None:
    fiji = StudyArea.from_bbox((179.6, -17.2, -179.6, -16.6), name="fiji", resolutions=(6,))
    box = fiji.boundary
    features = [{"type": "Feature", "properties": {"n": 10.0}, "geometry": shapely.geometry.mapping(box)}]
    source = tmp_path / "f.geojson"
    source.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    made = import_targets(source, tmp_path / "o.parquet", area=fiji, how="sum")
    assert made.rows == len(fiji.cells())
    found = _values(made.path, "n")
    assert np.isclose(sum(found.values()), 10.0, rtol=1e-6)
    lon = read_targets(made.path)[0].lon
    assert (lon > 179).any()
    assert (lon < -179).any()
    (tmp_path / "p.csv").write_text("lon,lat\n179.99,-17\n-179.99,-17\n-180,-17\n180,-17\n")
    counted = import_targets(tmp_path / "p.csv", tmp_path / "o.parquet", area=fiji)
    assert sum(_values(counted.path, "count").values()) == 4


def test_errors_say_what_to_do(area: StudyArea, tmp_path: Path) -> None:
    source = _write(tmp_path / "t.parquet", id=[f"{int(area.cells()[0]):x}"], n=[1], empty=pa.nulls(1))
    out = tmp_path / "o.parquet"
    with pytest.raises(UsageError, match="no column 'm'"):
        import_targets(source, out, area=area, columns=["m"])
    with pytest.raises(UsageError, match="no column 'm'"):
        import_targets(source, out, area=area, how={"m": "sum"})
    with pytest.raises(UsageError, match=r"ends in \.parquet"):
        import_targets(source, tmp_path / "o.csv", area=area)
    with pytest.raises(UsageError, match="is the file to import"):
        import_targets(source, source, area=area)
    with pytest.raises(UsageError, match="where shall the targets go"):
        import_targets(source)
    (tmp_path / "p.csv").write_text("lon,lat\n1,1\n")
    with pytest.raises(UsageError, match="of which cells"):
        import_targets(tmp_path / "p.csv", out)
    with pytest.raises(DataError, match="none of its 1 rows has a value"):
        import_targets(tmp_path / "p.csv", out, area=area)
    bare = _write(tmp_path / "b.parquet", id=[f"{int(area.cells()[0]):x}"])
    with pytest.raises(DataError, match="no column of values"):
        import_targets(bare, out, area=area)
    assert not out.exists()
    assert parse_how([]) is None
    assert parse_how(["sum"]) == "sum"
    assert parse_how(["a=sum", "b=mean"]) == {"a": "sum", "b": "mean"}
    for wrong in (["most"], ["a=most"], ["sum", "a=mean"]):
        with pytest.raises(UsageError, match="--how"):
            parse_how(wrong)


def test_the_real_hexagons_of_porto_alegre(data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = data_dir / "porto_alegre" / "poa_hexgrid.csv"
    assert cli(["area", "new", "poa", "--cells", str(source), "-r", "9", "-r", "8", "-o", str(tmp_path / "poa")]) == 0
    area = StudyArea.open(tmp_path / "poa")
    assert cli(["area", "targets", str(source), "--area", str(tmp_path / "poa")]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["rows"], record["unknown"], record["outside"]) == (1227, 0, 0)
    assert record["columns"] == ["population", "schools", "jobs", "healthcare"]
    places, _ = read_targets(record["path"])
    assert isinstance(places, Places)
    people = np.nansum(places.column("population"))
    assert np.array_equal(np.sort(places.column("h3").astype(np.uint64)), area.cells())
    up = import_targets(source, tmp_path / "up.parquet", area=area, resolution=8, how="sum")
    assert np.isclose(np.nansum(list(_values(up.path, "population").values())), people)


def test_complete_cells_alone(area: StudyArea, tmp_path: Path) -> None:
    cells = area.cells()[:4]
    keys = [f"{int(c):x}" for c in cells]
    source = _write(tmp_path / "t.parquet", id=keys, n=[1.0, None, 3.0, 4.0], m=[1.0, 2.0, None, 4.0])
    made = import_targets(source, tmp_path / "o.parquet", area=area, columns=["n"], complete=True)
    assert _values(made.path, "n") == {int(cells[0]): 1.0, int(cells[3]): 4.0}
    assert made.columns == ("n",)
    assert any(note.startswith("2 of them are known in part") for note in made.notes)
