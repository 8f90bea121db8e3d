from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from placevec.errors import DataError
from placevec.geo.sphere import LonLat, distance_m
from placevec.measure.neighbour_report import MEASURES, neighbour_rows
from placevec.measure.neighbours import (
    Pairs,
    apart,
    by_jensen_shannon,
    by_vectors,
    place_pairs,
    rank_neighbours,
)

KM = 1000.0


def world(n: int, seed: int = 0, extent: float = 0.5) -> tuple[Pairs, LonLat]:
    """n pairs, the neighbour some kilometres from its anchor; rows 2i and 2i + 1."""
    rng = np.random.default_rng(seed)
    lon, lat = rng.uniform(0, extent, (2, n))
    points = np.stack([lon, lon + 0.03, lat, lat], axis=1)
    return (
        Pairs(np.arange(0, 2 * n, 2), np.arange(1, 2 * n, 2), np.arange(n)),
        LonLat(points[:, :2].ravel(), points[:, 2:].ravel()),
    )


def test_pairs_are_the_rows_of_a_place_and_the_first_by_id_asks() -> None:
    keys = np.array(["x", "y", "x", "lone", "y", "x"], dtype=object)
    ids = np.array(["x-b", "y-a", "x-a", "l", "y-b", "x-c"], dtype=object)
    pairs = place_pairs(keys, ids)
    assert list(zip(ids[pairs.anchors], ids[pairs.neighbours], strict=True)) == [
        ("x-a", "x-b"),
        ("x-a", "x-c"),
        ("y-a", "y-b"),
    ]
    assert (keys[pairs.anchors] == keys[pairs.neighbours]).all()
    with pytest.raises(DataError, match="no two rows share"):
        place_pairs(ids, ids)


@given(st.integers(2, 25), st.integers(0, 50), st.sampled_from([0.0, 1 * KM, 3 * KM]))
def test_ranks_are_those_of_an_obvious_loop(n: int, seed: int, exclude: float) -> None:
    pairs, lonlat = world(n, seed, 0.2)
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-2, 3, (2 * n, 3)).astype(np.float64)
    wanted_ahead, wanted_level, rivals = [], [], []
    for anchor, own in zip(pairs.anchors, pairs.neighbours, strict=True):
        others = [
            c
            for c in pairs.neighbours
            if c != own and float(distance_m(lonlat[int(anchor)], lonlat[int(c)])[0]) >= exclude
        ]
        score = {int(c): -float(((vectors[anchor] - vectors[c]) ** 2).sum()) for c in [*others, own]}
        wanted_ahead.append(sum(score[int(c)] > score[int(own)] for c in others))
        wanted_level.append(sum(score[int(c)] == score[int(own)] for c in others))
        rivals.append(len(others))
    if not all(rivals):
        with pytest.raises(DataError, match="no candidate but its own"):
            rank_neighbours(pairs, lonlat, {"v": by_vectors(vectors, "l2")}, exclude)
        return
    found, chance = rank_neighbours(pairs, lonlat, {"v": by_vectors(vectors, "l2")}, exclude)
    assert found["v"].ahead.tolist() == wanted_ahead
    assert found["v"].level.tolist() == wanted_level
    assert chance.level.tolist() == rivals
    assert chance.found(1).tolist() == pytest.approx([1 / (r + 1) for r in rivals])


def test_other_rows_of_the_place_and_what_overlaps_are_no_candidates() -> None:
    # Place 0 has two neighbours; that of place 2 lies on the anchor of place 0.
    lonlat = LonLat(np.array([0.0, 0.1, 0.2, 5.0, 5.1, 7.0, 0.001]), np.zeros(7))
    pairs = Pairs(np.array([0, 0, 3, 5]), np.array([1, 2, 4, 6]), np.array([0, 0, 1, 2]))
    same = np.ones((7, 2))
    found, chance = rank_neighbours(pairs, lonlat, {"same": by_vectors(same)}, 2 * KM)
    # For both pairs of place 0 only row 4 competes: 1 and 2 are of one place, 6 lies within 2 km.
    assert chance.level.tolist() == [1, 1, 3, 3]
    assert found["same"].level.tolist() == [1, 1, 3, 3]
    assert found["same"].ahead.tolist() == [0, 0, 0, 0]


def test_what_is_equal_but_for_rounding_is_a_tie() -> None:
    pairs, lonlat = world(40)
    shares = np.random.default_rng(0).dirichlet(np.ones(7), 1).repeat(80, axis=0)
    near = {"js": by_jensen_shannon(shares), "cos": by_vectors(np.sqrt(shares).astype(np.float32))}
    found, chance = rank_neighbours(pairs, lonlat, near, 0.0)
    for one in found.values():
        np.testing.assert_array_equal(one.level, chance.level)


