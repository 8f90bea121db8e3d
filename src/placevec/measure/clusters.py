"""Clusters of places by their vectors: k-means, and regions that nest over several H3 resolutions.

Labels are numbers that mean something: cluster 0 lies at one end of the first principal axis of the centres and the
last at the other, so that neighbouring numbers (and so their colours on a map) are alike, and equal runs agree.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from placevec.errors import DataError, UsageError
from placevec.geo.cells import H3Cells, ring_index
from placevec.measure.nested import Floats, as_features

Labels = NDArray[np.int64]
Method = Literal["kmeans", "hierarchical"]

# K-means learns its centres on at most so many rows; all rows are assigned.
_FIT_ROWS = 100_000
_STARTS = 4
_SILHOUETTE_ROWS = 2000
# A coarser level has this part of the clusters of the next finer one, at least.
_FEWER = 4


@dataclass(frozen=True, eq=False)
class ClusterLevel:
    """The clusters of all rows at one resolution.

    Attributes:
        resolution: of the H3 cells that were clustered; None for k-means, which clusters the rows themselves.
        labels: (n,) the cluster of each row, numbered along the first principal axis of the centres.
        centres: (k, d) mean vector of the rows of each cluster, of the vectors as they were clustered.
        sizes: (k,) rows in each cluster.
        silhouette: mean silhouette of (at most 2,000) rows, in [-1, 1], by cosine if the vectors were normalised;
            NaN where it is undefined.
        profile_order: (k,) the clusters from the largest to the smallest, the order of a list of profiles.
    """

    resolution: int | None
    labels: Labels
    centres: Floats
    sizes: Labels
    silhouette: float
    profile_order: Labels

    @property
    def k(self) -> int:
        """How many clusters."""
        return len(self.sizes)


@dataclass(frozen=True, eq=False)
class Clusters:
    """The clusters at each level, the finest first.

    Attributes:
        method: "kmeans" or "hierarchical".
        levels: one for k-means, one per resolution for hierarchical.
        seed: of the starts of k-means and of the silhouette's sample.
    """

    method: str
    levels: tuple[ClusterLevel, ...]
    seed: int

    @property
    def labels(self) -> Labels:
        """The clusters (n,) of the finest level."""
        return self.levels[0].labels

    def at(self, resolution: int) -> ClusterLevel:
        """The level of an H3 resolution. Raises UsageError, naming those that exist, if there is none."""
        for level in self.levels:
            if level.resolution == resolution:
                return level
        known = ", ".join(str(level.resolution) for level in self.levels)
        raise UsageError(f"there are no clusters of resolution {resolution}; there are: {known}")

    def to_records(self) -> list[dict[str, Any]]:
        """One JSON object per level and cluster: resolution, cluster, rows, share of rows, silhouette of the level."""
        return [
            {
                "resolution": level.resolution,
                "cluster": int(c),
                "rows": int(level.sizes[c]),
                "share": float(level.sizes[c] / level.sizes.sum()),
                "silhouette": None if np.isnan(level.silhouette) else level.silhouette,
            }
            for level in self.levels
            for c in level.profile_order
        ]


def cluster(
    vectors: ArrayLike,
    k: int,
    seed: int = 0,
    method: Method = "kmeans",
    *,
    h3: ArrayLike | None = None,
    resolutions: Sequence[int] | None = None,
    normalise: bool = True,
) -> Clusters:
    """Cluster places by their vectors.

    "kmeans": Lloyd's algorithm from 4 k-means++ starts, on one thread, so that a seed gives one answer.
    "hierarchical": from the coarsest resolution to the finest, vectors are averaged over the H3 cells, neighbouring
    cells of each cluster found so far are joined by Ward's criterion, and the highest joints are undone until there
    are enough clusters. So clusters are connected regions, and a finer one lies in one coarser. Parts without a land
    bridge are connected at their nearest cells.

    Args:
        vectors: (n, d).
        k: clusters, 2 or more; of the finest resolution, from where they go down to a quarter at most per level. A
            resolution with fewer cells has as many clusters as cells.
        seed: of k-means and of the silhouette's sample; the hierarchical method needs none.
        method: "kmeans" or "hierarchical".
        h3: (n,) uint64 cells of one resolution, for the hierarchical method.
        resolutions: H3 resolutions, none finer than the cells'; absent, the cells' own and two coarser.
        normalise: whether vectors are scaled to length 1 first, so that angles count.

    Raises:
        DataError: vectors are not finite, or there are fewer distinct ones than clusters.
        UsageError: k, the method or a resolution cannot be, or the cells are missing.
    """
    # threadpoolctl comes with scikit-learn. With several threads the order of sums, and so a label at a border, would
    # depend on the machine's load.
    from threadpoolctl import threadpool_limits

    values = as_features(vectors).astype(np.float64)
    if method not in ("kmeans", "hierarchical"):
        raise UsageError(f"the method {method!r} is unknown; choose kmeans or hierarchical")
    if k < 2:
        raise UsageError(f"{k} clusters show nothing; give 2 or more")
    if len(values) < k:
        raise DataError(f"{len(values)} rows cannot make {k} clusters; use fewer clusters")
    if normalise:
        length = np.linalg.norm(values, axis=1, keepdims=True)
        values = values / np.where(length > 0.0, length, 1.0)
    with threadpool_limits(limits=1):
        if method == "kmeans":
            found: dict[int | None, Labels] = {None: _kmeans(values, k, seed)}
        else:
            if h3 is None:
                raise UsageError("hierarchical clusters go by H3 cells, of which the rows have none: use kmeans")
            found = _hierarchy(values, np.asarray(h3, dtype=np.uint64), k, resolutions)
        metric = "cosine" if normalise else "euclidean"
        levels = [_level(resolution, values, labels, seed, metric) for resolution, labels in found.items()]
    return Clusters(method, tuple(levels[::-1]), seed)


def _kmeans(values: Floats, k: int, seed: int) -> Labels:
    # Imported here: scikit-learn takes a second to load.
    from sklearn.cluster import KMeans

    sample = values
    if len(values) > _FIT_ROWS:
        sample = values[np.sort(np.random.default_rng(seed).choice(len(values), _FIT_ROWS, replace=False))]
    # Most often the first rows show that there are enough; only if not are all of them compared.
    distinct = len(np.unique(sample[: 50 * k], axis=0))
    if distinct < k:
        distinct = len(np.unique(sample, axis=0))
    if distinct < k:
        raise DataError(f"there are {distinct} distinct vectors, fewer than {k} clusters; use fewer clusters")
    model = KMeans(k, init="k-means++", n_init=_STARTS, random_state=seed).fit(sample)
    return np.asarray(model.predict(values), dtype=np.int64)


def _hierarchy(
    values: Floats, cells: NDArray[np.uint64], k: int, resolutions: Sequence[int] | None
) -> dict[int | None, Labels]:
    """The clusters (n,) at each resolution, coarse to fine."""
    if cells.shape != (len(values),):
        raise DataError(f"{cells.shape} cells for {len(values)} rows; give one per row")
    own = int(cells[0] >> np.uint64(52)) & 15
    wanted = sorted(set(range(max(own - 2, 0), own + 1) if resolutions is None else resolutions))
    if not wanted or wanted[0] < 0 or wanted[-1] > own:
        raise UsageError(f"clusters of the resolutions {wanted} from cells of {own}; choose some of 0 to {own}")
    goals = np.geomspace(max(2.0, k / _FEWER ** (len(wanted) - 1)), k, len(wanted)).round().astype(int)
    above = np.zeros(len(values), dtype=np.int64)
    levels: dict[int | None, Labels] = {}
    for resolution, goal in zip(wanted, goals.tolist(), strict=True):
        parents, row_cell = np.unique(H3Cells(own).parent(cells, resolution), return_inverse=True)
        cluster_of = np.zeros(len(parents), dtype=np.int64)
        cluster_of[row_cell] = above
        above = _divide(_group_means(values, row_cell), parents, cluster_of, goal)[row_cell]
        levels[resolution] = above
    return levels


def _divide(means: Floats, cells: NDArray[np.uint64], above: Labels, goal: int) -> Labels:
    """Divide the clusters `above` of the cells into `goal` in all, by undoing the highest joints of Ward's trees."""
    from sklearn.cluster import ward_tree

    trees: list[tuple[Labels, NDArray[Any], NDArray[Any]]] = []
    heap: list[tuple[float, int, int]] = []
    for tree in range(int(above.max()) + 1):
        rows = np.flatnonzero(above == tree)
        children, heights = np.zeros((0, 2), dtype=np.int64), np.zeros(0)
        if len(rows) > 1:
            graph = _connect(cells[rows])
            children, _, _, _, heights = ward_tree(means[rows], connectivity=graph, return_distance=True)
            # Under constraints a later joint may be lower than an earlier one; in the order of joining none is.
            heights = np.maximum.accumulate(heights)
        trees.append((rows, children, heights))
        heap.append(_joint(tree, len(rows) + len(children) - 1, len(rows), heights))
    heapq.heapify(heap)
    # Leaves have the height -1, and so come last: then there is nothing left to divide.
    while len(heap) < goal and heap[0][0] < 1.0:
        _, last, tree = heapq.heappop(heap)
        node = -last
        rows, children, heights = trees[tree]
        for child in children[node - len(rows)]:
            heapq.heappush(heap, _joint(tree, int(child), len(rows), heights))
    labels = np.empty(len(cells), dtype=np.int64)
    for label, (_, last, tree) in enumerate(heap):
        rows, children, _ = trees[tree]
        stack = [-last]
        while stack:
            one = stack.pop()
            if one < len(rows):
                labels[rows[one]] = label
            else:
                stack.extend(children[one - len(rows)].tolist())
    return labels


