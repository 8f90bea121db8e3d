"""Sweeps: all combinations, resume, the ranking, the model that is chosen, and what is refused before anything runs."""

from __future__ import annotations

import csv
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from conftest import make_table
from placevec.encoders.model import WEIGHTS, load_encoder, read_card
from placevec.errors import CheckpointError, DataError, JobError, UsageError
from placevec.provenance import sha256_file
from placevec.table import write_table
from placevec.tasks.ranking import RankedRun, less_is_better, rank
from placevec.tasks.sweep import run_name, sweep, sweep_folder
from placevec.tasks.train import train

SMALL: dict[str, Any] = {
    "encoder": {"position": {"kind": "harmonics", "degrees": 4}, "nn": {"capacity": 8, "layers": 1}},
    "loop": {"epochs": 3, "batch_size": 40, "accelerator": "cpu", "seed": 5},
}
TWO = {"nn.capacity": [8, 12], "nn.dropout": [0.1, 0.3]}


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """A table of 120 places whose vectors follow from where they are, so that there is something to learn."""
    table = make_table(120, 4)
    waves = np.stack([np.sin(table.lon), np.cos(table.lon), np.sin(table.lat), np.cos(table.lat)], axis=1)
    write_table(table.with_vectors(waves.astype(np.float32), table.space), tmp_path / "t.parquet")
    return tmp_path / "t.parquet"


def weights(model: Path) -> dict[str, list[Any]]:
    """The weights of a model; the bytes of the file are no measure, for its header has no fixed order."""
    return {name: value.tolist() for name, value in load_file(model / WEIGHTS).items()}


def states(folder: Path) -> dict[str, tuple[float, str]]:
    """When the weights of each run were written, and the sha256 of the file."""
    found = {path.parent.parent.name: path for path in folder.glob(f"*/model/{WEIGHTS}")}
    return {name: (path.stat().st_mtime_ns, sha256_file(path)) for name, path in found.items()}


def test_every_combination_runs_and_the_best_becomes_the_model(stored: Path, tmp_path: Path) -> None:
    out = tmp_path / "models" / "location"
    notes: list[str] = []
    seen: set[str] = set()

    def told(done: int, total: int, facts: Mapping[str, Any]) -> None:
        seen.add(facts["run"])

    made = sweep(
        "location", out, TWO, table=stored, config=SMALL, untrained=tmp_path / "raw", progress=told, note=notes.append
    )
    folder = sweep_folder(out)
    names = {f"nn.capacity={c},nn.dropout={d}" for c in (8, 12) for d in (0.1, 0.3)}
    assert {path.name for path in folder.iterdir() if path.is_dir()} == names
    assert seen == {"1/4", "2/4", "3/4", "4/4"}
    assert len(notes) == 4
    assert [run.rank for run in made.runs] == [1, 2, 3, 4]
    figures = [run.figures["mrr"] for run in made.runs]
    assert figures == sorted(figures, reverse=True)
    # Each run is the one that `train` alone would have made.
    best = made.runs[0]
    settings = {**SMALL, "encoder": {**SMALL["encoder"], "nn": {"layers": 1}}}
    settings["encoder"]["nn"] |= {name.removeprefix("nn."): value for name, value in best.settings.items()}
    alone = train("location", tmp_path / "alone", table=stored, config=settings)
    assert dict(alone.scores) == dict(best.figures)
    assert weights(tmp_path / "alone") == weights(out)
    encoder = load_encoder(out)
    assert encoder.space.id == made.space == best.space
    net: Any = encoder.net
    assert best.parameters == sum(value.numel() for value in net.parameters())
    # The card tells what was tried, and by which ranking.
    told_by_card = read_card(out).recipe["sweep"]
    assert told_by_card["settings"] == TWO
    assert (told_by_card["runs"], told_by_card["rank"], told_by_card["run"]) == (4, 1, best.name)
    assert told_by_card["ranking_sha256"] == sha256_file(folder / "ranking.json")
    assert "sweep" not in read_card(folder / best.name / "model").recipe
    assert load_encoder(tmp_path / "raw").card.name == "untrained location encoder"


