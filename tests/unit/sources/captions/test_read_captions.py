"""Captioned images in every form, and what is wrong with files of them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from placevec.errors import DataError, FormatError, PlacevecError, SchemaError, UsageError
from placevec.geo.sphere import LonLat
from placevec.provenance import SourceRef
from placevec.sources.captions import CaptionSet, read_captions
from placevec.sources.world.captions import Chips
from placevec.sources.world.write import _captions
from placevec.table import Places
from placevec.testing import check_source

PLANES = ("Two planes are parked .", "There are planes on the apron .")
TREES = ("Many green trees .",)


def image(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    colours = np.random.default_rng(seed).integers(0, 256, (6, 6, 3)).astype(np.uint8)
    Image.fromarray(colours).save(path)
    return path


def karpathy(name: str, captions: tuple[Any, ...], split: str = "train", **more: Any) -> dict[str, Any]:
    return {"filename": name, "split": split, "sentences": [{"raw": text} for text in captions], **more}


def put(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def put_csv(path: Path, header: list[str], *rows: tuple[Any, ...], delimiter: str = ",") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as out:
        writer = csv.writer(out, delimiter=delimiter)
        writer.writerow(header)
        writer.writerows(rows)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with images/a.jpg, b.jpg and c.jpg."""
    for k, name in enumerate("abc"):
        image(tmp_path / "images" / f"{name}.jpg", k)
    return tmp_path


def shown(found: CaptionSet) -> list[tuple[str, str, tuple[str, ...]]]:
    return list(zip(found.ids.tolist(), found.splits.tolist(), found.captions, strict=True))


def test_the_karpathy_json(folder: Path) -> None:
    tokens = {"filename": "b.jpg", "split": "val", "sentences": [{"tokens": ["many", "trees"]}]}
    path = put(folder / "dataset.json", {"images": [karpathy("a.jpg", PLANES), tokens], "dataset": "x"})
    found = read_captions(path)
    assert shown(found) == [("a.jpg", "train", PLANES), ("b.jpg", "val", ("many trees",))]
    assert found.files.tolist() == [folder / "images/a.jpg", folder / "images/b.jpg"]
    assert found.labels is None
    assert found.lonlat is None
    assert found.notes == ()
    assert found.refs == (SourceRef("dataset.json"),)
    assert "2 images, 3 captions; train 1, val 1" in repr(found)


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_bare_lists_and_lines(folder: Path, name: str) -> None:
    records = [
        {"file": "a.jpg", "split": "valid", "class": "airport", "labels": ["x"], "sentences": list(PLANES)},
        {"image": "b.jpg", "caption": TREES[0], "label": 7},
        {"filepath": "images/c.jpg", "text": "  one\n  line ", "split": "Test"},
        {"file": "a.jpg", "split": "val", "captions": ["a third one"]},
    ]
    text = json.dumps(records) if name == "a.json" else "\n".join(map(json.dumps, records)) + "\n\n"
    found = read_captions(put(folder / name, text))
    assert shown(found) == [
        ("a.jpg", "val", (*PLANES, "a third one")),
        ("b.jpg", "", TREES),
        ("c.jpg", "test", ("one line",)),
    ]
    assert found.labels is not None
    assert found.labels.tolist() == ["airport", "7", None]


def test_the_folder_of_coco_in_a_karpathy_json(folder: Path) -> None:
    image(folder / "pictures/val2014/x.jpg")
    path = put(folder / "d.json", {"images": [karpathy("x.jpg", TREES, filepath="val2014")]})
    assert read_captions(path).ids.tolist() == ["val2014/x.jpg"]
    assert read_captions(path, images=folder / "pictures/val2014").ids.tolist() == ["x.jpg"]


@pytest.mark.parametrize(("name", "delimiter"), [("c.csv", ","), ("c.csv", ";"), ("c.tsv", "\t")])
@pytest.mark.parametrize("columns", [("file", "caption"), ("Image_Path", "Captions"), ("image", "text")])
def test_tables(folder: Path, name: str, delimiter: str, columns: tuple[str, str]) -> None:
    rows = [
        ("a.jpg", PLANES[0], "train", "airport"),
        ("b.jpg", TREES[0], "test", ""),
        ("a.jpg", PLANES[1], "train", ""),
    ]
    path = put_csv(folder / name, [*columns, "split", "class"], *rows, delimiter=delimiter)
    found = read_captions(path)
    assert shown(found) == [("a.jpg", "train", PLANES), ("b.jpg", "test", TREES)]
    assert found.labels is not None
    assert found.labels.tolist() == ["airport", None]


