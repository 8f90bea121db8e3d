"""Bad input to the regional location encoder, by the command line: one clear line each, and nothing left behind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from conftest import make_table
from placevec.cli.main import run
from placevec.encoders.image import ImageConfig, ImageEncoder
from placevec.encoders.location import LocationConfig, LocationEncoder
from placevec.nn.position import Harmonics
from placevec.nn.siren import SirenConfig
from placevec.nn.vision import SmallCNNConfig
from placevec.provenance import Space
from placevec.table import write_table

Refused = Callable[..., str]
N = 60


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a location encoder, an image encoder, a study area and tables of two Spaces."""
    folder = tmp_path_factory.mktemp("made")
    LocationEncoder.untrained(LocationConfig(Harmonics(4), SirenConfig(capacity=8), dims=8), seed=0).save(
        folder / "loc"
    )
    ImageEncoder.untrained(ImageConfig(SmallCNNConfig(width=4, stages=2, dims=5)), seed=0).save(folder / "image")
    space = Space.mint(8)
    write_table(make_table(N, 8, space=space), folder / "t.parquet")
    write_table(make_table(N, 8, seed=1, prefix="q"), folder / "other.parquet")
    write_table(make_table(N, 8, seed=2, space=space, prefix="b"), folder / "joined.parquet")
    assert run(["area", "new", "box", "--bbox=-9,36,3,43", "--resolution", "3", "-o", str(folder / "area")]) == 0
    return folder