def test_the_ranking_holds_every_figure_of_every_run(stored: Path, tmp_path: Path) -> None:
    made = sweep("location", tmp_path / "m", TWO, table=stored, config=SMALL, rank_by="loss")
    folder = sweep_folder(tmp_path / "m")
    facts = json.loads((folder / "ranking.json").read_text())
    assert [run["name"] for run in facts["runs"]] == [run.name for run in made.runs]
    assert (facts["rank_by"], facts["better"], facts["settings"]) == ("loss", "less", TWO)
    losses = [run["figures"]["loss"] for run in facts["runs"]]
    assert losses == sorted(losses)
    assert facts["split"]["rows"] + facts["split"]["validation"] <= 120
    with (folder / "ranking.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert [row["run"] for row in rows] == [run.name for run in made.runs]
    assert [float(row["loss"]) for row in rows] == losses
    assert {"nn.capacity", "nn.dropout", "mrr", "recall_at_1", "parameters", "seconds", "state"} <= set(rows[0])
    lines = (folder / "ranking.md").read_text().splitlines()
    assert lines[0].startswith("Ranked by loss")
    assert len([line for line in lines if line.startswith("|")]) == 6
    assert list(made.records()[0])[:4] == ["rank", "nn.capacity", "nn.dropout", "loss"]
    assert made.to_record()["sweep"]["best"] == dict(made.runs[0].settings)


def test_what_is_done_is_not_done_again_and_more_values_add_runs(stored: Path, tmp_path: Path) -> None:
    one = sweep("location", tmp_path / "m", {"loop.seed": [0, 1]}, table=stored, config=SMALL)
    before = states(sweep_folder(tmp_path / "m"))
    ranking = (sweep_folder(tmp_path / "m") / "ranking.json").read_bytes()
    card = (tmp_path / "m" / "card.json").read_bytes()
    again = sweep("location", tmp_path / "m", {"loop.seed": [0, 1]}, table=stored, config=SMALL)
    assert states(sweep_folder(tmp_path / "m")) == before
    assert (sweep_folder(tmp_path / "m") / "ranking.json").read_bytes() == ranking
    assert (tmp_path / "m" / "card.json").read_bytes() == card
    assert again == one
    folder = sweep_folder(tmp_path / "m")
    assert weights(folder / "loop.seed=0" / "model") != weights(folder / "loop.seed=1" / "model")
    more = sweep("location", tmp_path / "m", {"loop.seed": [0, 1, 2]}, table=stored, config=SMALL)
    after = states(sweep_folder(tmp_path / "m"))
    assert {name: after[name] for name in before} == before
    assert len(more.runs) == 3
    sweep("location", tmp_path / "m", {"loop.seed": [0]}, table=stored, config=SMALL, restart=True)
    assert list(states(sweep_folder(tmp_path / "m"))) == ["loop.seed=0"]


def test_damaged_weights_and_records_are_made_again(stored: Path, tmp_path: Path) -> None:
    made = sweep("location", tmp_path / "m", {"loop.seed": [0, 1]}, table=stored, config=SMALL)
    folder = sweep_folder(tmp_path / "m")
    whole = {name: weights(folder / name / "model") for name in states(folder)}
    (folder / "loop.seed=0" / "model" / WEIGHTS).write_bytes(b"cut short")
    (folder / "loop.seed=1" / "run.json").write_text('{"key": 5')
    again = sweep("location", tmp_path / "m", {"loop.seed": [0, 1]}, table=stored, config=SMALL)
    assert {name: weights(folder / name / "model") for name in states(folder)} == whole
    assert [run.figures for run in again.runs] == [run.figures for run in made.runs]


def test_another_table_or_setting_needs_another_folder(stored: Path, tmp_path: Path) -> None:
    values = {"nn.capacity": [8]}
    sweep("location", tmp_path / "m", values, table=stored, config=SMALL)
    longer = {**SMALL, "loop": {**SMALL["loop"], "epochs": 4}}
    for table, config in ((stored, longer), (make_table(110, 4), SMALL)):
        with pytest.raises(CheckpointError, match=r"nn\.capacity=8 holds a run with other settings or data: use anoth"):
            sweep("location", tmp_path / "m", values, table=table, config=config)
    # How often a log is written changes nothing of the result.
    quiet = {**SMALL, "loop": {**SMALL["loop"], "log_every": 1}}
    sweep("location", tmp_path / "m", values, table=stored, config=quiet)


def test_ctrl_c_keeps_what_is_done_and_goes_on(stored: Path, tmp_path: Path) -> None:
    values = {"loop.seed": [0, 1]}
    whole = sweep("location", tmp_path / "whole", values, table=stored, config=SMALL)

    def stop(done: int, total: int, facts: Mapping[str, Any]) -> None:
        if facts["run"] == "2/2" and done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep("location", tmp_path / "m", values, table=stored, config=SMALL, progress=stop)
    folder = sweep_folder(tmp_path / "m")
    assert not (tmp_path / "m").exists()
    assert not (folder / "ranking.json").exists()
    assert json.loads((folder / "loop.seed=1" / "run.json").read_text())["state"] == "running"
    steps: list[int] = []
    made = sweep(
        "location", tmp_path / "m", values, table=stored, config=SMALL, progress=lambda done, *_: steps.append(done)
    )
    assert steps[0] == 5, "the second run goes on after its fourth step; the first is not touched"
    assert [run.figures for run in made.runs] == [run.figures for run in whole.runs]
    assert weights(tmp_path / "m") == weights(tmp_path / "whole")


@pytest.mark.slow
def test_a_kill_leaves_a_sweep_that_goes_on(stored: Path, tmp_path: Path) -> None:
    values = {"loop.seed": [0, 1]}
    code = (
        "import sys, time; from placevec.tasks.sweep import sweep; "
        f"sweep('location', sys.argv[1], {values!r}, table=sys.argv[2], config={SMALL!r}, "
        "progress=lambda *_: time.sleep(0.1))"
    )
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "m"), str(stored)], env=env) as process:
        second = sweep_folder(tmp_path / "m") / "loop.seed=1" / "model.run" / "checkpoint.safetensors"
        deadline = time.monotonic() + 60
        while not second.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        with pytest.raises(JobError, match="the sweep .* is being worked on by"):
            sweep("location", tmp_path / "m", values, table=stored, config=SMALL)
        process.send_signal(signal.SIGKILL)
    assert not (tmp_path / "m").exists()
    made = sweep("location", tmp_path / "m", values, table=stored, config=SMALL)
    whole = sweep("location", tmp_path / "whole", values, table=stored, config=SMALL)
    assert [run.figures for run in made.runs] == [run.figures for run in whole.runs]
    assert not list(tmp_path.rglob("*.part-*"))


