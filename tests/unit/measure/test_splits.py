from __future__ import annotations

import json

import numpy as np
import pytest

from placevec.errors import DataError, UsageError
from placevec.geo.cells import H3Cells
from placevec.geo.grids import GridCells
from placevec.geo.sphere import LonLat, pairwise_m
from placevec.measure.splits import (
    block_split,
    holdout,
    random_split,
    seen,
    suggest_block,
    variogram_range_m,
)
from placevec.measure.variogram import semivariogram, spherical


def scatter(n: int, seed: int = 0, box=(-9.0, 36.0, 3.0, 43.0)) -> LonLat:
    rng = np.random.default_rng(seed)
    return LonLat(rng.uniform(box[0], box[2], n), rng.uniform(box[1], box[3], n))


def field(p: LonLat, range_m: float, seed: int = 0, nugget: float = 0.0) -> np.ndarray:
    """A Gaussian random field of the spherical covariance, by its Cholesky factor."""
    covariance = 1.0 - spherical(pairwise_m(p, p), range_m) + 1e-9 * np.eye(len(p))
    rng = np.random.default_rng(seed)
    return np.linalg.cholesky(covariance) @ rng.standard_normal(len(p)) + nugget * rng.standard_normal(len(p))


def test_random_split_goes_by_key():
    keys = np.array([f"place-{i % 300}" for i in range(1000)], dtype=object)
    split = random_split(keys, k=4, seed=7)
    assert set(split.fold.tolist()) == {0, 1, 2, 3}
    for key in set(keys.tolist()):
        assert len(set(split.fold[keys == key].tolist())) == 1
    np.testing.assert_array_equal(random_split(keys[::-1], 4, 7).fold[::-1], split.fold)
    assert (random_split(keys, 4, 8).fold != split.fold).any()
    assert np.bincount(split.fold).min() > 150


def test_random_folds_are_the_same_for_ever():
    # Stored specs depend on it: the hash may never change.
    assert random_split(["a", "b", "c", "d", "e", "f"], 2, 0).fold.tolist() == [
        int.from_bytes(__import__("hashlib").blake2b(f"0:{c}".encode(), digest_size=8).digest(), "big") % 2
        for c in "abcdef"
    ]


def test_random_split_of_too_few():
    with pytest.raises(DataError, match="1 keys leave fold"):
        random_split(["a"] * 10, 3)
    with pytest.raises(UsageError, match="1 folds"):
        random_split(["a", "b"], 1)


@pytest.mark.parametrize("blocks", [H3Cells(4), "h3:4", "grid:0.5", 0.5, GridCells(0.5)], ids=str)
def test_blocks_are_whole_and_balanced(blocks):
    p = scatter(3000)
    split = block_split(p, blocks, k=5, seed=1)
    system = H3Cells(4) if "4" in str(blocks) else GridCells(0.5)
    cell = system.assign(p)
    for c in np.unique(cell):
        assert len(set(split.fold[cell == c].tolist())) == 1
    sizes = np.bincount(split.fold, minlength=5)
    assert sizes.max() - sizes.min() <= np.unique(cell, return_counts=True)[1].max()
    assert (split.fold >= 0).all()
    np.testing.assert_array_equal(block_split(p, blocks, 5, 1).fold, split.fold)
    assert (block_split(p, blocks, 5, 2).fold != split.fold).any()


def test_pairs_and_holdout():
    p = scatter(800)
    split = block_split(p, "h3:3", k=4, buffer_m=20_000.0)
    tested = np.concatenate([test for _, test in split.pairs()])
    assert sorted(tested.tolist()) == list(range(800))
    for fold, (train, test) in enumerate(split.pairs()):
        distance = pairwise_m(p[train], p[test]).min(axis=1)
        assert distance.min() > 20_000.0
        others = np.flatnonzero(split.fold != fold)
        # The buffer takes no more than it must.
        kept = others[pairwise_m(p[others], p[test]).min(axis=1) > 20_000.0]
        np.testing.assert_array_equal(train, kept)
        masks = holdout(split, fold)
        np.testing.assert_array_equal(np.flatnonzero(masks[0]), train)
        np.testing.assert_array_equal(np.flatnonzero(masks[1]), test)
    with pytest.raises(UsageError, match="no fold 4"):
        split.pair(4)