def test_tables_with_lists_in_cells(folder: Path) -> None:
    rows = [("a.jpg", repr(list(PLANES))), ("b.jpg", "a plain one"), ("c.jpg", "[not a list")]
    found = read_captions(put_csv(folder / "c.csv", ["filename", "captions"], *rows))
    assert shown(found) == [("a.jpg", "", PLANES), ("b.jpg", "", ("a plain one",))]
    assert found.notes == ("left out: 1 lists of captions that cannot be read", "left out: 1 images without a caption")
    single = read_captions(put_csv(folder / "c.csv", ["filename", "caption"], ("c.jpg", "[sic] a boat")))
    assert shown(single) == [("c.jpg", "", ("[sic] a boat",))]


def write_kaggle(folder: Path, valid: str = "valid") -> dict[str, tuple[str, ...]]:
    """A folder in the form that Kaggle has of RSICD, and the captions of each image in it."""
    truth: dict[str, tuple[str, ...]] = {}
    for split, table in (("train", "train"), ("val", valid), ("test", "test")):
        rows = []
        for k in range(3):
            name = f"airport_{k}.jpg"
            captions = (
                f"it's the {split} airport number {k} .",
                'a "large" one with green grass on both of its sides .',
                "some planes are parked near a building in an airport , and others are not .",
            )
            image(folder / "images" / split / name, k)
            truth[f"{split}/{name}"] = captions
            cell = (repr(list(captions)), json.dumps(captions), str(np.array(captions, dtype=object)))[k]
            rows.append((f"rsicd_images/{name}", cell, "{'bytes': b'" + "\\xff" * 50_000 + "'}"))
        put_csv(folder / f"{table}.csv", ["filename", "captions", "image"], *rows)
    return truth


@pytest.mark.parametrize("valid", ["valid", "val"])
def test_the_kaggle_form(tmp_path: Path, valid: str) -> None:
    truth = write_kaggle(tmp_path / "rsicd", valid)
    found = read_captions(tmp_path / "rsicd")
    assert dict(zip(found.ids, found.captions, strict=True)) == truth
    assert found.split_counts() == {"train": 3, "val": 3, "test": 3}
    assert found.split("validation").ids.tolist() == [f"val/airport_{k}.jpg" for k in range(3)]
    assert [path.relative_to(tmp_path).as_posix() for path in found.split("test").files] == [
        f"rsicd/images/test/airport_{k}.jpg" for k in range(3)
    ]
    (tmp_path / "rsicd/images").rename(tmp_path / "elsewhere")
    assert len(read_captions(tmp_path / "rsicd", images=tmp_path / "elsewhere")) == 9
    with pytest.raises(DataError, match=r"9 images whose file is absent \(the first is 'rsicd_images/airport_0.jpg'"):
        read_captions(tmp_path / "rsicd")


def test_names_of_another_machine_are_found_by_their_end(folder: Path) -> None:
    path = put_csv(folder / "test_clip.csv", ["image_path", "caption"], ("/kaggle/working/images/a.jpg", TREES[0]),
                   ("C:\\data\\b.jpg", PLANES[0]))  # fmt: skip
    assert read_captions(path).ids.tolist() == ["a.jpg", "b.jpg"]


def test_absolute_paths_and_parents_are_taken_where_they_exist(folder: Path, tmp_path: Path) -> None:
    outside = image(tmp_path / "outside" / "x.jpg")
    inner = folder / "inner"
    records = [{"file": str(outside), "caption": "one"}, {"file": "../images/a.jpg", "caption": "two"}]
    path = put(inner / "d.json", records)
    found = read_captions(path)
    assert found.files[0] == outside
    assert found.files[1].samefile(folder / "images/a.jpg")
    assert found.ids.tolist() == [str(outside), "../images/a.jpg"]


def test_images_beside_the_file_or_in_another_folder_beside_it(tmp_path: Path) -> None:
    image(tmp_path / "RSICD_images" / "a.jpg")
    image(tmp_path / "unrelated" / "z.jpg")
    image(tmp_path / "b.jpg")
    path = put(tmp_path / "d.json", [karpathy("a.jpg", TREES), karpathy("b.jpg", TREES)])
    assert read_captions(path).ids.tolist() == ["a.jpg", "b.jpg"]
    image(tmp_path / "RSICD_images" / "b.jpg")
    path = put(tmp_path / "d.json", [karpathy(f"{f}{n}.jpg", TREES) for f in ("", "RSICD_images/") for n in "ab"])
    found = read_captions(path)
    own = [tmp_path / "RSICD_images/a.jpg", tmp_path / "b.jpg", tmp_path / "RSICD_images/b.jpg"]
    assert found.files.tolist() == own
    assert found.ids.tolist() == ["a.jpg", str(own[1]), str(own[2])]


