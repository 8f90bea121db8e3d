"""The reference protocol: a ridge of one fixed penalty, random folds and blocks without a buffer.

It stands here to compare with figures that others have made in this way, on the same data. It flatters: nothing is
chosen inside the training folds (nothing needs to be), but blocks touch, so that rows across an edge are all but
neighbours. The protocol that verdicts go by is nested and buffered, see `measure.fusion.protocol`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.spatial import cKDTree

from placevec.errors import DataError, UsageError
from placevec.geo.cells import H3Cells
from placevec.geo.sphere import LonLat
from placevec.measure.fusion.rings import resolution_of
from placevec.measure.metrics import r2
from placevec.measure.nested import as_features

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
Kind = Literal["random", "block"]

ALPHA = 30.0
FOLDS = 5
NEIGHBOURS = 5
BLOCKS_UP = 2  # blocks are cells so many resolutions coarser: resolution 7 for cells of 9
_CONSTANT = 1e-2


def reference_folds(kind: Kind, cells: NDArray[np.uint64], seed: int, k: int = FOLDS) -> Rows:
    """The fold (n,) of each cell.

    Random: the rows shuffled by the seed and cut into k pieces, as scikit-learn's KFold does it. Blocks: the parents
    two resolutions coarser, sorted, get the numbers of a permutation by the seed, modulo k.

    Raises:
        DataError: there are fewer rows or blocks than folds.
        UsageError: an unknown kind.
    """
    n = len(cells)
    if kind == "random":
        _enough(n, "rows", k)
        order = np.arange(n)
        np.random.RandomState(seed).shuffle(order)
        fold = np.empty(n, dtype=np.int64)
        for number, part in enumerate(np.array_split(order, k)):
            fold[part] = number
        return fold
    if kind != "block":
        raise UsageError(f"folds of the kind {kind!r} are unknown; choose random or block")
    resolution = resolution_of(cells)
    parents, own = np.unique(H3Cells(resolution).parent(cells, max(resolution - BLOCKS_UP, 0)), return_inverse=True)
    _enough(len(parents), "blocks", k)
    return np.asarray(np.random.default_rng(seed).permutation(len(parents))[own] % k, dtype=np.int64)


def reference_ridge(x: NDArray[np.floating], y: Floats, fold: Rows, alpha: float = ALPHA) -> Floats:
    """Out-of-fold predictions (n,) of a ridge on columns standardised by the training rows, α fixed."""
    features = as_features(x).astype(np.float64)
    overall = features.std(axis=0)
    out = np.empty(len(y))
    for number in range(int(fold.max()) + 1):
        test = fold == number
        train = features[~test]
        mean, sd = train.mean(axis=0), train.std(axis=0)
        # A column that test rows alone move: what little of it is left in training would be blown up by its scale.
        scale = np.where(sd > _CONSTANT * overall, sd, np.inf)
        z = (train - mean) / scale
        level = y[~test].mean()
        held = cho_factor(z.T @ z + alpha * np.eye(z.shape[1]))
        out[test] = (features[test] - mean) / scale @ cho_solve(held, z.T @ (y[~test] - level)) + level
    return out


def reference_knn(lonlat: LonLat, y: Floats, fold: Rows, k: int = NEIGHBOURS) -> Floats:
    """Out-of-fold means (n,) of the k nearest training places."""
    xyz = lonlat.unit()
    out = np.empty(len(y))
    for number in range(int(fold.max()) + 1):
        test = fold == number
        near = cKDTree(xyz[~test]).query(xyz[test], k=np.arange(1, min(k, int((~test).sum())) + 1))[1]
        out[test] = y[~test][near].mean(axis=1)
    return out


def reference_mean(y: Floats, fold: Rows) -> Floats:
    """The mean of the training rows (n,)."""
    out = np.empty(len(y))
    for number in range(int(fold.max()) + 1):
        out[fold == number] = y[fold != number].mean()
    return out


def pooled_r2(y: Floats, predictions: Sequence[Floats]) -> tuple[float, ...]:
    """R² of the pooled out-of-fold predictions of each shuffle."""
    return tuple(r2(y, one) for one in predictions)


def _enough(found: int, what: str, k: int) -> None:
    if found < k:
        raise DataError(f"{found} {what} are fewer than {k} folds; give a larger area")
