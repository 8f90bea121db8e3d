"""Ranks against a loop over all pairs: ties, duplicates, metrics, blocks."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from placevec.errors import DataError, SpaceMismatch, UsageError
from placevec.measure.retrieval import Pairing, Ranks, Standing, rank_all
from placevec.measure.retrieval.vectors import METRICS
from retrieval_oracle import matrix, plain_ranks, recall, standing


@st.composite
def cases(draw):
    """Small whole vectors, so that ties abound; captions that repeat; images without captions."""
    n, m, d = draw(st.integers(1, 7)), draw(st.integers(1, 12)), draw(st.integers(1, 3))
    vector = st.lists(st.integers(-2, 2), min_size=d, max_size=d)
    images = np.array(draw(st.lists(vector, min_size=n, max_size=n)), dtype=np.float32)
    captions = np.array(draw(st.lists(vector, min_size=m, max_size=m)), dtype=np.float32)
    image_of = draw(st.lists(st.integers(0, n - 1), min_size=m, max_size=m))
    texts = [f"text {k}" for k in draw(st.lists(st.integers(0, 5), min_size=m, max_size=m))]
    return images, captions, image_of, texts


def rows_of(found: Standing) -> list[tuple[int, int, int, int]]:
    return list(
        zip(found.ahead.tolist(), found.level.tolist(), found.own.tolist(), found.counting.tolist(), strict=True)
    )


@given(cases(), st.sampled_from(METRICS), st.tuples(st.integers(1, 4), st.integers(1, 5)))
def test_ranks_are_those_of_a_loop_over_all_pairs(case, metric: str, block: tuple[int, int]) -> None:
    images, captions, image_of, texts = case
    pairing = Pairing.of(image_of, len(images), texts)
    scores = matrix(images, captions, metric)
    both = rank_all(images, captions, [pairing.own(), pairing.equal()], metric=metric, block=block)
    said = [{texts[t] for t, owner in enumerate(image_of) if owner == i} for i in range(len(images))]
    counts = (
        [[image_of[t] == i for t in range(len(texts))] for i in range(len(images))],
        [[texts[t] in said[i] for t in range(len(texts))] for i in range(len(images))],
    )
    for ranks, counting in zip(both, counts, strict=True):
        for i in range(len(images)):
            if any(counting[i]):
                assert rows_of(ranks.image_to_text)[i] == standing(scores[i], counting[i])
            else:
                assert rows_of(ranks.image_to_text)[i] == (0, 0, 0, 0)
        for t in range(len(texts)):
            column = [row[t] for row in scores], [row[t] for row in counting]
            assert rows_of(ranks.text_to_image)[t] == standing(*column)


@given(cases(), st.integers(1, 12))
def test_recalls_are_means_over_all_orders_of_ties(case, k: int) -> None:
    images, captions, image_of, texts = case
    ranks = rank_all(images, captions, [Pairing.of(image_of, len(images), texts).own()])[0]
    assert ranks.text_to_image.found(k).mean() == pytest.approx(recall(rows_of(ranks.text_to_image), k))
    asked = ranks.image_to_text.take(np.unique(image_of))
    assert asked.found(k).mean() == pytest.approx(recall(rows_of(asked), k))
    for one in (asked, ranks.text_to_image):
        low, middle, high = (one.found(k, ties) for ties in ("pessimistic", "expected", "optimistic"))
        assert (low <= middle + 1e-12).all()
        assert (middle <= high + 1e-12).all()
        low, middle, high = (one.ranks(ties) for ties in ("optimistic", "expected", "pessimistic"))
        assert (low <= middle).all()
        assert (middle <= high).all()
        assert np.allclose(one.reciprocals("pessimistic"), 1 / high)


def random_set(n: int = 100, d: int = 32, noise: float = 2.0, seed: int = 0):
    rng = np.random.default_rng(seed)
    base = rng.standard_normal((n, d)).astype(np.float32)
    owner = np.repeat(np.arange(n), 5)
    captions = base[owner] + noise * rng.standard_normal((5 * n, d)).astype(np.float32)
    return base, captions, owner


def same(a: Ranks, b: Ranks) -> bool:
    return all(
        np.array_equal(getattr(getattr(a, way), name), getattr(getattr(b, way), name))
        for way in ("image_to_text", "text_to_image")
        for name in ("ahead", "level", "own", "counting")
    )


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("scale", [1.0, 1e-4])
def test_the_answer_does_not_depend_on_blocks(metric: str, scale: float) -> None:
    images, captions, owner = random_set()
    # Nearly equal vectors: their scores differ by less than float32 products can tell.
    images = (images[0] + scale * images).astype(np.float32)
    captions = (captions[0] + scale * captions).astype(np.float32)
    texts = [f"text {k // 7}" for k in range(len(captions))]
    pairing = Pairing.of(owner, len(images), texts)
    relations = [pairing.own(), pairing.equal()]
    whole = rank_all(images, captions, relations, metric=metric)
    for block in ((1, 10_000), (64, 100), (100, 7)):
        again = rank_all(images, captions, relations, metric=metric, block=block)
        assert all(same(a, b) for a, b in zip(whole, again, strict=True))


def test_without_ties_ranks_are_those_of_the_plain_sort() -> None:
    images, captions, owner = random_set(60)
    unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (images.astype(float), captions.astype(float))]
    expected = plain_ranks(*unit, owner)
    found = rank_all(images, captions, [Pairing.of(owner, len(images)).own()])[0]
    for ties in ("pessimistic", "expected", "optimistic"):
        assert np.array_equal(found.image_to_text.ranks(ties), expected["image to text"])
        assert np.array_equal(found.text_to_image.ranks(ties), expected["text to image"])


def test_equal_vectors_are_level_to_the_last_bit() -> None:
    images, captions, owner = random_set(50)
    captions[:] = captions[3]
    found = rank_all(images, captions, [Pairing.of(owner, 50).own()], block=(7, 13))[0].image_to_text
    assert (found.ahead == 0).all()
    assert (found.own == 5).all()
    assert (found.level == 245).all()
    assert (found.ranks("pessimistic") == 246).all()
    assert (found.ranks("optimistic") == 1).all()


def test_vectors_of_zeros_have_the_cosine_zero() -> None:
    images = np.array([[1.0, 0.0], [0.0, 0.0]], dtype=np.float32)
    captions = np.array([[0.0, 0.0], [1.0, 0.0]], dtype=np.float32)
    found = rank_all(images, captions, [Pairing.of([0, 1], 2).own()])[0]
    assert found.image_to_text.ranks("pessimistic").tolist() == [2.0, 2.0]
    assert found.image_to_text.ahead.tolist() == [1, 0]


def test_float16_and_mapped_vectors_are_read(tmp_path) -> None:
    images, captions, owner = random_set(40)
    np.save(tmp_path / "captions.npy", captions.astype(np.float16))
    mapped = np.load(tmp_path / "captions.npy", mmap_mode="r")
    relation = Pairing.of(owner, 40).own()
    plain = rank_all(images, captions.astype(np.float16).astype(np.float32), [relation])[0]
    assert same(rank_all(images, mapped, [relation])[0], plain)


def test_all_scores_are_never_held() -> None:
    images, captions, owner = random_set(1200, 16)
    pairing = Pairing.of(owner, 1200, [f"{k % 2000}" for k in range(6000)])
    relations = [pairing.own(), pairing.equal()]
    tracemalloc.start()
    rank_all(images, captions, relations, block=(128, 512))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6e6  # all scores take 29 MB


def test_progress_ends_with_all_scores() -> None:
    images, captions, owner = random_set(30)
    told: list[tuple[int, int]] = []
    rank_all(
        images,
        captions,
        [Pairing.of(owner, 30).own()],
        block=(20, 40),
        progress=lambda done, of: told.append((done, of)),
    )
    assert told[-1] == (30 * 150, 30 * 150)
    assert len(told) == 8


def test_bad_vectors_are_refused_by_name() -> None:
    images, captions, owner = random_set(10)
    relation = Pairing.of(owner, 10).own()
    broken = captions.copy()
    broken[7, 1] = np.nan
    with pytest.raises(DataError, match="caption row 7"):
        rank_all(images, broken, [relation])
    with pytest.raises(SpaceMismatch, match="32 components and captions 31"):
        rank_all(images, captions[:, :31], [relation])
    with pytest.raises(DataError, match="9 images and 50 captions"):
        rank_all(images[:9], captions, [relation])
    with pytest.raises(DataError, match="shape"):
        rank_all(images[0], captions, [relation])
    with pytest.raises(DataError, match="too large"):
        rank_all(images * 1e30, captions, [relation], metric="dot")
    with pytest.raises(DataError, match="manhattan"):
        rank_all(images, captions, [relation], metric="manhattan")
    with pytest.raises(UsageError, match="'random'"):
        rank_all(images, captions, [relation])[0].image_to_text.ranks("random")


def test_pairings_are_checked() -> None:
    with pytest.raises(DataError, match="image 3"):
        Pairing.of([0, 3], 3)
    with pytest.raises(DataError, match="0 captions"):
        Pairing.of([], 3)
    with pytest.raises(DataError, match="1 texts for 2"):
        Pairing.of([0, 1], 2, ["one"])