def test_what_is_left_out_is_counted(folder: Path) -> None:
    records: list[Any] = [
        karpathy("a.jpg", ("  ", PLANES[0], None, 5, "\ud800", {"raw": ""})),
        karpathy("b.jpg", ()),
        karpathy("gone.jpg", TREES),
        karpathy("also/gone.jpg", TREES),
        karpathy("x/a.jpg", TREES),
        karpathy("a.jpg", TREES, split="test"),
        {"sentences": ["no name"]},
        "nonsense",
        karpathy("c.jpg", TREES, lon=200, lat=3),
        karpathy("n" * 5000, TREES),
        karpathy("nul\x00.jpg", TREES),
    ]
    found = read_captions(put(folder / "d.json", {"images": records}))
    assert shown(found) == [("a.jpg", "train", PLANES[:1]), ("c.jpg", "train", TREES)]
    assert found.lonlat is None
    looked = f"{folder / 'images'} or {folder}"
    assert found.notes == (
        "left out: 1 entries that are no objects",
        "left out: 2 empty captions",
        "left out: 3 captions that are no text",
        "left out: 1 entries without the name of a file",
        "left out: 1 images without a caption",
        f"left out: 4 images whose file is absent (the first is 'gone.jpg', looked for in {looked})",
        "left out: 1 images whose file is that of another image",
        "left out: 1 images that stand in another split already",
    )


@pytest.mark.parametrize(
    ("name", "content", "error", "match"),
    [
        ("a.json", "", FormatError, "the file is empty"),
        ("a.json", "{", FormatError, "this is no JSON"),
        ("a.json", "[" * 100_000, FormatError, "this is no JSON"),
        ("a.json", '{"a": 1}', FormatError, "no list of captioned images"),
        ("a.json", "[]", DataError, r"no image with a caption and a file is left \(it is empty\)"),
        ("a.json", '[{"file": "q.jpg", "caption": "x"}]', DataError, "give the folder of the images"),
        ("a.jsonl", "nonsense\n", FormatError, "no line of it is a JSON object"),
        ("a.csv", "\n", FormatError, "the file is empty"),
        ("a.csv", "name,words\nx,y\n", SchemaError, "no column of files: call one filename or file; its columns: name"),
        ("a.csv", "file,words\nx,y\n", SchemaError, "no column of captions: call one captions or sentences"),
        ("a.csv", "file,caption\n", DataError, "no image with a caption"),
        ("a.txt", "x", UsageError, r"end in \.json, \.jsonl, \.ndjson, \.csv, \.tsv"),
    ],
)
def test_files_that_cannot_be_used(
    tmp_path: Path, name: str, content: str, error: type[PlacevecError], match: str
) -> None:
    with pytest.raises(error, match=match) as caught:
        read_captions(put(tmp_path / name, content))
    assert "\n" not in str(caught.value)


def test_other_encodings_are_refused(tmp_path: Path) -> None:
    for name in ("a.json", "a.jsonl", "a.csv"):
        (tmp_path / name).write_bytes('file,caption\n"{é}",é\n'.encode("latin-1"))
        with pytest.raises(FormatError):
            read_captions(tmp_path / name)
    (tmp_path / "a.csv").write_text("file,caption\na.jpg,with a byte-order mark\n", encoding="utf-8-sig")
    image(tmp_path / "a.jpg")
    assert len(read_captions(tmp_path / "a.csv")) == 1


def test_rows_of_another_length_are_counted(folder: Path) -> None:
    path = put(folder / "a.csv", "file,caption\na.jpg,one\nb.jpg,two,three\nc.jpg,four\n")
    found = read_captions(path)
    assert found.ids.tolist() == ["a.jpg", "c.jpg"]
    assert found.notes == ("left out: 1 rows with another number of cells than the header",)


def test_paths_that_are_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        read_captions(tmp_path / "a.json")
    with pytest.raises(UsageError, match=r"neither train\.csv or test\.csv nor captions\.json"):
        read_captions(tmp_path)
    put(tmp_path / "a.json", [])
    with pytest.raises(UsageError, match="is no folder"):
        read_captions(tmp_path / "a.json", images=tmp_path / "nowhere")
    with pytest.raises(UsageError, match="has no captions; those that have: ucm"):
        read_captions("dataset:zion")
    with pytest.raises(UsageError, match="no dataset is called"):
        read_captions("dataset:nonsense")


