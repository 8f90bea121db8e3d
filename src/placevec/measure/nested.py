"""Nested selection: which rows may train for which fold, and what a nested estimator gives back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from placevec.errors import DataError, UsageError
from placevec.measure.splits import Split

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]

Fitted = Callable[[Rows], NDArray[Any]]
"""Features fitted on training rows, such as what is retrieved from a bank of them: from the numbers of these rows
(ascending) to features (n, d) of all rows. What a training row is given must not come from itself.

An estimator calls it for every set of training rows of every outer and inner fold, and no row that is tested stands
in a set: no test row is ever in a bank. For k folds these are k (k + 1) / 2 calls."""


@dataclass(frozen=True, eq=False)
class Fit:
    """What a nested estimator found.

    Attributes:
        prediction: (n, t) out-of-fold predictions; NaN for rows in no fold.
        chosen: one dict per fold: the fold, rows trained on and tested, and the hyper-parameters chosen.
    """

    prediction: Floats
    chosen: tuple[dict[str, Any], ...]


class Folds:
    """The training rows of every fold of a split, found once and shared by all estimators.

    The inner folds of fold f are the other folds: the rows of g that may train for f are tested by models of
    the rows that may train for both f and g. So inner folds are blocks where the split goes by blocks, with the
    same buffer, and no row near a test row helps to choose anything.

    Args:
        split: of at least 3 folds.

    Raises:
        UsageError: fewer than 3 folds, which leave nothing to choose within.
        DataError: a buffer leaves no training row.
    """

    def __init__(self, split: Split) -> None:
        if split.k < 3:
            raise UsageError(f"nested selection needs 3 folds or more, not {split.k}; raise k")
        self.split = split
        self.k = split.k
        self.fold = split.fold
        self.allowed: Mask = np.zeros((split.k, len(split)), dtype=bool)
        for f, (train, _) in enumerate(split.pairs()):
            self.allowed[f, train] = True

    def __len__(self) -> int:
        return len(self.fold)

    @cached_property
    def tests(self) -> list[Rows]:
        """The rows that each fold tests."""
        return [np.flatnonzero(self.fold == f) for f in range(self.k)]

    def train(self, f: int) -> Rows:
        """The rows that may train for fold f."""
        return np.flatnonzero(self.allowed[f])

    def inner(self, f: int) -> Iterator[tuple[int, Mask, Rows]]:
        """For each inner fold of f: its number, the mask of its training rows, and its test rows."""
        some = False
        for g in range(self.k):
            if g == f:
                continue
            train, test = self.allowed[f] & self.allowed[g], self.tests[g][self.allowed[f, self.tests[g]]]
            if train.any() and len(test):
                some = True
                yield g, train, test
        if not some:
            raise DataError(f"fold {f}: the buffer leaves no rows to choose with; use a smaller buffer or more folds")

    def inner_pairs(self) -> list[tuple[Mask, list[tuple[int, Rows]]]]:
        """The inner folds of all folds, by their training rows: each mask, and whom it tests for which fold.

        The rows that may train for both f and g choose for f, tested on g, and for g, tested on f: one model for both.
        """
        found: dict[tuple[int, int], tuple[Mask, list[tuple[int, Rows]]]] = {}
        for f in range(self.k):
            for g, train, held in self.inner(f):
                found.setdefault((min(f, g), max(f, g)), (train, []))[1].append((f, held))
        return list(found.values())

    @cached_property
    def atoms(self) -> Rows:
        """The (n,) class of each row: rows of one class may train for the same folds, -1 for none.

        The training rows of any fold or inner fold are a union of such classes.
        """
        bits = np.packbits(self.allowed, axis=0).T
        _, code = np.unique(np.ascontiguousarray(bits).view([("", np.uint8)] * bits.shape[1]), return_inverse=True)
        return np.where(self.allowed.any(axis=0), code.ravel(), -1).astype(np.int64)


def as_folds(split: Split | Folds, n: int) -> Folds:
    """`split` as Folds of n rows."""
    folds = split if isinstance(split, Folds) else Folds(split)
    if len(folds) != n:
        raise DataError(f"a split of {len(folds)} rows for {n} rows of features; they must be the same rows")
    return folds


def as_targets(y: ArrayLike, n: int) -> Floats:
    """`y` as finite float64 (n, t)."""
    targets = np.asarray(y, dtype=np.float64)
    targets = targets[:, None] if targets.ndim == 1 else targets
    if targets.ndim != 2 or len(targets) != n:
        raise DataError(f"targets of the shape {targets.shape} for {n} rows; give (n,) or (n, targets)")
    if not np.isfinite(targets).all():
        raise DataError("a target is not finite; leave out rows without a value first")
    return targets


def as_features(x: ArrayLike) -> NDArray[Any]:
    """`x` as a finite (n, p) array of floats."""
    features = np.asarray(x)
    if features.ndim != 2:
        raise DataError(f"features of the shape {features.shape}; give (n, p)")
    if features.dtype.kind != "f":
        features = features.astype(np.float64)
    # One sum is NaN or infinite if any value is; only then is it worth while to look for the row.
    with np.errstate(over="ignore", invalid="ignore"):
        total = features.sum(dtype=np.float64)
    if not np.isfinite(total) and not np.isfinite(features).all():
        row = int(np.argmin(np.isfinite(features).all(axis=1)))
        raise DataError(f"row {row}: a feature is not finite; drop the row or fill the value")
    return features


def fitted_features(make: Fitted, train: Rows, n: int) -> NDArray[Any]:
    """The features (n, d) that `make` gives from training rows, checked."""
    features = as_features(make(train))
    if len(features) != n:
        raise DataError(f"features fitted on training rows have {len(features)} rows for {n}; give one for each row")
    return features


def mean_fit(y: ArrayLike, split: Split | Folds) -> Fit:
    """The mean of the training rows for every test row: what any result has to beat (class shares, if one-hot)."""
    targets = np.asarray(y, dtype=np.float64)
    folds = as_folds(split, len(targets))
    targets = as_targets(targets, len(folds))
    prediction = np.full(targets.shape, np.nan)
    chosen = []
    for f, test in enumerate(folds.tests):
        train = folds.train(f)
        prediction[test] = targets[train].mean(axis=0)
        chosen.append({"fold": f, "n_train": len(train), "n_test": len(test)})
    return Fit(prediction, tuple(chosen))
