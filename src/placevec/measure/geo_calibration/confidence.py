"""A monotone map from a probability that a mixture says to one that comes true: isotonic, logistic or none at all."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.special import expit, logit

from placevec.errors import DataError

Floats = NDArray[np.float64]
Kind = Literal["identity", "logistic", "isotonic"]

EDGE = 1e-4
"""No confidence is nearer to 0 or 1 than this: some thousand places cannot show more."""

# Fewer places than this, or fewer of either outcome than a tenth of it, fit no map.
_FEWEST = 20


@dataclass(frozen=True)
class ConfidenceMap:
    """A rising map of probabilities.

    Attributes:
        kind: "identity", "logistic" (σ(slope · logit p + shift)) or "isotonic" (steps, joined by straight lines).
        slope: of the logistic map, 0 or more.
        shift: of the logistic map.
        said: rising probabilities of the isotonic map's steps.
        true: what came true there, rising.
    """

    kind: Kind = "identity"
    slope: float = 1.0
    shift: float = 0.0
    said: tuple[float, ...] = ()
    true: tuple[float, ...] = ()

    def __call__(self, probabilities: ArrayLike) -> Floats:
        """The probabilities (n,) that come true for those (n,) that are said; from `EDGE` to 1 − `EDGE`."""
        p = np.asarray(probabilities, dtype=np.float64)
        if self.kind == "logistic":
            p = expit(self.slope * logit(np.clip(p, EDGE, 1.0 - EDGE)) + self.shift)
        elif self.kind == "isotonic":
            p = np.interp(p, self.said, self.true)
        return np.clip(p, EDGE, 1.0 - EDGE)

    def to_json(self) -> dict[str, Any]:
        """A JSON object of what its kind needs."""
        if self.kind == "logistic":
            return {"kind": self.kind, "slope": self.slope, "shift": self.shift}
        if self.kind == "isotonic":
            return {"kind": self.kind, "said": list(self.said), "true": list(self.true)}
        return {"kind": self.kind}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ConfidenceMap:
        """Read what `to_json` wrote; DataError for what is no rising map."""
        kind = value.get("kind")
        try:
            if kind == "identity":
                return cls()
            if kind == "logistic":
                found = cls("logistic", slope=float(value["slope"]), shift=float(value["shift"]))
                rising = found.slope >= 0 and math.isfinite(found.slope) and math.isfinite(found.shift)
            elif kind == "isotonic":
                said, true = (tuple(float(v) for v in value[name]) for name in ("said", "true"))
                found = cls("isotonic", said=said, true=true)
                rising = len(said) == len(true) > 0 and all(list(v) == sorted(v) for v in (said, true))
            else:
                raise DataError(f"there is no confidence map of the kind {kind!r}; fit the calibration again")
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"the confidence map {str(value)[:80]} is damaged ({error}); fit it again") from None
        if not rising:
            raise DataError(f"the confidence map {str(value)[:80]} does not rise; fit the calibration again")
        return found


def fit_confidence(
    probabilities: ArrayLike, truth: ArrayLike, folds: ArrayLike, kind: Kind | None = None
) -> ConfidenceMap:
    """The map that turns what was said into what came true.

    Without a `kind`, each is fitted on all folds but one and judged on that one; the one with the least log loss over
    all rows is taken, the simpler one of equals. So a map that fits chance is not preferred to none.

    Args:
        probabilities: (n,) from 0 to 1.
        truth: (n,) whether it came true.
        folds: (n,) the fold of each row: blocks of one fold lie together.
        kind: the kind of map, without a choice.

    Raises:
        DataError: lengths differ, or something is no probability.
    """
    p, y, fold = np.asarray(probabilities, dtype=np.float64), np.asarray(truth, dtype=bool), np.asarray(folds)
    if not (p.ndim == 1 and p.shape == y.shape == fold.shape) or not ((p >= 0) & (p <= 1)).all():
        raise DataError(
            f"{p.shape} probabilities from 0 to 1, {y.shape} outcomes and {fold.shape} folds; give n of each"
        )
    if kind is not None:
        return _fit(kind, p, y)
    if len(p) < _FEWEST or min(y.sum(), (~y).sum()) < _FEWEST // 10 or len(np.unique(fold)) < 2:
        return ConfidenceMap()
    kinds: tuple[Kind, ...] = ("identity", "logistic", "isotonic")
    loss = {name: _crossed_loss(name, p, y, fold) for name in kinds}
    return _fit(min(kinds, key=lambda name: round(loss[name], 6)), p, y)


def _crossed_loss(kind: Kind, p: Floats, y: NDArray[np.bool_], fold: NDArray[Any]) -> float:
    total = 0.0
    for one in np.unique(fold):
        out = fold == one
        said = _fit(kind, p[~out], y[~out])(p[out])
        total -= float(np.log(np.where(y[out], said, 1.0 - said)).sum())
    return total / len(p)


def _fit(kind: Kind, p: Floats, y: NDArray[np.bool_]) -> ConfidenceMap:
    if kind == "logistic":
        return _logistic(p, y)
    return _isotonic(p, y) if kind == "isotonic" else ConfidenceMap()


def _logistic(p: Floats, y: NDArray[np.bool_]) -> ConfidenceMap:
    """Platt's map (1999) of log odds, with a slope of 0 or more and the weight of one place for the identity."""
    x = logit(np.clip(p, EDGE, 1.0 - EDGE))
    sign = np.where(y, 1.0, -1.0)

    def loss(theta: Floats) -> tuple[float, Floats]:
        slope, shift = theta
        margin = sign * (slope * x + shift)
        pull = -sign * expit(-margin)
        value = np.logaddexp(0.0, -margin).sum() + 0.5 * ((slope - 1.0) ** 2 + shift**2)
        return float(value), np.array([pull @ x + slope - 1.0, pull.sum() + shift])

    found = minimize(loss, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B", bounds=[(0.0, None), (None, None)])
    return ConfidenceMap("logistic", slope=float(found.x[0]), shift=float(found.x[1]))


def _isotonic(p: Floats, y: NDArray[np.bool_]) -> ConfidenceMap:
    """Isotonic regression (Barlow et al. 1972); each step is drawn towards the mean by one place, so none is 0 or 1."""
    from sklearn.isotonic import isotonic_regression

    if len(p) == 0:
        return ConfidenceMap()
    order = np.argsort(p, kind="stable")
    said, true = p[order], y[order].astype(np.float64)
    # Equal probabilities are one step from the start.
    name, first, count = np.unique(said, return_index=True, return_counts=True)
    level = isotonic_regression(np.add.reduceat(true, first) / count, sample_weight=count.astype(np.float64))
    step = np.concatenate([[0], np.cumsum(np.diff(level) > 0)])
    size = np.bincount(step, weights=count)
    middle = np.bincount(step, weights=count * name) / size
    mean = float(np.clip(true.mean(), 0.5 / len(p), 1.0 - 0.5 / len(p)))
    shrunk = (np.bincount(step, weights=count * level) + mean) / (size + 1.0)
    rising = np.maximum.accumulate(shrunk)
    return ConfidenceMap("isotonic", said=tuple(middle.tolist()), true=tuple(rising.tolist()))
