"""The command line of `train`: settings, several tables, sweeps, and what contradicts itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conftest import make_table
from placevec.cli.commands.train import absolute
from placevec.cli.main import run
from placevec.encoders.model import read_card
from placevec.table import write_table

QUICK = ["--epochs", "2", "--batch-size", "40", "--accelerator", "cpu", "--quiet", "--format", "json"]
SMALL = ["--config", "position.degrees=4", "--config", "nn.capacity=8", "--config", "nn.layers=1"]


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    write_table(make_table(120, 4), tmp_path / "t.parquet")
    return tmp_path / "t.parquet"


def train(*words: object) -> int:
    return run(["train", *(str(word) for word in words)])


def test_settings_reach_the_card_and_a_table_says_what_is_learned(stored: Path, tmp_path: Path, capsys) -> None:
    frame = "position={kind='local', encoding={kind='harmonics', degrees=5}}"
    words = ["--config", frame, "--config", "nn.capacity=9", "--config", "temperature=0.1", "--dims", 3]
    assert train("--table", stored, *QUICK, *words, "--seed", 3, "-o", tmp_path / "m") == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["objective"], record["dims"]) == ("location", 3)
    card = read_card(tmp_path / "m")
    assert card.config["position"]["kind"] == "local"
    assert card.config["position"]["encoding"] == {"kind": "harmonics", "degrees": 5}
    assert card.config["nn"]["capacity"] == 9
    assert (card.recipe["temperature"], card.seed, card.recipe["loop"]["epochs"]) == (0.1, 3, 2)


def test_several_tables(stored: Path, tmp_path: Path, capsys) -> None:
    other = tmp_path / "clay.parquet"
    write_table(make_table(120, 6, seed=1), other)
    assert train("--table", stored, "--table", other, *QUICK, *SMALL, "-o", tmp_path / "m") == 0
    assert len(read_card(tmp_path / "m").parents) == 2
    assert {path.name for path in tmp_path.glob("m-image*")} == {"m-image-t", "m-image-clay"}


def test_a_sweep_prints_its_ranking(stored: Path, tmp_path: Path, capsys) -> None:
    sweeps = ["--sweep", "nn.capacity=8,12", "--sweep", "position.kind=harmonics,local", "--rank-by", "loss"]
    words = ["--table", stored, *QUICK, *SMALL, *sweeps, "-o", tmp_path / "m"]
    assert train(*words) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["rank"] for row in rows] == [1, 2, 3, 4]
    assert [row["loss"] for row in rows] == sorted(row["loss"] for row in rows)
    assert {(row["nn.capacity"], row["position.kind"]) for row in rows} == {
        (8, "harmonics"),
        (8, "local"),
        (12, "harmonics"),
        (12, "local"),
    }
    # The local runs have the encoding of the global ones, in a frame.
    for model in (tmp_path / "m.sweep").glob("*local/model"):
        assert read_card(model).config["position"]["encoding"] == {"kind": "harmonics", "degrees": 4}
    assert read_card(tmp_path / "m").recipe["sweep"]["rank_by"] == "loss"
    assert train(*words) == 0
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == rows


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--config", "nn.capcity=8"], "no setting is called 'nn.capcity': did you mean 'nn.capacity'?"),
        (["--config", "nn.capacity"], "--config 'nn.capacity' sets nothing"),
        (["--config", "nn.capacity=big"], "nn.capacity = 'big': the setting is a number"),
        (["--sweep", "nn.capcity=8,9"], "did you mean 'nn.capacity'?"),
        (["--sweep", "nn.capacity="], "has no values"),
        (["--sweep", "nn.capacity=8,big"], "nn.capacity = 'big': the setting is a number"),
        (["--sweep", "nn.capacity=8", "--sweep", "nn.capacity=9"], "--sweep names 'nn.capacity' twice"),
        (["--rank-by", "mrr"], "--rank-by mrr ranks the runs of a sweep"),
        (["--objective", "image"], "--table is for --objective location"),
    ],
)
def test_one_line_and_exit_2(words: list[str], said: str, stored: Path, tmp_path: Path, capsys) -> None:
    assert train("--table", stored, *QUICK, *words, "-o", tmp_path / "m") == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == [stored]


@pytest.mark.parametrize("word", ["--table", "--out", "--config", "--sweep"])
def test_a_recipe_says_these_itself(word: str, tmp_path: Path, capsys) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('[[step]]\ndo = "train"\nobjective = "location"\nout = "m"\n')
    assert train(recipe, word, "nn.capacity=8") == 2
    assert f"{word} does not go with a recipe" in capsys.readouterr().err


def test_no_folder_to_write(stored: Path, capsys) -> None:
    assert train("--table", stored) == 2
    assert "give --out FOLDER, or a recipe" in capsys.readouterr().err


def test_what_a_recipe_reads_is_named_from_where_the_command_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "clip").mkdir()
    monkeypatch.chdir(tmp_path)
    assert absolute("set") == str(tmp_path / "set")
    assert absolute("hf:clip") == f"hf:{tmp_path / 'clip'}"
    assert [absolute(name) for name in ("hf:openai/clip", "dataset:ucm", "nowhere")] == [
        "hf:openai/clip",
        "dataset:ucm",
        "nowhere",
    ]
    step = '[[step]]\ndo = "train"\nobjective = "image-text"\ncaptions = "{captions}"\nout = "m"\n'
    (tmp_path / "r.toml").write_text(f'[vars]\ncaptions = ""\n{step}')
    assert train("r.toml", "--captions", "nowhere.json", "--quiet") == 2
    assert "captions = 'nowhere.json'" in capsys.readouterr().err
    assert train("r.toml", "--model", "hf:clip", "--quiet") == 2
    assert "vars has the unknown key 'model'" in capsys.readouterr().err
