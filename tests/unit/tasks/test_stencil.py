"""`placevec area stencil`: areas, files, and all land."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import shapely

from placevec.area import StudyArea
from placevec.cli.main import run
from placevec.errors import DataError, UsageError
from placevec.geo.cells import H3Cells
from placevec.sources import catalog
from placevec.sources.polygons import Mask, read_mask
from placevec.sources.stencil import open_stencil
from placevec.tasks.stencil import make_stencil


@pytest.fixture
def area(tmp_path: Path) -> StudyArea:
    return StudyArea.from_bbox((-4, 40, -3, 41), name="plain", resolutions=(5, 7)).save(tmp_path / "plain")


@pytest.fixture(scope="session")
def land() -> Mask:
    """All land; fetched where PLACEVEC_TEST_FETCH gives consent."""
    try:
        return read_mask("land", allow_network=bool(os.environ.get("PLACEVEC_TEST_FETCH")))
    except DataError as error:
        pytest.skip(f"needs the land's outlines, by `placevec data fetch natural-earth-land`: {error}")


def test_cells_are_those_of_the_area(area: StudyArea, tmp_path: Path) -> None:
    assert area.folder is not None
    made = make_stencil(area.folder, tmp_path / "s.parquet")
    assert made.card.resolution == 5
    np.testing.assert_array_equal(open_stencil(made.path).places().column("h3"), area.cells())
    finer = make_stencil(area.folder, tmp_path / "s.parquet", resolution=7)
    np.testing.assert_array_equal(open_stencil(made.path).places().column("h3"), area.cells(7))
    assert finer.fingerprint != made.fingerprint


def test_the_command_line(area: StudyArea, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "s.parquet"
    assert run(["area", "stencil", str(area.folder), "-o", str(out), "-q"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["cells"] == len(area.cells())
    assert record["mask"] == "plain"
    assert record["fingerprint"] == open_stencil(out).fingerprint()
    boundary = str(tmp_path / "plain" / "boundary.geojson")
    assert run(["area", "stencil", boundary, "-r", "6", "-o", str(out), "-q"]) == 0
    assert json.loads(capsys.readouterr().out)["cells"] == len(area.cells(6))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["nothing.geojson", "-r", "4", "-o", "x.parquet"], "nothing.geojson is neither a file"),
        (["land", "-r", "16", "-o", "x.parquet"], "from 0 to 15"),
        (["land", "-r", "4", "-o", "x.csv"], "ends in .parquet"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(more: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["area", "stencil", *more]) == 2
    told = capsys.readouterr().err
    assert words in told
    assert "Traceback" not in told


def test_a_file_has_no_resolution_of_its_own(area: StudyArea, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="give --resolution"):
        make_stencil(tmp_path / "plain" / "boundary.geojson", tmp_path / "s.parquet")


def test_land_that_is_not_here_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PLACEVEC_DATA", str(tmp_path))
    monkeypatch.setattr(catalog, "cache_folder", lambda: tmp_path / "cache")
    assert run(["area", "stencil", "-r", "3", "-o", str(tmp_path / "x.parquet")]) == 1
    assert "placevec data fetch natural-earth-land" in capsys.readouterr().err


def test_all_land_keeps_every_island(land: Mask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from placevec.tasks import stencil

    monkeypatch.setattr(stencil, "read_mask", lambda *_: land)  # read once for all tests
    made = make_stencil("land", tmp_path / "land.parquet", resolution=4)
    places = open_stencil(made.path).places()
    cells = places.column("h3")
    assert (np.diff(cells) > 0).all()
    points = shapely.get_coordinates(shapely.point_on_surface(land.polygons))
    from placevec.geo.sphere import LonLat

    own = H3Cells(4).assign(LonLat(points[:, 0], points[:, 1]))
    assert np.isin(own, cells).mean() > 0.999  # edges of cells are great circles, those of their outlines are not
    outlines = H3Cells(4).polygons(cells)
    tree = shapely.STRtree(outlines)
    assert len(np.unique(tree.query(land.polygons, predicate="intersects")[0])) == len(land.polygons) > 4000
    # 149 million km² of land; cells at the coast reach beyond it.
    sizes = shapely.area(shapely.transform(outlines, _equal_area, interleaved=False))
    whole = places.column("land") == "whole"
    assert 0.85 < sizes[whole].sum() / 148.9e6 < 1.0 < sizes.sum() / 148.9e6 < 1.15


def _equal_area(lon: np.ndarray, lat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.radians(lon) * 6371.0, np.sin(np.radians(lat)) * 6371.0


def test_land_is_where_it_is(land: Mask) -> None:
    around = {(0.0, -89.9): 1, (-75.0, -10.0): 1, (179.5, 66.5): 1, (-179.5, 66.5): 1, (178.0, -17.8): 1,
              (-30.0, 0.0): 0, (180.0, 0.0): 0, (50.0, 42.0): 0, (0.0, 89.0): 0, (-160.0, -40.0): 0}  # fmt: skip
    shapely.prepare(land.polygons)
    for (x, y), wanted in around.items():
        assert shapely.intersects_xy(land.polygons, x, y).any() == bool(wanted), (x, y)
    total = sum(shapely.transform(p, _equal_area, interleaved=False).area for p in land.polygons)
    assert 145e6 < total < 152e6
