"""A choice among features that is made inside the training folds, such as how many rings to average over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from placevec.measure.nested import Fit, Floats, Folds, as_features, as_targets
from placevec.measure.ridge import ALPHAS
from placevec.measure.shrink import Shrunk

# What is left of a column that does not vary in training, as a share of its standard deviation overall.
_CONSTANT = 1e-6


def inner_losses(x: ArrayLike, y: ArrayLike, folds: Folds, alphas: Floats = ALPHAS) -> Floats:
    """The least squared error (k,) that a ridge on features reaches inside the training rows of each fold.

    Models of the rows that may train for two folds f and g are tested on what of g may train for f; errors are summed
    over g for each penalty, and the best penalty counts. No row of f, nor within the buffer of one, takes part.

    Args:
        x: (n, p) features; columns are standardised by the training rows.
        y: (n,) the target.
        folds: the outer folds.
        alphas: (a,) penalties.
    """
    features, target = as_features(x).astype(np.float64), as_targets(y, len(folds))
    overall = features.std(axis=0)
    loss = np.zeros((folds.k, len(alphas)))
    for train, tested in folds.inner_pairs():
        rows = features[train]
        mean, sd = rows.mean(axis=0), rows.std(axis=0)
        scale = np.where(sd > _CONSTANT * overall, sd, np.inf)
        z = (rows - mean) / scale
        level = target[train].mean(axis=0)
        weights = Shrunk(np.asfortranarray(z.T @ z)).solve(z.T @ (target[train] - level), alphas)[:, :, 0]
        for fold, held in tested:
            error = (features[held] - mean) / scale @ weights + level - target[held]
            loss[fold] += np.einsum("ma,ma->a", error, error)
    return np.asarray(loss.min(axis=1))


def chosen_inside(fits: Mapping[str, Fit], losses: Mapping[str, Floats], folds: Folds) -> Fit:
    """In each fold the predictions of the features whose loss inside its training rows is least.

    Args:
        fits: out-of-fold predictions of the candidates, by name.
        losses: their `inner_losses`.
        folds: the folds of both.
    """
    names: Sequence[str] = list(fits)
    table = np.stack([losses[name] for name in names])
    best = table.argmin(axis=0)
    prediction = np.full_like(next(iter(fits.values())).prediction, np.nan)
    chosen: list[dict[str, Any]] = []
    for fold, test in enumerate(folds.tests):
        name = names[int(best[fold])]
        prediction[test] = fits[name].prediction[test]
        chosen.append({"fold": fold, "features": name, **fits[name].chosen[fold]})
    return Fit(prediction, tuple(chosen))
