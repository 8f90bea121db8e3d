from pathlib import Path

import numpy as np
import pytest

from pair_fakes import THINGS, small_pair, toy_pair, toy_table
from placevec.encoders.pair import PairModel
from placevec.errors import DataError, FormatError, LeakError, SchemaError, SpaceMismatch, UsageError
from placevec.measure.retrieval import saw_captions
from placevec.provenance import Saw
from placevec.table import EmbeddingTable, Filter, Places, read_table, write_table
from placevec.tasks.classify import SCALE, TEMPLATES, classify, parse_classes, read_classes

PAIR = toy_pair(logit_scale=30.0)
TABLE = toy_table(PAIR)


def test_against_the_formula_row_by_row() -> None:
    classes = {"water": ("river", "harbor"), "wood": ("forest",), "sport": ("court",)}
    templates = ["a {} seen from above", "{}"]
    found = classify(TABLE, classes, templates=templates, model=PAIR)
    vectors = []
    for words in classes.values():
        texts = [template.format(word) for word in words for template in templates]
        mean = PAIR.text.encode({"text": np.array(texts, dtype=object)}).mean(axis=0)
        vectors.append(mean / np.linalg.norm(mean))
    names = list(classes)
    table = found.table
    for row, vector in enumerate(TABLE.vectors()):
        logits = [30.0 * float(vector @ one) for one in vectors]
        share = np.exp(logits) / np.exp(logits).sum()
        best = int(np.argmax(share))
        assert table.column("predicted")[row] == names[best]
        assert table.column("predicted_score")[row] == pytest.approx(share[best], abs=1e-5)
        assert table.column("predicted_margin")[row] == pytest.approx(share[best] - np.sort(share)[-2], abs=1e-5)
    assert found.counts.sum() == len(TABLE)
    assert found.notes == ()
    of_water = table.column("predicted") == "water"
    assert found.mean_scores[0] == pytest.approx(table.column("predicted_score")[of_water].mean())


def test_scores_stand_beside_chance_and_the_majority(tmp_path: Path) -> None:
    out = tmp_path / "classes.parquet"
    found = classify(TABLE, truth="label", model=PAIR, out=out)
    assert found.classes == tuple(sorted(THINGS))
    assert found.scores is not None
    truth = TABLE.column("label")
    said = found.table.column("predicted")
    accuracy, chance, majority = found.scores.where(metric="accuracy")
    assert accuracy.mean == pytest.approx((truth == said).mean())
    assert accuracy.low < accuracy.mean < accuracy.high
    assert accuracy.low > chance.mean == 1 / 8
    assert majority.mean == pytest.approx(np.unique(truth, return_counts=True)[1].max() / len(truth))
    f1, of_chance, of_majority = found.scores.where(metric="macro-F1")
    assert f1.mean > of_chance.mean > of_majority.mean
    stored = read_table(out)
    rows = stored.rows_of(TABLE.ids)
    assert stored.column("predicted")[rows].tolist() == said.tolist()
    assert np.allclose(stored.vectors(rows), TABLE.vectors())
    again = classify(out, truth="label", model=PAIR)  # the columns are replaced
    assert again.table.column("predicted").tolist() == stored.column("predicted").tolist()


def test_the_baselines_against_simulation() -> None:
    rng = np.random.default_rng(0)
    found = classify(TABLE, truth="label", model=PAIR)
    truth = TABLE.column("label")
    y = np.tile(np.searchsorted(found.classes, truth.astype(str)), 400)
    from placevec.measure.metrics import macro_f1

    scores = {score.features: score.mean for score in found.scores.where(metric="macro-F1")}
    assert scores["chance"] == pytest.approx(macro_f1(y, rng.integers(0, 8, len(y))), abs=0.003)
    most = np.bincount(y).argmax()
    assert scores["majority class"] == pytest.approx(macro_f1(y, np.full(len(y), most)))


def test_rows_without_a_known_class_are_counted() -> None:
    label = [None if at < 5 else value for at, value in enumerate(TABLE.column("label"))]
    found = classify(TABLE.with_column("label", label), ["river", "forest"], truth="label", model=PAIR)
    assert "5 rows without a true class" in found.notes[0]
    assert "of classes that were not named" in found.notes[1]
    kept = [value for value in label if value in ("river", "forest")]
    assert {score.n for score in found.scores} == {len(kept)}
    assert len(found.table) == len(TABLE)


