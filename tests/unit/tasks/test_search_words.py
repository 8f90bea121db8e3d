"""Search in words and by image, mixtures of both, and how far the hits can be trusted."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pair_fakes import captions_of, image_of, small_pair, toy_captions, toy_images, toy_pair, toy_table
from placevec.encoders.image import ImageEncoder
from placevec.encoders.pair import PairModel
from placevec.errors import DataError, SpaceMismatch, UsageError
from placevec.measure.relevance import Relevance
from placevec.provenance import Space
from placevec.sources.images import ImageFiles
from placevec.table import EmbeddingTable, Filter, Places, write_table
from placevec.tasks.index import index_table
from placevec.tasks.relevance import fit_relevance
from placevec.tasks.search import search
from placevec.tasks.search_examples import Example, mixed, rocchio

BARE = toy_pair()


def calibrated(pair: PairModel) -> PairModel:
    images, shown = toy_images(100, seed=1)
    vectors = pair.image.encode({"image": images})
    found = fit_relevance(pair, vectors, None, np.arange(100), captions_of(shown))
    return PairModel(pair.image, pair.text, pair.card, found.to_json())


PAIR = calibrated(BARE)
TABLE = toy_table(PAIR)
CAPTIONS = toy_captions(PAIR)


def things(hits) -> list[set[str]]:
    return [set(str(one).split()) for one in hits.places.column("things")]


def text_of(*words: str) -> np.ndarray:
    return PAIR.text.encode({"text": np.array(words, dtype=object)})


def test_text_to_image() -> None:
    hits = search(TABLE, text="a harbor with boats", model=PAIR, k=5)
    wanted = TABLE.vectors() @ text_of("a harbor with boats")[0]
    assert hits.ids.tolist() == TABLE.ids[np.argsort(-wanted)[:5]].tolist()
    assert hits.scores == pytest.approx(np.sort(wanted)[::-1][:5], abs=1e-6)
    assert {"harbor", "boat"} & things(hits)[0]
    assert hits.relevance is not None
    assert "no good match" not in hits.plan.note
    record = hits.to_records()[0]
    assert record["match"] is True
    assert record["relevance"] == pytest.approx(float(hits.relevance[0]))
    known = Relevance.from_json(PAIR.relevance).probability(
        text_of("a harbor with boats"), TABLE.vectors(hits.rows), np.array([1.0])
    )
    assert hits.relevance == pytest.approx(known[0], abs=1e-6)


def test_a_query_of_another_domain_has_hits_and_no_good_match() -> None:
    hits = search(TABLE, text="an avocado armchair", model=PAIR, k=4)
    assert len(hits) == 4
    assert "no good match: the best relevance is 0.0" in hits.plan.note
    assert "95% of the queries that the model understands reach" in hits.plan.note
    assert [record["match"] for record in hits.to_records()] == [False] * 4


def test_all_texts_are_to_fit() -> None:
    hits = search(TABLE, text=["river", "forest"], model=PAIR, k=120)
    relevance = Relevance.from_json(PAIR.relevance)
    apart = relevance.probability(text_of("river", "forest"), TABLE.vectors(hits.rows))
    assert hits.relevance == pytest.approx(apart.min(axis=0), abs=1e-6)
    both = np.array([{"river", "forest"} <= one for one in things(hits)])
    assert hits.relevance[both].mean() > 2 * hits.relevance[~both].mean()


def test_without_calibration_it_is_said_that_scores_are_cosines() -> None:
    hits = search(TABLE, text="a river", model=BARE, k=3)
    assert hits.relevance is None
    assert hits.plan.note.count("bare cosines") == 1
    assert "relevance" not in hits.to_records()[0]


def test_image_to_image(tmp_path: Path) -> None:
    picture = image_of("court", "tree", seed=3)
    hits = search(TABLE, image=picture, model=PAIR, k=3)
    assert {"court", "tree"} <= things(hits)[0]
    assert hits.relevance is None
    assert "cosines" not in hits.plan.note
    path = tmp_path / "court.png"
    Image.fromarray(np.ascontiguousarray(np.moveaxis(picture, 0, 2))).save(path)
    again = search(TABLE, image=path, model=PAIR, k=3)
    assert again.ids.tolist() == hits.ids.tolist()
    assert search(TABLE, image=[str(path), picture], model=PAIR, k=3).ids.tolist() == hits.ids.tolist()


def test_image_to_text() -> None:
    hits = search(CAPTIONS, image=image_of("harbor", "boat"), model=PAIR, k=4)
    assert {"harbor", "boat"} <= set(str(hits.places.column("text")[0]).split())
    assert hits.relevance is not None
    assert hits.least is None
    assert "match" not in hits.to_records()[0]
    assert hits.relevance[0] > 0.3


def test_text_to_text_is_not_judged() -> None:
    hits = search(CAPTIONS, text="there is a road", model=PAIR, k=3)
    assert hits.relevance is None
    assert all("road" in str(text) for text in hits.places.column("text"))


def correlations(query: np.ndarray, parts: list[np.ndarray]) -> list[float]:
    vectors = TABLE.vectors().astype(np.float64)
    return [float(np.corrcoef(vectors @ query, vectors @ part)[0, 1]) for part in parts]


def test_of_a_text_and_an_image_both_count() -> None:
    # This image, but with water: raw vectors let the image decide alone.
    image = PAIR.image.encode({"image": image_of("court", "tree")[None]})[0]
    text = text_of("a river")[0]
    examples = [Example(image, "image"), Example(text, "text")]
    bank = Relevance.from_json(PAIR.relevance).backgrounds.bank
    query = mixed(examples, [], PAIR.space, lambda: bank)
    from_raw = correlations(rocchio([image, text], [], PAIR.space), [image, text])
    from_mixed = correlations(query, [image, text])
    assert from_raw[0] > 0.95
    assert from_raw[1] < 0.4
    assert min(from_mixed) > 0.5
    assert abs(from_mixed[0] - from_mixed[1]) < 0.15
    # The same as adding standard scores over the bank.
    scores = TABLE.vectors() @ np.stack([image, text], axis=1)
    over = bank @ np.stack([image, text], axis=1)
    added = ((scores - over.mean(axis=0)) / over.std(axis=0)).mean(axis=1)
    assert np.corrcoef(added, TABLE.vectors() @ query)[0, 1] > 0.99999
    hits = search(TABLE, image=image_of("court", "tree"), text="a river", model=PAIR, k=120)
    assert hits.scores == pytest.approx(TABLE.vectors(hits.rows) @ query, abs=1e-5)
    assert "relevance is that of the words alone" in hits.plan.note
    first = things(hits)[:6]
    assert sum("river" in one for one in first) >= 3
    assert sum("court" in one or "tree" in one for one in first) >= 3


def test_rows_texts_and_images_mix_and_unlike_pulls_away() -> None:
    row = str(TABLE.ids[0])
    shown = next(iter(things(search(TABLE, like=row, exclude_self=False, k=1))))
    wanted = next(one for one in ("road", "boat", "field") if one not in shown)
    plain = search(TABLE, like=row, k=120)
    more = search(TABLE, like=row, text=f"a {wanted}", model=PAIR, k=120)
    assert row not in more.ids
    assert _mean_rank(more, wanted) < _mean_rank(plain, wanted) - 10
    fewer = search(TABLE, like=row, not_text=f"a {wanted}", model=PAIR, k=120)
    assert _mean_rank(fewer, wanted) > _mean_rank(plain, wanted) + 10
    without = search(TABLE, text="a road", not_image=image_of("tree"), model=PAIR, k=120)
    assert _mean_rank(without, "tree") > _mean_rank(search(TABLE, text="a road", model=PAIR, k=120), "tree") + 10


def _mean_rank(hits, thing: str) -> float:
    return float(np.mean([rank for rank, one in enumerate(things(hits)) if thing in one]))


def test_examples_of_one_tower_are_mixed_as_ever() -> None:
    a, b, c = TABLE.vectors()[:3]
    towers = [Example(v, "image") for v in (a, b, c)]

    def never() -> np.ndarray:
        raise AssertionError("no reference is needed")

    assert np.array_equal(mixed(towers[:2], towers[2:], TABLE.space, never), rocchio([a, b], [c], TABLE.space))
    l2 = Space.mint(32, metric="l2")
    other = [towers[0], replace(towers[1], tower="text")]
    assert np.array_equal(mixed(other, [], l2, never), rocchio([a, b], [], l2))
    # Where nothing can be standardised: a reference of one row, or of equal ones.
    for reference in (TABLE.vectors()[:1], np.repeat(TABLE.vectors()[:1], 4, axis=0)):
        found = mixed(other, [], TABLE.space, lambda reference=reference: reference)
        assert np.array_equal(found, rocchio([a, b], [], TABLE.space))


def test_without_a_bank_rows_of_the_table_are_the_reference() -> None:
    asked = {"image": image_of("court", "tree"), "text": "a river", "k": 120}
    bare = search(TABLE, model=BARE, **asked)
    banked = search(TABLE, model=PAIR, **asked)
    assert np.corrcoef(np.argsort(bare.rows), np.argsort(banked.rows))[0, 1] > 0.99
    assert _mean_rank(bare, "river") < 45


def test_images_and_captions_together_are_merged_by_rank() -> None:
    hits = search([TABLE, CAPTIONS], text="a harbor with boats", model=PAIR, k=6)
    assert hits.plan.name == "rank-fusion"
    assert set(hits.origin) == {"image", "text"}
    judged = np.isfinite(hits.relevance)
    assert judged.tolist() == [name == "image" for name in hits.origin]
    assert [record["relevance"] is None for record in hits.to_records()] == (~judged).tolist()
    assert {record["match"] for record in hits.to_records()} >= {None, True}
    halves = [TABLE.take(np.arange(60)), TABLE.take(np.arange(60, 120))]
    one, two = (search(of, text="a river", model=PAIR, k=20) for of in (TABLE, halves))
    assert one.ids.tolist() == two.ids.tolist()
    assert two.relevance == pytest.approx(one.relevance, abs=1e-6)


def test_filters_leave_out_and_nothing_may_be_left() -> None:
    hits = search(TABLE, text="a river", model=PAIR, k=200, filter=Filter(where="label == 'river'"))
    assert set(hits.places.column("label")) == {"river"}
    none = search(TABLE, text="a river", model=PAIR, filter=Filter(where="label == 'desert'"))
    assert len(none) == 0
    assert "no row passes the filter" in none.plan.note
    assert "no good match" not in none.plan.note


def test_a_long_text_is_cut_and_said() -> None:
    hits = search(TABLE, text="river " * 40, model=PAIR, k=2)
    assert "the text is longer than the model reads" in hits.plan.note
    several = search(TABLE, text=["river " * 40, "a road"], model=PAIR, k=2)
    assert "1 of 2 texts are longer" in several.plan.note


def test_the_model_is_found_beside_the_table(tmp_path: Path) -> None:
    pair = small_pair().save(tmp_path / "models/ucm")
    vectors = np.random.default_rng(0).standard_normal((30, 8)).astype(np.float32)
    places = Places.create([f"r{at}" for at in range(30)])
    table = EmbeddingTable.of(places, vectors, pair.space, tower="image", weights_sha256="f" * 64)
    write_table(table, tmp_path / "ucm.parquet")
    hits = search(tmp_path / "ucm.parquet", text="a river", k=3)
    assert len(hits) == 3
    assert "other weights of the image tower" in hits.plan.note
    by_name = search(tmp_path / "ucm.parquet", text="a river", k=3, model=tmp_path / "models/ucm")
    assert by_name.ids.tolist() == hits.ids.tolist()
    # Another tower of the Space has other weights, and nobody minds.
    other = EmbeddingTable(table.data, table.meta.replace(tower="location"))
    assert "other weights" not in search(other, text="a river", model=pair).plan.note


def test_a_big_table_is_asked_through_the_index_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("faiss")
    path = tmp_path / "ucm.parquet"
    write_table(TABLE, path)
    exact = search(path, text="a river", model=PAIR, k=5)
    for module in ("placevec.tasks.search", "placevec.index.planner"):
        monkeypatch.setattr(f"{module}.EXACT_ROWS", 50)
    assert search(path, text="a river", model=PAIR, k=5).plan.name == "scan"
    index_table(path, kind="flat")
    through = search(path, text="a river", model=PAIR, k=5)
    assert through.plan.name == "ann-then-exact"
    assert through.ids.tolist() == exact.ids.tolist()
    assert through.relevance == pytest.approx(exact.relevance)
    write_table(TABLE.take(np.arange(100)), path)
    stale = search(path, text="a river", model=PAIR, k=5)
    assert "the index beside the table was not used" in stale.plan.note
    assert stale.plan.exact


def test_what_cannot_be_asked(tmp_path: Path) -> None:
    for text in ("", "  ", "?!"):
        with pytest.raises(UsageError, match="has no word"):
            search(TABLE, text=text, model=PAIR)
    with pytest.raises(UsageError, match="has no word"):
        search(TABLE, text="a river", not_text="", model=PAIR)
    with pytest.raises(UsageError, match="nothing to be like"):
        search(TABLE, not_text="a river", model=PAIR)
    with pytest.raises(UsageError, match="no text and no image"):
        search(TABLE, like=str(TABLE.ids[0]), model=PAIR)
    with pytest.raises(UsageError, match="no pair of image and text towers"):
        search(TABLE, text="a river")
    with pytest.raises(SpaceMismatch, match="embed the images with this one"):
        search(TABLE, text="a river", model=toy_pair())
    with pytest.raises(UsageError, match="nor have texts and images"):
        search(TABLE, text="a river", model=PAIR, min_distance_m=5)
    with pytest.raises(UsageError, match="the shape"):
        search(TABLE, image=np.zeros((4, 4)), model=PAIR)
    (tmp_path / "empty.png").write_bytes(b"")
    for path in (tmp_path / "empty.png", tmp_path / "none.png"):
        with pytest.raises((DataError, UsageError), match=path.name):
            search(TABLE, image=path, model=PAIR)


def test_a_damaged_calibration_is_an_error() -> None:
    broken = PairModel(PAIR.image, PAIR.text, PAIR.card, {"version": 1})
    with pytest.raises(DataError, match="train the pair again"):
        search(TABLE, text="a river", model=broken)


def test_an_id_in_two_tables_has_the_relevance_of_the_row_that_is_shown() -> None:
    alone = search(TABLE, text="a river", model=PAIR, k=1)
    other = search(TABLE, text="a forest", model=PAIR, k=1)
    # The best row, and under its id in a second table a picture of something else.
    second = EmbeddingTable.of(
        Places.create(alone.ids), TABLE.vectors(other.rows), PAIR.space, tower="image", weights_sha256=f"{1:064d}"
    )
    for tables in ([TABLE, second], [second, TABLE]):
        hits = search(tables, text="a river", model=PAIR, k=1)
        assert hits.ids.tolist() == alone.ids.tolist()
        assert hits.relevance == pytest.approx(alone.relevance, abs=1e-6)


def test_an_image_file_has_the_vector_of_its_row(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        pixels = rng.integers(0, 255, (9, 7, 3)).astype(np.uint8)
        Image.fromarray(pixels).resize((210, 170), Image.Resampling.BICUBIC).save(tmp_path / f"{name}.jpg")
    made = small_pair()
    net = replace(made.image.config.net, pixels=16)
    image = ImageEncoder.untrained(replace(made.image.config, net=net))
    image = ImageEncoder(image.config, image.net, replace(image.card, space=made.space))
    towers = PairModel.of(image, made.text)
    files = ImageFiles(tmp_path, pixels=16)
    vectors = towers.encode(files.read(np.arange(3)).data)
    table = EmbeddingTable.of(files.places(), vectors, towers.space, tower="image")
    for name in ("a", "b", "c"):
        hits = search(table, image=tmp_path / f"{name}.jpg", model=towers, k=1)
        assert hits.ids.tolist() == [f"{name}.jpg"]
        assert hits.scores[0] == pytest.approx(1.0, abs=1e-6)
