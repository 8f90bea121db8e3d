"""Relevance of a pair of towers: fitted when it is trained, used when it is searched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from placevec.encoders.base import Encoder
from placevec.errors import DataError
from placevec.measure.everyday import EVERYDAY
from placevec.measure.query_words import kept_words, said_by, short_queries
from placevec.measure.relevance import Relevance
from placevec.provenance import Space

Vectors = NDArray[np.float32]


class Pair(Protocol):
    """What is needed of a pair of towers; `encoders.pair.PairModel` is one."""

    @property
    def space(self) -> Space:
        """The Space of both towers."""

    text: Encoder


def fit_relevance(
    pair: Pair,
    image_vectors: NDArray[Any],
    text_vectors: NDArray[Any] | None,
    own: NDArray[Any],
    texts: Sequence[str],
    *,
    bank: NDArray[Any] | None = None,
    seed: int = 0,
) -> Relevance:
    """The relevance of a pair, from images with captions that its training did not see (the validation split).

    `relevance.to_json()` is what `PairModel.relevance` holds and its folder keeps. The figures of the report
    (`relevance.report`) are of pairs that were not fitted; see `measure.relevance_fit`.

    Args:
        pair: the pair; its text tower encodes short queries and phrases of other domains.
        image_vectors: (n, d) of n images.
        text_vectors: (m, d) of their captions; None to have them encoded here.
        own: (m,) the row of the image that each caption belongs to.
        texts: the m captions.
        bank: (b, d) further images as reference, such as some hundred of the training; without them the n images are.
        seed: of folds, and of what is drawn.

    Raises:
        DataError: too little to fit: fewer than 10 images, or no hit that fits, or none that does not.
    """
    from placevec.measure.relevance_fit import MOST_IMAGES, Captioned, OffDomain, fit

    rows = np.asarray(own, dtype=np.int64)
    if len(texts) != len(rows) or (text_vectors is not None and len(text_vectors) != len(rows)):
        raise DataError(f"{len(texts)} captions, {len(rows)} rows of images: give one row for each caption")
    if len(rows) and not (rows.min() >= 0 and rows.max() < len(image_vectors)):
        raise DataError(f"a caption belongs to image {rows.max()}, there are {len(image_vectors)}: number from 0")
    # Of a large set a part will do: what fits what is a table of texts by images.
    chosen = np.sort(np.random.default_rng(seed).permutation(len(image_vectors))[:MOST_IMAGES])
    held = np.flatnonzero(np.isin(rows, chosen))
    captions, rows = [texts[int(at)] for at in held], np.searchsorted(chosen, rows[held])
    queries, about = short_queries(captions, rows, seed=seed)
    given = encode_texts(pair.text, captions) if text_vectors is None else np.asarray(text_vectors)[held]
    every = [*captions, *queries]
    captioned = Captioned(
        images=np.asarray(image_vectors, dtype=np.float32)[chosen],
        texts=np.concatenate([given, encode_texts(pair.text, queries)]) if queries else given,
        own=np.concatenate([rows, about]),
        fits=said_by(every, captions, rows, len(chosen)),
        caption=np.arange(len(every)) < len(captions),
        known=known_shares(pair.text, every),
    )
    phrases = [phrase for topic in EVERYDAY.values() for phrase in topic]
    topics = np.repeat(np.arange(len(EVERYDAY)), [len(topic) for topic in EVERYDAY.values()])
    off = OffDomain(encode_texts(pair.text, phrases), topics, known_shares(pair.text, phrases))
    return fit(captioned, off, bank=bank, space=pair.space.id, seed=seed)


def encode_texts(tower: Encoder, texts: Sequence[str]) -> Vectors:
    """The vectors (m, d) of texts."""
    given = np.empty(len(texts), dtype=object)
    given[:] = list(texts)
    return tower.encode({"text": given})


def known_shares(tower: Encoder, texts: Sequence[str]) -> NDArray[np.float64]:
    """The share (m,) of the content words of each text that the tower has learned; 1 where it cannot say."""
    ask = getattr(tower, "known_words", None)
    if ask is None:
        return np.ones(len(texts))
    return np.array([float(ask(" ".join(kept_words(text)))) for text in texts], dtype=np.float64)
