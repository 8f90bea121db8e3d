"""`import --as`: from a checkpoint to a model folder, or one line and nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conftest import make_table
from placevec.cli.main import run
from placevec.encoders.importers import IMPORTERS
from placevec.encoders.model import load_encoder
from placevec.errors import CheckpointError, UsageError
from placevec.table import read_table, write_table
from placevec.tasks.import_ import import_model


def satclip(tmp_path: Path, **more: Any) -> Path:
    """A small SatCLIP checkpoint with the closed-form basis."""
    values = {
        "le_type": "sphericalharmonics",
        "pe_type": "siren",
        "legendre_polys": 3,
        "harmonics_calculation": "closed-form",
        "embed_dim": 4,
        "capacity": 8,
        "num_hidden_layers": 1,
        **more,
    }
    state = {
        "model.nnet.layers.0.weight": torch.linspace(-1, 1, 72, dtype=torch.float64).reshape(8, 9),
        "model.nnet.layers.0.bias": torch.zeros(8, dtype=torch.float64),
        "model.nnet.last_layer.weight": torch.linspace(-1, 1, 32, dtype=torch.float64).reshape(4, 8),
        "model.nnet.last_layer.bias": torch.zeros(4, dtype=torch.float64),
    }
    torch.save({"state_dict": state, "hyper_parameters": values}, tmp_path / "satclip.ckpt")
    return tmp_path / "satclip.ckpt"


def test_a_checkpoint_becomes_a_model_that_embeds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "models" / "satclip"
    assert run(["import", str(satclip(tmp_path)), "--as", "satclip", "-o", str(model)]) == 0
    said = capsys.readouterr()
    record = json.loads(said.out)
    assert (record["kind"], record["dims"], record["weights"], record["licence"]) == ("satclip", 4, 116, "MIT")
    assert "not normalised" in said.err
    assert record["space"] == load_encoder(model).space.id
    (tmp_path / "points.csv").write_text("id,lon,lat\na,-3.7,40.4\nb,2.1,41.4\n")
    table = tmp_path / "points.parquet"
    assert run(["embed", "-e", str(model), "--on", str(tmp_path / "points.csv"), "-o", str(table)]) == 0
    held = read_table(table)
    assert held.space.id == record["space"]
    expected = load_encoder(model).encode({"lonlat": np.stack([held.lon, held.lat], axis=1)})
    np.testing.assert_allclose(held.vectors(), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--as", "satclip", "--basis", "analytic"], ["closed-form", "--basis"]),
        (["--as", "geoclip", "--basis", "analytic"], ["takes no --basis"]),
        (["--as", "place365"], ["no checkpoint of the kind 'place365'", "geoclip, open-clip, places365, satclip"]),
        (["--as", "satclip", "--crs", "EPSG:25830"], ["--crs belongs to tables"]),
        (["--as", "satclip", "--order", "keep"], ["--order belongs to tables"]),
        (["--basis", "analytic"], ["--as satclip"]),
    ],
)
def test_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], words: list[str]) -> None:
    out = tmp_path / "model"
    assert run(["import", str(satclip(tmp_path)), "-o", str(out), *more]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    for word in words:
        assert word in error
    assert not out.exists()


def test_a_damaged_checkpoint_is_one_line_and_no_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = satclip(tmp_path)
    for damage in ("cut", "layers", "kind"):
        if damage == "cut":
            path.write_bytes(path.read_bytes()[:-40])
        elif damage == "layers":
            path = satclip(tmp_path, num_hidden_layers=2)
        kind = "geoclip" if damage == "kind" else "satclip"
        assert run(["import", str(path), "--as", kind, "-o", str(tmp_path / "models" / "m")]) == 1
        error = capsys.readouterr().err
        assert error.startswith("placevec: ")
        assert error.count("\n") == 1
        assert not (tmp_path / "models").exists() or list((tmp_path / "models").iterdir()) == []


def test_what_stands_in_the_way_is_kept(tmp_path: Path) -> None:
    path = satclip(tmp_path)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="is no model folder"):
        import_model([path], mine, "satclip")
    with pytest.raises(UsageError, match="is no model folder"):
        import_model([path], mine / "thesis.txt", "satclip")
    with pytest.raises(UsageError, match="not a table"):
        import_model([path], tmp_path / "out.parquet", "satclip")
    assert (mine / "thesis.txt").read_text() == "years of work"
    (tmp_path / "empty").mkdir()
    first = import_model([path], tmp_path / "empty", "satclip")
    assert import_model([path], tmp_path / "empty", "satclip") == first, "a model of before is replaced"
    with pytest.raises(CheckpointError, match="is no file"):
        import_model([tmp_path / "none.ckpt"], tmp_path / "empty", "satclip")
    assert load_encoder(tmp_path / "empty").space.id == first["space"]


def test_the_help_names_every_kind(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["import", "--help"]) == 0
    said = capsys.readouterr().out
    assert all(kind in said for kind in IMPORTERS)


def test_without_torch(tmp_path: Path) -> None:
    """Arrays are written without torch; a checkpoint asks for it in one line."""
    write_table(make_table(20, 3), tmp_path / "t.parquet")
    script = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ('torch', 'safetensors'):
            raise ModuleNotFoundError(f'No module named {name!r}', name=name)
sys.meta_path.insert(0, Block())
from placevec.cli.main import run
codes = [run(['export', 't.parquet', '-o', name]) for name in ('a.npy', 'a.safetensors', 'a.pt')]
codes.append(run(['import', 'satclip.ckpt', '--as', 'satclip', '-o', 'model']))
assert codes == [0, 0, 1, 1], codes
"""
    satclip(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("placevec[torch]") == 2
    assert not (tmp_path / "model").exists()
    assert not (tmp_path / "a.pt").exists()
