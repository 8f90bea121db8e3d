"""Photos of the generated country, from files to a locator that is measured; and a training that is interrupted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("hdbscan")
pytest.importorskip("PIL")

from PIL import Image

from generated import arcadia
from placevec.cli.main import run
from placevec.encoders.locator import Locator
from placevec.sources.photos import read_photo_list

COMMAND = [sys.executable, "-c", "from placevec.cli.main import main; main()"]
SMALL = [
    "--config",
    'backbones=[{kind="net", net={width=8, stages=2, dims=24, pixels=16}}]',
    "--config",
    "geocells.min_points=8",
    "--config",
    "geocells.dense_km=15",
    "--config",
    "geocells.levels_km=[]",
    "--config",
    "head.dims=32",
]


@pytest.fixture(scope="module")
def country(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """420 photos as files with a list, and the provinces."""
    folder = tmp_path_factory.mktemp("country")
    world = arcadia()
    places = world.photo_places()
    (folder / "photos").mkdir()
    lines = ["id,file,lon,lat,place"]
    for row in range(420):
        name = str(places.ids[row])
        Image.fromarray(world.photos.image[row].transpose(1, 2, 0)).save(folder / "photos" / f"{name}.jpg", quality=92)
        at = f"{float(places.lon[row])!r},{float(places.lat[row])!r}"
        lines.append(f"{name},photos/{name}.jpg,{at},{places.keys[row]}")
    (folder / "photos.csv").write_text("\n".join(lines) + "\n")
    features = [
        {"type": "Feature", "properties": {"name": name}, "geometry": shape.__geo_interface__}
        for shape, name in zip(world.provinces, world.province_names, strict=True)
    ]
    (folder / "provinces.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    listing = ["data", "photos", str(folder / "photos.csv"), "--regions", str(folder / "provinces.geojson")]
    assert run([*listing, "-o", str(folder / "photos.parquet"), "-q"]) == 0
    return folder


def words(country: Path, out: Path, *more: str) -> list[str]:
    """A training on the photos."""
    return [
        *("train", "locate", "--on", str(country / "photos.parquet"), "--regions", str(country / "provinces.geojson")),
        *("--pixels", "16", "--block", "h3:5", "--folds", "8", "--buffer", "1km", "--epochs", "2"),
        *("--batch-size", "32", *SMALL, "-o", str(out), "-q", *more),
    ]


def test_from_photos_to_a_locator_that_is_measured(
    country: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, untrained = tmp_path / "locator", tmp_path / "untrained"
    assert run(words(country, model, "--untrained", str(untrained))) == 0
    [record] = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert record["objective"] == "locate"
    assert {"median_km", "energy_km", "forgotten", "gained"} <= set(record["scores"])
    locator = Locator.load(model)
    assert locator.phase == 2
    assert locator.gallery is not None
    assert len(locator.gallery) == record["rows"]
    # A photo is located, with a region and similar training photos.
    photo = country / "photos" / "photo-000000.jpg"
    assert run(["locate", str(photo), "--model", str(model), "-q"]) == 0
    guess = json.loads(capsys.readouterr().out)
    assert {"lon", "lat", "confidence"} <= set(guess)
    # It is measured on the photos that it has not seen, none of which stands in its gallery.
    out = tmp_path / "figures.json"
    asked = ["evaluate", "geolocation", "-m", str(model), "--on", str(country / "photos.parquet"), "-o", str(out)]
    assert run([*asked, "--untrained", str(untrained), "--unseen", "-q"]) == 0
    capsys.readouterr()
    assert json.loads(out.read_text())
    tested = {str(name) for name in read_tested(out)}
    assert tested
    assert not tested & {*locator.gallery.ids.tolist()}
    assert tested <= {*read_photo_list(country / "photos.parquet").ids.tolist()}


def read_tested(out: Path) -> list[str]:
    """The ids of the photos that were tested."""
    import pyarrow.parquet as pq

    return [str(name) for name in pq.read_table(out.with_suffix(".photos.parquet"))["id"].to_pylist()]


@pytest.mark.slow
def test_an_interruption_leaves_a_run_that_goes_on(country: Path, tmp_path: Path) -> None:
    out = tmp_path / "locator"
    checkpoint = tmp_path / "locator.run" / "province" / "checkpoint.safetensors"
    given = words(country, out, "--phase", "province", "--phase", "geography")
    given[given.index("--epochs") + 1] = "6"
    with subprocess.Popen(
        [*COMMAND, *given], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ}
    ) as process:
        limit = time.monotonic() + 90
        while not checkpoint.exists() and process.poll() is None:
            assert time.monotonic() < limit
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "the same command goes on from there" in errors
    assert "Traceback" not in errors
    assert not list(tmp_path.rglob("*.part-*"))
    assert run(given) == 0
    straight = tmp_path / "straight"
    given[given.index("-o") + 1] = str(straight)
    assert run(given) == 0
    assert Locator.load(out).space == Locator.load(straight).space
