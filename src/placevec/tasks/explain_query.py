"""The query of an explanation as a vector, and what it is measured against."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from placevec.errors import DataError, UsageError
from placevec.features.evidence import Background
from placevec.measure.relevance import Relevance
from placevec.sources.images import read_image
from placevec.tasks.class_words import check_words
from placevec.tasks.relevance import known_shares

if TYPE_CHECKING:
    from placevec.encoders.base import Vectors
    from placevec.encoders.pair import PairModel

NEUTRAL = (
    "an image",
    "a picture",
    "a photo",
    "a satellite image",
    "an aerial photograph",
    "a view from above",
    "a place",
    "a piece of land",
    "some ground",
    "a part of the surface",
    "an area",
    "a scene",
    "something",
    "many things",
    "a pattern",
    "a texture",
    "a colour",
    "bright and dark parts",
    "a plain area",
    "some lines",
    "several objects",
    "an empty area",
    "a small thing",
    "a large thing",
)
"""Phrases that fit any aerial image about as well as any other."""

KNOWN = 0.5  # share of a neutral phrase's words that the text tower knows, at least
FEW = 6  # distinct vectors of neutral phrases, under which its own words are taken as well
WORDS = 64  # of those, the most frequent ones


@dataclass(frozen=True)
class Query:
    """What is looked for in a picture."""

    words: str  # for people
    vector: Vectors  # (dims,) of length 1
    background: Background
    like: NDArray[np.uint8] | None = None  # (bands, h, w) the picture that is the query, if it is one
    relevance: Relevance | None = None  # where the pair has one, and the query is a text
    known: float = 1.0  # share of its content words that the text tower learned, as relevance is fitted with it
    notes: tuple[str, ...] = ()  # what is to be said about it


def text_query(pair: PairModel, text: str) -> Query:
    """A text as a query.

    Args:
        pair: the towers.
        text: what is looked for.

    Raises:
        UsageError: the text has no word.
    """
    vector = _texts(pair, [check_words(text)])[0]
    notes = (
        ["the text is longer than the model reads: its end was cut off"] if getattr(pair.text, "truncated", 0) else []
    )
    known = float(known_shares(pair.text, [text])[0])
    if known < 1:
        notes.append(f"the model never saw {1 - known:.0%} of the words of {text!r}")
    if pair.relevance is None:
        notes.append("the pair has no calibration: evidence is measured against neutral phrases")
        return Query(text, vector, Background(_neutral(pair)), known=known, notes=tuple(notes))
    relevance = Relevance.from_json(pair.relevance)
    grounds = relevance.backgrounds
    return Query(text, vector, Background(grounds.captions, grounds.bank), None, relevance, known, tuple(notes))


def image_query(pair: PairModel, path: str | Path, **reading: Any) -> Query:
    """An image as a query; `reading` are options of `sources.images.read_image`.

    Raises:
        DataError: the image cannot be read.
    """
    image = read_image(path, **reading)
    vector = unit(pair.encode({"image": image[None]}))[0]
    if pair.relevance is not None:
        return Query(Path(path).name, vector, Background(Relevance.from_json(pair.relevance).backgrounds.bank), image)
    plain = unit(pair.encode({"image": neutral_images(len(image))}))
    notes = ("the pair has no calibration: evidence is measured against plain images",)
    return Query(Path(path).name, vector, Background(plain), image, notes=notes)


def neutral_images(bands: int, side: int = 64) -> NDArray[np.uint8]:
    """Plain images (n, bands, side, side) that show nothing: greys, single colours, ramps and noise of two grains."""
    rng = np.random.default_rng(0)
    levels = np.linspace(30, 225, 5)
    flat = [np.full((bands, 1, 1), level) for level in levels]
    tinted = [np.full((bands, 1, 1), 90.0) + 70.0 * (np.arange(bands) == band)[:, None, None] for band in range(bands)]
    ramp = np.linspace(30, 225, side)
    ramps = [np.broadcast_to(ramp, (bands, side, side)), np.broadcast_to(ramp[:, None], (bands, side, side))]
    grains = []
    for cells in (side // 8, side):
        noise = rng.uniform(40, 215, (bands, cells, cells)).repeat(side // cells, axis=1).repeat(side // cells, axis=2)
        grains += [noise, np.broadcast_to(noise.mean(axis=0), noise.shape)]
    every = [np.broadcast_to(one, (bands, side, side)) for one in (*flat, *tinted, *ramps, *grains)]
    return np.stack(every).round().astype(np.uint8)


def unit(vectors: Vectors) -> Vectors:
    """Rows of length 1; DataError for a vector of zeros, which points nowhere."""
    from placevec.encoders.base import unit_rows

    if not np.any(vectors, axis=1).all():
        raise DataError("the model gave a vector of zeros: the query says nothing to it; ask for something else")
    return unit_rows(vectors)


def _texts(pair: PairModel, texts: list[str]) -> Vectors:
    return unit(pair.text.encode({"text": np.array(texts, dtype=object)}))


def _known(pair: PairModel, text: str) -> float:
    ask = getattr(pair.text, "known_words", None)
    return 1.0 if ask is None else float(ask(text))


def _neutral(pair: PairModel) -> Vectors:
    """Vectors of the neutral phrases whose words the tower learned; of its own words where those are too few."""
    known = [phrase for phrase in NEUTRAL if _known(pair, phrase) >= KNOWN]
    distinct = _distinct(pair, known) if known else np.zeros((0, pair.dims), dtype=np.float32)
    if len(distinct) < FEW:
        vocabulary = getattr(pair.text, "vocabulary", None)
        distinct = _distinct(pair, [*known, *(NEUTRAL if vocabulary is None else vocabulary.words[:WORDS])])
    if len(distinct) < 2:
        raise UsageError("the model gives all neutral phrases one vector: calibrate the pair by training it again")
    return distinct


def _distinct(pair: PairModel, phrases: list[str]) -> Vectors:
    # Phrases of which the tower reads the same words count once.
    found: Vectors = np.unique(_texts(pair, phrases).round(5), axis=0)
    return found
