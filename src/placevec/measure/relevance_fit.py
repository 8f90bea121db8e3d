"""Fitting relevance: a logistic regression on pairs whose match is known, checked on pairs that were not fitted.

The pairs are those that a person would be shown: the first 10 hits of a query among the validation images. A query is
a caption, some of its words (what fits either: `measure.query_words`) or a phrase of another domain (nothing fits).
Every figure of the report is cross-fitted: folds hold out images with their captions, and whole topics of phrases,
which then stand in no background either.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from placevec.errors import DataError
from placevec.measure.calibration import brier_score, expected_calibration_error, reliability
from placevec.measure.relevance import (
    FEATURES,
    PASSING,
    Backgrounds,
    Flags,
    Floats,
    Relevance,
    Vectors,
    logistic,
    rounded,
    unit,
)

Rows = NDArray[np.int64]

SHOWN = 10  # hits of a query that are fitted
OFF_DOMAIN = 0.2  # the share of queries that are taken to be of other domains, as weight in the fit
_FOLDS = 5
_MOST_TEXTS = 3000  # captions that are fitted
MOST_IMAGES = 2000  # images that they are searched in
_ROOM = 680_000  # bytes of all backgrounds as float16: below 1 MB as base64
_SHARES = (0.5, 0.3)  # of the room: for the bank, for captions
_MOST = (512, 256)  # images of the bank, captions
_AT_ONCE = 128
_EPSILON = 1e-9


@dataclass(frozen=True, eq=False)
class Captioned:
    """Images with captions, of which is known what fits: best of a split that training did not see.

    Attributes:
        images: (n, d) vectors of the image tower.
        texts: (m, d) vectors of texts about them: captions, and short queries.
        own: (m,) the row of the image that each text was written for.
        fits: (m, n) which images fit each text, see `measure.query_words.said_by`.
        caption: (m,) whether a text is a caption, which may serve as background.
        known: (m,) share of the words that the text tower has learned; 1 where it cannot say.
    """

    images: Vectors
    texts: Vectors
    own: Rows
    fits: Flags
    caption: Flags
    known: Floats

    def __post_init__(self) -> None:
        own = np.asarray(self.own, dtype=np.int64)
        n, m = len(self.images), len(self.texts)
        shapes = {name: np.shape(getattr(self, name)) for name in ("fits", "own", "caption", "known")}
        if shapes != {"fits": (m, n), "own": (m,), "caption": (m,), "known": (m,)}:
            raise DataError(f"{n} images and {m} texts do not go with {shapes}")
        if m and not (own.min() >= 0 and own.max() < n):
            raise DataError(f"a caption belongs to image {own.max()}, there are {n}: number from 0")
        object.__setattr__(self, "own", own)

    def take(self, images: Rows, texts: Rows) -> Captioned:
        """Some of the images, and some of the texts of these."""
        at = np.full(len(self.images), -1)
        at[images] = np.arange(len(images))
        fits = self.fits[np.ix_(texts, images)]
        own = at[self.own[texts]]
        return Captioned(self.images[images], self.texts[texts], own, fits, self.caption[texts], self.known[texts])


@dataclass(frozen=True, eq=False)
class OffDomain:
    """Texts that nothing fits.

    Attributes:
        texts: (p, d) vectors of the text tower.
        topics: (p,) the topic of each, by number.
        known: (p,) share of known words.
    """

    texts: Vectors
    topics: Rows
    known: Floats


@dataclass(frozen=True, eq=False)
class _Shown:
    """The features (q, s, 5) of the first hits of q queries, whether they fit (q, s), fold and weight of each query."""

    features: Floats
    fits: Flags
    fold: Rows
    weight: Floats


def fit(
    captioned: Captioned, off: OffDomain, *, bank: Vectors | None = None, space: str = "", seed: int = 0
) -> Relevance:
    """Relevance from images with captions and from phrases of other domains.

    Args:
        captioned: at least 10 images with their captions, held out from the training.
        off: phrases of at least 5 topics.
        bank: (b, d) further images as reference bank, such as those of the training; by default those of `captioned`,
            of which a text's own ones do not count while fitting.
        space: id of the Space.
        seed: of the folds, and of what is drawn where there is more than is needed.

    Raises:
        DataError: there is too little to fit, or every hit fits, or none.
    """
    found = _bounded(replace(captioned, images=unit(captioned.images), texts=unit(captioned.texts)), seed)
    if len(found.images) < 2 * _FOLDS or len(np.unique(off.topics)) < _FOLDS:
        raise DataError(
            f"{len(found.images)} images with captions and {len(np.unique(off.topics))} topics: relevance needs "
            f"{2 * _FOLDS} and {_FOLDS}"
        )
    off = replace(off, texts=rounded(off.texts), topics=np.unique(off.topics, return_inverse=True)[1])
    rng = np.random.default_rng(seed)
    grounds, drawn = _backgrounds(found, off, bank, rng)
    fold = rng.permutation(len(found.images))[found.own] % _FOLDS
    off_fold = rng.permutation(int(off.topics.max()) + 1)[off.topics] % _FOLDS
    held_in, held_off = [], []
    for held in range(_FOLDS):
        learned = off_fold != held
        part = replace(grounds, phrases=off.texts[learned])
        inside = _captions_shown(found, part, drawn, fold)
        outside = _phrases_shown(found, off, part, off_fold, learned)
        model = _fitted(part, _rows(inside, fold != held), _rows(outside, learned))
        held_in.append(_judged(model, _rows(inside, fold == held)))
        held_off.append(_judged(model, _rows(outside, off_fold == held)))
    said, true, weight = (np.concatenate([one[at] for one in held_in]) for at in range(3))
    best, off_best = said.max(axis=1), np.concatenate([one[0].max(axis=1) for one in held_off])
    no_match = _quantile(best, weight, 1.0 - PASSING)
    every = np.ones(len(off_fold), dtype=bool)
    whole = _captions_shown(found, grounds, drawn, fold), _phrases_shown(found, off, grounds, off_fold, every)
    report = _report(said.ravel(), true.ravel(), np.repeat(weight, said.shape[1]))
    report |= {
        "passed": float(np.average(best >= no_match, weights=weight)),
        "refused": float((off_best < no_match).mean()),
        "queries": len(best),
        "phrases": len(off_best),
        "images": len(found.images),
    }
    return replace(_fitted(grounds, *whole), no_match=no_match, space=space, report=report)


def _bounded(captioned: Captioned, seed: int) -> Captioned:
    """At most so many images and texts of them, by chance; images without a caption stay as what may be found."""
    rng = np.random.default_rng(seed)
    n = len(captioned.images)
    images = np.sort(rng.permutation(n)[:MOST_IMAGES])
    texts = np.flatnonzero(np.isin(captioned.own, images))
    return captioned.take(images, np.sort(rng.permutation(texts)[:_MOST_TEXTS]))


@dataclass(frozen=True, eq=False)
class _Drawn:
    """Which images of the validation the backgrounds are of, so that no query meets its own ones; -1 for none."""

    bank: Rows
    captions: Rows


def _backgrounds(
    found: Captioned, off: OffDomain, bank: Vectors | None, rng: np.random.Generator
) -> tuple[Backgrounds, _Drawn]:
    room = _ROOM // (2 * found.images.shape[1])
    count, captions = (min(most, max(2, int(share * room))) for most, share in zip(_MOST, _SHARES, strict=True))
    if bank is None:
        rows = np.sort(rng.permutation(len(found.images))[:count])
        chosen = found.images[rows]
    else:
        chosen = unit(bank)[np.sort(rng.permutation(len(bank))[:count])]
        rows = np.full(len(chosen), -1)
    written = rng.permutation(np.flatnonzero(found.caption))
    distinct = np.unique(np.round(found.texts[written], 4), axis=0, return_index=True)[1]
    texts = written[np.sort(distinct)][:captions]
    grounds = Backgrounds(rounded(chosen), rounded(found.texts[texts]), off.texts)
    return grounds, _Drawn(rows, found.own[texts])


def _captions_shown(found: Captioned, grounds: Backgrounds, drawn: _Drawn, fold: Rows) -> _Shown:
    features, right = [], []
    own_out = np.arange(len(found.images))[:, None] == drawn.captions
    for start in range(0, len(found.texts), _AT_ONCE):
        rows = slice(start, start + _AT_ONCE)
        own = found.own[rows, None]
        some = grounds.features(
            found.texts[rows],
            found.images,
            found.known[rows],
            bank_out=own == drawn.bank,
            captions_out=own == drawn.captions,
            own_out=own_out,
        )
        shown = _first(found.texts[rows], found.images)
        features.append(np.take_along_axis(some, shown[..., None], axis=1))
        right.append(np.take_along_axis(found.fits[rows], shown, axis=1))
    return _Shown(np.concatenate(features), np.concatenate(right), fold, _even(found.caption))


def _even(caption: Flags) -> Floats:
    """Weights (m,) by which captions and short queries count alike, as many as there are of either."""
    count = np.where(caption, caption.sum(), (~caption).sum())
    return np.asarray(len(caption) / (2.0 * count) if caption.any() and not caption.all() else np.ones(len(caption)))


def _phrases_shown(found: Captioned, off: OffDomain, grounds: Backgrounds, fold: Rows, learned: Flags) -> _Shown:
    """The hits of all phrases; `learned` says which of them may stand in the background."""
    parts = []
    for topic in np.unique(off.topics):
        # A phrase is searched as a new one would be: with its own topic out of the background.
        used = off.texts[learned & (off.topics != topic)]
        rows = off.topics == topic
        shown = _first(off.texts[rows], found.images)
        some = replace(grounds, phrases=used).features(off.texts[rows], found.images, off.known[rows])
        parts.append((np.flatnonzero(rows), np.take_along_axis(some, shown[..., None], axis=1)))
    order = np.argsort(np.concatenate([rows for rows, _ in parts]))
    features = np.concatenate([part for _, part in parts])[order]
    return _Shown(features, np.zeros(features.shape[:2], dtype=bool), fold, np.ones(len(fold)))


def _first(texts: Vectors, images: Vectors) -> Rows:
    """The images (q, s) that a search by cosine shows first."""
    order = np.argsort(-(texts @ images.T), axis=1, kind="stable")
    return np.asarray(order[:, :SHOWN], dtype=np.int64)


def _rows(shown: _Shown, rows: Flags) -> _Shown:
    return _Shown(shown.features[rows], shown.fits[rows], shown.fold[rows], shown.weight[rows])


def _fitted(grounds: Backgrounds, inside: _Shown, outside: _Shown) -> Relevance:
    """The regression on captions and phrases; the latter weigh `OFF_DOMAIN` of the whole."""
    x = np.concatenate([part.features.reshape(-1, len(FEATURES)) for part in (inside, outside)])
    y = np.concatenate([part.fits.ravel() for part in (inside, outside)])
    if y.all() or not y.any():
        raise DataError(f"{int(y.sum())} of {len(y)} hits fit their query: relevance needs some that do, and others")
    per_phrase = OFF_DOMAIN / (1.0 - OFF_DOMAIN) * inside.weight.sum() / max(outside.weight.sum(), 1.0)
    queries = np.concatenate([inside.weight, per_phrase * outside.weight])
    weight = np.repeat(queries, inside.fits.shape[1])
    mean = np.average(x, axis=0, weights=weight)
    sd = np.sqrt(np.average((x - mean) ** 2, axis=0, weights=weight))
    sd = np.where(sd > _EPSILON, sd, 1.0)
    weights, bias = monotone_logistic((x - mean) / sd, y.astype(np.float64), weight)
    return Relevance(grounds, mean, sd, weights, bias, 0.0)


def monotone_logistic(x: Floats, y: Floats, weight: Floats) -> tuple[Floats, float]:
    """The weights (f,), none below 0, and the bias of a logistic regression with a ridge of ½ |weights|².

    Args:
        x: (n, f) standardised features, each of which is to speak for a match or not at all.
        y: (n,) 0 or 1.
        weight: (n,) of the rows.
    """
    sign = 2.0 * y - 1.0

    def loss(given: Floats) -> tuple[float, Floats]:
        margin = sign * (x @ given[:-1] + given[-1])
        pull = -weight * sign * logistic(-margin)
        value = float(weight @ np.logaddexp(0.0, -margin) + 0.5 * given[:-1] @ given[:-1])
        return value, np.append(pull @ x + given[:-1], pull.sum())

    bounds = [(0.0, None)] * x.shape[1] + [(None, None)]
    found = minimize(loss, np.zeros(x.shape[1] + 1), jac=True, method="L-BFGS-B", bounds=bounds)
    return np.asarray(found.x[:-1], dtype=np.float64), float(found.x[-1])


def _judged(model: Relevance, shown: _Shown) -> tuple[Floats, Floats, Floats]:
    """What is said of each hit (q, s), what is true of it (q, s), and the weight (q,) of each query."""
    return model.of_features(shown.features), shown.fits.astype(np.float64), shown.weight


def _report(said: Floats, true: Floats, weight: Floats) -> dict[str, Any]:
    """How far the probabilities (n,) of hits of the domain can be trusted, beside always saying the mean."""
    base = float(np.average(true, weights=weight))
    return {
        "ece": expected_calibration_error(said, true, weights=weight),
        "brier": brier_score(said, true, weights=weight),
        "brier_of_the_base_rate": base * (1.0 - base),
        "base_rate": base,
        "reliability": [list(step) for step in reliability(said, true, weights=weight)],
    }


def _quantile(values: Floats, weight: Floats, share: float) -> float:
    """The largest of the values below which at most `share` of the weight lies."""
    order = np.argsort(values)
    below = np.concatenate([[0.0], np.cumsum(weight[order])[:-1]]) / weight.sum()
    return float(values[order][np.flatnonzero(below <= share)[-1]])