def _joint(tree: int, node: int, leaves: int, heights: NDArray[Any]) -> tuple[float, int, int]:
    """The place of a node in the heap: the highest joint first, of equal ones the last made; leaves (at +1) last."""
    return (-float(heights[node - leaves]) if node >= leaves else 1.0, -node, tree)


def _connect(cells: NDArray[np.uint64]) -> sparse.csr_matrix:
    """The graph (n, n) of neighbouring cells, its parts connected at their nearest cells into one."""
    near = ring_index(cells, 1)[:, 1:]
    row, column = np.nonzero(near >= 0)
    n = len(cells)
    graph = sparse.csr_array((np.ones(len(row)), (row, near[row, column])), shape=(n, n))
    xyz = H3Cells(int(cells[0] >> np.uint64(52)) & 15).centre(cells).unit()
    while True:
        parts, part = connected_components(graph, directed=False)
        if parts == 1:
            return sparse.csr_matrix(graph)  # scikit-learn wants the matrix, not the array
        graph = graph + _bridges(xyz, part, parts)


def _bridges(xyz: Floats, part: NDArray[Any], parts: int) -> sparse.csr_array:
    """The shortest bridge from every part but the largest to another, as in Borůvka's algorithm."""
    ends = []
    largest = int(np.bincount(part).argmax())
    for p in range(parts):
        if p == largest:
            continue
        inside, outside = np.flatnonzero(part == p), np.flatnonzero(part != p)
        gap, at = (np.asarray(found) for found in cKDTree(xyz[outside]).query(xyz[inside]))
        i = int(np.argmin(gap))
        ends.append((inside[i], outside[at[i]]))
    a, b = np.array(ends, dtype=np.int64).T
    both = (np.concatenate([a, b]), np.concatenate([b, a]))
    return sparse.csr_array((np.ones(2 * len(a)), both), shape=(len(xyz), len(xyz)))


