from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from placevec.cli.main import app
from placevec.config import parse_recipe
from placevec.errors import DataError, FormatError, LeakError, RecipeError, SchemaError, UsageError
from placevec.geo.cells import H3Cells
from placevec.geo.sphere import LonLat
from placevec.provenance import Space
from placevec.table import EmbeddingTable, Places, read_table, write_table
from placevec.tasks.classify_examples import classify_by_example
from placevec.tasks.example_labels import read_labels
from placevec.tasks.probe import probe
from placevec.tasks.run import run
from placevec.tasks.verbs import VERBS

CLASSES = np.array(["desert", "forest", "lake"])


def made(n: int = 400, seed: int = 0, spread: float = 0.5, h3: bool = False) -> tuple[EmbeddingTable, NDArray]:
    """Cells of three classes in stripes, with vectors that tell them apart but for noise."""
    rng = np.random.default_rng(seed)
    lon, lat = rng.uniform(0, 2, (2, n))
    kind = (np.floor(lon * 6) + np.floor(lat * 6)).astype(int) % 3
    vectors = np.eye(3)[kind] + spread * rng.standard_normal((n, 3))
    vectors = np.column_stack([vectors, rng.standard_normal((n, 5))]).astype(np.float32)
    cells = H3Cells(9).assign(LonLat(lon, lat)) if h3 else None
    places = Places.create([f"p{i:04d}" for i in range(n)], LonLat(lon, lat), h3=cells)
    return EmbeddingTable.of(places, vectors, Space.mint(8)), CLASSES[kind]


