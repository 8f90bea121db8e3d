"""`evaluate retrieval` end to end: models and tables, baselines, leaks, duplicates, both protocols, three outputs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import pair_fakes
from placevec.errors import DataError, LeakError, SchemaError, SpaceMismatch, UsageError
from placevec.measure.retrieval import saw_captions
from placevec.provenance import Space
from placevec.sources.captions import read_captions
from placevec.table import EmbeddingTable, write_table
from placevec.tasks import evaluate_retrieval_page as page
from placevec.tasks.evaluate_retrieval import evaluate_retrieval
from placevec.tasks.evaluate_retrieval_published import COLUMNS, PUBLISHED, published_for
from placevec.tasks.train_pairs import set_identity
from retrieval_fakes import toy_captions, toy_pair

QUICK = {"draws": 50}


@pytest.fixture(scope="module")
def captions(tmp_path_factory):
    return toy_captions(tmp_path_factory.mktemp("toy"), splits=("train", "test"))


@pytest.fixture(scope="module")
def found(captions):
    rivals = {"blind": toy_pair(50.0), "itself": toy_pair()}
    return evaluate_retrieval(toy_pair(), captions=captions, baselines=rivals, **QUICK)


def jsonl(folder: Path, captions) -> Path:
    """The same set in a file."""
    path = folder / "captions.jsonl"
    lines = [
        {"file": one, "captions": list(own), "split": split, "label": label}
        for one, own, split, label in zip(
            captions.ids, captions.captions, captions.splits, captions.labels, strict=True
        )
    ]
    path.write_text("\n".join(json.dumps(line) for line in lines))
    return path


def test_a_model_that_knows_beats_one_that_does_not(found) -> None:
    main = found.figure("mean recall")
    assert main.low > main.chance
    assert main.value <= main.ceiling
    assert found.about["images"] == 12
    assert found.about["captions"] == 36
    rivals = {one.baseline: one for one in found.against[main.key]}
    assert rivals["blind"].outcome == "beats"
    assert rivals["itself"].outcome == "ties"
    assert rivals["itself"].difference == 0.0
    assert next(iter(found.against[main.key])).baseline == "itself"
    assert [one["label"] for one in found.classes]
    assert set(found.ties) == {"pessimistic", "expected", "optimistic"}
    assert found.ties["pessimistic"] <= main.value <= found.ties["optimistic"]
    assert found.ties["expected"] == pytest.approx(main.value)
    assert found.figure("mean recall", definition="duplicate-aware").value > max(90.0, main.value)
    with pytest.raises(UsageError, match="R@7"):
        found.figure("R@7")


def test_losing_to_a_baseline_is_printed_as_losing(captions) -> None:
    found = evaluate_retrieval(toy_pair(50.0, name="own"), captions=captions, baselines=[toy_pair()], **QUICK)
    main = found.figure("mean recall")
    assert found.against[main.key][0].outcome == "loses"
    assert "loses to toy, behind by" in page.headline(found)[0]
    record = found.to_records()[0]
    assert record["verdict"].startswith("loses to toy")
    assert record["baseline"] > record["value"]


def test_one_tested_image_is_also_a_training_image(captions, tmp_path: Path) -> None:
    copy = toy_captions(tmp_path, splits=("train", "test"))
    Image.open(copy.files[0]).save(copy.files[1])
    found = evaluate_retrieval(toy_pair(), captions=copy, **QUICK)
    near = found.duplicates
    assert near is not None
    assert near["count"] >= 1
    assert {"image": "red1.png", "like": "red0.png", "split": "train", "bits": 0} in near["examples"]
    assert "mean_recall_without" in near or near["count"] == near["tested"]
    assert "near-duplicates" in page.markdown(found)
    assert evaluate_retrieval(toy_pair(), captions=copy, duplicates=None, **QUICK).duplicates is None


def test_all_splits_have_no_other_to_be_near_to(captions) -> None:
    found = evaluate_retrieval(toy_pair(), captions=captions, split="all", **QUICK)
    assert found.duplicates is None
    assert found.about["images"] == 24


def test_three_outputs(captions, tmp_path: Path) -> None:
    out = tmp_path / "results" / "toy.json"
    first = evaluate_retrieval(toy_pair(), captions=captions, baselines={"b": toy_pair(1.0)}, out=out, **QUICK)
    whole = json.loads(out.read_text())
    assert whole["figures"][0]["baselines"][0]["baseline"] == "b"
    assert whole["about"]["split"] == "test"
    assert whole["published"] is None
    html, text = out.with_suffix(".html").read_text(), out.with_suffix(".md").read_text()
    for words in ("duplicate-aware", "Ceiling", "mean recall"):
        assert words in text
        assert words in html
    assert "<script" not in html
    again = evaluate_retrieval(toy_pair(), captions=captions, baselines={"b": toy_pair(1.0)}, **QUICK)
    assert again.to_json() == first.to_json() == out.read_text()
    with pytest.raises(UsageError, match=r"NAME\.json"):
        evaluate_retrieval(toy_pair(), captions=captions, out=tmp_path / "x.html", **QUICK)


def test_a_split_that_was_seen_is_refused(captions, tmp_path: Path) -> None:
    path = str(jsonl(Path(captions.files[0]).parent, captions))
    saw = (saw_captions(path, ["train", "val"]),)
    assert evaluate_retrieval(toy_pair(saw=saw), captions=path, **QUICK).about["split"] == "test"
    with pytest.raises(LeakError, match="'train'"):
        evaluate_retrieval(toy_pair(saw=saw), captions=path, split="train", **QUICK)
    with pytest.raises(LeakError, match="'train'"):
        evaluate_retrieval(toy_pair(saw=saw), captions=path, split="all", **QUICK)
    with pytest.raises(LeakError, match="rival"):
        evaluate_retrieval(toy_pair(), captions=path, split="train", baselines={"rival": toy_pair(saw=saw)}, **QUICK)
    other = (saw_captions("dataset:other", ["train"]),)
    found = evaluate_retrieval(toy_pair(saw=other), captions=path, split="train", **QUICK)
    assert any("dataset:other" in note for note in found.notes)


def test_captions_are_those_of_the_training_by_default(captions) -> None:
    path = str(jsonl(Path(captions.files[0]).parent, captions))
    found = evaluate_retrieval(toy_pair(recipe={"captions": path, "pixels": 32}), **QUICK)
    assert found.about["set"] == path
    assert found.about["model"]["pixels"] == 32
    with pytest.raises(UsageError, match="--on"):
        evaluate_retrieval(toy_pair(), **QUICK)


def test_unreadable_images_are_left_out_with_their_captions(tmp_path: Path) -> None:
    captions = toy_captions(tmp_path, splits=("test",))
    Path(captions.files[5]).write_bytes(b"")
    Path(captions.files[6]).write_bytes(b"no image at all")
    found = evaluate_retrieval(toy_pair(), captions=captions, baselines={"b": toy_pair(1.0)}, **QUICK)
    assert found.about["images"] == 22
    assert found.about["captions"] == 66
    assert any("2 images that cannot be read" in note and "green1.png" in note for note in found.notes)
    for path in captions.files:
        Path(path).write_bytes(b"")
    with pytest.raises(DataError, match="none of the 24 images"):
        evaluate_retrieval(toy_pair(), captions=captions, **QUICK)


def test_texts_over_the_context_are_said(captions) -> None:
    found = evaluate_retrieval(toy_pair(longest=4), captions=captions, **QUICK)
    assert any("longer than its context" in note for note in found.notes)


def test_the_protocol_of_augmented_captions_is_named(captions) -> None:
    found = evaluate_retrieval(toy_pair(), captions=captions, protocol="augmented-captions", **QUICK)
    assert [one.key for one in found.figures] == [
        ("official", "text to image", measure) for measure in ("R@1", "R@5", "R@10", "MRR")
    ]
    assert "not the published" in found.notes[0]
    assert "not the published" in page.markdown(found)
    assert not found.classes
    with pytest.raises(UsageError, match="karpathy"):
        evaluate_retrieval(toy_pair(), captions=captions, protocol="karpathy", **QUICK)


def tables(captions, folder: Path, noise: float = 0.05, name: str = "t") -> tuple[Path, Path]:
    """Both tables of a set by the toy pair."""
    pair = toy_pair(noise)
    source = captions.images(64)
    images = pair.image.encode(source.read(np.arange(len(captions))).data)
    texts = captions.texts()
    words = pair.text.encode(texts.read(np.arange(len(texts.places()))).data)
    paths = folder / f"{name}-images.parquet", folder / f"{name}-captions.parquet"
    for path, places, vectors in zip(paths, (source.places(), texts.places()), (images, words), strict=True):
        write_table(EmbeddingTable.of(places, vectors, pair.space), path)
    return paths


def test_two_tables_give_what_the_model_gives(captions, tmp_path: Path) -> None:
    own, rival = tables(captions, tmp_path), tables(captions, tmp_path, 50.0, "rival")
    named = f"rival={rival[0]},{rival[1]}"
    found = evaluate_retrieval(own, baselines=[named], **QUICK)
    model = evaluate_retrieval(toy_pair(), captions=captions, pixels=64, **QUICK)
    assert found.about["images"] == model.about["images"] == 12
    for a, b in zip(found.figures, model.figures, strict=True):
        assert a.key == b.key
        assert a.value == pytest.approx(b.value)
        assert a.ceiling == pytest.approx(b.ceiling)
    assert found.against[found.figures[0].key][0].outcome == "beats"
    assert found.about["set"] == "t-images, t-captions"
    everything = evaluate_retrieval(f"{own[0]},{own[1]}", split="all", **QUICK)
    assert everything.about["images"] == 24


def test_tables_that_do_not_fit_are_refused(captions, tmp_path: Path) -> None:
    own = tables(captions, tmp_path)
    with pytest.raises(SchemaError, match="`text`"):
        evaluate_retrieval((own[1], own[0]), **QUICK)
    with pytest.raises(UsageError, match="'val'"):
        evaluate_retrieval(own, split="val", **QUICK)
    with pytest.raises(UsageError, match="--on"):
        evaluate_retrieval(own, captions="dataset:ucm", **QUICK)
    with pytest.raises(UsageError, match="is a model"):
        evaluate_retrieval(own, baselines={"b": "models/x"}, **QUICK)
    with pytest.raises(UsageError, match="two tables"):
        evaluate_retrieval(toy_pair(), captions=captions, baselines={"b": f"{own[0]},{own[1]}"}, **QUICK)
    moved = EmbeddingTable.of(captions.images(64).places(), np.ones((24, 3), dtype=np.float32), Space.mint(3))
    with pytest.raises(SpaceMismatch):
        evaluate_retrieval((moved, own[1]), **QUICK)
    fewer = toy_captions(tmp_path / "fewer", names=("red", "blue"), splits=("train", "test"))
    rival = tables(fewer, tmp_path, name="fewer")
    with pytest.raises(SchemaError, match="lacks 8 of the 12 images"):
        evaluate_retrieval(own, baselines=[f"few={rival[0]},{rival[1]}"], **QUICK)


def test_words_of_a_user_are_checked(captions) -> None:
    with pytest.raises(UsageError, match="'later'"):
        evaluate_retrieval(toy_pair(), captions=captions, split="later", **QUICK)
    with pytest.raises(UsageError, match="two models are called 'toy'"):
        evaluate_retrieval(toy_pair(), captions=captions, baselines=[toy_pair()], **QUICK)
    with pytest.raises(UsageError, match="'sideways'"):
        evaluate_retrieval(toy_pair(), captions=captions, ties="sideways", **QUICK)
    with pytest.raises(UsageError, match="no folder"):
        evaluate_retrieval("models/nowhere", captions=captions, **QUICK)


def test_published_figures_go_by_the_size_of_the_split() -> None:
    assert published_for(210, 1050).name == "UCM captions"
    assert published_for(1093, 5465).name == "RSICD"
    assert published_for(210, 1049) is None
    for one in PUBLISHED:
        for method, row in one.rows.items():
            assert len(row) in (1, 7), method
            if len(row) == 7:
                assert np.mean(row[:6]) == pytest.approx(row[6], abs=0.02), method
        assert set(one.records()[0]) == {"method", *COLUMNS}


def test_the_command_prints_records_and_writes_reports(captions, tmp_path: Path) -> None:
    from placevec.cli.main import app

    own, rival = tables(captions, tmp_path), tables(captions, tmp_path, 50.0, "rival")
    out = tmp_path / "r.json"
    words = ["evaluate", "retrieval", str(own[0]), str(own[1]), "--baseline", f"b={rival[0]},{rival[1]}"]
    done = CliRunner().invoke(app, [*words, "--draws", "20", "-o", str(out), "--format", "json", "-q"])
    assert done.exit_code == 0, done.output
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines[0]["measure"] == "mean recall"
    assert lines[0]["verdict"].startswith("beats b")
    assert {"direction", "definition", "value", "low", "high", "chance", "ceiling", "baseline"} <= set(lines[0])
    assert "The official mean recall is" in done.stderr
    assert out.is_file()
    many = CliRunner().invoke(app, ["evaluate", "retrieval", "a", "b", "c"])
    assert isinstance(many.exception, UsageError)


@pytest.mark.real
def test_ucm_is_recognised_and_has_no_near_duplicates_between_splits(data_dir: Path) -> None:
    where = data_dir / "ucm" / "captions.json"
    if not where.is_file():
        pytest.skip("needs the UCM captions")
    found = evaluate_retrieval(toy_pair(), captions=str(where), turned=True, draws=20)
    assert (found.about["images"], found.about["captions"]) == (210, 1050)
    ceiling = [found.figure(f"R@{k}", "text to image").ceiling for k in (1, 5)]
    assert ceiling == pytest.approx([38.1, 84.6], abs=0.05)
    assert found.duplicates is not None
    assert found.duplicates["count"] == 0
    assert "AMFMN" in page.markdown(found)


def test_a_set_of_which_a_file_went_since_is_still_that_of_the_training(tmp_path: Path) -> None:
    some = toy_captions(tmp_path, splits=("train", "test"))
    path = str(jsonl(tmp_path, some))
    pair = toy_pair(saw=(saw_captions(set_identity(read_captions(path)), ["train"]),), recipe={"captions": path})
    Path(some.files[0]).unlink()
    with pytest.raises(LeakError, match="'train'"):
        evaluate_retrieval(pair, captions=path, split="train", **QUICK)
    found = evaluate_retrieval(pair, captions=path, **QUICK)
    assert not any("another set" in note for note in found.notes)


def test_tables_with_other_names_of_splits_and_without_any() -> None:
    pair = pair_fakes.toy_pair()
    images, texts = pair_fakes.toy_table(pair), pair_fakes.toy_captions(pair)
    parted = images.with_column("split", np.array(["val"] * 60 + ["test"] * 60, dtype=object))
    assert evaluate_retrieval((parted, texts), split="validation", **QUICK).about["images"] == 60
    saw = (saw_captions("a set", ["train"]),)
    learned = EmbeddingTable(images.data, replace(images.meta, saw=saw))
    told = evaluate_retrieval((learned, texts), **QUICK).notes
    assert any("do not say whether" in note for note in told)
    assert not any("do not say whether" in note for note in evaluate_retrieval((images, texts), **QUICK).notes)
