"""The command lines of `search` and `classify`."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

from pair_fakes import small_pair
from placevec.cli.main import run
from placevec.geo.sphere import LonLat
from placevec.table import EmbeddingTable, Places, read_table, write_table


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`image.parquet`, 40 images of which half have a place, and `models/pair` that made them."""
    root = tmp_path_factory.mktemp("project")
    pair = small_pair().save(root / "models/pair")
    small_pair(1).save(root / "models/other")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (40, 3, 8, 8), dtype=np.uint8)
    places = Places.create(
        [f"i{at:02d}" for at in range(40)],
        asset=[f"images/{at}.png" for at in range(40)],
        place=[f"i{at:02d}" for at in range(40)],
        attributes={"label": ["forest", "river"] * 20},
    )
    vectors = pair.image.encode({"image": images})
    table = EmbeddingTable.of(places, vectors, pair.space, tower="image", weights_sha256=pair.card.weights_sha256)
    write_table(table, root / "image.parquet", order="keep")
    points = Places.create([f"p{at}" for at in range(10)], LonLat(np.arange(10) * 1.0, np.zeros(10)))
    write_table(EmbeddingTable.of(points, vectors[:10], pair.space, tower="image"), root / "located.parquet")
    from PIL import Image

    Image.fromarray(np.moveaxis(images[7], 0, 2)).save(root / "seven.png")
    return root


def ask(*words: object) -> int:
    return run([str(word) for word in words])


def test_in_words(project: Path, capsys) -> None:
    table = project / "image.parquet"
    assert ask("search", table, "--text", "two courts", "-k", 3, "--where", "label == 'river'") == 0
    said = capsys.readouterr()
    records = [json.loads(line) for line in said.out.splitlines()]
    assert [record["rank"] for record in records] == [1, 2, 3]
    assert {record["label"] for record in records} == {"river"}
    assert "bare cosines" in said.err
    assert ask("search", table, "-t", "two courts", "--not-text", "a road", "--format", "csv") == 0
    assert len(list(csv.DictReader(io.StringIO(capsys.readouterr().out)))) == 10


def test_by_image_and_mixed(project: Path, capsys) -> None:
    table = project / "image.parquet"
    assert ask("search", table, "--image", project / "seven.png", "-k", 1) == 0
    assert json.loads(capsys.readouterr().out)["id"] == "i07"
    words = [
        "--image",
        project / "seven.png",
        "--text",
        "a river",
        "--like",
        "i03",
        "--not-image",
        project / "seven.png",
    ]
    assert ask("search", table, *words, "-k", 2) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_a_table_to_read_has_no_empty_columns(project: Path, capsys) -> None:
    assert ask("search", project / "image.parquet", "--text", "a river", "-k", 2, "--format", "table") == 0
    head = capsys.readouterr().out.split("\n")[1]
    assert head.split() == ["rank", "id", "score", "label"]
    assert ask("search", project / "located.parquet", "--like", "p3", "-k", 2, "--format", "table") == 0
    assert capsys.readouterr().out.split("\n")[1].split() == ["rank", "id", "score", "lon", "lat"]


def test_geojson(project: Path, capsys) -> None:
    assert ask("search", project / "located.parquet", "--text", "a river", "-k", 2, "--format", "geojson") == 0
    collection = json.loads(capsys.readouterr().out)
    assert len(collection["features"]) == 2
    assert "bare cosines" in collection["plan"]["note"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--text", ""], 2, "has no word"),
        (["--image", "{root}/none.png"], None, "none.png"),
        (["--text", "a river", "--model", "{root}/models/other"], 1, "embed the images with this one"),
        (["--text", "a river", "--model", "{root}/nowhere"], 2, "nowhere"),
        (["--like", "i01", "--model", "{root}/models/pair"], 2, "no text and no image"),
        ([], 2, "nothing to be like"),
    ],
)
def test_what_cannot_be_asked_is_one_line(project: Path, capsys, words: list[str], code: int | None, said: str) -> None:
    found = ask("search", project / "image.parquet", *(word.format(root=project) for word in words))
    error = capsys.readouterr().err
    assert found in ((1, 2) if code is None else (code,))
    assert said in error
    assert "Traceback" not in error
    assert len(error.strip().splitlines()) == 1


def test_classify(project: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "classes.parquet"
    assert ask("classify", project / "image.parquet", "--truth", "label", "-o", out) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {record["features"] for record in records} == {"zero-shot", "chance", "majority class"}
    assert set(read_table(out).column("predicted")) <= {"forest", "river"}
    words = ["--classes", "wood=forest|trees,water=river", "--template", "a photo of {}", "--where", "label == 'river'"]
    assert ask("classify", project / "image.parquet", *words, "-o", out) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["class"] for record in records] == ["wood", "water"]
    assert sum(record["rows"] for record in records) == 20
    names = tmp_path / "names.txt"
    names.write_text("forest\nriver\n")
    assert ask("classify", project / "image.parquet", "--classes-file", names, "-o", out) == 0
    capsys.readouterr()
    assert ask("classify", project / "image.parquet", "--classes-file", names, "--classes", "a,b", "-o", out) == 2
    assert "give one of them" in capsys.readouterr().err