def csv(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def labelled(tmp_path: Path, table: EmbeddingTable, truth: NDArray, rows: NDArray) -> Path:
    lines = [f"{table.ids[row]},{truth[row]}" for row in rows.tolist()]
    return csv(tmp_path / "labels.csv", ["id,class", *lines])


def test_a_few_labels_give_all_rows_their_class(tmp_path: Path) -> None:
    table, truth = made()
    rows = np.arange(0, 400, 4)
    out = tmp_path / "classes.parquet"
    found = classify_by_example(table, labelled(tmp_path, table, truth, rows), out=out, block="h3:5", ask=7)
    said = found.table.column("predicted")
    assert (said == truth).mean() > 0.75
    assert found.classes == tuple(CLASSES)
    assert found.counts.sum() == 400
    assert found.labelled.sum() == 100
    parts = np.stack([found.table.column(f"p_{name}") for name in CLASSES], axis=1)
    np.testing.assert_allclose(parts.sum(axis=1), 1)
    np.testing.assert_allclose(found.table.column("predicted_score"), parts.max(axis=1))
    unsure = found.table.column("predicted_entropy")
    wrong = said != truth
    assert unsure[wrong].mean() > unsure[~wrong].mean()
    assert len(found.ask) == 7
    assert not set(found.ask.tolist()) & set(rows.tolist())
    assert unsure[found.ask].mean() > np.median(unsure)
    back = read_table(out)
    asked = [row for row in back.data.select(["id", "ask"]).to_pylist() if row["ask"] is not None]
    assert sorted(row["ask"] for row in asked) == list(range(1, 8))
    assert {row["id"] for row in asked} == set(table.ids[found.ask])
    # Out of blocks it is about as good as on the rows that were not labelled, beside its baselines.
    assert found.scores is not None
    scores = {(row.features, row.metric): row for row in found.scores}
    head = scores["linear head", "accuracy"]
    rest = np.setdiff1d(np.arange(400), rows)
    assert head.low <= (said[rest] == truth[rest]).mean() <= head.high
    assert head.mean > scores["majority class", "accuracy"].mean
    assert ("nearest label", "macro-F1") in scores
    assert found.head.calibrated
    assert found.verdict.startswith("beats")


def test_the_table_tells_that_it_saw_the_labels(tmp_path: Path) -> None:
    table, truth = made(200)
    table = table.with_column("class", truth.tolist())
    found = classify_by_example(table, labelled(tmp_path, table, truth, np.arange(40)), out=tmp_path / "c.parquet")
    assert [saw.column for saw in found.table.meta.saw] == ["class"]
    with pytest.raises(LeakError, match="'class'"):
        probe([tmp_path / "c.parquet"], ["class"], splits="random")


def test_two_labels_of_each_class_are_enough_to_begin_with(tmp_path: Path) -> None:
    table, truth = made(spread=0.1)
    rows = np.concatenate([np.flatnonzero(truth == name)[:2] for name in CLASSES])
    found = classify_by_example(table, labelled(tmp_path, table, truth, rows))
    assert (found.table.column("predicted") == truth).mean() > 0.6
    assert found.scores is None
    assert "accuracy was not measured: 6 labels, and 20 are needed at least" in found.notes
    assert any("not calibrated" in note for note in found.notes)
    single = classify_by_example(table, labelled(tmp_path, table, truth, np.append(rows[:4], rows[4])))
    assert single.labelled.tolist() == [2, 2, 1]


def test_what_cannot_be_learned_from_is_said(tmp_path: Path) -> None:
    table, truth = made(60)
    one = np.flatnonzero(truth == "lake")[:5]
    with pytest.raises(DataError, match="all 5 labels are of the class 'lake'"):
        classify_by_example(table, labelled(tmp_path, table, truth, one))
    with pytest.raises(DataError, match="none of 2 labels belongs to a row"):
        classify_by_example(table, csv(tmp_path / "l.csv", ["id,class", "x,a", "y,b"]))
    with pytest.raises(SchemaError, match="no column 'kind'"):
        classify_by_example(table, csv(tmp_path / "l.csv", ["id,class", "x,a"]), label="kind")
    with pytest.raises(SchemaError, match="does not say which rows"):
        classify_by_example(table, csv(tmp_path / "l.csv", ["name,class", "x,a"]))
    with pytest.raises(FormatError, match="no such file"):
        classify_by_example(table, tmp_path / "none.csv")
    with pytest.raises(FormatError, match="labels are read from"):
        classify_by_example(table, csv(tmp_path / "l.txt", ["id,class"]))
    with pytest.raises(UsageError, match="'p_forest'"):
        busy = table.with_column("p_forest", np.zeros(60))
        classify_by_example(busy, labelled(tmp_path, table, truth, np.arange(9)))
    near = np.argsort(np.hypot(table.lon - 1, table.lat - 1))[:30]
    found = classify_by_example(table, labelled(tmp_path, table, truth, near), block="h3:0")
    assert found.scores is None
    assert any("lie in one block of h3:0" in note for note in found.notes)


def test_labels_that_do_not_fit_are_counted(tmp_path: Path) -> None:
    table, _ = made(20)
    lines = ["p0001,a", "p0002,b", "p0003,", "unknown,a", "p0004,a", "p0004,b", "p0002,b"]
    labels = read_labels(csv(tmp_path / "l.csv", ["id,class", *lines]), table)
    assert table.ids[labels.rows].tolist() == ["p0001", "p0002"]
    assert labels.classes.tolist() == ["a", "b"]
    assert labels.notes == (
        "1 of 7 labels are empty: left out",
        "1 of 6 labels belong to no row of the table (by id): left out",
        "1 rows have labels of several classes, such as 'p0004': left out",
    )
    with pytest.raises(DataError, match="labels of several classes"):
        read_labels(csv(tmp_path / "l.csv", ["id,class", "p0004,a", "p0004,b"]), table)


def as_csv(path: Path, table: EmbeddingTable, rows: NDArray) -> Path:
    lines = [f"{table.lon[row]},{table.lat[row]},c{row}" for row in rows]
    return csv(path.with_suffix(".csv"), ["lon,lat,class", *lines])


def as_h3(path: Path, table: EmbeddingTable, rows: NDArray) -> Path:
    cells = table.column("h3")[rows]
    return csv(path.with_suffix(".csv"), ["h3,class", *(f"{int(c):x},c{r}" for c, r in zip(cells, rows, strict=True))])


def as_parquet(path: Path, table: EmbeddingTable, rows: NDArray) -> Path:
    data = pa.table({"id": table.ids[rows].tolist(), "class": [f"c{row}" for row in rows]})
    pq.write_table(data, path.with_suffix(".parquet"))
    return path.with_suffix(".parquet")


def as_points(path: Path, table: EmbeddingTable, rows: NDArray) -> Path:
    features = [
        {
            "type": "Feature",
            "properties": {"class": f"c{row}"},
            "geometry": {"type": "Point", "coordinates": [table.lon[row], table.lat[row]]},
        }
        for row in rows.tolist()
    ]
    path = path.with_suffix(".geojson")
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


@pytest.mark.parametrize(
    ("write", "h3"),
    [(as_h3, True), *((write, h3) for write in (as_csv, as_parquet, as_points) for h3 in (True, False))],
)
def test_rows_are_named_by_id_by_cell_or_by_where_they_lie(
    write: Callable[[Path, EmbeddingTable, NDArray], Path], h3: bool, tmp_path: Path
) -> None:
    table, _ = made(50, h3=h3)
    rows = np.array([3, 7, 20])
    labels = read_labels(write(tmp_path / "l", table, rows), table)
    assert labels.rows.tolist() == rows.tolist()
    assert labels.classes.tolist() == ["c3", "c7", "c20"]
    assert labels.notes == ()


def test_points_elsewhere_are_outside_and_polygons_label_all_that_lies_in_them(tmp_path: Path) -> None:
    table, _ = made(80)
    far = csv(tmp_path / "l.csv", ["lon,lat,class", "50,50,a", f"{table.lon[0]},{table.lat[0]},b"])
    labels = read_labels(far, table)
    assert labels.rows.tolist() == [0]
    assert "1 of 2 labels belong to no row of the table (by where they lie): left out" in labels.notes
    # A known footprint reaches to its corner and no further.
    off = csv(tmp_path / "l.csv", ["lon,lat,class", f"{table.lon[0] + 0.006},{table.lat[0]},b"])
    assert read_labels(off, table.take([0, 1]), ground_m=1000.0).rows.tolist() == [0]
    with pytest.raises(DataError, match="none of 1 labels"):
        read_labels(off, table.take([0, 1]), ground_m=500.0)
    box = [[[0, 0], [1, 0], [1, 2], [0, 2], [0, 0]]]
    feature = {"type": "Feature", "properties": {"class": "west"}, "geometry": {"type": "Polygon", "coordinates": box}}
    path = tmp_path / "l.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    labels = read_labels(path, table)
    assert labels.rows.tolist() == np.flatnonzero(table.lon < 1).tolist()


def test_the_command_prints_the_classes_and_draws_them(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    table, truth = made(120)
    write_table(table, tmp_path / "t.parquet")
    labels = labelled(tmp_path, table, truth, np.arange(0, 120, 3))
    run = ["classify", str(tmp_path / "t.parquet"), "--examples", str(labels), "-o", str(tmp_path / "c.parquet")]
    result = CliRunner().invoke(app, [*run, "--map", str(tmp_path / "c.png"), "--block", "h3:5"])
    assert result.exit_code == 0, result.output
    records = [json.loads(line) for line in result.stdout.splitlines()]
    assert [record["class"] for record in records] == CLASSES.tolist()
    assert sum(record["rows"] for record in records) == 120
    assert "accuracy under blocks" in result.stderr
    assert "ask about next" in result.stderr
    assert (tmp_path / "c.png").stat().st_size > 1000
    assert (tmp_path / "c-uncertainty.png").stat().st_size > 1000
    for more, words in (
        (["--classes", "a,b"], "leave out the words"),
        (["--truth", "class"], "leave out the words"),
    ):
        result = CliRunner().invoke(app, [*run, *more])
        assert words in str(result.exception) + result.output
    result = CliRunner().invoke(app, ["classify", str(tmp_path / "t.parquet"), "-o", "x.parquet", "--map", "m.png"])
    assert "--examples FILE" in str(result.exception) + result.output


def test_a_recipe_has_it_as_a_step(tmp_path: Path) -> None:
    table, truth = made(120)
    write_table(table, tmp_path / "t.parquet")
    labelled(tmp_path, table, truth, np.arange(0, 120, 3))
    step = {
        "do": "classify",
        "table": "t.parquet",
        "examples": "labels.csv",
        "ask": 3,
        "block": "h3:5",
        "out": "c.parquet",
        "scores": "scores.json",
    }
    run(parse_recipe({"step": [step]}), VERBS, folder=tmp_path)
    assert "predicted" in read_table(tmp_path / "c.parquet").attributes
    assert json.loads((tmp_path / "scores.json").read_text())[0]["features"] == "linear head"
    for change, words in (
        ({"truth": "class"}, "leave out truth"),
        ({"examples": "", "scores": ""}, "go with examples"),
    ):
        with pytest.raises(RecipeError, match=words):
            run(parse_recipe({"step": [step | change]}), VERBS, folder=tmp_path)