def test_blocks_of_candidates_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs, lonlat = world(60)
    vectors = np.random.default_rng(1).standard_normal((120, 5))
    near = {"v": by_vectors(vectors)}
    whole, _ = rank_neighbours(pairs, lonlat, near, 2 * KM)
    monkeypatch.setattr("placevec.measure.neighbours._SCORES", 130)
    parts, _ = rank_neighbours(pairs, lonlat, near, 2 * KM)
    np.testing.assert_array_equal(whole["v"].ahead, parts["v"].ahead)
    np.testing.assert_array_equal(whole["v"].level, parts["v"].level)


def test_pairs_that_share_pixels_are_refused() -> None:
    pairs, lonlat = world(5)
    assert not apart(pairs, lonlat, 4 * KM).any()
    with pytest.raises(DataError, match="nearer than 4000 m"):
        rank_neighbours(pairs, lonlat, {}, 4 * KM)
    with pytest.raises(DataError, match="no pair"):
        rank_neighbours(pairs.take(np.empty(0, dtype=np.int64)), lonlat, {}, 0.0)
    with pytest.raises(DataError, match="v: a vector is not finite"):
        rank_neighbours(pairs, lonlat, {"v": by_vectors(np.full((10, 2), np.nan))}, 0.0)


def rows_of(vectors: NDArray[np.float64], n: int = 200) -> dict[str, object]:
    pairs, lonlat = world(n, extent=2.0)
    rng = np.random.default_rng(3)
    near = {"ours": by_vectors(vectors), "noise": by_vectors(rng.standard_normal((2 * n, 4)))}
    found, chance = rank_neighbours(pairs, lonlat, near, 1 * KM)
    blocks = np.floor(lonlat.lon[pairs.anchors] * 4) * 10 + np.floor(lonlat.lat[pairs.anchors] * 4)
    made = neighbour_rows(
        {"chance": chance, **found}, {"chance": "chance", "ours": "learned", "noise": "untrained"}, blocks
    )
    return {row.name: row for row in made}


def test_a_good_representation_beats_and_a_bad_one_is_said_to_lose() -> None:
    rng = np.random.default_rng(0)
    mine = np.repeat(rng.standard_normal((200, 8)), 2, axis=0)
    rows = rows_of(mine + 0.2 * rng.standard_normal((400, 8)))
    ours = rows["ours"]
    assert ours.values["R@1"] > 0.5
    assert list(rows)[-1] == "ours"
    for measure in MEASURES:
        assert ours.against[measure][0].outcome == "beats"
        assert ours.low[measure] <= ours.values[measure] <= ours.high[measure]
        assert rows["noise"].against == {}
    assert "beats" in ours.to_records()[0]["verdict"]
    # Vectors that point away from their neighbours.
    far = mine.copy()
    far[1::2] *= -1
    lost = rows_of(far)["ours"]
    assert lost.values["median rank"] > 150
    assert all(lost.against[measure][0].outcome == "loses" for measure in MEASURES)
    assert lost.to_records()[2]["verdict"].startswith("loses to")


def test_chance_is_that_of_a_random_order() -> None:
    rows = rows_of(np.random.default_rng(0).standard_normal((400, 4)))
    chance = rows["chance"]
    assert chance.values["R@10"] == pytest.approx(10 / 200, rel=0.05)
    assert chance.values["median rank"] == pytest.approx(100, rel=0.05)
    assert chance.values["MRR"] == pytest.approx((1 / np.arange(1, 201)).mean(), rel=0.05)
    assert rows["noise"].values["R@10"] == pytest.approx(chance.values["R@10"], abs=0.04)


def test_the_draws_of_the_median_are_medians() -> None:
    from placevec.measure.intervals import resample_counts
    from placevec.measure.neighbour_report import _draws
    from placevec.measure.retrieval.ranks import Standing

    rng = np.random.default_rng(0)
    ahead, ones = rng.integers(0, 50, 31), np.ones(31, dtype=np.int64)
    standing = Standing(ahead, 0 * ones, ones, ones, 60)
    codes = np.sort(rng.integers(0, 6, 31))
    counts = resample_counts(6, 40, 1)
    found = _draws(standing, codes, counts)
    for row, count in enumerate(counts):
        ranks = np.repeat(ahead + 1.0, count[codes])
        assert found["median rank"][row] == np.median(ranks)
        assert found["R@10"][row] == pytest.approx((ranks <= 10).mean())
