"""`placevec train` and `placevec embed` killed at random moments end as if nothing had happened."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from placevec.table import open_table, read_skipped

rasterio = pytest.importorskip("rasterio")

ENV = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}


def placevec(*words: str) -> list[str]:
    return [sys.executable, "-m", "placevec", *words]


def run(*words: str) -> str:
    done = subprocess.run(placevec(*words), capture_output=True, text=True, check=False, env=ENV)
    assert done.returncode == 0, done.stderr[-1500:]
    return done.stdout


def killed(seed: int, seconds: float, *words: str, most: int = 40) -> int:
    """Run a command that takes about `seconds`, killing it at random moments before it is done, twice at least.

    Returns the number of kills.
    """
    rng = random.Random(seed)
    for kills in range(most):
        # Each time a little later, so that it comes to an end even where starting takes most of the time.
        patience = seconds * rng.uniform(0.2, 0.55) * max(1.0, kills / 2)
        with subprocess.Popen(
            placevec(*words), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=ENV
        ) as process:
            try:
                _, error = process.communicate(timeout=patience)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.communicate()
                continue
        assert process.returncode == 0, error[-1500:]
        return kills
    raise AssertionError(f"not done after {most} kills")


@pytest.fixture(scope="module")
def region(tmp_path_factory) -> Path:
    """A small study area with an image of smooth colours."""
    folder = tmp_path_factory.mktemp("kill")
    y, x = np.mgrid[0:400, 0:400] / 40.0
    bands = np.stack([np.sin(x) + np.cos(y), np.sin(x * y / 5), np.cos(x - y)])
    noise = np.random.default_rng(0).normal(0, 0.1, bands.shape)
    image = ((bands + noise + 2.5) / 5 * 255).clip(0, 255).astype(np.uint8)
    with rasterio.open(
        folder / "image.tif",
        "w",
        driver="GTiff",
        width=400,
        height=400,
        count=3,
        dtype="uint8",
        crs="EPSG:4326",
        transform=rasterio.Affine(0.01, 0.0, 10.0, 0.0, -0.01, 46.0),
    ) as raster:
        raster.write(image)
    run("area", "new", "square", "--bbox", "9.9,42.1,13.9,45.9", "-r", "5", "-o", str(folder / "area"))
    return folder


@pytest.mark.slow
def test_training_and_embedding_survive_kills(region: Path) -> None:
    def chain(name: str, call) -> tuple[str, str]:
        folder = region / name
        chips = ["--area", str(region / "area"), "--raster", str(region / "image.tif")]
        chips += ["--ground", "12km", "--pixels", "8"]
        small = ["--epochs", "12", "--batch-size", "64", "--block", "h3:3", "--quiet"]
        image, location = str(folder / "image"), str(folder / "location")
        call("train", *chips, *small, "--dims", "8", "-o", image)
        call("embed", "-e", image, *chips, "--batch", "64", "--quiet", "-o", str(folder / "image.parquet"))
        call("train", "--objective", "location", "--table", str(folder / "image.parquet"), *small, "-o", location)
        call("embed", "-e", location, "--area", str(region / "area"), "--quiet", "-o", str(folder / "location.parquet"))
        return tuple(open_table(folder / f"{one}.parquet").fingerprint() for one in ("image", "location"))

    times: list[float] = []

    def timed(*words: str) -> None:
        began = time.monotonic()
        run(*words)
        times.append(time.monotonic() - began)

    expected = chain("undisturbed", timed)
    count = 0

    def disturbed(*words: str) -> None:
        nonlocal count
        count += killed(count + len(words), times.pop(0), *words)

    assert chain("disturbed", disturbed) == expected
    assert count >= 2, "the commands ended too soon to be killed"
    leftovers = [p.name for p in (region / "disturbed").iterdir() if ".part-" in p.name or p.name.endswith(".job")]
    assert leftovers == []
    # Cells at the rim lie outside the image: they are skipped with a reason, none is lost.
    table = open_table(region / "disturbed/image.parquet")
    skipped = read_skipped(region / "disturbed/image.parquet")
    cells = open_table(region / "disturbed/location.parquet")
    assert table.num_rows + len(skipped) == cells.num_rows
    assert skipped
    assert all(row.reason for row in skipped)


@pytest.mark.slow
def test_ctrl_c_is_clean_and_resumes(region: Path) -> None:
    out = region / "interrupted" / "image"
    words = ["train", "--area", str(region / "area"), "--raster", str(region / "image.tif"), "--ground", "12km"]
    words += ["--pixels", "8", "--epochs", "400", "--batch-size", "64", "--dims", "8", "-o", str(out), "--quiet"]
    # A shell without job control starts what is in the background with SIGINT ignored; a terminal does not.
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code += "from placevec.cli.main import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, env=ENV
    )
    log = out.with_name("image.run") / "train.csv"
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and not (log.exists() and log.stat().st_size > 400):
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    text = error.decode()
    assert process.returncode == 130, text[-800:]
    assert "Traceback" not in text
    assert len(text.strip().splitlines()) == 1
    assert not out.exists()
    assert (out.with_name("image.run") / "checkpoint.safetensors").exists()
