"""Bad land cover, by the command line: one clear line that says what to do, and what was committed stays readable."""

from __future__ import annotations

import errno
import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rasterio")
pytest.importorskip("qdrant_client")

from rasterio.transform import Affine

import patch_fakes as fakes
from placevec import files
from placevec.cli.main import run
from placevec.index.stores import open_store
from placevec.index.stores.qdrant.link import Link
from placevec.sources.patches import PatchSet
from placevec.table import open_table, read_skipped, read_table
from qdrant_server import Fault, Server, serving

Refused = Callable[..., str]
HERE = Affine(0.0005, 0, 2.7, 0, -0.0005, 41.7)
SQUARE = "--ground 1km --pixels 8 -q"
PLACES = 400
EMBED = f"embed -e features:cooccurrence {SQUARE} --batch 64"


def layer(raster: str, name: str = "cover") -> str:
    return f"--layer {name}={raster},classes=tiny.json"


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the commands run: a good raster and bad ones, places on it and elsewhere."""
    monkeypatch.chdir(tmp_path)
    codes = fakes.classes(400, 400)
    odd = codes.copy()
    odd[300:, 300:] = 77
    fakes.write("cover.tif", codes, HERE, "EPSG:4326", nodata=0)
    fakes.write("far.tif", codes, Affine(0.0005, 0, 12.7, 0, -0.0005, 41.7), "EPSG:4326", nodata=0)
    fakes.write("odd.tif", odd, HERE, "EPSG:4326", nodata=0)
    fakes.write("bare.tif", codes, HERE, None, nodata=0)
    fakes.write("void.tif", codes * 0, HERE, "EPSG:4326", nodata=0)
    Path("tiny.json").write_text(json.dumps(fakes.TABLE.to_json()))
    at = np.arange(20) * 0.008
    rows = [f"p{i:03d},{2.72 + at[i % 20]:.5f},{41.52 + at[i // 20]:.5f}" for i in range(PLACES)]
    Path("here.csv").write_text("\n".join(["id,lon,lat", *rows]) + "\n")
    Path("off.csv").write_text("id,lon,lat\na,20.1,50.2\nb,20.2,50.3\n")
    return tmp_path


@pytest.fixture
def refused(capfd: pytest.CaptureFixture[str]) -> Refused:
    """Runs a command that must fail; returns what it says last, which is the one line of the error."""

    def check(command: str, *said: str, code: int = 1) -> str:
        capfd.readouterr()
        assert run(command.split()) == code, command
        out, err = capfd.readouterr()
        assert out == ""
        assert "Traceback" not in err
        lines = [line for line in err.splitlines() if line.startswith("placevec: ")]
        assert err.splitlines()[-1:] == lines, err
        for word in said:
            assert word in lines[0], f"{word!r} is not in {lines[0]!r}"
        return lines[0]

    return check


@pytest.fixture
def server() -> Iterator[Server]:
    """A server that speaks as Qdrant does."""
    with serving() as found:
        yield found


@pytest.fixture
def table(work: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table of all places; stores do not wait between attempts."""
    monkeypatch.setattr(Link.__init__, "__kwdefaults__", {"pauses": (0.0,)})
    assert run(f"{EMBED} --on here.csv {layer('cover.tif')} -o t.parquet".split()) == 0
    return work / "t.parquet"


