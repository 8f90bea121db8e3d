"""Colours that stay from one model to the next: a new basis turned towards an old one by the places both have seen.

The components of two models have nothing to do with each other, not even their order, so that two maps of one
landscape may differ in every colour. `align_basis` turns the new scores onto the old ones as far as the vectors agree,
and says how far that is. The places travel with the old basis as `Anchors`, so that its table need not be at hand.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from placevec.atlas.colour import CHANNELS, Agreement, ColourBasis, stretched
from placevec.errors import UsageError

LEAST = 50  # places that two models must share; fewer could be turned onto each other by chance


def align_basis(
    basis: ColourBasis,
    vectors: NDArray[Any],
    reference: ColourBasis,
    reference_scores: NDArray[np.float64],
    *,
    method: Literal["match", "rotate"] = "rotate",
    name: str = "the older map",
    least: int = LEAST,
) -> ColourBasis:
    """Turn `basis` so that it colours the same places as `reference` does, as nearly as it can.

    The two may be of different Spaces and dimensions: only the scores of places that both know are compared.

    Args:
        basis: the new basis.
        vectors: (n, d) vectors of some places in the new Space.
        reference: the basis whose colours are known to the reader.
        reference_scores: (n, 3) scores of the same places on it, in the same order.
        method: "rotate" is the orthogonal Procrustes solution (Schoenemann 1966) between the scores, each channel
            scaled to unit variance first, since that is how the stretch shows them; its channels mix components.
            "match" only permutes and flips the components, so that they stay principal components.
        name: what the reference is called.
        least: the fewest places that are accepted.

    Returns:
        The turned basis, whose channels end where the reference's do in standard deviations, with the agreement.

    Raises:
        UsageError: the two differ in length, or fewer than `least` places are given.
    """
    if len(vectors) != len(reference_scores) or len(vectors) < max(least, CHANNELS):
        raise UsageError(
            f"aligning colours to {name} needs at least {max(least, CHANNELS)} places that both models know: "
            f"got {min(len(vectors), len(reference_scores))}; map without --align, or give a table of the same places"
        )
    scores = basis.scores(vectors)
    new, old = _standard(scores), _standard(reference_scores)
    cross = new.T @ old / len(new)  # correlation of new component i with old channel j
    if method == "match":
        order = max(permutations(range(CHANNELS)), key=lambda p: sum(abs(cross[p[j], j]) for j in range(CHANNELS)))
        turn = np.zeros((CHANNELS, CHANNELS))
        for channel, component in enumerate(order):
            turn[channel, component] = -1.0 if cross[component, channel] < 0 else 1.0
        ends = np.stack([basis.low[list(order)], basis.high[list(order)]]) * turn.sum(axis=1)
        turned = replace(
            basis,
            components=turn @ basis.components,
            explained=basis.explained[list(order)],
            low=ends.min(axis=0),
            high=ends.max(axis=0),
        )
    else:
        left, _, right = np.linalg.svd(cross)
        turn = (left @ right).T
        spread = scores.std(axis=0)
        scale = turn / np.where(spread > 0, spread, np.inf)
        turned = replace(basis, components=scale @ basis.components, explained=turn**2 @ basis.explained)
        after = turned.scores(vectors)
        # The same standard score gets the same colour: the stretch of the reference, in the units of the new channel.
        width = after.std(axis=0) / np.where((wide := reference_scores.std(axis=0)) > 0, wide, 1)
        centre, was = after.mean(axis=0), reference_scores.mean(axis=0)
        turned = replace(
            turned, low=centre + (reference.low - was) * width, high=centre + (reference.high - was) * width
        )
        if np.any((turned.high <= turned.low) & (turned.explained > 0)):
            turned = stretched(turned, after)
    return replace(turned, agreement=_agreement(new @ turn.T, new, old, name))


def _agreement(turned: NDArray[np.float64], new: NDArray[np.float64], old: NDArray[np.float64], name: str) -> Agreement:
    shown = old.std(axis=0) > 0
    if not shown.any():
        return Agreement(name, len(old), 0.0, 0.0)
    together = (_standard(turned) * old).mean(axis=0)[shown]
    axes, sizes, _ = np.linalg.svd(new, full_matrices=False)
    axes = axes[:, sizes > 1e-9 * max(float(sizes.max(initial=0.0)), 1e-300)]
    bound = float((np.linalg.norm(axes.T @ old[:, shown], axis=0) ** 2).mean() / len(old))
    # A negative correlation shows the opposite colours: no agreement at all.
    return Agreement(name, len(old), float((np.maximum(together, 0) ** 2).mean()), min(bound, 1.0))


def _standard(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    spread = scores.std(axis=0)
    result: NDArray[np.float64] = (scores - scores.mean(axis=0)) / np.where(spread > 0, spread, 1)
    return result
