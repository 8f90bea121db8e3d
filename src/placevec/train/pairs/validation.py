"""How well the images of the validation split and their captions find each other: `measure.retrieval`'s figures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from placevec.measure.retrieval import DIRECTIONS, Definition, Pairing, Ranking, rank_vectors

CUTS = (1, 5, 10)  # the K of recall at K


def retrieval_figures(image: NDArray[np.float32], text: NDArray[np.float32], pairing: Pairing) -> dict[str, float]:
    """Recall in both directions, as `evaluate retrieval` measures it.

    Args:
        image: (n, d) vectors of images, of any length.
        text: (m, d) vectors of all their captions, of any length.
        pairing: which caption belongs to which image, and which captions are equal.

    Returns:
        in percent `mean_recall`, image_to_text_recall_at_K and text_to_image_recall_at_K for K = 1, 5, 10, by the
        published definition, and `mean_recall_duplicate_aware`, for which any item with an equal caption counts.
    """
    ranking = rank_vectors(image, text, pairing)
    official, aware = _recalls(ranking, "official"), _recalls(ranking, "duplicate-aware")
    return {
        "mean_recall": _mean(list(official.values())),
        "mean_recall_duplicate_aware": _mean(list(aware.values())),
        **official,
    }


def _recalls(ranking: Ranking, definition: Definition) -> dict[str, float]:
    return {
        f"{direction.replace(' ', '_')}_recall_at_{cut}": 100.0
        * float(ranking.standing(direction, definition).found(cut).mean())
        for direction in DIRECTIONS
        for cut in CUTS
    }


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))