@pytest.mark.parametrize("verb", [f"area patches {SQUARE} -o p", f"{EMBED} -o t.parquet"], ids=["patches", "embed"])
@pytest.mark.parametrize(
    ("rasters", "on", "said"),
    [
        (f"{layer('cover.tif')} {layer('far.tif', 'other')}", "here.csv",
         ("do not overlap", "cover.tif covers longitude 2.70 to 2.90", "far.tif covers longitude 12.70", "one region")),
        (layer("bare.tif"), "here.csv", ("bare.tif", "no coordinate system", "gdal_edit.py -a_srs")),
        (layer("void.tif"), "here.csv", ("none of the 400 places", "no data in void.tif")),
        (layer("cover.tif"), "off.csv", ("none of the 2 places", "longitude 20.10", "cover.tif", "give places there")),
        (layer("nowhere.tif"), "here.csv", ("'nowhere.tif'", "give a file")),
        ("--layer cover=cover.tif,classes=nlcd", "here.csv", ("cover.tif", "class code", "'nlcd'")),
    ],
    ids=["apart", "no crs", "all nodata", "off the raster", "no file", "another class table"],
)  # fmt: skip
def test_rasters_and_places_that_do_not_fit(
    work: Path, refused: Refused, verb: str, rasters: str, on: str, said: tuple[str, ...]
) -> None:
    usage = "nowhere" in rasters
    line = refused(f"{verb} --on {on} {rasters}", *said, code=2 if usage else 1)
    assert len(line) < 500
    assert not list(work.glob(".*part-*"))
    if (work / "t.parquet").exists():  # all places stand among the skipped ones, with the reason
        assert open_table(work / "t.parquet").num_rows == 0
        assert len(read_skipped(work / "t.parquet")) == PLACES


def test_an_unknown_code_in_a_corner(work: Path, refused: Refused, capfd: pytest.CaptureFixture[str]) -> None:
    """Patches end with it, before anyone learns from them; a job of millions of cells counts it and goes on."""
    patches = f"area patches {SQUARE} --per-file 50 --on here.csv -o p"
    said = ("odd.tif", "class code 77", "'tiny'", 'unknown = "nodata"')
    refused(f"{patches} {layer('odd.tif')}", *said)
    assert not json.loads((work / "p" / "patches.json").read_text())["complete"]
    refused("embed -e features:cooccurrence --on p -o t.parquet -q", "p", "area patches")
    assert run(f"{patches} --restart {layer('odd.tif')},unknown=nodata".split()) == 0
    assert len(PatchSet(work / "p")) + len(read_skipped(work / "p" / "patches")) == PLACES
    capfd.readouterr()
    assert run(f"{EMBED} --on here.csv {layer('odd.tif')} -o t.parquet".split()) == 0
    made = json.loads(capfd.readouterr().out)
    assert made["rows"] + made["skipped"] == PLACES
    assert 0 < made["skipped"] < 50
    assert all("class code 77" in one.reason for one in read_skipped(work / "t.parquet"))


def test_a_rotated_raster_is_a_raster_like_others(work: Path) -> None:
    """The same land on a grid that is turned by 30 degrees has the same patches, but for the rim of its pixels."""
    turned = HERE @ Affine.translation(200, 200) @ Affine.rotation(30) @ Affine.translation(-300, -300)
    row, col = np.mgrid[0:600, 0:600] + 0.5
    x, y = _through(~HERE @ turned, col, row)
    inside = (x >= 0) & (x < 400) & (y >= 0) & (y < 400)
    codes = np.where(inside, fakes.classes(400, 400)[y.astype(int).clip(0, 399), x.astype(int).clip(0, 399)], 0)
    fakes.write("turned.tif", codes.astype(np.uint8), turned, "EPSG:4326", nodata=0)
    for name in ("cover", "turned"):
        assert run(f"area patches {SQUARE} --on here.csv {layer(f'{name}.tif')} -o {name}".split()) == 0
    plain, other = PatchSet(work / "cover"), PatchSet(work / "turned")
    assert len(plain) == len(other) == PLACES
    a, b = (found.read(np.arange(PLACES)).data["cover"] for found in (plain, other))
    assert (a == b).mean() > 0.9


def _through(transform: Affine, col: Any, row: Any) -> tuple[Any, Any]:
    a, b, c, d, e, f = transform[:6]
    return a * col + b * row + c, d * col + e * row + f


