"""Which widths of geographic kernels say most, learned from the bank alone: no label is looked at.

A width is good if the means around a place at that width, those of the other chosen widths beside it, predict the
place's own vector. Widths are added one by one, the best first; a ridge is fitted on some blocks of the map and judged
on others, so that a width which only repeats its neighbours is not taken.

The places that are predicted stand in no mean at all. To leave each out of its own mean alone would not do: the mean
of all others is (total - own) / (n - 1), from which a ridge reads the own vector: the widest would win on noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec.features.retrieval.bank import Bank, Rows
from placevec.features.retrieval.kernels import Kernel
from placevec.features.retrieval.masks import Masks, Queries
from placevec.features.retrieval.neighbours import nearest
from placevec.geo.sphere import EARTH_RADIUS_M

Floats = NDArray[np.float64]

CANDIDATES = 9
COMPONENTS = 16
_QUERIES = 1536
_FEWEST = 40
_PCA_ROWS = 20_000
_BLOCKS_ACROSS = 8
_FOLDS = 4
_ALPHAS = (1e-3, 1e-2, 1e-1, 1.0)  # of the mean variance of a feature, times the rows
# A further width that explains less than this much more is not worth its columns, once there are `_LEAST`.
_GAIN = 0.003
_LEAST = 3


@dataclass(frozen=True)
class Bandwidths:
    """The widths chosen.

    Attributes:
        metres: ascending.
        candidates: those they were chosen from, in metres.
        explained: the share of variance of the bank's whitened vectors that the first width explains on held-out
            blocks, the first two, and so on, in the order of choice.
        chosen: the widths in the order of choice.
    """

    metres: tuple[float, ...]
    candidates: tuple[float, ...] = ()
    explained: tuple[float, ...] = ()
    chosen: tuple[float, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """For the recipe of a table."""
        return {
            "metres": list(self.metres),
            "candidates": list(self.candidates),
            "explained": list(self.explained),
            "chosen": list(self.chosen),
        }


def learn(bank: Bank, most: int = 4) -> Bandwidths:
    """The 3 to `most` widths (fewer where the bank is too small to tell) that together predict the bank best.

    Candidates are a geometric progression from the median spacing to a third of the extent. Deterministic.
    """
    tried = candidates(bank)
    if len(tried) <= 1 or len(bank.tree_rows) < _FEWEST:
        return Bandwidths(tuple(tried[:most]), tuple(tried))
    rows, others = _divided(bank)
    values = whitened(bank)
    # Not `bank.take`, which would copy all of a large bank.
    rest = replace(bank, places=bank.places.take(others), values=values[others], keys=None, key_space=None)
    own = Queries.of(rest, Masks(), bank.places.lon[rows], bank.places.lat[rows], values[rows])
    away = nearest(own)[1]
    means = [Kernel(rest, rest.values, metres / EARTH_RADIUS_M)(own, away)[0].astype(np.float64) for metres in tried]
    fold = blocks(bank.unit[rows])
    target = values[rows].astype(np.float64)
    chosen: list[int] = []
    explained: list[float] = []
    while len(chosen) < min(most, len(tried)):
        scores = {
            one: score(np.concatenate([means[at] for at in (*chosen, one)], axis=1), target, fold)
            for one in range(len(tried))
            if one not in chosen
        }
        best = max(scores, key=lambda one: (scores[one], -one))
        if len(chosen) >= _LEAST and scores[best] - explained[-1] < _GAIN:
            break
        chosen.append(best)
        explained.append(round(scores[best], 6))
    order = tuple(tried[at] for at in chosen)
    return Bandwidths(tuple(sorted(order)), tuple(tried), tuple(explained), order)


def _divided(bank: Bank) -> tuple[Rows, Rows]:
    """The rows that are predicted, at most a fifth of the bank, and the located rows of all other places."""
    rows = bank.tree_rows[:: max(5, len(bank.tree_rows) // _QUERIES)]
    code = bank.groups[1].codes
    others = bank.tree_rows[~np.isin(code[bank.tree_rows], code[rows])]
    # Where a few places hold all rows nothing would be left.
    return rows, others if len(others) else bank.tree_rows


def candidates(bank: Bank) -> list[float]:
    """Widths in metres from the median spacing of the bank to a third of its extent, in equal ratios."""
    low = bank.spacing * EARTH_RADIUS_M
    high = extent_m(bank) / 3.0
    if low <= 0.0:
        return [max(high, 1.0)]
    if high <= low * 1.05:
        return [_rounded(low)]
    count = int(np.clip(np.ceil(np.log(high / low) / np.log(1.4)) + 1, 2, CANDIDATES))
    return [_rounded(metres) for metres in np.geomspace(low, high, count).tolist()]


def extent_m(bank: Bank) -> float:
    """The longer side of the bank in metres: √12 standard deviations along its main axis, as of a uniform strip."""
    points = bank.unit[bank.tree_rows]
    variance = np.linalg.eigvalsh(np.cov(points.T)) if len(points) > 1 else np.zeros(1)
    return float(np.sqrt(12.0 * max(variance[-1], 0.0)) * EARTH_RADIUS_M)


def whitened(bank: Bank) -> NDArray[np.float32]:
    """The bank's values on their main axes (n, up to 16), each axis with variance 1."""
    some = bank.values[:: max(1, len(bank) // _PCA_ROWS)].astype(np.float64)
    mean = some.mean(axis=0)
    variance, axes = np.linalg.eigh(np.cov((some - mean).T).reshape(some.shape[1], -1))
    keep = np.argsort(-variance)[:COMPONENTS]
    keep = keep[variance[keep] > 1e-9 * max(float(variance.max()), 1e-30)]
    if not len(keep):
        return np.zeros((len(bank), 1), dtype=np.float32)
    turn = (axes[:, keep] / np.sqrt(variance[keep])).astype(np.float32)
    # An axis may point either way: its largest component says which.
    turn *= np.sign(turn[np.abs(turn).argmax(axis=0), np.arange(len(keep))])
    turned: NDArray[np.float32] = bank.values @ turn
    turned -= (mean @ turn).astype(np.float32)
    return turned


def blocks(points: Floats) -> NDArray[np.int64]:
    """The fold (n,) of each place: cubes of an eighth of the extent, dealt out in turn."""
    low, high = points.min(axis=0), points.max(axis=0)
    side = max(float((high - low).max()) / _BLOCKS_ACROSS, 1e-9)
    cube = np.floor((points - low) / side).astype(np.int64)
    # Cubes with a common face never share a fold: a step along x, y or z adds 1, 2 or 3 mod 4.
    fold: NDArray[np.int64] = (cube[:, 0] + 2 * cube[:, 1] + 3 * cube[:, 2]) % _FOLDS
    return fold


def score(x: Floats, y: Floats, fold: NDArray[np.int64]) -> float:
    """The share of the variance of y that a ridge on x explains on held-out folds, with the best of four penalties."""
    scale = x.std(axis=0)
    x = (x - x.mean(axis=0)) / np.where(scale > 0.0, scale, 1.0)
    error = np.zeros(len(_ALPHAS))
    total = 0.0
    for one in np.unique(fold):
        train, test = fold != one, fold == one
        if not train.any():
            continue
        mean, middle = y[train].mean(axis=0), x[train].mean(axis=0)
        z = x[train] - middle
        values, axes = np.linalg.eigh(z.T @ z)
        products = axes.T @ (z.T @ (y[train] - mean))
        seen = (x[test] - middle) @ axes
        for at, alpha in enumerate(_ALPHAS):
            guess = mean + seen @ (products / (np.maximum(values, 0.0) + alpha * len(z))[:, None])
            error[at] += float(np.square(y[test] - guess).sum())
        total += float(np.square(y[test] - mean).sum())
    return 1.0 - float(error.min()) / total if total > 0.0 else 0.0


def given(metres: Sequence[float]) -> Bandwidths:
    """Widths that the user names."""
    return Bandwidths(tuple(sorted(float(one) for one in metres)))


def _rounded(metres: float) -> float:
    """To three digits: a width is no finer than that, and the recipe reads better."""
    return float(f"{metres:.3g}")
