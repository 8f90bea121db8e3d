"""Recall, reciprocal and median rank of image-text retrieval, each beside its chance and its ceiling.

Definitions (those of the field since VSE++; percent, not fractions, because both are in use and get confused):

* image to text R@K: the share of images of which at least one own caption is among the first K of all captions;
* text to image R@K: the share of captions whose own image is among the first K of all images;
* mean recall: the mean of the six for K = 1, 5, 10;
* duplicate-aware: what carries an equal caption counts as well (`pairing.normalised`).

Intervals are bootstrapped over images: an image is drawn together with all its captions. The gallery stays whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from placevec.errors import DataError
from placevec.measure.intervals import DRAWS, LEVEL, percentile_interval, resample_counts
from placevec.measure.retrieval.ceiling import DEFINITIONS, DIRECTIONS, Definition, Direction, ceiling, chance
from placevec.measure.retrieval.chances import HALF, Floats
from placevec.measure.retrieval.pairing import Pairing, Rows
from placevec.measure.retrieval.ranks import Progress, Ranks, Standing, Ties, rank_all

KS = (1, 5, 10)
MEAN_RECALL, MRR, MEDIAN_RANK = "mean recall", "MRR", "median rank"
BOTH = "both"
LOWER_IS_BETTER = (MEDIAN_RANK,)
_DRAWS_AT_ONCE = 64


@dataclass(frozen=True)
class Figure:
    """One figure of an evaluation.

    Attributes:
        definition: "official" or "duplicate-aware".
        direction: "image to text", "text to image" or "both" (the mean of the two).
        measure: "R@1" ..., "mean recall" (percent), "MRR" (0 to 1) or "median rank" (from 1, less is better).
        value: the figure.
        low: lower end of its 95 % bootstrap interval over images.
        high: upper end.
        chance: what a random order is expected to give.
        ceiling: what an ideal ranker is expected to give, see `ceiling.ceiling`.
        draws: (draws,) the figure of each resample of the images; paired with those of another model.
    """

    definition: Definition
    direction: str
    measure: str
    value: float
    low: float
    high: float
    chance: float
    ceiling: float
    draws: Floats = field(repr=False, compare=False, default_factory=lambda: np.empty(0))

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells it from the others."""
        return self.definition, self.direction, self.measure


@dataclass(frozen=True)
class Ranking:
    """The ranks of a model's vectors under each definition.

    Attributes:
        pairing: which captions belong to which images.
        ranks: by definition.
    """

    pairing: Pairing
    ranks: Mapping[Definition, Ranks]

    def standing(self, direction: Direction, definition: Definition) -> Standing:
        """Of the queries that ask: images that have captions, or all captions."""
        ranks = self.ranks[definition]
        return ranks.text_to_image if direction == DIRECTIONS[1] else ranks.image_to_text.take(self.pairing.asked)

    def image_of(self, direction: Direction) -> Rows:
        """The image (q,) that each query is, or belongs to."""
        return self.pairing.image_of if direction == DIRECTIONS[1] else self.pairing.asked


def rank_vectors(
    images: NDArray[Any],
    captions: NDArray[Any],
    pairing: Pairing,
    *,
    metric: str = "cosine",
    definitions: Sequence[Definition] = DEFINITIONS,
    progress: Progress | None = None,
) -> Ranking:
    """Rank captions for images and images for captions, see `ranks.rank_all`.

    Args:
        images: (n, d) vectors of the images of `pairing`.
        captions: (m, d) those of its captions.
        pairing: which belong together.
        metric: of the Space.
        definitions: what counts as found.
        progress: told of the scores made, and of all.
    """
    relations = [pairing.own() if one == "official" else pairing.equal() for one in definitions]
    found = rank_all(images, captions, relations, metric=metric, progress=progress)
    return Ranking(pairing, dict(zip(definitions, found, strict=True)))


