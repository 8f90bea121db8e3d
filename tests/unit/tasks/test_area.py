"""The study area that a recipe makes for itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from placevec.area import StudyArea
from placevec.config import parse_recipe
from placevec.errors import UsageError
from placevec.tasks.area import recipe_area

STEPS = [{"do": "embed"}]


def test_it_is_made_once_in_a_folder_of_the_recipes_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = parse_recipe(
        {"recipe": {"name": "plain", "area": {"bbox": "-4,40,-3,41", "resolution": 5}}, "step": STEPS}
    )
    made = recipe_area(recipe, tmp_path)
    assert made.folder == Path("plain")
    assert StudyArea.open(tmp_path / "plain") == recipe_area(recipe, tmp_path)
    other = parse_recipe({"recipe": {"name": "plain", "area": {"bbox": "-4,40,-2,41"}}, "step": STEPS})
    with pytest.raises(UsageError, match="already holds the study area"):
        recipe_area(other, tmp_path)


def test_a_boundary_stands_beside_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    beside = tmp_path / "recipes"
    beside.mkdir()
    ring = "[[-4,40],[-3,40],[-3,41],[-4,40]]"
    (beside / "valley.geojson").write_text(f'{{"type": "Polygon", "coordinates": [{ring}]}}')
    recipe = parse_recipe({"recipe": {"name": "valley", "area": {"boundary": "valley.geojson"}}, "step": STEPS})
    assert recipe_area(recipe, beside).boundary.area == pytest.approx(0.5)


def test_a_recipe_without_an_area_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="give --area FOLDER"):
        recipe_area(parse_recipe({"step": STEPS}), tmp_path)
