"""`evaluate fusion` end to end on a made-up town: all rows, leaks, fold tables, resuming, three outputs, the verb."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from fusion_fakes import cell_table_of, disk, tables_of, town
from placevec.cli.main import app
from placevec.errors import DataError, LeakError, SchemaError, UsageError
from placevec.measure.fusion import fuse_plain
from placevec.measure.leaks import column_of
from placevec.measure.splits import block_split
from placevec.provenance import Saw
from placevec.table import Places, write_table
from placevec.tasks.evaluate_fusion import evaluate_fusion
from placevec.tasks.evaluate_fusion_page import fusion_markdown
from placevec.tasks.evaluate_fusion_rules import FusionProtocol
from placevec.tasks.evaluate_fusion_words import headline
from placevec.tasks.verb_measures import EvaluateOptions, evaluate_step

PLACE = town()
QUICK = FusionProtocol(block="h3:8", buffer_m=200.0, k=3, shuffles=2, rings=2, draws=100, log1p=("population",))
ONE = FusionProtocol(block="h3:8", buffer_m=200.0, k=3, shuffles=1, rings=1, draws=50, splits="block")


@pytest.fixture(scope="module")
def fused():
    """Two rings and noise: what a good fuser would find."""
    values, names = fuse_plain("ring-stack:1", PLACE.blocks, PLACE.cells)
    return cell_table_of(PLACE, values, dims=names, chip_layout={"layout_type": "named_grid", "ground_m": 5000.0})


@pytest.fixture(scope="module")
def files(tmp_path_factory, fused):
    """The town as files."""
    folder = tmp_path_factory.mktemp("town")
    for name, table in {**tables_of(PLACE), "fused": fused}.items():
        write_table(table, folder / f"{name}.parquet")
    idle = np.random.default_rng(0).standard_normal((len(PLACE.cells), 4))
    write_table(cell_table_of(PLACE, idle), folder / "untrained.parquet")
    lines = ["id,lon,lat,population,jobs"]
    for row, cell in enumerate(PLACE.cells.tolist()):
        lon, lat = PLACE.lonlat.lon[row], PLACE.lonlat.lat[row]
        lines.append(f"{cell:x},{lon},{lat},{PLACE.targets['population'][row]},{PLACE.targets['jobs'][row]}")
    (folder / "targets.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def found(fused):
    """One evaluation of two targets, which several tests read."""
    idle = cell_table_of(PLACE, np.random.default_rng(0).standard_normal((len(PLACE.cells), 4)))
    return evaluate_fusion(
        tables_of(PLACE),
        PLACE.places,
        ["population", "jobs"],
        fused={"ours": fused},
        untrained={"ours": idle},
        rules=QUICK,
    )


def rows_of(report, split="block"):
    return {row["features"]: row for row in report["rows"] if row["split"] == split}


class TestRows:
    def test_everything_stands_in_one_table(self, found):
        names = set(rows_of(found.targets[0]))
        assert {
            "mean", "sin/cos of coordinates", "coordinates · kNN", "coordinates · GP", "RBF of coordinates",
            "roads alone", "transit alone", "concat", "rings:1", "rings:2", "rings:2:exponential",
            "rings, k chosen inside", "plain fusion, chosen inside", "ring-stack:1", "ring-stack:3",
            "ring-stack:1+rbf", "untrained ours", "ours", "ours + ring-stack:1",
        } <= names  # fmt: skip
        assert found.splits == ("random", "block")
        assert [report["transform"] for report in found.targets] == ["log1p", ""]
        assert found.targets[0]["n"] == len(PLACE.cells)

    def test_the_structure_of_the_town_is_found(self, found):
        for report in found.targets:
            rows = rows_of(report)
            assert rows["ring-stack:1"]["mean"] > rows["concat"]["mean"] + 0.05
            assert rows["untrained ours"]["mean"] < 0.1
        # Both targets look one ring around; the row that chose so inside its folds is that row.
        assert rows_of(found.targets[0])["rings, k chosen inside"]["mean"] == pytest.approx(
            rows_of(found.targets[0])["rings:1"]["mean"], abs=0.1
        )

    def test_vectors_that_are_a_baseline_tie_with_it_in_words(self, found):
        row = rows_of(found.targets[1])["ours"]
        same = row["versus"]["ring-stack:1"]
        assert same["difference"] == pytest.approx(0.0, abs=1e-3)
        assert row["versus"]["concat"]["verdict"].startswith("beats concat by 0.")
        assert " ± " in row["versus"]["concat"]["verdict"]
        assert row["versus"]["untrained ours"]["outcome"] == "beats"

    def test_reach_beyond_the_buffer_is_said(self, found):
        assert any("200 m (as given" in note for note in found.notes)
        assert any("ours" in note and "ring means of more than 0 rings" in note for note in found.notes)

    def test_drop_one_and_knn(self, fused):
        rules = FusionProtocol(**{**vars(ONE), "drop_one": True, "knn": True})
        report = evaluate_fusion(tables_of(PLACE), PLACE.places, "jobs", fused={"ours": fused}, rules=rules).targets[0]
        assert {record["modality"] for record in report["drop_one"]} == {"roads", "transit"}
        assert {"ours · kNN", "concat · kNN"} <= set(rows_of(report))


class TestReference:
    def test_fixed_penalty_and_no_buffer(self):
        rules = FusionProtocol(protocol="reference", shuffles=2, rings=1)
        place = town(16)
        found = evaluate_fusion(tables_of(place), place.places, "jobs", rules=rules)
        report = found.targets[0]
        assert report["transform"] == "log1p"
        assert report["splits"][1]["buffer_m"] == 0.0
        assert report["splits"][1]["block"] == "h3:7"
        assert not {"coordinates · GP", "rings, k chosen inside"} & set(rows_of(report))
        assert rows_of(report)["concat"]["low"] is None
        assert any("keeps no buffer" in note for note in found.notes)
        assert "penalty 30" in fusion_markdown(found)

    def test_fold_tables_have_no_place_in_it(self, tmp_path):
        place = town(16)
        tables = {"a": cell_table_of(place, place.blocks["roads"].values)}
        write_folds(tmp_path / "wide", place)
        rules = FusionProtocol(protocol="reference", shuffles=1, rings=1)
        found = evaluate_fusion(tables, place.places, "jobs", fused={"sup": tmp_path / "wide"}, rules=rules)
        assert "sup" not in rows_of(found.targets[0])
        assert "nested protocol alone" in found.targets[0]["said"][0]


def write_folds(folder, place=PLACE, target="jobs", folds=3):
    """A fuser that was fitted on labels: one table for each fold, which hold the labels that it saw."""
    folder.mkdir(parents=True)
    split = block_split(place.lonlat, "h3:8", folds, 0, 200.0)
    for fold in range(folds):
        train, _ = split.pair(fold)
        values = np.random.default_rng(fold).standard_normal((len(place.cells), 2))
        values[train, 0] = place.targets[target][train]
        saw = Saw("", target, split.spec, tuple(one for one in range(folds) if one != fold))
        write_table(cell_table_of(place, values, saw=(saw,)), folder / f"fold-{fold}.parquet")


class TestLeaks:
    @pytest.mark.parametrize("how", ["saw", "dims"])
    def test_a_modality_that_knows_the_target_is_left_out(self, how):
        knowing = PLACE.targets["jobs"][:, None]
        saw = (Saw("", "jobs"),) if how == "saw" else ()
        dims = {"saw": ("x",), "dims": ("log1p(jobs)",)}[how]
        tables = {**tables_of(PLACE), "services": cell_table_of(PLACE, knowing, dims=dims, saw=saw)}
        both = evaluate_fusion(tables, PLACE.places, ["jobs", "population"], rules=ONE).targets
        assert "services alone" not in rows_of(both[0])
        assert "services" not in both[0]["modalities"]
        assert "services (modality) knows the target" in both[0]["said"][0]
        assert rows_of(both[0])["concat"]["mean"] < 0.9
        assert "services alone" in rows_of(both[1])

    def test_nothing_left_is_an_error(self, fused):
        knowing = cell_table_of(PLACE, PLACE.targets["jobs"][:, None], dims=("jobs",))
        with pytest.raises(LeakError, match="'jobs'.*every modality"):
            evaluate_fusion({"services": knowing}, PLACE.places, "jobs", rules=ONE)
        split = block_split(PLACE.lonlat, "h3:8", 3, 0)
        half = cell_table_of(PLACE, PLACE.targets["jobs"][:, None], saw=(Saw("", "jobs", split.spec, (1, 2)),))
        with pytest.raises(LeakError, match="one table for each fold"):
            evaluate_fusion(tables_of(PLACE), PLACE.places, "jobs", fused={"half": half}, rules=ONE)
        found = evaluate_fusion(tables_of(PLACE), PLACE.places, "jobs", fused={"half": half, "ok": fused}, rules=ONE)
        assert "half" not in rows_of(found.targets[0])

    def test_fold_tables_are_judged_where_they_saw_nothing(self, tmp_path):
        write_folds(tmp_path / "sup")
        found = evaluate_fusion(tables_of(PLACE), PLACE.places, "jobs", fused=[f"cheat={tmp_path / 'sup'}"], rules=ONE)
        row = rows_of(found.targets[0])["cheat"]
        assert row["mean"] < 0.3
        assert row["outcome"] == "loses"
        assert "cheat/fold-0.parquet" in found.about["tables"]

    def test_a_folder_without_folds(self, tmp_path):
        with pytest.raises(UsageError, match=r"holds no fold-\*"):
            evaluate_fusion(tables_of(PLACE), PLACE.places, "jobs", fused={"x": tmp_path}, rules=ONE)

    @pytest.mark.parametrize(
        ("name", "column"),
        [
            ("jobs", "jobs"),
            ("log1p(jobs)", "jobs"),
            ("services:log1p(jobs)", "jobs"),
            ("services:jobs (W^1)", "jobs"),
            ("services:log1p(jobs) (rings 0-3)", "jobs"),
            ("jobs_within_30min", "jobs_within_30min"),
            ("", ""),
            ("a(b)c", "a(b)c"),
        ],
    )
    def test_what_a_column_is_made_of(self, name, column):
        assert column_of(name) == column


class TestInputs:
    def test_cells_that_do_not_fit_are_counted(self, fused):
        some = PLACE.places.take(np.arange(200))
        stranger = disk(1, 10.0, 50.0)
        more = Places.create([f"{int(cell):x}" for cell in stranger], h3=stranger, attributes={"jobs": np.ones(7)})
        both = Places(some.data.select(["id", "geometry", "h3", "jobs"]))
        joined = Places(pa.concat_tables([both.data, more.data.select(both.data.schema.names).cast(both.data.schema)]))
        few = cell_table_of(PLACE, fused.vectors(), np.arange(180))
        found = evaluate_fusion(tables_of(PLACE), joined, "jobs", fused={"few": few}, rules=ONE)
        assert found.targets[0]["n"] == 180
        assert any("7 cells with targets are in no modality" in note for note in found.notes)
        assert any("20 cells are not in all learned tables" in note for note in found.notes)

    @pytest.mark.parametrize(
        ("ids", "message"),
        [
            (["x", "y"], "no H3 cell"),
            (["89a901291abffff", "88a901291bfffff"], "resolutions"),
            (["88a901291bfffff"], "resolution"),
            (["89283082803ffff"], "no cell in common"),
        ],
    )
    def test_targets_that_are_no_cells_of_the_tables(self, ids, message):
        odd = Places.create(ids, attributes={"jobs": np.arange(float(len(ids)))})
        with pytest.raises(SchemaError, match=message):
            evaluate_fusion(tables_of(PLACE), odd, "jobs", rules=ONE)

    def test_one_cell_twice(self):
        cell = int(PLACE.cells[0])
        odd = Places.create(["a", "b"], h3=np.array([cell, cell], dtype=np.uint64), attributes={"jobs": [1.0, 2.0]})
        with pytest.raises(SchemaError, match="stands 2 times"):
            evaluate_fusion(tables_of(PLACE), odd, "jobs", rules=ONE)

    def test_options_that_meet_nothing(self, tmp_path):
        tables, places = tables_of(PLACE), PLACE.places
        words = places.with_column("colour", ["red"] * len(places)).with_column("even", np.ones(len(places)))
        for more, kind, message in (
            ({"target": []}, UsageError, "no target"),
            ({"target": ["jobs", "jobs"]}, UsageError, "named twice"),
            ({"target": ["rain"]}, UsageError, "no column 'rain'; there are: population"),
            ({"target": ["colour"]}, UsageError, "is no number"),
            ({"target": ["even"]}, DataError, "is 1 in all"),
            ({"out": tmp_path / "x.txt"}, UsageError, "NAME.json"),
            ({"modalities": {}}, UsageError, "no modality"),
            ({"rules": FusionProtocol(log1p=("rain",))}, UsageError, "--log1p rain"),
            ({"rules": FusionProtocol(min_cells=10_000)}, DataError, "fewer than 10000"),
        ):
            given = {"modalities": tables, "targets": words, "target": ["jobs"], "rules": ONE} | more
            with pytest.raises(kind, match=message):
                evaluate_fusion(**given)
        for more in ({"protocol": "loose"}, {"splits": "none"}, {"rings": 0}, {"k": 2}, {"resample": "rows"}):
            with pytest.raises(UsageError):
                FusionProtocol(**more)

    def test_at_most_so_many_cells(self):
        rules = FusionProtocol(**{**vars(ONE), "limit": 150})
        assert evaluate_fusion(tables_of(PLACE), PLACE.places, "jobs", rules=rules).targets[0]["n"] == 150


class TestOutputs:
    def test_files_resuming_and_the_page(self, tmp_path, fused):
        given = (tables_of(PLACE), PLACE.places, ["jobs"])
        out = tmp_path / "fusion.json"
        first = evaluate_fusion(*given, fused={"ours": fused}, rules=ONE, out=out)
        text = out.read_text()
        assert json.loads(text)["targets"][0]["target"] == "jobs"
        page = (tmp_path / "fusion.html").read_text()
        assert "<script" not in page
        assert "data:image/png" in page
        again = evaluate_fusion(*given, fused={"ours": fused}, rules=ONE, out=out, html=False)
        assert (first.resumed, again.resumed) == (0, 1)
        assert out.read_text() == text
        other = FusionProtocol(**{**vars(ONE), "seed": 1})
        assert evaluate_fusion(*given, fused={"ours": fused}, rules=other, out=out, html=False).resumed == 0

    def test_markdown_and_headline_say_who_wins(self, found):
        text = fusion_markdown(found)
        said = headline(found)
        assert len(said) == 4
        assert all(line.split("; ")[0] in text for line in said)
        assert said[0].startswith("population, under spatial blocks: the best baseline is ")
        assert "ours (0." in said[0]
        assert "**ours**" in text
        assert "cells left to train on" in text

    def test_the_command(self, files, monkeypatch):
        monkeypatch.chdir(files)
        command = (
            "evaluate fusion -m roads.parquet -m bus=transit.parquet -f fused.parquet --untrained untrained.parquet"
        )
        options = "--targets targets.csv -t jobs --log1p jobs --buffer 200m --block h3:8 -k 3 --shuffles 1 --rings 1 -q"
        done = CliRunner().invoke(app, [*command.split(), *options.split(), "-o", "r/f.json", "--no-html"])
        assert done.exit_code == 0, done.output
        records = [json.loads(line) for line in done.stdout.splitlines()]
        assert {"bus alone", "fused", "untrained untrained"} <= {record["features"] for record in records}
        assert (files / "r" / "f.md").exists()
        wrong = CliRunner().invoke(app, [*command.split(), *options.split(), "-o", "r/f.json", "-t", "rain"])
        assert isinstance(wrong.exception, UsageError)

    def test_the_step_of_a_recipe(self, files):
        notes = []
        context = SimpleNamespace(
            seed=0, restart=False, path=lambda text: files / text, note=notes.append, progress=lambda *told: None
        )

        options = EvaluateOptions(
            what="fusion", out="r/step.json", modalities={"roads": "roads.parquet", "bus": "transit.parquet"},
            fused={"ours": "fused.parquet"}, labels="targets.csv", targets=["jobs"],
            rules={"k": 3, "shuffles": 1, "rings": 1, "block": "h3:8", "buffer_m": 200, "log1p": ["jobs"]},
        )  # fmt: skip
        verdicts = evaluate_step(options, context)
        assert "jobs: ours" in verdicts
        assert any("the best baseline is" in line for line in notes)
        assert (files / "r" / "step.html").exists()


def test_a_csv_without_coordinates_is_told_the_next_step(tmp_path):
    (tmp_path / "t.csv").write_text("id,jobs\n89a901291abffff,3\n")
    with pytest.raises(SchemaError, match=r"no column 'lon'; .* `placevec area targets .*t.csv -o targets.parquet`"):
        evaluate_fusion(tables_of(PLACE), tmp_path / "t.csv", ["jobs"], rules=ONE)