def mean_recall(
    images: NDArray[Any],
    captions: NDArray[Any],
    image_of: ArrayLike,
    *,
    metric: str = "cosine",
    ks: Sequence[int] = KS,
    ties: Ties = "expected",
) -> float:
    """The official mean recall in percent: what a training is validated by.

    Args:
        images: (n, d) vectors.
        captions: (m, d) vectors.
        image_of: (m,) the row of the image of each caption.
        metric: of the Space.
        ks: the depths.
        ties: see `Standing.ranks`.
    """
    ranking = rank_vectors(images, captions, Pairing.of(image_of, len(images)), metric=metric, definitions=["official"])
    return mean_recall_of(ranking, ks=ks, ties=ties)


def mean_recall_of(
    ranking: Ranking,
    keep: NDArray[np.bool_] | None = None,
    *,
    definition: Definition = "official",
    ks: Sequence[int] = KS,
    ties: Ties = "expected",
) -> float:
    """The mean recall of a ranking in percent; NaN where nothing asks.

    Args:
        ranking: from `rank_vectors`.
        keep: (n,) the images that ask, with their captions; all by default. The gallery stays whole.
        definition: what counts as found.
        ks: the depths.
        ties: see `Standing.ranks`.
    """
    recalls = []
    for direction in DIRECTIONS:
        standing = ranking.standing(direction, definition)
        if keep is not None:
            standing = standing.take(np.flatnonzero(keep[ranking.image_of(direction)]))
        recalls += [standing.found(k, ties).mean() if len(standing.ahead) else np.nan for k in ks]
    return 100.0 * float(np.mean(recalls))


def figures(
    ranking: Ranking,
    *,
    directions: Sequence[Direction] = DIRECTIONS,
    ks: Sequence[int] = KS,
    ties: Ties = "expected",
    draws: int = DRAWS,
    level: float = LEVEL,
    seed: int = 0,
) -> list[Figure]:
    """All figures of a ranking: for each definition the mean recall, then both directions.

    Args:
        ranking: from `rank_vectors`.
        directions: those that are measured; the mean recall is over them.
        ks: the depths K.
        ties: see `Standing.ranks`.
        draws: resamples of the images.
        level: of the intervals.
        seed: of the resamples; equal seeds and images give paired draws.
    """
    counts = resample_counts(len(ranking.pairing.asked), draws, seed)
    out: list[Figure] = []
    for definition in ranking.ranks:
        parts: list[Figure] = []
        for direction in directions:
            parts += _direction(ranking, direction, definition, ks, ties, counts, level)
        recalls = [one for one in parts if one.measure.startswith("R@")]
        where = BOTH if len(directions) > 1 else directions[0]
        out += [_mean(recalls, definition, where, level), *parts]
    return out


def class_recalls(
    ranking: Ranking, labels: ArrayLike, *, definition: Definition = "official", ties: Ties = "expected"
) -> list[dict[str, Any]]:
    """The recalls of each class of images in percent, the worst class first.

    Args:
        ranking: from `rank_vectors`.
        labels: (n,) the class of each image; captions have that of their image.
        definition: what counts as found.
        ties: see `Standing.ranks`.

    Returns:
        One record a class: label, images and captions asked for, each R@K by direction, mean recall.
    """
    names = np.asarray(labels, dtype=object)
    if names.shape != (ranking.pairing.images,):
        raise DataError(f"labels of the shape {names.shape} for {ranking.pairing.images} images; give one each")
    kinds, codes = np.unique(names.astype(str), return_inverse=True)
    records: list[dict[str, Any]] = [{"label": str(kind)} for kind in kinds]
    asked = np.zeros(len(kinds), dtype=bool)
    recalls: list[Floats] = []
    for direction, things in zip(DIRECTIONS, ("images", "captions"), strict=True):
        standing, own = ranking.standing(direction, definition), codes[ranking.image_of(direction)]
        number = np.bincount(own, minlength=len(kinds))
        asked |= number > 0
        for record, n in zip(records, number, strict=True):
            record[things] = int(n)
        for k in KS:
            found = np.bincount(own, standing.found(k, ties), len(kinds)) * 100.0 / np.maximum(number, 1)
            recalls.append(found)
            for record, value in zip(records, found, strict=True):
                record[f"{direction} R@{k}"] = float(value)
    for record, value in zip(records, np.mean(recalls, axis=0), strict=True):
        record[MEAN_RECALL] = float(value)
    present = [record for record, there in zip(records, asked, strict=True) if there]
    return sorted(present, key=lambda record: (record[MEAN_RECALL], record["label"]))


