"""Figures and their intervals against plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from placevec.errors import DataError
from placevec.measure.retrieval import (
    DIRECTIONS,
    Pairing,
    class_recalls,
    figures,
    mean_recall,
    mean_recall_of,
    rank_vectors,
)
from placevec.measure.retrieval.recalls import MEAN_RECALL, MEDIAN_RANK, MRR

N, D = 40, 6


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(0)
    base = rng.standard_normal((N, D))
    owner = np.repeat(np.arange(N), 3)
    captions = base[owner] + 1.5 * rng.standard_normal((3 * N, D))
    texts = [f"t{k % 50}" for k in range(3 * N)]
    captions = np.stack([captions[texts.index(text)] for text in texts])  # equal texts, equal vectors
    return base, captions, Pairing.of(owner, N, texts)


def by_key(found):
    return {one.key: one for one in found}


def test_figures_are_those_of_a_loop(case) -> None:
    images, captions, pairing = case
    found = by_key(figures(rank_vectors(images, captions, pairing), draws=50, ties="pessimistic"))
    unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (images, captions)]
    scores = (unit[0] @ unit[1].T).round(9)
    i2t, t2i = [], []
    for i in range(N):
        own = pairing.image_of == i
        i2t.append(1 + int((scores[i][~own] >= scores[i][own].max()).sum()))
    for t in range(3 * N):
        others = np.arange(N) != pairing.image_of[t]
        t2i.append(1 + int((scores[others, t] >= scores[pairing.image_of[t], t]).sum()))
    recalls = []
    for direction, ranks in zip(DIRECTIONS, (np.array(i2t), np.array(t2i)), strict=True):
        for k in (1, 5, 10):
            recalls.append(100 * (ranks <= k).mean())
            assert found["official", direction, f"R@{k}"].value == pytest.approx(recalls[-1])
        assert found["official", direction, MRR].value == pytest.approx((1 / ranks).mean())
        assert found["official", direction, MEDIAN_RANK].value == np.sort(ranks)[(len(ranks) - 1) // 2]
    assert found["official", "both", MEAN_RECALL].value == pytest.approx(np.mean(recalls))


def test_intervals_are_bootstrapped_over_images_with_their_captions(case) -> None:
    images, captions, pairing = case
    ranking = rank_vectors(images, captions, pairing)
    found = by_key(figures(ranking, draws=400, seed=3))
    from placevec.measure.intervals import resample_counts

    counts = resample_counts(N, 400, 3)
    standing = ranking.standing("text to image", "official")
    for k in (1, 10):
        values = standing.found(k)
        expected = [
            100 * np.concatenate([np.repeat(values[pairing.image_of == i], c) for i, c in enumerate(row)]).mean()
            for row in counts
        ]
        assert found["official", "text to image", f"R@{k}"].draws == pytest.approx(np.array(expected))
    ranks = np.repeat(standing.ranks("pessimistic"), 1)
    medians = []
    for row in counts:
        drawn = np.sort(np.repeat(ranks, row[pairing.image_of]))
        medians.append(drawn[(len(drawn) - 1) // 2])
    pessimistic = by_key(figures(ranking, draws=400, seed=3, ties="pessimistic"))
    assert pessimistic["official", "text to image", MEDIAN_RANK].draws == pytest.approx(np.array(medians))
    for one in found.values():
        assert one.low <= one.high
        assert len(one.draws) == 400


def test_every_figure_lies_between_the_worst_and_its_bounds(case) -> None:
    images, captions, pairing = case
    for one in figures(rank_vectors(images, captions, pairing), draws=20):
        if one.measure == MEDIAN_RANK:
            assert 1 <= one.ceiling <= one.chance
        else:
            assert 0 < one.chance < one.ceiling
            assert one.value <= one.ceiling + (20 if one.measure != MRR else 0.2)  # a ceiling is an expectation
    aware = [one for one in figures(rank_vectors(images, captions, pairing), draws=20) if one.definition != "official"]
    official = by_key(figures(rank_vectors(images, captions, pairing), draws=20))
    for one in aware:
        rival = official["official", one.direction, one.measure]
        assert (one.value <= rival.value) if one.measure == MEDIAN_RANK else (one.value >= rival.value - 1e-9)


def test_vectors_that_say_nothing_are_at_chance(case) -> None:
    _, _, pairing = case
    ranking = rank_vectors(np.ones((N, 2)), np.ones((3 * N, 2)), pairing)
    for one in figures(ranking, draws=20):
        assert one.value == pytest.approx(one.chance)


def test_mean_recall_alone_is_the_same(case) -> None:
    images, captions, pairing = case
    found = by_key(figures(rank_vectors(images, captions, pairing), draws=5))
    assert mean_recall(images, captions, pairing.image_of) == pytest.approx(
        found["official", "both", MEAN_RECALL].value
    )
    assert 0 <= mean_recall(images, captions, pairing.image_of, ks=(1,)) <= 100


def test_a_part_of_the_images_asks_the_whole_gallery(case) -> None:
    images, captions, pairing = case
    ranking = rank_vectors(images, captions, pairing)
    keep = np.arange(N) % 2 == 0
    halves = [mean_recall_of(ranking, mask) for mask in (keep, ~keep)]
    assert np.mean(halves) == pytest.approx(mean_recall_of(ranking))
    assert np.isnan(mean_recall_of(ranking, np.zeros(N, dtype=bool)))


def test_classes_add_up_to_all_and_the_worst_is_first(case) -> None:
    images, captions, pairing = case
    ranking = rank_vectors(images, captions, pairing)
    labels = np.array(["even" if i % 2 == 0 else "odd" for i in range(N)], dtype=object)
    records = class_recalls(ranking, labels)
    assert [one["images"] for one in records] == [20, 20]
    assert [one["captions"] for one in records] == [60, 60]
    assert records[0][MEAN_RECALL] <= records[1][MEAN_RECALL]
    assert np.mean([one[MEAN_RECALL] for one in records]) == pytest.approx(mean_recall_of(ranking))
    with pytest.raises(DataError, match="labels"):
        class_recalls(ranking, labels[:3])


def test_images_without_captions_are_found_but_do_not_ask() -> None:
    rng = np.random.default_rng(0)
    images, captions = rng.standard_normal((6, 4)), rng.standard_normal((4, 4))
    pairing = Pairing.of([0, 0, 4, 4], 6)
    ranking = rank_vectors(images, captions, pairing)
    assert ranking.standing("image to text", "official").counting.tolist() == [2, 2]
    found = by_key(figures(ranking, draws=10))
    assert found["official", "text to image", "R@1"].chance == pytest.approx(100 / 6)
    records = class_recalls(ranking, ["a", "b", "b", "b", "a", "c"])
    assert [(one["label"], one["images"]) for one in records] == [("a", 2)]
