"""A text as its words: the same for every text network."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from placevec.errors import DataError


def words(text: str) -> list[str]:
    """The words of a text: compatibility-normalised (NFKC), without case, split at all but letters, digits and marks.

    Normalised again after the case is folded, so that a text and its other Unicode spellings have the same words.
    """
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return "".join(letter if _in_word(letter) else " " for letter in plain).split()


def split(texts: Sequence[str], first: int = 0) -> list[list[str]]:
    """The words of each text.

    Args:
        texts: n texts.
        first: the number of the first row, for the message.

    Raises:
        DataError: something that is not a text.
    """
    for row, text in enumerate(texts, start=first):
        if not isinstance(text, str):
            raise DataError(f"row {row} is {text!r}, not a text: leave out the places without one")
    return [words(text) for text in texts]


def _in_word(letter: str) -> bool:
    # Vowel signs of Indic scripts and combining accents belong to their word.
    return letter.isalnum() or unicodedata.category(letter).startswith("M")
