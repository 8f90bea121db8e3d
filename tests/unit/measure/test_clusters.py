"""Clusters: found, numbered as documented, connected and nested."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from scipy.sparse.csgraph import connected_components
from sklearn.cluster import AgglomerativeClustering

from placevec.errors import DataError, UsageError
from placevec.geo.cells import H3Cells, ring_index
from placevec.measure import clusters as cl
from placevec.measure.clusters import cluster


def groups(seed: int = 0, n: int = 400, k: int = 5):
    rng = np.random.default_rng(seed)
    truth = rng.choice(k, n, p=np.arange(1, k + 1) / np.arange(1, k + 1).sum())
    return truth, np.eye(k)[truth] + 0.05 * rng.standard_normal((n, k))


def country(box=(-6, 38, -2, 42), resolution: int = 5, islands: bool = False):
    system = H3Cells(resolution)
    cells = system.cover(shapely.box(*box))
    if islands:
        far = [system.cover(shapely.box(x, 35, x + 0.4, 35.3)) for x in (3, 10, 11)]
        cells = np.unique(np.concatenate([cells, *far]))
    centre = system.centre(cells)
    vectors = np.stack([np.sin(centre.lon), np.cos(centre.lat), np.sin(3 * centre.lat)], axis=1)
    return cells, vectors + 0.05 * np.random.default_rng(1).standard_normal(vectors.shape)


def test_kmeans_finds_groups():
    truth, vectors = groups()
    found = cluster(vectors, 5)
    assert len(set(zip(truth.tolist(), found.labels.tolist(), strict=True))) == 5
    level = found.levels[0]
    assert (level.k, level.resolution) == (5, None)
    assert level.silhouette > 0.8
    np.testing.assert_array_equal(level.sizes, np.bincount(found.labels))
    np.testing.assert_array_equal(np.diff(level.sizes[level.profile_order]) <= 0, True)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    for c in range(5):
        np.testing.assert_allclose(level.centres[c], unit[found.labels == c].mean(axis=0))
    assert sum(r["share"] for r in found.to_records()) == pytest.approx(1.0)


def test_numbers_stay_and_follow_the_axis():
    _, vectors = groups()
    found = cluster(vectors, 5)
    np.testing.assert_array_equal(found.labels, cluster(vectors, 5).labels)
    order = np.random.default_rng(2).permutation(400)
    np.testing.assert_array_equal(cluster(vectors[order], 5, seed=3).labels, found.labels[order])
    centres = found.levels[0].centres
    shifted = centres - centres.mean(axis=0)
    axis = np.linalg.svd(shifted)[2][0]
    axis *= np.sign(axis[np.abs(axis).argmax()])
    assert (np.diff(shifted @ axis) > -1e-12).all()


def test_directions_or_lengths():
    rng = np.random.default_rng(0)
    lengths = np.repeat([1.0, 10.0], 50)
    vectors = np.stack([lengths, lengths], axis=1) + 0.01 * rng.standard_normal((100, 2))
    by_length = cluster(vectors, 2, normalise=False)
    np.testing.assert_array_equal(by_length.labels, np.repeat([0, 1], 50))
    assert by_length.levels[0].silhouette > 0.9 > cluster(vectors, 2).levels[0].silhouette


def test_many_rows_are_assigned_to_centres_of_a_sample(monkeypatch):
    truth, vectors = groups()
    monkeypatch.setattr(cl, "_FIT_ROWS", 100)
    assert len(set(zip(truth.tolist(), cluster(vectors, 5).labels.tolist(), strict=True))) == 5


@pytest.mark.parametrize("islands", [False, True])
def test_regions_are_connected_and_nest(islands):
    cells, vectors = country(islands=islands)
    found = cluster(vectors, 12, method="hierarchical", h3=cells)
    assert [level.resolution for level in found.levels] == [5, 4, 3]
    assert [level.k for level in found.levels] == [12, 5, 2]
    for fine, coarse in zip(found.levels[:-1], found.levels[1:], strict=True):
        pairs = set(zip(fine.labels.tolist(), coarse.labels.tolist(), strict=True))
        assert len(pairs) == fine.k
    near = ring_index(cells, 1)
    finest = found.at(5)
    pieces = 0
    for label in range(12):
        inside = np.flatnonzero(finest.labels == label)
        graph = np.isin(near[inside][:, :, None], inside).any(axis=2)
        table = np.zeros((len(cells), len(cells)), dtype=bool)
        row, column = np.nonzero(graph)
        table[inside[row], near[inside][row, column]] = True
        pieces += connected_components(table[np.ix_(inside, inside)])[0]
    # Only islands may be away from the rest of their cluster.
    assert pieces == 12 if not islands else pieces <= 12 + 3


def test_one_resolution_is_ward_of_scikit_learn():
    cells, vectors = country()
    found = cluster(vectors, 7, method="hierarchical", h3=cells, resolutions=[5], normalise=False)
    model = AgglomerativeClustering(7, connectivity=cl._connect(cells), linkage="ward").fit(vectors)
    assert len(set(zip(model.labels_.tolist(), found.labels.tolist(), strict=True))) == 7


def test_cells_that_stand_there_twice_and_few_cells():
    cells, vectors = country()
    twice = np.concatenate([cells, cells])
    double = cluster(np.concatenate([vectors, vectors]), 6, method="hierarchical", h3=twice)
    np.testing.assert_array_equal(double.labels[: len(cells)], double.labels[len(cells) :])
    single = cluster(vectors, 6, method="hierarchical", h3=cells)
    np.testing.assert_array_equal(double.labels[: len(cells)], single.labels)
    few = cluster(vectors[:9], 9, method="hierarchical", h3=cells[:9], resolutions=[0, 5])
    assert [level.k for level in few.levels] == [9, len(np.unique(H3Cells(5).parent(cells[:9], 0)))]
    assert np.isnan(few.levels[0].silhouette)


def test_all_parts_are_bridged_at_their_nearest_cells():
    cells, _ = country(islands=True)
    graph = cl._connect(cells)
    assert connected_components(graph)[0] == 1
    assert abs(graph - graph.T).sum() == 0
    near = ring_index(cells, 1)
    row, column = graph.nonzero()
    bridges = [(a, b) for a, b in zip(row, column, strict=True) if b not in near[a]]
    # As few as connect four parts.
    assert len(bridges) == 2 * 3


def test_refusals():
    cells, vectors = country()
    with pytest.raises(UsageError, match="use kmeans"):
        cluster(vectors, 4, method="hierarchical")
    with pytest.raises(UsageError, match="'dbscan'"):
        cluster(vectors, 4, method="dbscan")
    with pytest.raises(UsageError, match="1 clusters"):
        cluster(vectors, 1)
    with pytest.raises(UsageError, match=r"resolutions \[7\] from cells of 5"):
        cluster(vectors, 4, method="hierarchical", h3=cells, resolutions=[7])
    with pytest.raises(DataError, match="2 rows cannot make 3"):
        cluster(vectors[:2], 3)
    with pytest.raises(DataError, match="1 distinct vectors"):
        cluster(np.ones((50, 3)), 3)
    with pytest.raises(DataError, match="cells for"):
        cluster(vectors, 3, method="hierarchical", h3=cells[:5])
    with pytest.raises(DataError, match="not finite"):
        cluster(np.full((9, 2), np.nan), 3)
    with pytest.raises(UsageError, match="there are: 5"):
        cluster(vectors, 4, method="hierarchical", h3=cells, resolutions=[5]).at(3)
