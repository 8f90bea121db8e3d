"""Ridge on fusions, and choices that are made inside the training folds, such as how many rings to average over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from placevec.measure.nested import Fit, Floats, Folds, as_features, as_targets
from placevec.measure.ridge import ALPHAS, nested_ridge
from placevec.measure.shrink import Shrunk

# A column whose standard deviation is a smaller share of the largest one is a constant.
_CONSTANT = 1e-9


def fusion_ridge(x: ArrayLike, y: ArrayLike, folds: Folds) -> tuple[Fit, Floats]:
    """Out-of-fold predictions of a ridge whose penalty and scaling are chosen inside, and what was lost inside (k,).

    The two scalings are those of `nested_ridge`, each column by its own size or all by one; but sizes are those over
    all rows, which no label knows. By sizes in training alone, a class of road that lies in one district would be
    blown up a thousandfold wherever that district is tested, and throw the whole row.

    Args:
        x: (n, p) features.
        y: (n,) the target.
        folds: the outer folds.
    """
    features = as_features(x).astype(np.float64)
    features -= features.mean(axis=0)
    size = features.std(axis=0)
    moving = size > _CONSTANT * max(float(size.max(initial=0.0)), 1e-300)
    options = {"columns": features / np.where(moving, size, np.inf)}
    if moving.any() and size[moving].max() > 1.01 * size[moving].min():
        options["common"] = features / float(np.sqrt(np.mean(size**2)))
    fits = {name: nested_ridge(values, y, folds, scalings=("common",)) for name, values in options.items()}
    losses = {name: inner_losses(values, y, folds) for name, values in options.items()}
    chosen = chosen_inside(fits, losses, folds)
    named = tuple({**one, "scaling": one["features"]} for one in chosen.chosen)
    named = tuple({key: value for key, value in one.items() if key != "features"} for one in named)
    return Fit(chosen.prediction, named), np.min(np.stack(list(losses.values())), axis=0)


def inner_losses(x: ArrayLike, y: ArrayLike, folds: Folds, alphas: Floats = ALPHAS) -> Floats:
    """The least squared error (k,) that a ridge on features reaches inside the training rows of each fold.

    Models of the rows that may train for two folds f and g are tested on what of g may train for f; errors are summed
    over g for each penalty, and the best penalty counts. No row of f, nor within the buffer of one, takes part.

    Args:
        x: (n, p) features of one scale: they are centred by the training rows, and not scaled.
        y: (n,) the target.
        folds: the outer folds.
        alphas: (a,) penalties.
    """
    features, target = as_features(x).astype(np.float64), as_targets(y, len(folds))
    loss = np.zeros((folds.k, len(alphas)))
    for train, tested in folds.inner_pairs():
        rows = features[train]
        mean, level = rows.mean(axis=0), target[train].mean(axis=0)
        z = rows - mean
        weights = Shrunk(np.asfortranarray(z.T @ z)).solve(z.T @ (target[train] - level), alphas)[:, :, 0]
        for fold, held in tested:
            error = (features[held] - mean) @ weights + level - target[held]
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