def test_a_run_that_diverges_ends_alone(stored: Path, tmp_path: Path) -> None:
    config = {**SMALL, "loop": {**SMALL["loop"], "clip_norm": 0.0, "warmup": 0.0}}
    values = {"loop.learning_rate": [1e20, 1e-3]}
    made = sweep("location", tmp_path / "m", values, table=stored, config=config)
    assert [run.state for run in made.runs] == ["done", "failed"]
    assert "lower learning_rate" in made.runs[1].reason
    assert made.runs[0].settings == {"loop.learning_rate": 1e-3}
    assert json.loads((sweep_folder(tmp_path / "m") / "ranking.json").read_text())["runs"][1]["state"] == "failed"
    with pytest.raises(DataError, match="every run of .* failed; the first: the loss is"):
        sweep("location", tmp_path / "n", {"loop.learning_rate": [1e20]}, table=stored, config=config)
    assert not (tmp_path / "n").exists()


def test_a_projection_of_the_best_run_goes_with_it(stored: Path, tmp_path: Path) -> None:
    made = sweep("location", tmp_path / "m", {"dims": [3, 5]}, table=stored, config=SMALL)
    image = load_encoder(tmp_path / "m-image")
    assert image.dims == made.dims == load_encoder(tmp_path / "m").dims
    assert image.space == load_encoder(tmp_path / "m").space
    assert read_card(tmp_path / "m-image").recipe["sweep"]["run"] == made.runs[0].name


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"nn.capcity": [8]}, "no setting is called 'nn.capcity': did you mean 'nn.capacity'"),
        ({"nn.capacity": [8, "big"]}, "nn.capacity = 'big': the setting is a number"),
        ({"nn.capacity": [8, 0]}, "0"),
        ({"nn.capacity": []}, "'nn.capacity' has no values"),
        ({}, "a sweep without settings"),
        ({"nn.capacity": [8], "encoder.nn.capacity": [9]}, "names one setting twice"),
        ({"nn.capacity": [8], "position.kind": ["harmonics", "spherical"]}, "spherical"),
        ({"loop.seed": list(range(200)), "nn.capacity": list(range(1, 200))}, "more than 10,000 runs"),
    ],
)
def test_refused_before_anything_runs(values: dict[str, Any], said: str, stored: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said):
        sweep("location", tmp_path / "m", values, table=stored, config=SMALL)
    assert list(tmp_path.iterdir()) == [stored]


def test_a_figure_that_the_runs_do_not_give(stored: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no figure 'map' to rank by; they have: .*mrr"):
        sweep("location", tmp_path / "m", {"loop.seed": [0, 1]}, table=stored, config=SMALL, rank_by="map")
    assert len(states(sweep_folder(tmp_path / "m"))) == 1  # the first run told it, and is kept


def test_names_of_folders() -> None:
    assert run_name({"nn.capacity": 512, "normalize": True}) == "nn.capacity=512,normalize=true"
    odd = [run_name({"captions": text}) for text in ("a/b", "a b", "..", "x" * 300, "é")]
    assert len(set(odd)) == 5
    for name in odd:
        assert "/" not in name
        assert len(name.encode()) < 200


values = st.floats(0, 1) | st.just(float("nan")) | st.none()


@given(st.lists(st.tuples(values, st.integers(1, 3)), min_size=1, max_size=8), st.sampled_from(["mrr", "loss"]))
def test_rank_by_any_figure(found: list[tuple[float | None, int]], figure: str) -> None:
    runs = [
        RankedRun(str(i), {}, "failed" if value is None else "done", {} if value is None else {figure: value}, size)
        for i, (value, size) in enumerate(found)
    ]
    ranked = rank(runs, figure)
    assert sorted(run.name for run in ranked) == sorted(run.name for run in runs)
    assert [run.rank for run in ranked] == list(range(1, len(runs) + 1))
    known = [run.figures[figure] for run in ranked if run.figures.get(figure, float("nan")) >= 0]
    assert known == sorted(known, reverse=not less_is_better(figure))
    assert [run.figures.get(figure, -1) for run in ranked[: len(known)]] == known
    failed = [run.state == "failed" for run in ranked]
    assert failed == sorted(failed)
    for one, other in itertools.pairwise(ranked):
        if one.figures.get(figure) == other.figures.get(figure) is not None:
            assert (one.parameters, int(one.name)) < (other.parameters, int(other.name))
