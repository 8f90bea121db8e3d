"""The recipe of Pakistan by its small settings: three phases, the measure, and a chip located, on the real imagery."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("hdbscan")
pytest.importorskip("rasterio")

from placevec.cli.main import run

RECIPE = Path(__file__).parents[2] / "examples" / "geolocation" / "pakistan.toml"


def test_the_small_settings(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PLACEVEC_DATA", str(data_dir))
    assert run(["run", str(RECIPE), "--smoke", "--quiet"]) == 0, capsys.readouterr().err
    found = json.loads((tmp_path / "pakistan" / "results" / "geolocation.json").read_text())
    figures = {one["name"]: one["figures"] for one in found["methods"]}
    locator, prior = (figures[name]["median_km"]["value"] for name in ("locator", "train prior"))
    assert locator < prior
    oracle = next(name for name in figures if name.startswith("offset in the true cell"))
    assert figures[oracle]["median_km"]["value"] < locator  # and it stands there as a diagnostic
    assert {one["role"] for one in found["methods"] if one["name"] == oracle} == {"diagnostic"}
    laws = found["laws"]["locator"]
    assert 0.3 < laws["coverage_80"] <= 1.0
    capsys.readouterr()
    chip = ["locate", "--raster", "dataset:blue-marble", "--at", "67.0,24.9", "--model", "pakistan/models/locator"]
    assert run([*chip, "--format", "json", "--quiet"]) == 0
    guess = json.loads(capsys.readouterr().out)
    guess = guess[0] if isinstance(guess, list) else guess
    assert [region["level"] for region in guess["regions"]] == [0.5, 0.8, 0.95]
    assert 60 < guess["lon"] < 78
