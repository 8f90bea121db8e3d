"""Queries in words and by picture: what a pair of towers makes of them, and how far the hits can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from placevec.errors import UsageError
from placevec.measure.relevance import PASSING, Relevance
from placevec.results import Hits
from placevec.table import StoredTable
from placevec.tasks.class_words import check_words
from placevec.tasks.relevance import encode_texts, known_shares
from placevec.tasks.search_examples import Example, Table, Vector
from placevec.tasks.towers import find_pair, require_space

if TYPE_CHECKING:
    from placevec.encoders.pair import PairModel
    from placevec.sources.images import Fit

Picture: TypeAlias = str | Path | NDArray[Any]
"""The path of an image file, or (bands, height, width) uint8."""

Texts: TypeAlias = str | Sequence[str] | None
Pictures: TypeAlias = Picture | Sequence[Picture] | None

REFERENCE = 512  # rows of a table that stand for it where no bank of reference vectors is known


@dataclass(frozen=True, eq=False)
class Asked:
    """What is asked for besides ids, points and vectors.

    Attributes:
        texts: what the places found are to be like, in words.
        pictures: images that they are to be like.
        not_texts: what they are to be unlike, in words.
        not_pictures: images that they are to be unlike.
    """

    texts: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = ()
    not_texts: tuple[str, ...] = ()
    not_pictures: tuple[Picture, ...] = ()

    @classmethod
    def of(cls, text: Texts, image: Pictures, not_text: Texts, not_image: Pictures) -> Asked:
        """From one or several of each; UsageError for a text without a word."""
        asked = cls(_texts(text), _pictures(image), _texts(not_text), _pictures(not_image))
        for words in (*asked.texts, *asked.not_texts):
            check_words(words)
        return asked

    def __bool__(self) -> bool:
        return bool(self.texts or self.pictures or self.not_texts or self.not_pictures)


class Towers:
    """A pair of towers that answers what is asked; its vectors are made once.

    Args:
        pair: the towers, of the Space that is searched.
        asked: what is asked for.

    Attributes:
        positive: the examples to be like, texts first.
        negative: those to be unlike.
        notes: what a reader must know of how they were made.
    """

    def __init__(self, pair: PairModel, asked: Asked) -> None:
        self.pair = pair
        self.asked = asked
        self.notes: list[str] = []
        texts = self._of_texts((*asked.texts, *asked.not_texts))
        pictures = self._of_pictures((*asked.pictures, *asked.not_pictures))
        self.positive = [*texts[: len(asked.texts)], *pictures[: len(asked.pictures)]]
        self.negative = [*texts[len(asked.texts) :], *pictures[len(asked.pictures) :]]

    @classmethod
    def open(cls, asked: Asked, tables: Sequence[Table], model: PairModel | str | Path | None) -> Towers:
        """The towers called `model`, or those that lie beside the tables; see `tasks.towers.find_pair`."""
        space = tables[0].space
        if model is None or isinstance(model, str | Path):
            near = [Path(str(table.path)) for table in tables if isinstance(table, StoredTable)]
            return cls(find_pair(space, near=near, given=None if model is None else str(model)), asked)
        require_space(space, model.space, model.card.name or "given")
        return cls(model, asked)

    @cached_property
    def relevance(self) -> Relevance | None:
        """How cosines become relevance; None for a pair that was not calibrated."""
        value = self.pair.relevance
        return None if value is None else Relevance.from_json(value, "the pair's relevance.json")

    def reference(self, table: Table) -> Vector:
        """Vectors (r, d) like those of a table: the bank of its tower, else rows of the table at even steps."""
        if self.relevance is not None and table.meta.tower == self.pair.image.tower:
            return self.relevance.backgrounds.bank
        if self.relevance is not None and table.meta.tower == self.pair.text.tower:
            return self.relevance.backgrounds.captions
        rows = np.unique(np.linspace(0, max(table.num_rows - 1, 0), REFERENCE).astype(np.int64))[: table.num_rows]
        part = table.take(rows, columns=["id"]) if isinstance(table, StoredTable) else table.take(rows)
        return part.vectors()

    def judge(self, table: Table, hits: Hits) -> Hits:
        """The hits of one table with their relevance: how well an image fits the words, or a caption the images.

        Of several texts (or images) asked for the lowest counts, for a hit is to fit them all. What is to be unlike,
        and images that look for images, take no part: only pairs of a text and an image are calibrated.
        """
        if self.relevance is None or not len(hits):
            return hits
        if table.meta.tower == self.pair.image.tower and self.asked.texts:
            texts = np.stack([example.vector for example in self.positive[: len(self.asked.texts)]])
            known = known_shares(self.pair.text, self.asked.texts)
            found = self.relevance.probability(texts, _vectors(table, hits), known).min(axis=0)
        elif table.meta.tower == self.pair.text.tower and self.asked.pictures and not self.asked.texts:
            images = np.stack([example.vector for example in self.positive[len(self.asked.texts) :]])
            captions = [str(text) for text in hits.places.column("text")] if hits.places.has("text") else None
            shares = None if captions is None else known_shares(self.pair.text, captions)
            found = self.relevance.probability(_vectors(table, hits), images, shares).min(axis=1)
        else:
            return hits
        return replace(hits, relevance=found)

    def concluded(self, hits: Hits, tables: Sequence[Table], *, words_alone: bool) -> tuple[Hits, list[str]]:
        """The hits with the bound from which they match, and notes: whether any does, and what the model is.

        The bound holds for queries in words alone; `words_alone` says that this is one.
        """
        notes = self._other_weights(tables)
        if hits.relevance is None:
            if self.relevance is None and self.asked.texts:
                notes.append("scores are bare cosines, for the model has no calibration (relevance.json)")
            return hits, notes
        if not words_alone:
            return hits, [*notes, *(["relevance is that of the words alone"] if self.asked.texts else [])]
        assert self.relevance is not None
        least = self.relevance.no_match
        best = float(np.nanmax(hits.relevance, initial=0.0))
        if best < least:
            notes.append(
                f"no good match: the best relevance is {best:.2f}, and {PASSING:.0%} of the queries that the model "
                f"understands reach {least:.2f}"
            )
        return replace(hits, least=least), notes

    def _other_weights(self, tables: Sequence[Table]) -> list[str]:
        for tower in (self.pair.image, self.pair.text):
            own = tower.card.weights_sha256
            for table in tables:
                made = table.meta.weights_sha256
                if table.meta.tower == tower.tower and own and made and own != made:
                    return [f"the table was made by other weights of the {tower.tower} tower than the model has"]
        return []

    def _of_texts(self, texts: Sequence[str]) -> list[Example]:
        if not texts:
            return []
        tower = self.pair.text
        vectors = encode_texts(tower, texts)
        cut = int(getattr(tower, "truncated", 0))
        if cut:
            which = "the text is" if len(texts) == 1 else f"{cut} of {len(texts)} texts are"
            self.notes.append(f"{which} longer than the model reads: what is beyond was left out")
        return [Example(vector, tower.tower) for vector in vectors]

    def _of_pictures(self, pictures: Sequence[Picture]) -> list[Example]:
        if not pictures:
            return []
        from placevec.tasks.input_files import image_size

        # One at a time: images may differ in size, where the tower does not say what it works at.
        tower = self.pair.image
        side, fit = image_size(self.pair)
        return [Example(tower.encode({"image": _pixels(one, side, fit)[None]})[0], tower.tower) for one in pictures]


def _vectors(table: Table, hits: Hits) -> Vector:
    part = table.take(hits.rows, columns=["id"]) if isinstance(table, StoredTable) else table.take(hits.rows)
    return part.vectors()


def _pixels(picture: Picture, side: int, fit: Fit) -> NDArray[Any]:
    """The image as `embed` reads it for the same tower, so that an image and its row have one vector."""
    from placevec.sources.images import read_image, resized

    if isinstance(picture, str | Path):
        array: NDArray[Any] = read_image(picture, at_least=2 * side or None)
    else:
        array = np.asarray(picture)
    if array.ndim != 3:
        raise UsageError(f"an image of the shape {array.shape}: give the path of a file, or (bands, height, width)")
    return resized(array, side, fit) if side and array.dtype == np.uint8 and array.size else array


def _texts(given: Texts) -> tuple[str, ...]:
    if given is None:
        return ()
    return (given,) if isinstance(given, str) else tuple(str(one) for one in given)


def _pictures(given: Pictures) -> tuple[Picture, ...]:
    if given is None:
        return ()
    return (given,) if isinstance(given, str | Path | np.ndarray) else tuple(given)
