"""Areas that are a list of cells, and areas of several resolutions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from placevec.area import StudyArea
from placevec.config import check_options, load_recipe, parse_recipe
from placevec.errors import DataError, FormatError, UsageError
from placevec.geo.boxes import box_polygon
from placevec.geo.cells import H3Cells
from placevec.tasks.area import new_area, recipe_area
from placevec.tasks.verbs import VERBS

FUSION = Path(__file__).parents[3] / "examples" / "fusion"


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """A file with two islands of cells on both sides of the antimeridian, one cell twice, and a broken key."""
    cells = H3Cells(7).cover(box_polygon((179.8, -17.1, -179.8, -17.0)))
    far = H3Cells(7).cover(box_polygon((178.0, -18.0, 178.02, -17.98)))
    keys = [f"{int(cell):x}" for cell in [*cells, *far, cells[0]]] + ["broken"]
    (tmp_path / "cells.csv").write_text("\n".join(["hex_id", *keys]) + "\n")
    return tmp_path / "cells.csv"


def test_the_cells_stay_the_cells(listed: Path, tmp_path: Path) -> None:
    area = new_area("fiji", tmp_path / "fiji", cells=listed)
    assert area.resolutions == (7,)
    texts = listed.read_text().split()[1:-1]
    wanted = np.unique([int(text, 16) for text in texts]).astype(np.uint64)
    assert np.array_equal(area.cells(), wanted)
    again = StudyArea.open(tmp_path / "fiji")
    assert again == area
    assert np.array_equal(again.cells(), wanted)
    assert np.array_equal(again.cells(6), np.unique(H3Cells(7).parent(wanted, 6)))
    assert np.array_equal(again.cells(8), np.sort(H3Cells(7).children(wanted, 8).cells))
    assert area.bbox[0] > 177.9
    assert area.bbox[2] < -179.7
    # The same again changes nothing; one cell fewer is another area.
    new_area("fiji", tmp_path / "fiji", cells=listed)
    with pytest.raises(UsageError, match="already holds the study area"):
        StudyArea.from_cells(wanted[1:], name="fiji").save(tmp_path / "fiji")
    (tmp_path / "fiji" / "cells.parquet").write_text("no")
    with pytest.raises(FormatError, match="does not hold the cells"):
        StudyArea.open(tmp_path / "fiji")


def test_resolutions_beside_that_of_the_cells(listed: Path, tmp_path: Path) -> None:
    area = new_area("fiji", tmp_path / "fiji", cells=listed, resolutions=[6, 7])
    assert area.resolution == 6
    assert np.array_equal(area.cells(), np.unique(H3Cells(7).parent(area.cells(7), 6)))


def test_what_is_no_list_of_cells(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there are no cells"):
        StudyArea.from_cells([])
    with pytest.raises(DataError, match="7b is no H3 cell"):
        StudyArea.from_cells([123])
    mixed = [*H3Cells(5).assign(_point()), *H3Cells(6).assign(_point())]
    with pytest.raises(DataError, match="the resolutions 5, 6"):
        StudyArea.from_cells(mixed)
    (tmp_path / "t.csv").write_text("a\n1\n")
    with pytest.raises(DataError, match="no column holds H3 cells"):
        new_area("x", tmp_path / "x", cells=tmp_path / "t.csv")
    with pytest.raises(UsageError, match="--bbox and --cells"):
        new_area("x", tmp_path / "x", cells=tmp_path / "t.csv", bbox="0,0,1,1")


def _point() -> object:
    from placevec.geo.sphere import LonLat

    return LonLat.of(4.0, 52.0)


def test_a_recipe_names_cells_and_resolutions(listed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def made(name: str, **words: object) -> StudyArea:
        return recipe_area(parse_recipe({"recipe": {"name": name, "area": words}, "step": [{"do": "x"}]}), tmp_path)

    assert made("a", cells="cells.csv").resolutions == (7,)
    assert made("b", cells="cells.csv", resolution=[7, 6]).resolutions == (7, 6)
    assert made("c", bbox="4,52,4.1,52.1").resolutions == (6,)
    assert made("d", bbox="4,52,4.1,52.1", resolution=[8, 7, 6]).resolutions == (8, 7, 6)


def test_a_country_of_several_resolutions_is_quick(tmp_path: Path) -> None:
    area = new_area("box", tmp_path / "box", bbox="4,51,6,53", resolutions=[9, 8, 7])
    again = StudyArea.open(tmp_path / "box")
    assert again.resolutions == (9, 8, 7)
    assert len(area.cells()) > 200_000  # of some 30 thousand km², without a geometry for each


@pytest.mark.parametrize("name", ["netherlands", "south-holland", "cascadia"])
def test_the_recipes_of_the_originals_areas(name: str) -> None:
    recipe = load_recipe(FUSION / f"{name}.toml")
    assert recipe.area is not None
    assert isinstance(recipe.area.resolution, list)
    assert {step.do for step in recipe.steps} >= {"features", "graph", "targets"}
    for step in recipe.steps:
        check_options(step.options, VERBS[step.do].options, step.name)