def test_a_filter_and_a_model_without_temperature() -> None:
    found = classify(TABLE, ["river", "forest"], model=toy_pair(PAIR.space), filter=Filter(where="label == 'river'"))
    assert set(found.table.column("label")) == {"river"}
    assert "names no temperature" in found.notes[0]
    assert found.counts[0] > found.counts[1]
    assert pytest.approx(1 / 0.07) == SCALE


def test_names_and_their_words() -> None:
    given = ["tenniscourt = tennis court | tennis courts", "DenseResidential"]
    assert parse_classes(given) == {"tenniscourt": ("tennis court", "tennis courts"), "DenseResidential": ()}
    for bad, said in ((["river", "river"], "twice"), (["= words"], "no name"), (["river ="], "no words")):
        with pytest.raises(UsageError, match=said):
            parse_classes(bad)
    assert all("{}" in template for template in TEMPLATES)


def test_a_name_without_words_is_read_as_words() -> None:
    plain = classify(TABLE, {"a": ("boat road",), "b": ("forest",), "zone 2": ("zone 2",)}, model=PAIR)
    glued = classify(TABLE, ["boat_road", "Forest", "zone 2"], model=PAIR)
    assert np.allclose(plain.table.column("predicted_score"), glued.table.column("predicted_score"))


def test_names_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    path.write_text("# of UCM\nriver\n\nharbor = port|dock\n")
    assert read_classes(path) == ["river", "harbor = port|dock"]
    path.write_bytes(b"\xff\xfe\x00")
    for bad in (path, tmp_path / "none.txt", tmp_path):
        with pytest.raises(UsageError, match="one class a line"):
            read_classes(bad)


def test_the_model_is_found_beside_the_table(tmp_path: Path) -> None:
    pair = small_pair().save(tmp_path / "pair")
    vectors = np.random.default_rng(0).standard_normal((9, 8)).astype(np.float32)
    places = Places.create([f"r{at}" for at in range(9)])
    write_table(EmbeddingTable.of(places, vectors, pair.space, tower="image"), tmp_path / "t.parquet")
    assert classify(tmp_path / "t.parquet", ["a", "b"]).counts.sum() == 9


def test_what_cannot_be_classified(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="1 classes"):
        classify(TABLE, ["river"], model=PAIR)
    with pytest.raises(UsageError, match="no classes"):
        classify(TABLE, model=PAIR)
    with pytest.raises(UsageError, match="has no {}"):
        classify(TABLE, ["river", "road"], templates=["a picture"], model=PAIR)
    with pytest.raises(SpaceMismatch):
        classify(TABLE, ["river", "road"], model=toy_pair())
    with pytest.raises(DataError, match="no row is left"):
        classify(TABLE, ["river", "road"], model=PAIR, filter=Filter(where="label == 'desert'"))
    with pytest.raises(SchemaError, match="no column 'truth'"):
        classify(TABLE, ["river", "road"], model=PAIR, truth="truth")
    with pytest.raises(UsageError, match="no value of 'things'"):
        classify(TABLE, ["desert", "moon"], model=PAIR, truth="things")
    with pytest.raises(FormatError):
        classify(tmp_path / "none.parquet", ["river", "road"], model=PAIR)
    seen = EmbeddingTable(TABLE.data, TABLE.meta.replace(saw=(Saw("", "label"),)))
    with pytest.raises(LeakError, match="'label'"):
        classify(seen, truth="label", model=PAIR)


def test_rows_that_the_model_learned_from_are_told() -> None:
    split = np.array(["train", "val", "test"], dtype=object)[np.arange(len(TABLE)) % 3]
    table = TABLE.with_column("split", split)
    towers = toy_pair(PAIR.space)
    pair = PairModel.of(towers.image, towers.text, saw=(saw_captions("some hash", ["train", "val"]),))
    found = classify(table, truth="label", model=pair)
    (note,) = [one for one in found.notes if "zero-shot" in one]
    assert note.startswith("80 of 120 rows are of the splits 'train', 'val'")
    tested = classify(table, truth="label", model=pair, filter=Filter(where="split == 'test'"))
    assert not any("zero-shot" in one for one in (*tested.notes, *classify(table, THINGS, model=pair).notes))