@pytest.fixture
def work(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that folder, which the commands run in."""
    shutil.copytree(made, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


@pytest.fixture
def refused(work: Path, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Runs a command that must fail with one line, and leave every file as it was; returns the line."""

    def check(command: str, *words: str, code: int = 1) -> str:
        before = contents(work)
        capsys.readouterr()
        assert run(command.split()) == code
        out, err = capsys.readouterr()
        # A recipe says which step it has come to.
        lines = [line for line in err.splitlines() if not line.startswith("step ")]
        assert out == ""
        assert len(lines) == 1, err
        assert lines[0].startswith("placevec: ")
        for word in words:
            assert word in lines[0], f"{word!r} is not in {lines[0]!r}"
        assert contents(work) == before, "something was left behind"
        return lines[0]

    return check


def contents(folder: Path) -> dict[str, bytes]:
    """Every file but the lock of a run, which stays, so that nobody locks a file that another one removes."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".run.lock"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def commands_at(file: str) -> list[str]:
    """The commands that read places from a file."""
    return [
        f"embed -e loc --on {file} -o out.parquet -q",
        f"evaluate location loc --on {file} -t id -o out.json -q --no-html",
        f"evaluate location loc --area area -t v={file}:v -o out.json -q --no-html",
    ]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (["1,2", "1,95"], ("row 1", "latitude 95", "[-90, 90]")),
        (["1,2", "120,95"], ("row 1", "latitude 95", "degrees")),
        (["1,2", "400,5"], ("row 1", "longitude 400", "degrees")),
        (["1,2", "440000,4474000"], ("row 1", "reproject")),
        (["40.4,-3.7", "41.2,102.1"], ("row 1", "102.1", "lat, lon")),
        (["1,2", "nan,4"], ("row 1", "longitude is nan")),
        (["1,2", ",4"], ("row 1", "longitude is nan")),
        (["1,2", "1,inf"], ("row 1", "latitude is inf")),
    ],
)
def test_coordinates_that_are_none(work: Path, refused: Refused, rows: list[str], words: tuple[str, ...]) -> None:
    (work / "p.csv").write_text("lon,lat,v\n" + "".join(f"{row},1\n" for row in rows))
    for command in commands_at("p.csv"):
        refused(command, "p.csv", *words)


def test_swapped_coordinates_in_geojson(work: Path, refused: Refused) -> None:
    nowhere = {"type": "Feature", "properties": {"v": 0}, "geometry": None}
    feature = {"type": "Feature", "properties": {"v": 1}, "geometry": {"type": "Point", "coordinates": [41.2, 102.1]}}
    (work / "p.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [nowhere, feature]}))
    refused("embed -e loc --on p.geojson -o out.parquet -q", "p.geojson", "feature 1", "102.1", "lat, lon")


@pytest.mark.parametrize("mode", ["soft", "top1", "topm", "range+", "multiscale"])
def test_a_bank_of_another_space(refused: Refused, mode: str) -> None:
    words = (mode, "other.parquet", "another Space", "--keys", "geo")
    refused(f"augment t.parquet --bank other.parquet --mode {mode} -o out.parquet -q", *words)


def test_keys_of_another_space(refused: Refused) -> None:
    command = "augment t.parquet --bank joined.parquet --keys other.parquet --mode soft -o out.parquet -q"
    refused(command, "the keys of joined.parquet", "embed the places of the bank")


@pytest.mark.parametrize(
    ("options", "word"), [("--buffer 20000km", "within 20000 km"), ("--max-distance 1m", "beyond 1 m")]
)
@pytest.mark.parametrize("mode", ["geo", "soft", "multiscale"])
def test_an_empty_bank_after_masking(refused: Refused, mode: str, options: str, word: str) -> None:
    command = f"augment t.parquet --bank joined.parquet --mode {mode} {options} -o out.parquet -q"
    refused(command, "empty bank after masking", word, "--buffer", "--max-distance")


def test_an_empty_bank_in_an_evaluation(refused: Refused) -> None:
    command = "evaluate location t.parquet -t elevation --bank other.parquet --mode geo --buffer 20000km "
    refused(command + "--min-places 30 -o out.json -q --no-html", "t + geo", "no bank row is left", "--buffer")


def test_a_bank_without_rows(work: Path, refused: Refused) -> None:
    write_table(make_table(N, 8).take(np.array([], dtype=np.int64)), work / "none.parquet")
    refused("augment t.parquet --bank none.parquet --mode geo -o out.parquet -q", "none.parquet", "no rows")


def broken(folder: Path, **settings: object) -> None:
    card = json.loads((folder / "card.json").read_text())
    for name, value in settings.items():
        card["config"][name] = value
    (folder / "card.json").write_text(json.dumps(card))


USES = (
    "embed -e loc --on t.parquet -o out.parquet -q",
    "embed -e loc --on grid --area area --resolution 100km -o out.tif -q",
    "evaluate location loc --on t.parquet -t elevation -o out.json -q --no-html",
)


@pytest.mark.parametrize("command", USES)
def test_a_model_of_another_architecture(work: Path, refused: Refused, command: str) -> None:
    broken(work / "loc", dims=9)
    refused(command, "model.safetensors", "(8", "(9", "another network")


@pytest.mark.parametrize("command", USES)
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"position": {"kind": "harmonics", "degrees": 5}}, ("model.safetensors", "another network")),
        ({"nn": {"kind": "fcnet", "capacity": 8}}, ("model.safetensors", "another network")),
        ({"position": {"kind": "nowhere"}}, ("card.json", "'nowhere'", "harmonics")),
        ({"nn": {"kind": "siren", "capcity": 8}}, ("card.json", "'capcity'", "capacity")),
    ],
)
def test_a_card_that_does_not_fit(work: Path, refused: Refused, command: str, settings: dict, words: tuple) -> None:
    broken(work / "loc", **settings)
    refused(command, "loc/", *words)


@pytest.mark.parametrize("command", USES)
@pytest.mark.parametrize(("name", "keep"), [("model.safetensors", 300), ("card.json", 200)])
def test_a_truncated_model(work: Path, refused: Refused, command: str, name: str, keep: int) -> None:
    path = work / "loc" / name
    path.write_bytes(path.read_bytes()[:keep])
    refused(command, f"loc/{name}")


@pytest.mark.parametrize(
    "command",
    [
        "augment cut.parquet --bank t.parquet --mode geo -o out.parquet -q",
        "augment t.parquet --bank cut.parquet --mode geo -o out.parquet -q",
        "embed -e loc --on cut.parquet -o out.parquet -q",
        "evaluate location cut.parquet -t elevation -o out.json -q --no-html",
        "evaluate location loc --on cut.parquet -t elevation -o out.json -q --no-html",
        "evaluate location loc --on t.parquet --raw cut.parquet -t elevation -o out.json -q --no-html",
        "train --table cut.parquet -o out -q",
    ],
)
def test_a_truncated_table(work: Path, refused: Refused, command: str) -> None:
    (work / "cut.parquet").write_bytes((work / "t.parquet").read_bytes()[:3000])
    refused(command, "cut.parquet", "cut short")


def test_a_truncated_raster(work: Path, refused: Refused) -> None:
    pytest.importorskip("rasterio")
    made = "embed -e loc --on grid --area area --resolution 20km -o g.tif -q"
    assert run(made.split()) == 0
    (work / "cut.tif").write_bytes((work / "g.tif").read_bytes()[:2000])
    (work / "g.tif").unlink()
    refused("evaluate location loc --on t.parquet -t v=cut.tif -o out.json -q --no-html", "cut.tif")


@pytest.mark.parametrize("kind", ["satclip", "geoclip"])
def test_a_checkpoint_of_something_else(work: Path, refused: Refused, kind: str) -> None:
    import torch

    torch.save({"state_dict": {"a.weight": torch.zeros(2, 2)}}, work / "wrong.ckpt")
    refused(f"import wrong.ckpt --as {kind} -o out", "wrong.ckpt")
    (work / "cut.ckpt").write_bytes((work / "wrong.ckpt").read_bytes()[:300])
    refused(f"import cut.ckpt --as {kind} -o out", "cut.ckpt", "cannot be read")


STEP = '[[step]]\ndo = "train"\nobjective = "location"\ntable = "t.parquet"\nout = "models/m"\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[recipe]\nname = 'x'\nsed = 1\n" + STEP, ("r.toml", "'sed'", "'seed'")),
        (STEP + "epochs = 3\n", ("'epochs'", "config")),
        (STEP + "config = { encoder = { nn = { capcity = 8 } } }\n", ("'capcity'", "capacity")),
        (STEP + "config = { encoder = { position = { kind = 'harmonics', degree = 8 } } }\n", ("'degree'", "degrees")),
        (STEP + "config = { encoder = { nn = { kind = 'sirene' } } }\n", ("'sirene'", "siren")),
        (STEP + "config = { loop = { epoch = 8 } }\n", ("'epoch'", "epochs")),
        (STEP + "config = { encodr = { dims = 8 } }\n", ("'encodr'", "encoder")),
        (STEP + "sweep = { 'nn.capcity' = [8, 9] }\n", ("'nn.capcity'", "nn.capacity")),
        (
            '[[step]]\ndo = "augment"\ntable = "t.parquet"\nbank = "b"\nmod = "geo"\nout = "o.parquet"\n',
            ("'mod'", "mode"),
        ),
        ('[[step]]\ndo = "evaluate"\ncompard = ["loc"]\ntargets = ["v"]\nout = "o.json"\n', ("'compard'", "compared")),
    ],
)
def test_a_recipe_with_an_unknown_key(work: Path, refused: Refused, text: str, words: tuple[str, ...]) -> None:
    shutil.copy(work / "t.parquet", work / "area" / "t.parquet")
    head = "" if text.startswith("[recipe]") else "[recipe]\nname = 'x'\n"
    (work / "r.toml").write_text(head + text)
    refused("run r.toml --area area", *words, code=2)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--sweep nn.capcity=8,9", ("'nn.capcity'", "did you mean 'nn.capacity'?")),
        ("--sweep dropout=0.1,0.2", ("'dropout'", "'nn.dropout'")),
        ("--sweep nn.capacity=8,big", ("'big'", "number")),
        ("--sweep nn.kind=siren,sirene", ("'sirene'", "siren")),
        ("--sweep position.kind=harmonics,nowhere", ("'nowhere'", "harmonics")),
        ("--config position.degree=9", ("'position.degree'", "'position.degrees'")),
    ],
)
def test_an_unknown_setting(refused: Refused, options: str, words: tuple[str, ...]) -> None:
    refused(f"train --table t.parquet {options} -o out -q", *words, code=2)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("-e image --area area --resolution 50km", ("image", "location encoder", "--on cells")),
        ("-e features:pixels --area area --resolution 50km", ("image", "location encoder")),
        ("-e loc --area area --resolution 50km --raster r.tif", ("--on grid", "--raster")),
        ("-e loc --area area --resolution banana", ("'banana'", "1km")),
        ("-e loc --area area --resolution 0km", ("'0km'", "above 0")),
        ("-e loc --resolution 50km", ("--area", "--bbox")),
        ("-e loc --area nowhere --resolution 50km", ("nowhere", "placevec area")),
    ],
)
def test_a_grid_that_cannot_be(refused: Refused, options: str, words: tuple[str, ...]) -> None:
    refused(f"embed --on grid {options} -o out.tif -q", *words, code=2)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("v=nowhere.tif", ("nowhere.tif", "no raster")),
        ("v=dataset:nowhere", ("dataset:nowhere", "etopo20")),
        ("v=nowhere.csv:price", ("nowhere.csv", "does not exist")),
        ("v=nowhere.geojson:NAME", ("nowhere.geojson",)),
        ("elevatio", ("'elevatio'", "elevation")),
    ],
)
def test_a_target_that_does_not_exist(refused: Refused, target: str, words: tuple[str, ...]) -> None:
    refused(f"evaluate location loc --on t.parquet -t {target} -o out.json -q --no-html", *words, code=2)


@pytest.mark.parametrize(
    ("words_given", "words"),
    [
        ("nowhere -t elevation -o out.json", ("'nowhere'", "model folder")),
        ("image -t elevation -o out.json", ("'image'", "not coordinates", "give the table")),
        ("loc -t elevation -o out.md", ("out.md", "NAME.json")),
        ("loc -t elevation -o area", ("area", "NAME.json")),
        ("loc -t elevation -o out.json --log1p elevatio", ("--log1p elevatio", "elevation")),
        ("loc -t elevation -o out.json --class elevatio", ("--class elevatio", "elevation")),
        ("loc -t elevation -o out.json --block elevatio=h3:3", ("--block elevatio", "elevation")),
        ("loc -t elevation -o out.json --block z:3 --min-places 30", ("'z:3'", "h3:6")),
        ("loc -t elevation -o out.json --buffer far", ("--buffer far", "60km")),
        ("loc -t elevation -o out.json --mode soft", ("--mode", "--bank")),
        ("loc -t elevation -o out.json --bank other.parquet --mode hard", ("'hard'", "soft")),
    ],
)
def test_an_evaluation_that_contradicts_itself(refused: Refused, words_given: str, words: tuple[str, ...]) -> None:
    refused(f"evaluate location {words_given} --on t.parquet -q --no-html", *words, code=2)