def _direction(
    ranking: Ranking,
    direction: Direction,
    definition: Definition,
    ks: Sequence[int],
    ties: Ties,
    counts: NDArray[np.uint8],
    level: float,
) -> list[Figure]:
    standing = ranking.standing(direction, definition)
    # The resamples number the images that ask.
    image = np.searchsorted(ranking.pairing.asked, ranking.image_of(direction))
    by_chance, at_best = chance(ranking.pairing, direction, definition), ceiling(ranking.pairing, direction, definition)
    rows = [(f"R@{k}", 100.0 * standing.found(k, ties), by_chance.recall(k), at_best.recall(k)) for k in ks]
    rows = [(name, values, 100.0 * low, 100.0 * high) for name, values, low, high in rows]
    rows.append((MRR, standing.reciprocals(ties), by_chance.mrr, at_best.mrr))
    drawn = _means(np.stack([values for _, values, _, _ in rows], axis=1), image, counts)
    out = [
        Figure(definition, direction, name, float(values.mean()), *percentile_interval(d, level), low, high, d)
        for (name, values, low, high), d in zip(rows, drawn.T, strict=True)
    ]
    (value,), d = (
        _medians(standing, ties, image, of) for of in (np.ones((1, counts.shape[1]), dtype=np.uint8), counts)
    )
    low, high = by_chance.median_rank, at_best.median_rank
    out.append(Figure(definition, direction, MEDIAN_RANK, float(value), *percentile_interval(d, level), low, high, d))
    return out


def _mean(recalls: Sequence[Figure], definition: Definition, direction: str, level: float) -> Figure:
    draws = np.mean([one.draws for one in recalls], axis=0)
    value, low, high = (
        float(np.mean([getattr(one, name) for one in recalls])) for name in ("value", "chance", "ceiling")
    )
    return Figure(definition, direction, MEAN_RECALL, value, *percentile_interval(draws, level), low, high, draws)


def _means(values: Floats, image: Rows, counts: NDArray[np.uint8]) -> Floats:
    """The means (draws, c) of values (q, c) whose images are resampled."""
    images = counts.shape[1]
    columns = [np.bincount(image, column, images) for column in values.T]
    sums = np.stack([np.bincount(image, minlength=images).astype(np.float64), *columns], axis=1)
    drawn = _drawn(counts, sums)
    return np.asarray(drawn[:, 1:] / drawn[:, :1])


def _medians(standing: Standing, ties: Ties, image: Rows, counts: NDArray[np.uint8]) -> Floats:
    """The least rank (draws,) by which half of the queries of each resample are served.

    All resamples are halved together: most ask for the same ranks.
    """
    images = counts.shape[1]
    total = _drawn(counts, np.bincount(image, minlength=images)[:, None].astype(np.float64))[:, 0]
    low, high = np.ones(len(counts), dtype=np.int64), np.full(len(counts), max(standing.items, 1))
    while (low < high).any():
        middle = (low + high) // 2
        for rank in np.unique(middle[low < high]):
            at = np.flatnonzero((low < high) & (middle == rank))
            served = np.bincount(image, standing.found(int(rank), ties), images).astype(np.float64)[:, None]
            enough = _drawn(counts[at], served)[:, 0] >= HALF * total[at]
            high[at[enough]] = rank
            low[at[~enough]] = rank + 1
    return low.astype(np.float64)


def _drawn(counts: NDArray[np.uint8], sums: Floats) -> Floats:
    """The sums (draws, c) of columns (images, c) over the images of each resample."""
    out = np.empty((len(counts), sums.shape[1]))
    for start in range(0, len(counts), _DRAWS_AT_ONCE):
        out[start : start + _DRAWS_AT_ONCE] = counts[start : start + _DRAWS_AT_ONCE].astype(np.float64) @ sums
    return out