def _level(resolution: int | None, values: Floats, found: Labels, seed: int, metric: str) -> ClusterLevel:
    """The clusters renumbered along the first principal axis of their centres, whose largest component is positive."""
    _, codes = np.unique(found, return_inverse=True)
    centres = _group_means(values, codes)
    shifted = centres - centres.mean(axis=0)
    axis = np.linalg.svd(shifted, full_matrices=False)[2][0]
    axis = axis * (1.0 if axis[np.argmax(np.abs(axis))] >= 0.0 else -1.0)
    order = np.argsort(shifted @ axis, kind="stable")
    renamed = np.empty(len(order), dtype=np.int64)
    renamed[order] = np.arange(len(order))
    labels = renamed[codes]
    sizes = np.bincount(labels).astype(np.int64)
    largest_first = np.argsort(-sizes, kind="stable").astype(np.int64)
    return ClusterLevel(
        resolution, labels, centres[order], sizes, _silhouette(values, labels, seed, metric), largest_first
    )


def _group_means(values: Floats, codes: NDArray[Any]) -> Floats:
    n, groups = len(codes), int(codes.max()) + 1
    count: Labels = np.bincount(codes, minlength=groups).astype(np.int64)
    share = 1.0 / count[codes]
    return np.asarray(sparse.csr_array((share, (codes, np.arange(n))), shape=(groups, n)) @ values)


def _silhouette(values: Floats, labels: Labels, seed: int, metric: str) -> float:
    from sklearn.metrics import silhouette_score

    rows = np.sort(np.random.default_rng(seed).permutation(len(values))[:_SILHOUETTE_ROWS])
    if not 2 <= len(np.unique(labels[rows])) < len(rows):
        return float("nan")
    return float(silhouette_score(values[rows], labels[rows], metric=metric))