def test_the_buffer_crosses_the_antimeridian_and_the_pole():
    rng = np.random.default_rng(0)
    for p in (
        LonLat(rng.uniform(178, 182, 300), rng.uniform(-2, 2, 300)),
        LonLat(rng.uniform(-180, 180, 300), rng.uniform(88, 90, 300)),
    ):
        for train, test in block_split(p, "h3:4", k=3, buffer_m=5000.0).pairs():
            assert pairwise_m(p[train], p[test]).min() > 5000.0


def test_a_buffer_that_takes_all():
    with pytest.raises(DataError, match="leaves no training row"):
        list(block_split(scatter(100), "h3:3", k=3, buffer_m=5e6).pairs())
    with pytest.raises(UsageError, match="buffer is -1"):
        block_split(scatter(100), "h3:3", buffer_m=-1)


def test_groups_join_the_blocks_that_they_connect():
    p = scatter(1000)
    groups = np.array([f"u{i // 2}" if i < 60 else f"u{i}" for i in range(1000)], dtype=object)
    split = block_split(p, "h3:5", k=3, groups=groups)
    cell = H3Cells(5).assign(p)
    for key in (groups, cell):
        for value in set(key.tolist()):
            assert len(set(split.fold[key == value].tolist())) == 1


def test_groups_that_range_far():
    p = scatter(600)
    groups = np.arange(600) % 7
    with pytest.raises(DataError, match=r'into 1, fewer than 3 folds.*strays="drop"'):
        block_split(p, "h3:4", k=3, groups=groups)
    split = block_split(p, "h3:4", k=3, groups=groups, strays="drop")
    assert (split.fold == -1).any()
    for g in range(7):
        assert len(set(split.fold[groups == g].tolist()) - {-1}) == 1
    assert all((split.fold[train] >= 0).all() for train, _ in split.pairs())
    with pytest.raises(DataError, match="2 groups for 600 rows"):
        block_split(p, "h3:4", groups=[1, 2])
    with pytest.raises(UsageError, match="strays"):
        block_split(p, "h3:4", strays="keep")


def test_too_few_blocks_name_a_size_that_would_do():
    p = scatter(50, box=(-8.7, 41.1, -8.5, 41.2))
    with pytest.raises(DataError, match=r"50 rows lie in (\d+) blocks of h3:3, fewer than 5 folds; use h3:6") as caught:
        block_split(p, "h3:3", k=5)
    named = int(str(caught.value).split("gives ")[1].split()[0])
    assert len(np.unique(H3Cells(6).assign(p))) == named >= 5
    with pytest.raises(DataError, match=r"blocks of grid:10.*use grid:\d"):
        block_split(p, 10.0, k=5)
    with pytest.raises(DataError, match="no finer blocks would do"):
        block_split(p[np.zeros(50, dtype=np.int64)], "h3:3", k=5)


@pytest.mark.parametrize("rule", ["random", "h3:4", "grid:1"])
def test_seen_finds_the_folds_anew(rule):
    p = scatter(500)
    keys = np.array([f"id{i}" for i in range(500)], dtype=object)
    split = random_split(keys, 5, 3) if rule == "random" else block_split(p, rule, 5, 3, buffer_m=100.0)
    spec = json.loads(json.dumps(split.spec))
    assert spec == split.spec
    for folds in ([0], [1, 4], []):
        np.testing.assert_array_equal(seen(spec, folds, p, keys), np.isin(split.fold, folds))
    rows = np.array([5, 3, 400])
    np.testing.assert_array_equal(seen(spec, [2], p[rows], keys[rows]), split.fold[rows] == 2)


