"""The step `photos` of a recipe: a photo list from photos or from chips, and options that contradict each other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import shapely

pytest.importorskip("PIL")

from photo_files import write_photo
from placevec.errors import RecipeError
from placevec.sources.photos import read_photo_card, read_photo_list
from placevec.table import read_skipped
from placevec.tasks.run import run
from placevec.tasks.verbs import VERBS

HEAD = '[recipe]\nname = "p"\nfolder = "p"\n\n[[step]]\ndo = "photos"\n'


def recipe(folder: Path, lines: str) -> Path:
    """A recipe of one step beside a folder of three photos, one of them twice, and two regions."""
    for seed in range(3):
        write_photo(folder / "p" / "in" / f"{seed}.jpg", seed, (67.0 + seed, 25.0))
    write_photo(folder / "p" / "in" / "again.jpg", 2, (69.0, 25.0))
    boxes = {"Sind": (60, 24, 68.5, 30), "East": (68.5, 24, 78, 30)}
    features = [
        {"type": "Feature", "properties": {"label": name}, "geometry": shapely.box(*box).__geo_interface__}
        for name, box in boxes.items()
    ]
    (folder / "p" / "r.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    path = folder / "p.toml"
    path.write_text(HEAD + lines)
    return path


def test_a_folder_becomes_a_list_with_regions_and_a_report(tmp_path: Path) -> None:
    path = recipe(
        tmp_path,
        'photos = "in"\nregions = "r.geojson"\nregion_column = "label"\nrename = { Sind = "Sindh" }\n'
        'rules = { min_side = 8 }\nthreads = 1\nout = "l.parquet"\nreport = "results/photos.json"\n',
    )
    (done,) = run(path, VERBS, folder=tmp_path / "p").steps
    assert done.summary["photos"] == 4 == done.summary["kept"] + done.summary["skipped"]
    assert sum(done.summary["skipped_because"].values()) == 1 == len(read_skipped(tmp_path / "p" / "l.parquet"))
    listed = read_photo_list(tmp_path / "p" / "l.parquet")
    assert sorted(listed.column("region")) == ["East", "Sindh", "Sindh"]
    assert read_photo_card(tmp_path / "p" / "l.parquet").regions == ("Sindh", "East")
    assert (tmp_path / "p" / "results" / "photos.md").is_file()
    (again,) = run(path, VERBS, folder=tmp_path / "p").steps
    assert (done.state, again.state) == ("done", "skipped")


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("", "give photos, or a raster"),
        ('photos = "in"\nraster = "r.tif"\n', "give photos, or a raster"),
        ('photos = "in"\nregion_column = "label"\n', "names of which regions"),
        ('photos = "in"\nrules = { min_sides = 8 }\n', "min_side"),
    ],
)
def test_options_that_make_no_sense(tmp_path: Path, lines: str, words: str) -> None:
    path = recipe(tmp_path, lines + 'out = "l.parquet"\n')
    with pytest.raises(RecipeError, match=words):
        run(path, VERBS, folder=tmp_path / "p")
