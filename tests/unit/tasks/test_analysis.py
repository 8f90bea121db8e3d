"""probe --coefficients and --residuals, cluster --profile, evaluate transfer: on a generated city with known truth."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import h3
import numpy as np
import pytest

from placevec.cli.main import run
from placevec.errors import LeakError, SchemaError, SpaceMismatch, UsageError
from placevec.geo.cells import H3Cells
from placevec.geo.sphere import LonLat
from placevec.provenance import Saw, Space
from placevec.table import EmbeddingTable, Places, open_table, write_table
from placevec.tasks.cluster import describe
from placevec.tasks.probe import probe
from placevec.tasks.transfer import evaluate_transfer

NAMES = ("log1p(residential_m)", "log1p(departures_am_per_h)", "log1p(shop)", "slope_mean_deg")
SPACE = Space.published("generated-city@1", 4, metric="l2")


def city(
    seed: int, lat: float = -30.0, rings: int = 8, names: tuple[str, ...] = NAMES, saw: tuple[Saw, ...] = ()
) -> EmbeddingTable:
    """A round city: its middle is dense, its north hilly; jobs follow transit, and a field that no column knows."""
    disk = h3.grid_disk(h3.latlng_to_cell(lat, -51.2, 9), rings)
    cells = np.array(sorted(h3.str_to_int(cell) for cell in disk), dtype=np.uint64)
    where = H3Cells(9).centre(cells)
    rng = np.random.default_rng(seed)
    east, north = (where.lon - where.lon.mean()) * 100, (where.lat - where.lat.mean()) * 100
    middle = np.where(east**2 + north**2 < 1.2, 3.0, 0.3)
    x = np.column_stack([middle + 0.5, middle, middle, np.where(north > 1, 3.0, 0.0)])
    x += 0.3 * rng.standard_normal(x.shape)
    hidden = 0.6 * np.sin(east)
    jobs = x[:, 1] * 2 + hidden + 0.3 * rng.standard_normal(len(cells))
    places = Places.create(
        [h3.int_to_str(int(cell)) for cell in cells],
        LonLat(where.lon, where.lat),
        h3=cells,
        attributes={"jobs": jobs, "kind": np.where(north > 1, "hill", "town")},
    )
    return EmbeddingTable.of(places, x.astype(np.float32), SPACE, dims=names, saw=saw)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("analysis")
    write_table(city(0), folder / "a.parquet")
    write_table(city(1, lat=-31.0), folder / "b.parquet")
    return folder


def test_a_probe_writes_its_coefficients_and_residuals(tables: Path) -> None:
    said: list[str] = []
    out, ground = tables / "c.json", tables / "r.geojson"
    reports = probe(
        [tables / "a.parquet"], ["jobs", "kind"], splits="block", block="h3:8", shuffles=1, k=4,
        estimators=("ridge", "ols"), coefficients=out, residuals=ground, said=said.append,
    )  # fmt: skip
    found = json.loads(out.read_text())
    assert [(one["target"], one["estimator"]) for one in found] == [("jobs", "ridge"), ("jobs", "ols")]
    top = found[1]["columns"][0]
    assert top["column"] == NAMES[1]
    assert top["in_target_units"] / city(0).vectors()[:, 1].std() == pytest.approx(2.0, abs=0.35)
    assert top["low"] > 0.0
    best = reports[0].best("block", learned=True)
    assert found[0]["r2"] == pytest.approx(best.scores["r2"].mean, abs=0.02)
    with (tables / "c.csv").open(newline="") as held:
        assert {row["modality"] for row in csv.DictReader(held)} == {"a"}
    for name in ("c-jobs-a-ridge", "c-jobs-a-ols", "c-jobs-rgb", "r"):
        assert (tables / f"{name}.png").stat().st_size > 10_000
    assert len(json.loads(ground.read_text())["features"]) == 7
    assert any(line.startswith("jobs: Moran's I of the residuals 0.") for line in said)
    assert any(line.startswith("kind: classes have no coefficients") for line in said)
    assert any(line.startswith("kind: the errors of classes have no sign") for line in said)


def test_several_tables_are_probed_together_and_apart(tables: Path, tmp_path: Path) -> None:
    first = city(0)
    other = EmbeddingTable.of(first.places(), first.vectors()[:, ::-1].copy(), Space.unknown(4), dims=NAMES[::-1])
    probe(
        {"left": first, "right": other}, ["jobs"], splits="random", shuffles=1, k=3, estimators=("ridge",),
        coefficients=tmp_path / "c.json",
    )  # fmt: skip
    found = json.loads((tmp_path / "c.json").read_text())
    assert [one["features"] for one in found] == ["left", "right", "all tables"]
    names = [column["column"] for column in found[2]["columns"]]
    assert sorted(names) == sorted(f"{table}: {name}" for table in ("left", "right") for name in NAMES)
    assert {column["modality"] for column in found[2]["columns"]} == {"left", "right"}
    assert (tmp_path / "c-scores.png").exists()


def test_files_that_cannot_be(tables: Path, tmp_path: Path) -> None:
    def ask(**options: Path) -> None:
        probe([tables / "a.parquet"], ["jobs"], splits="random", shuffles=1, k=3, estimators=("ridge",), **options)

    with pytest.raises(UsageError, match=r"ends in \.json"):
        ask(coefficients=tmp_path / "c.csv")
    with pytest.raises(UsageError, match=r"ends in \.geojson"):
        ask(residuals=tmp_path / "r.png")


def test_clusters_are_described_in_words_and_drawn(tables: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["cluster", "a.parquet", "-k", "4", "--method", "hierarchical", "-r", "8", "-r", "9"]
    arguments = [*arguments[:1], str(tables / "a.parquet"), *arguments[2:]]
    code = run(
        [*arguments, "--profile", str(tables / "a.parquet"), "--map", str(tables / "l.png"), "-o",
         str(tables / "clustered.parquet"), "--format", "json"]
    )  # fmt: skip
    assert code == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    words = [record["words"] for record in records]
    assert len(words) == len(set(words)) == 4
    assert any("transit-rich" in one and "shops" in one and "dense" in one for one in words)
    assert any("hilly" in one for one in words)
    held = open_table(tables / "clustered.parquet").read()
    assert set(held.column("cluster_words")) == set(words)
    levels = json.loads((tables / "clustered.profiles.json").read_text())
    assert [level["resolution"] for level in levels] == [9, 8]
    assert levels[0]["concepts"]["transit"] == [NAMES[1]]
    for name in ("l.png", "l-profiles.png"):
        assert (tables / name).stat().st_size > 10_000


def test_profiles_need_names_and_common_cells(tables: Path) -> None:
    nameless = city(0, names=())
    with pytest.raises(SchemaError, match="no names to describe by"):
        describe(city(0), profile=[nameless])
    with pytest.raises(SchemaError, match="shares no id"):
        describe(city(0), profile=[tables / "b.parquet"])
    plain = describe(city(0), k=3)
    assert plain.profiles == ()
    assert "words" not in plain.to_records()[0]
    half = city(0).take(np.arange(0, 200, 2))
    told = describe(city(0), profile=[half], k=3)
    assert sum(record["known"] for record in told.to_records()) == len(half)


def test_a_probe_moves_to_another_city(tables: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--train", str(tables / "a.parquet"), "--test", str(tables / "b.parquet"), "-o", str(tables / "t.json")]
    asked += ["-t", "jobs", "--labels", "0", "--labels", "10", "--block", "h3:8", "--shuffles", "2", "-k", "4"]
    code = run(["evaluate", "transfer", *asked, "--format", "json"])
    captured = capsys.readouterr()
    assert code == 0
    rows = {record["row"]: record for record in map(json.loads, captured.out.splitlines())}
    assert rows["probe of A"]["r2"] > 0.8
    assert rows["mean of A"]["r2"] < 0.1
    assert rows["probe of A + 10 labels"]["gain"] > 0.0
    assert rows["probe of A"]["train"] == "a"
    assert "are judged in" in captured.err
    assert json.loads((tables / "t.json").read_text())[0]["n_test"] == len(city(1))
    assert (tables / "t.png").stat().st_size > 10_000


def test_a_buffer_that_leaves_little_to_train_on_is_said() -> None:
    said: list[str] = []
    rules = {"labels": (0,), "block": "h3:7", "k": 4, "shuffles": 1, "figure": False, "said": said.append}
    for buffer_m, told in ((0.0, False), (600.0, True)):
        said.clear()
        found = evaluate_transfer(city(0), city(1, lat=-31.0), "jobs", buffer_m=buffer_m, **rules)
        few = found[0].about["least_train"]
        assert any(f"as few as {few} of 217 places to train on" in line for line in said) is told


def test_transfer_needs_one_space_and_labels_that_nobody_saw() -> None:
    a = city(0)
    other = EmbeddingTable.of(a.places(), a.vectors(), Space.unknown(4))
    with pytest.raises(SpaceMismatch, match="transfer from A to B"):
        evaluate_transfer(a, other, "jobs")
    leaky = city(1, lat=-31.0, saw=(Saw("t.parquet", "jobs"),))
    with pytest.raises(LeakError, match="'jobs'"):
        evaluate_transfer(a, leaky, "jobs")
    with pytest.raises(UsageError, match="which is no number"):
        evaluate_transfer(a, city(1, lat=-31.0), "kind")