def test_seen_elsewhere_and_in_vain():
    split = block_split(scatter(500), "h3:4", 5)
    assert not seen(split.spec, range(5), LonLat.of(100, -20), None).any()
    with pytest.raises(UsageError, match="coordinates"):
        seen(split.spec, [0], None, ["a"])
    with pytest.raises(UsageError, match="keys"):
        seen(random_split(["a", "b", "c", "d"], 2).spec, [0], LonLat.of(0, 0), None)
    with pytest.raises(UsageError, match="'magic'"):
        seen({"rule": "magic"}, [0], None, None)


def test_the_variogram_finds_the_range():
    p = scatter(900, box=(-8.0, 38.0, -2.0, 42.0))
    for range_m in (60_000.0, 150_000.0):
        found = [variogram_range_m(p, field(p, range_m, seed)) for seed in range(5)]
        assert np.median(found) == pytest.approx(range_m, rel=0.4)
    noisy = [variogram_range_m(p, field(p, 150_000.0, seed, nugget=0.5)) for seed in range(5)]
    assert np.median(noisy) == pytest.approx(150_000, rel=0.5)


def test_the_semivariogram_against_all_pairs():
    p = scatter(120)
    values = field(p, 200_000.0)
    lags, gamma, count = semivariogram(p, values, bins=6)
    i, j = np.triu_indices(120, k=1)
    distance = pairwise_m(p, p)[i, j]
    near = distance <= 0.5 * np.percentile(distance, 95)
    assert count.sum() == near.sum()
    assert (count @ lags) / count.sum() == pytest.approx(distance[near].mean())
    assert (np.diff(lags) > 0).all()
    # The robust estimator agrees with the classical one on a Gaussian field, within its spread.
    classical = 0.5 * np.mean((values[i] - values[j])[near] ** 2)
    assert (count @ gamma) / count.sum() == pytest.approx(classical, rel=0.25)


def test_variograms_without_structure():
    p = scatter(500)
    assert variogram_range_m(p, np.ones(500)) == 0.0
    one_place = p[np.zeros(500, dtype=np.int64)]
    assert variogram_range_m(one_place, np.random.default_rng(0).normal(size=500)) == 0.0
    values = field(p, 200_000.0)
    with_gaps = np.where(np.arange(500) % 9 == 0, np.nan, values)
    assert variogram_range_m(p, with_gaps) > 0.0
    with pytest.raises(DataError, match="3 places"):
        variogram_range_m(p, np.full(500, np.nan))
    with pytest.raises(DataError, match="one per place"):
        variogram_range_m(p, np.ones(3))


def test_variograms_of_classes_and_outliers():
    p = scatter(700, box=(-8.0, 38.0, -2.0, 42.0))
    values = field(p, 150_000.0)
    classes = np.where(values > 0, "forest", "field")
    assert 40_000 < variogram_range_m(p, classes) < 400_000
    spoiled = values.copy()
    spoiled[::100] += 30.0
    assert 40_000 < variogram_range_m(p, spoiled) < 400_000


def test_suggest_block():
    p = scatter(900, box=(-8.0, 38.0, -2.0, 42.0))
    resolution, range_m = suggest_block(p, field(p, 30_000.0), k=3, per_fold=4)
    assert range_m == variogram_range_m(p, field(p, 30_000.0))
    assert H3Cells(resolution).edge_m >= range_m > H3Cells(resolution + 1).edge_m
    smooth = p.lon + p.lat
    resolution, range_m = suggest_block(p, smooth, k=5)
    blocks = len(np.unique(H3Cells(resolution).assign(p)))
    assert blocks >= 40
    assert len(np.unique(H3Cells(resolution - 1).assign(p))) < 40
    assert range_m > H3Cells(resolution).edge_m
    assert suggest_block(p, np.ones(900))[1] == 0.0
    assert suggest_block(p[:2][np.zeros(5, dtype=np.int64)], np.arange(5.0))[0] == 15
