"""The regional location encoder as a user meets it: train, embed, augment, evaluate location, map, on real imagery."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from commands import placevec
from placevec.grid import EmbeddingGrid
from placevec.table import read_table
from placevec.table.blocks import blocks_of

EXAMPLES = Path(__file__).parents[2] / "examples" / "location"
FULL = os.environ.get("PLACEVEC_STORIES") == "full"
SMOKE = [] if FULL else ["--smoke"]


@pytest.fixture(scope="module")
def trained(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("story")
    placevec(folder, "train", str(EXAMPLES / "iberia.toml"), "--quiet", *SMOKE)
    return folder


def test_the_story_command_by_command(trained: Path) -> None:
    placevec(
        trained, "embed", "-e", "iberia/models/location", "--area", "iberia", "-o", "iberia/tables/location.parquet",
        "--quiet",
    )  # fmt: skip
    placevec(
        trained, "augment", "iberia/tables/location.parquet", "--bank", "iberia/tables/image.parquet", "--bank",
        "iberia/tables/raw.parquet", "--mode", "geo", "--own", "--context", "-o", "iberia/tables/augmented.parquet",
        "--quiet",
    )  # fmt: skip
    table = read_table(trained / "iberia/tables/augmented.parquet").validate()
    names = [name for name, _, _ in blocks_of(table.meta)]
    assert names[:2] == ["query", "harmonics"]
    assert {"image/own", "raw/own"} <= set(names)
    assert np.isfinite(table.places().column("support")).all()
    placevec(
        trained, "evaluate", "location", "iberia/models/location", "iberia/tables/augmented.parquet", "--area",
        "iberia", "--raw", "iberia/tables/raw.parquet", "-t", "elevation=dataset:etopo20", "--probe", "ridge",
        "--probe", "gp", "--shuffles", "3" if FULL else "1", "-o", "iberia/results/location.json", "--quiet",
    )  # fmt: skip
    report = json.loads((trained / "iberia/results/location.json").read_text())
    assert "elevation" in json.dumps(report)
    page = (trained / "iberia/results/location.html").read_text()
    assert "augmented" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    placevec(
        trained, "embed", "-e", "iberia/models/location", "--on", "grid", "--area", "iberia", "--resolution",
        "4km" if FULL else "30km", "-o", "iberia/grids/location.tif", "--quiet",
    )  # fmt: skip
    grid = EmbeddingGrid(trained / "iberia/grids/location.tif")
    assert grid.space.dims == 64
    placevec(
        trained, "map", "iberia/grids/location.tif", "--area", "iberia", "-o", "iberia/figures/location.png"
    )  # fmt: skip
    placevec(
        trained, "map", "iberia/tables/augmented.parquet", "--by", "support", "-o", "iberia/figures/support.png"
    )  # fmt: skip
    for name in ("location.png", "support.png"):
        assert (trained / "iberia/figures" / name).stat().st_size > 10_000
    placevec(trained, "export", "iberia/tables/augmented.parquet", "-o", "iberia/vectors.safetensors")


def test_the_recipe_goes_on_where_the_command_stopped(trained: Path) -> None:
    out, _ = placevec(trained, "run", str(EXAMPLES / "iberia.toml"), "--quiet", *SMOKE)
    states = {line["step"]: line["state"] for line in map(json.loads, out.splitlines())}
    assert states["location-model"] == states["raw"] == "skipped"
    assert states["evaluate"] == states["grid"] == states["map-support"] == "done"
    assert (trained / "iberia" / "results" / "location.md").exists()


@pytest.mark.skipif(not FULL, reason="PLACEVEC_STORIES=full runs the world to its end")
def test_the_world_to_its_end(data_dir: Path, tmp_path: Path) -> None:
    placevec(tmp_path, "run", str(EXAMPLES / "world.toml"), "--quiet")
    assert (tmp_path / "world" / "results" / "location.md").exists()
