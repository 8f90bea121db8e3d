"""A linear head on frozen vectors: multinomial logistic regression whose strength and temperature are chosen nested."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar
from scipy.special import log_softmax, logsumexp, softmax

from placevec.errors import DataError

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
Fold = tuple[Rows, Rows]
"""Rows that train, and rows that are tested."""

STRENGTHS = (0.1, 1.0, 10.0, 100.0, 1000.0, 10_000.0)
DEFAULT_C = 10.0
ENOUGH_TO_CALIBRATE = 20


@dataclass(frozen=True, eq=False)
class Scaling:
    """How components are brought to one scale: each to spread 1, a row to a length of about 1."""

    mean: Floats  # (d,)
    spread: Floats  # (d,) standard deviation times the root of d; 1 where a component does not vary

    @classmethod
    def of(cls, vectors: NDArray[Any]) -> Scaling:
        """From vectors (n, d) without any label."""
        values = np.asarray(vectors, dtype=np.float64)
        sd = values.std(axis=0)
        # A component that varies by rounding alone would be blown up to noise.
        varies = sd > 1e-6 * max(float(np.abs(values).max(initial=0.0)), 1e-300)
        return cls(values.mean(axis=0), np.where(varies, sd, np.inf) * np.sqrt(max(1, int(varies.sum()))))

    def __call__(self, vectors: NDArray[Any]) -> Floats:
        """The scaled vectors (n, d)."""
        return np.asarray((np.asarray(vectors, dtype=np.float64) - self.mean) / self.spread)


@dataclass(frozen=True, eq=False)
class LinearHead:
    """Probabilities of classes from scaled vectors."""

    weights: Floats  # (d + 1, c), the last row the intercepts
    c: float  # inverse strength of the penalty
    temperature: float = 1.0  # logits are divided by it
    calibrated: bool = False  # whether there were labels enough to choose it

    def logits(self, x: Floats) -> Floats:
        """Logits (n, c) of scaled vectors (n, d), without the temperature."""
        return np.asarray(x @ self.weights[:-1] + self.weights[-1])

    def probabilities(self, x: Floats) -> Floats:
        """Probabilities (n, c)."""
        return np.asarray(softmax(self.logits(x) / self.temperature, axis=1))


def fit_softmax(x: Floats, y: Rows, classes: int, c: float) -> Floats:
    """Weights (d + 1, classes) that minimise Σ −log p(y) + |W|² / 2C; the intercepts bear no penalty.

    Args:
        x: (n, d) scaled vectors.
        y: (n,) classes 0 … `classes` − 1.
        classes: how many there are; those without a label get a low intercept.
        c: the inverse strength C.
    """
    n, d = x.shape
    one = np.zeros((n, classes))
    one[np.arange(n), y] = 1.0

    def loss(flat: Floats) -> tuple[float, Floats]:
        w = flat.reshape(d + 1, classes)
        logits = x @ w[:-1] + w[-1]
        norm = logsumexp(logits, axis=1, keepdims=True)
        gap = np.exp(logits - norm) - one
        # The intercepts are held by a hair, so that of absent classes does not run away.
        value = float((norm[:, 0] - (logits * one).sum(axis=1)).sum())
        value += float((w[:-1] ** 2).sum()) / (2 * c) + 5e-4 * float((w[-1] ** 2).sum())
        gradient = np.vstack([x.T @ gap + w[:-1] / c, gap.sum(axis=0) + 1e-3 * w[-1]])
        return value, gradient.ravel()

    found = minimize(loss, np.zeros((d + 1) * classes), jac=True, method="L-BFGS-B", options={"maxiter": 1000})
    return np.asarray(found.x, dtype=np.float64).reshape(d + 1, classes)


def fit_head(x: Floats, y: Rows, classes: int, folds: Sequence[Fold]) -> LinearHead:
    """A head on all rows, its strength and temperature chosen by what it says of rows that it did not train on.

    Args:
        x: (n, d) scaled vectors.
        y: (n,) classes.
        classes: how many there are.
        folds: for the choice; without any the strength is `DEFAULT_C` and nothing is calibrated.

    Raises:
        DataError: fewer than two classes have a label.
    """
    if len(np.unique(y)) < 2:
        raise DataError("a head tells classes apart: give labels of two or more")
    if not folds:
        return LinearHead(fit_softmax(x, y, classes, DEFAULT_C), DEFAULT_C)
    best, chosen, held = np.inf, DEFAULT_C, np.empty((0, classes))
    tested = np.concatenate([test for _, test in folds])
    for c in STRENGTHS:
        logits = np.concatenate(
            [LinearHead(fit_softmax(x[train], y[train], classes, c), c).logits(x[test]) for train, test in folds]
        )
        # By the loss at its own best temperature: else a strong penalty would be chosen for its modesty alone.
        loss = _loss(logits, y[tested], _temperature(logits, y[tested]))
        if loss < best - 1e-9:
            best, chosen, held = loss, c, logits
    enough = len(tested) >= ENOUGH_TO_CALIBRATE
    temperature = _temperature(held, y[tested]) if enough else 1.0
    return LinearHead(fit_softmax(x, y, classes, chosen), chosen, temperature, enough)


def dealt_folds(y: Rows, k: int, seed: int = 0) -> list[Fold]:
    """Folds in which each class is dealt out like cards: at most `k`, at most as many as the rarest class has labels.

    [] if a class has a single label: no fold could both train and test it.
    """
    _, codes, counts = np.unique(y, return_inverse=True, return_counts=True)
    k = min(k, int(counts.min()))
    if k < 2:
        return []
    fold = np.empty(len(y), dtype=np.int64)
    order = np.random.default_rng(seed).permutation(len(y))
    for code in range(len(counts)):
        mine = order[codes[order] == code]
        # Each class begins at another fold, so that folds are of one size.
        fold[mine] = (np.arange(len(mine)) + code) % k
    return [(np.flatnonzero(fold != f), np.flatnonzero(fold == f)) for f in range(k)]


def _loss(logits: Floats, y: Rows, temperature: float) -> float:
    """The mean −log p."""
    return float(-log_softmax(logits / temperature, axis=1)[np.arange(len(y)), y].mean())


def _temperature(logits: Floats, y: Rows) -> float:
    """The temperature of least loss (Guo et al. 2017, "On calibration of modern neural networks"), 0.1 to 10."""
    found = minimize_scalar(
        lambda t: _loss(logits, y, float(np.exp(t))), bounds=(np.log(0.1), np.log(10.0)), method="bounded"
    )
    return float(np.exp(found.x))
