"""The recipe of the photos of the generated country: all of its steps on a small one, and nothing to do again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("hdbscan")
pytest.importorskip("PIL")
pytest.importorskip("rasterio")

from generated import arcadia, written
from placevec.cli.main import run
from placevec.config import load_recipe
from placevec.encoders.locator import Locator
from placevec.sources.photos import read_photo_list
from placevec.table import read_skipped

RECIPE = Path(__file__).parents[2] / "examples" / "geolocation" / "country.toml"


@pytest.mark.slow
def test_the_small_settings_of_the_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    world = arcadia()
    (tmp_path / "country").mkdir()
    (tmp_path / "country" / "world").symlink_to(written()[0])
    capsys.readouterr()

    def states() -> dict[str, str]:
        assert run(["run", str(RECIPE), "--smoke", "--quiet"]) == 0, capsys.readouterr().err
        records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        return {record["step"]: record["state"] for record in records}

    steps = [step.name for step in load_recipe(RECIPE, smoke=True).steps]
    assert states() == dict.fromkeys(steps, "done")
    assert states() == dict.fromkeys(steps, "skipped")

    home = tmp_path / "country"
    listed = read_photo_list(home / "photos.parquet")
    assert len(listed) + len(read_skipped(home / "photos.parquet")) == len(world.photo_places())
    locator = Locator.load(home / "models" / "locator")
    assert locator.phase == 2
    assert set(locator.geocells.regions.names) == set(world.province_names)
    assert locator.gallery is not None

    found = json.loads((home / "results" / "geolocation.json").read_text())
    asked = json.loads((home / "results" / "guesses.geojson").read_text())
    assert "flat" in json.dumps(found["methods"])
    assert len({feature["id"].partition("#")[0] for feature in asked["features"]}) == 4