def test_splits_and_rows(folder: Path) -> None:
    records = [karpathy("a.jpg", PLANES), karpathy("b.jpg", TREES, "val"), karpathy("c.jpg", TREES, "val")]
    found = read_captions(put(folder / "d.json", records))
    assert found.split("val").ids.tolist() == ["b.jpg", "c.jpg"]
    with pytest.raises(UsageError, match=r"no split 'test'; the splits are train \(1\), val \(2\)"):
        found.split("test")
    turned = found.take([2, 0])
    assert shown(turned) == [("c.jpg", "val", TREES), ("a.jpg", "train", PLANES)]
    assert len(found.take([])) == 0
    bare = read_captions(put(folder / "e.json", [{"file": "a.jpg", "caption": "x"}]))
    with pytest.raises(UsageError, match="there are none"):
        bare.split("test")
    with pytest.raises(SchemaError, match="1 images has 2 splits"):
        CaptionSet(bare.ids, bare.files, bare.captions, found.splits[:2])


def test_images_and_texts_join_on_the_place(folder: Path) -> None:
    records = [karpathy("a.jpg", PLANES, label="airport", lon=3.5, lat=-4.0), karpathy("c.jpg", TREES, "val")]
    found = read_captions(put(folder / "d.json", {"images": records}))
    pictures, texts = found.images(8, fit="crop"), found.texts()
    check_source(pictures)
    check_source(texts)
    places = texts.places()
    assert places.ids.tolist() == ["a.jpg#0", "a.jpg#1", "c.jpg#0"]
    assert places.keys.tolist() == ["a.jpg", "a.jpg", "c.jpg"]
    assert places.column("text").tolist() == [*PLANES, *TREES]
    assert places.column("split").tolist() == ["train", "train", "val"]
    assert places.lon[:2].tolist() == [3.5, 3.5]
    assert not places.located[2]
    own = pictures.places()
    assert own.keys.tolist() == ["a.jpg", "c.jpg"]
    assert own.column("label").tolist() == ["airport", None]
    assert own.column("file").tolist() == ["a.jpg", "c.jpg"]
    assert own.lat.tolist()[0] == -4.0
    assert texts.read(np.array([2, 0])).data["text"].tolist() == [TREES[0], PLANES[0]]
    assert pictures.read(np.arange(2)).data["image"].shape == (2, 3, 8, 8)


def test_what_the_generated_country_writes(tmp_path: Path) -> None:
    """By the writer of `World.write`, on a country of three chips."""
    rng = np.random.default_rng(0)
    places = Places.create(["x", "y", "z"], LonLat(np.array([13.0, 13.5, 14.0]), np.array([43.0, 43.1, 43.2])))
    chips = Chips(
        image=rng.integers(0, 256, (3, 6, 16, 16)).astype(np.uint8),
        col=np.zeros(3),
        row=np.zeros(3),
        captions=[PLANES, TREES, PLANES],
        label=np.array([2, 1, 2], dtype=np.uint8),
        shares=np.zeros((3, 7)),
        split=np.array(["train", "val", "test"], dtype=object),
    )
    country: Any = SimpleNamespace(chips=chips, seed=0, chip_places=lambda: places)
    found = read_captions(put(tmp_path / "captions.json", _captions(country, tmp_path / "chips")))
    assert shown(found) == [("x.png", "train", PLANES), ("y.png", "val", TREES), ("z.png", "test", PLANES)]
    assert found.labels is not None
    assert found.labels.tolist() == ["forest", "water", "forest"]
    assert found.lonlat is not None
    np.testing.assert_allclose(found.lonlat, np.column_stack([places.lon, places.lat]), atol=1e-6)
    picture = found.images(16).read(np.array([2])).data["image"][0]
    np.testing.assert_array_equal(picture, chips.image[2][[2, 1, 0]])


@pytest.mark.real
def test_ucm(data_dir: Path) -> None:
    found = read_captions("dataset:ucm")
    assert found.split_counts() == {"train": 1680, "test": 210, "val": 210}
    assert sum(map(len, found.captions)) == 10_500
    assert found.notes == ()
    assert found.labels is not None
    assert len(set(found.labels)) == 21
    assert found.ids[0] == "agricultural00.jpg"
    assert found.refs[0].licence.startswith("images public domain")
    again = read_captions(data_dir / "ucm")
    assert shown(again) == shown(found)
    assert found.split("test").images(64).read(np.arange(0, 210, 50)).data["image"].shape == (5, 3, 64, 64)


def test_labels_and_splits_that_are_no_text_are_left_out(tmp_path: Path) -> None:
    image(tmp_path / "a.png")
    half = chr(0xD800)  # JSON can say half of a pair of surrogates, no file of text can
    put(tmp_path / "captions.json", [karpathy("a.png", TREES, half, label=half)])
    found = read_captions(tmp_path / "captions.json")
    assert found.splits.tolist() == [""]
    assert found.labels is None
    assert found.images(4).places().ids.tolist() == ["a.png"]