def test_a_server_that_is_down(table: Path, refused: Refused) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = (f"127.0.0.1:{port}", "cannot be reached", "start it")
    refused(f"index t.parquet --to qdrant://127.0.0.1:{port}/places -q", *words)
    refused(f"search qdrant://127.0.0.1:{port}/places --like p003", *words)
    recipe = f'[[step]]\ndo = "index"\ntable = "t.parquet"\nto = "qdrant://127.0.0.1:{port}/places"\n'
    Path("r.toml").write_text(recipe)
    refused("run r.toml -q", "step 'index'", *words)
    if pytest.importorskip("psycopg"):
        refused(f"index t.parquet --to postgresql://me@127.0.0.1:{port}/geo?table=places -q", f"127.0.0.1:{port}")


def test_a_server_that_goes_away_half_way(table: Path, refused: Refused, server: Server) -> None:
    first, url = read_table(table).take(np.arange(100)), f"{server.url}/places"
    open_store(url).load(first)
    server.faults = [Fault("PUT", "/points", 99, 0)]
    refused(f"index t.parquet --to {url} -q", "went away", "what was committed stays", "run it again")
    server.faults = []
    assert run(["search", url, "--like", str(first.ids[3]), "-k", "50"]) == 0  # what was there is found as before
    assert run(f"index t.parquet --to {url} -q".split()) == 0
    card = open_store(url).card()
    assert card is not None
    assert (card.rows, card.complete) == (PLACES, True)


def test_a_recipe_goes_on_when_the_server_is_back(
    table: Path, refused: Refused, server: Server, capfd: pytest.CaptureFixture[str]
) -> None:
    step = f'[[step]]\ndo = "index"\ntable = "t.parquet"\nto = "{server.url}/places"\n'
    Path("r.toml").write_text(step)
    server.faults = [Fault("PUT", "/points", 99, 500, "No space left on device")]
    refused("run r.toml -q", "step 'index'", "disk of", "is full", "make room")
    server.faults = []
    for state in ("done", "skipped"):
        capfd.readouterr()
        assert run(["run", "r.toml", "-q"]) == 0
        assert json.loads(capfd.readouterr().out)["state"] == state


def test_a_wrong_password(
    table: Path, refused: Refused, server: Server, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    server.key = "right"
    monkeypatch.setenv("QDRANT_API_KEY", "wr0ng")
    for command in (f"index t.parquet --to {server.url}/places -q", f"search {server.url}/places --like p003"):
        line = refused(command, "QDRANT_API_KEY")
        assert "wr0ng" not in line
        assert "right" not in line


def nearly_full(monkeypatch: pytest.MonkeyPatch, spare: int) -> None:
    """A disk that takes `spare` more files."""
    real, left = os.replace, [spare]

    def replace(*words: Any, **options: Any) -> None:
        if not left[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        left[0] -= 1
        real(*words, **options)

    monkeypatch.setattr(files.os, "replace", replace)
    monkeypatch.setattr(files.os, "rename", replace)


def test_a_disk_that_fills_while_patches_are_written(
    work: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    command = f"area patches {SQUARE} --per-file 50 --on here.csv {layer('cover.tif')} -o p"
    with monkeypatch.context() as patch:
        nearly_full(patch, 4)
        refused(command, "disk", "is full")
    done = len(list((work / "p").glob("part-*.arrow")))
    assert done >= 2
    refused("embed -e features:cooccurrence --on p -o t.parquet -q", "p", "area patches")
    capfd.readouterr()
    assert run(command.split()) == 0
    made = json.loads(capfd.readouterr().out)
    assert (made["written"], made["reused"]) == (PLACES, done)


def test_a_disk_that_fills_while_cells_are_embedded(
    work: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    command = f"{EMBED} --on here.csv {layer('cover.tif')} -o t.parquet"
    assert run(command.split()) == 0
    old = open_table(work / "t.parquet").fingerprint()
    again = command.replace("1km", "2km")
    with monkeypatch.context() as patch:
        nearly_full(patch, 2)
        refused(again, "disk", "is full", "make room")
    assert open_table(work / "t.parquet").fingerprint() == old
    capfd.readouterr()
    assert run(again.split()) == 0
    made = json.loads(capfd.readouterr().out)
    assert made["rows"] == PLACES
    assert open_table(work / "t.parquet").fingerprint() == made["fingerprint"] != old
