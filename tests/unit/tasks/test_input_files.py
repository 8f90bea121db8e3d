"""Image files and captions as the input of `embed`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pair_fakes import small_pair, toy_pair
from placevec.encoders.pair import PairModel
from placevec.engine.local import LocalEngine
from placevec.errors import SchemaError, UsageError
from placevec.table import read_skipped, read_table
from placevec.tasks.embed import embed
from placevec.tasks.explain_picture import open_picture
from placevec.tasks.input_files import image_size, prepared
from placevec.tasks.inputs import Input, source_from
from placevec.testing import check_source
from tiny_pairs import write_set
from tiny_transformers import SIZE, write_clip

Where = dict[str, Any]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "small"
    small_pair().save(folder)
    return folder


@pytest.fixture(scope="module")
def captioned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("set"))


def test_a_row_is_an_image_or_a_caption_and_they_join_on_place(tmp_path: Path, pair: Path, captioned: Path) -> None:
    tables = {}
    for reads in ("image", "text"):
        given, spec = prepared(Input(captions=str(captioned), split="test", reads=reads), str(pair))
        out = tmp_path / f"{reads}.parquet"
        embed(given.source(), spec, out, sources=given.sources(), chip_layout=given.layout())
        tables[reads] = read_table(out).validate()
    images, texts = tables["image"], tables["text"]
    assert (len(images), len(texts)) == (4, 8)
    assert set(images.column("split")) == {"test"}
    assert set(texts.keys) == set(images.ids)
    assert images.space.id == texts.space.id
    assert texts.column("text")[0].startswith(("a ", "Many "))
    assert [one.href for one in images.meta.sources][:1] == ["captions.json"]
    assert images.meta.chip_layout == {"layout_type": "points", "chip_size": [224, 224]}
    assert texts.meta.chip_layout is None


def test_assets_lead_to_the_pictures_from_another_folder(
    tmp_path: Path, pair: Path, captioned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(captioned.parent)
    for name, given in (("a", Input(captions="captions.json", limit=3)), ("b", Input(images="images", limit=3))):
        ready, spec = prepared(given, str(pair))
        embed(ready.source(), spec, tmp_path / f"{name}.parquet")
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        table = read_table(f"{name}.parquet")
        picture = open_picture(f"{name}.parquet", str(table.ids[0]))
        expected = np.asarray(Image.open(captioned.parent / "images" / table.ids[0])).transpose(2, 0, 1)
        np.testing.assert_array_equal(picture.pixels, expected)
        assert list(table.column("file")) == ["000.png", "001.png", "002.png"]


def test_unreadable_images_are_skipped_and_counted(tmp_path: Path, pair: Path, captioned: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for row in range(3):
        (folder / f"{row}.png").write_bytes((captioned.parent / "images" / f"00{row}.png").read_bytes())
    (folder / "3.png").write_bytes(b"")
    (folder / "4.jpg").write_text("no image")
    given, spec = prepared(Input(images=str(folder)), str(pair))
    summary = embed(given.source(), spec, tmp_path / "t.parquet")
    assert (summary.rows, summary.skipped) == (3, 2)
    assert {one.id for one in read_skipped(tmp_path / "t.parquet")} == {"3.png", "4.jpg"}


def test_workers_build_the_same_source_and_make_the_same_table(tmp_path: Path, captioned: Path) -> None:
    given, spec = prepared(Input(captions=str(captioned), pixels=8), "features:pixels")
    one = embed(given.source(), spec, tmp_path / "one.parquet", shard_rows=20, batch=10)
    two = embed(given.source(), spec, tmp_path / "two.parquet", shard_rows=20, batch=10, workers=2)
    assert one.fingerprint == two.fingerprint


def test_texts_that_other_processes_cut_off_are_not_counted(tmp_path: Path, pair: Path, captioned: Path) -> None:
    class Elsewhere:
        workers = 2

        def run(self, job: Any, work: Any, progress: Any = None) -> None:
            LocalEngine().run(job, work.build(), progress)

    given, spec = prepared(Input(captions=str(captioned), reads="text"), str(pair))
    assert not embed(given.source(), spec, tmp_path / "one.parquet").notes
    two = embed(given.source(), spec, tmp_path / "two.parquet", engine=Elsewhere())
    assert "counted with one worker" in two.notes[0]


@pytest.mark.parametrize("what", ["captions", "texts", "folder"])
def test_they_are_sources(captioned: Path, what: str) -> None:
    given = {
        "captions": Input(captions=str(captioned), pixels=8),
        "texts": Input(captions=str(captioned), reads="text", limit=5),
        "folder": Input(images=str(captioned.parent / "images"), limit=7, pixels=8, bands=(3, 1), stretch=(0, 300)),
    }[what]
    source = given.source()
    check_source(source)
    again = source_from(source.spec().args["spec"])
    assert again.places().data.equals(source.places().data)
    assert {"captions": 48, "texts": 10, "folder": 7}[what] == len(source.places())


def test_another_image_is_another_job(tmp_path: Path, captioned: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    Image.new("RGB", (4, 4), "red").save(folder / "a.png")
    before = Input(images=str(folder)).source()
    known = before.fingerprint()
    Image.new("RGB", (5, 4), "blue").save(folder / "a.png")
    assert Input(images=str(folder)).source().fingerprint() != known
    assert Input(captions=str(captioned), reads="text").source().fingerprint() == ""


def test_what_was_left_out_and_cut_off_is_said(tmp_path: Path) -> None:
    pair = toy_pair()
    file = tmp_path / "captions.csv"
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    long = " ".join(["river"] * 13)
    file.write_text(f"file,caption\na.png,a river\na.png,{long}\na.png,\nb.png,gone\n")
    summary = embed(Input(captions=str(file), reads="text").source(), pair.text, tmp_path / "t.parquet")
    assert summary.rows == 2
    told = " ".join(summary.notes)
    assert "1 of 2 texts are longer than" in told
    assert "1 empty captions" in told


def test_an_encoder_says_at_which_size_it_works(tmp_path: Path, pair: Path) -> None:
    assert image_size(small_pair()) == (0, "squash")
    whole = small_pair()
    of_64 = PairModel.of(whole.image, whole.text, recipe={"pixels": 64, "captions": "x"})
    assert image_size(of_64) == (64, "squash")
    clip = write_clip(tmp_path / "clip")
    (tmp_path / "a").mkdir()
    Image.new("RGB", (64, 48)).save(tmp_path / "a" / "a.png")
    given, _ = prepared(Input(images=str(tmp_path / "a")), f"hf:{clip}")
    assert (given.pixels, given.fit) == (SIZE, "crop")
    with pytest.raises(UsageError, match=f"images of 16 pixels are smaller than the {SIZE}"):
        prepared(Input(images=str(tmp_path / "a"), pixels=16), f"hf:{clip}")
    given, _ = prepared(Input(images=str(tmp_path / "a"), pixels=100, fit="squash"), f"hf:{clip}")
    assert (given.pixels, given.fit) == (100, "squash")
    assert prepared(Input(images=str(tmp_path / "a")), "features:pixels")[1].args["bands"] == 3
    with pytest.raises(UsageError, match="reads lonlat, not image"):
        prepared(Input(images=str(tmp_path / "a")), "features:sincos")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"split": "test"}, "split is for images and captions"),
        ({"pixels": 4}, "pixels is for images"),
        ({"images": "x", "area": "y"}, "area is for places on a map"),
        ({"images": "x", "on": "p.csv"}, "on is for places on a map"),
        ({"images": "x", "reads": "text"}, "texts of which captions"),
        ({"images": "x", "split": "test"}, "a split of which captions"),
        ({"captions": "c.parquet"}, "captions without images"),
    ],
)
def test_options_that_do_not_go_together(words: Where, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        Input(**words)


def test_a_wrong_split_names_those_that_exist(captioned: Path) -> None:
    with pytest.raises(UsageError, match="train"):
        Input(captions=str(captioned), split="tset").source()


def test_a_parquet_file_without_texts_is_refused(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"id": ["a"], "words": ["b"]}), tmp_path / "c.parquet")
    with pytest.raises(SchemaError, match="no column 'text'"):
        Input(captions=str(tmp_path / "c.parquet"), reads="text").source()


def test_ucm_by_its_name(tmp_path: Path, data_dir: Path, pair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given, spec = prepared(Input(captions="dataset:ucm", split="test", limit=20, pixels=32), str(pair))
    embed(given.source(), spec, tmp_path / "t.parquet")
    monkeypatch.chdir(tmp_path)
    table = read_table("t.parquet")
    assert open_picture("t.parquet", str(table.ids[3])).pixels.shape == (3, 256, 256)
    assert "Yang" in table.meta.sources[0].attribution
