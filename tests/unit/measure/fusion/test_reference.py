"""The reference protocol against scikit-learn, and its published figures on the real Porto Alegre."""

from __future__ import annotations

import h3
import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fusion_fakes import disk, town
from fusion_porto_alegre import porto_alegre
from placevec.errors import DataError, UsageError
from placevec.geo.sphere import EARTH_RADIUS_M
from placevec.measure.fusion import concatenated, fuse_plain, rbf_coordinates, rbf_width_m
from placevec.measure.fusion.reference import (
    pooled_r2,
    reference_folds,
    reference_knn,
    reference_mean,
    reference_ridge,
)

# R² of the script `urban_reference.py` on this machine's libraries: (random, block), population and then jobs.
FIGURES = {
    "kNN": ((0.499, 0.199), (0.536, 0.389)),
    "RBF": ((0.499, 0.194), (0.539, 0.258)),
    "roads": ((0.495, 0.477), (0.567, 0.554)),
    "transit": ((0.133, 0.129), (0.328, 0.311)),
    "terrain": ((0.029, 0.002), (0.285, 0.272)),
    "services": ((0.034, 0.021), (0.060, 0.023)),
    "concat": ((0.523, 0.508), (0.602, 0.586)),
    "ring-stack:1": ((0.600, 0.583), (0.628, 0.611)),
    "ring-stack:1+rbf": ((0.627, 0.513), (0.671, 0.502)),
}


def test_random_folds_are_those_of_kfold():
    cells = disk(4)
    fold = reference_folds("random", cells, 2)
    for number, (_, test) in enumerate(KFold(5, shuffle=True, random_state=2).split(cells)):
        np.testing.assert_array_equal(np.flatnonzero(fold == number), test)


def test_block_folds_are_a_permutation_of_sorted_parents():
    cells = disk(12)
    parents = np.array([h3.cell_to_parent(h3.int_to_str(int(cell)), 7) for cell in cells])
    names = np.unique(parents)
    fold_of = dict(zip(names, np.random.default_rng(1).permutation(len(names)) % 5, strict=True))
    np.testing.assert_array_equal(reference_folds("block", cells, 1), [fold_of[parent] for parent in parents])


def test_ridge_and_knn_are_those_of_scikit_learn():
    place = town()
    values = concatenated(place.blocks)[0].astype(np.float64)
    y = np.log1p(place.targets["jobs"])
    fold = reference_folds("random", place.cells, 0)
    xyz = place.lonlat.unit() * EARTH_RADIUS_M
    for found, peer, x in (
        (reference_ridge(values, y, fold), make_pipeline(StandardScaler(), Ridge(30.0)), values),
        (reference_knn(place.lonlat, y, fold), KNeighborsRegressor(5), xyz),
    ):
        for number in range(5):
            test = fold == number
            np.testing.assert_allclose(found[test], peer.fit(x[~test], y[~test]).predict(x[test]), atol=1e-9)
    assert (pooled_r2(y, [reference_mean(y, fold)])[0]) < 0.0


def test_a_column_that_moves_in_test_rows_alone_changes_nothing():
    place = town()
    y = place.targets["jobs"]
    fold = reference_folds("random", place.cells, 0)
    values = concatenated(place.blocks)[0]
    rare = np.where(fold == 0, np.random.default_rng(0).standard_normal(len(y)), 1 / 7).astype(np.float32)
    rare += np.float32(1e-9) * np.arange(len(y), dtype=np.float32) / len(y)
    found = reference_ridge(np.column_stack([values, rare]), y, fold)
    assert np.abs(found[fold == 0] - reference_ridge(values, y, fold)[fold == 0]).max() < 1e-6


def test_faults():
    with pytest.raises(DataError, match="fewer than 5 folds"):
        reference_folds("block", disk(1), 0)
    with pytest.raises(DataError, match="3 rows are fewer"):
        reference_folds("random", disk(1)[:3], 0)
    with pytest.raises(UsageError, match="choose random or block"):
        reference_folds("diagonal", disk(3), 0)


def test_the_figures_of_porto_alegre(data_dir):
    """Features by plain code, all else by ours: each figure of the reference to 0.01, twice its spread."""
    city = porto_alegre(data_dir)
    rows = {name: block.values for name, block in city.blocks.items()}
    rows |= {
        method: fuse_plain(method, city.blocks, city.cells, city.lonlat)[0]
        for method in ("concat", "ring-stack:1", "ring-stack:1+rbf")
    }
    rows["RBF"] = rbf_coordinates(city.lonlat, rbf_width_m(9))
    for place, (target, y) in enumerate(city.targets.items()):
        for name, figures in FIGURES.items():
            for split, expected in zip(("random", "block"), figures[place], strict=True):
                folds = [reference_folds(split, city.cells, seed) for seed in range(3)]
                guesses = [
                    reference_knn(city.lonlat, y, fold) if name == "kNN" else reference_ridge(rows[name], y, fold)
                    for fold in folds
                ]
                assert np.mean(pooled_r2(y, guesses)) == pytest.approx(expected, abs=0.01), (target, name, split)
