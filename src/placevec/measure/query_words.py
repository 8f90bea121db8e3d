"""Which images a text fits, by the words of their captions; and the short queries that people type.

An image fits a text if its own captions, taken together, say every content word of it. So a caption fits its own
image and all with an equal caption, and "river" fits every image in whose captions a river stands.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy import sparse

Rows = NDArray[np.int64]
Flags = NDArray[np.bool_]

_WORD = re.compile(r"\w+")
# Words that say nothing about what a picture shows: articles, copulas, prepositions, vague amounts.
_FUNCTION_WORDS = """
    a an the this that these those there here it its they their them and or but with without of in on at to from
    by for as into onto over under near next beside besides between around along among through above below
    behind is are was were be been being has have had having do does can could some any many much several few
    lots lot different various other others another each all both also very quite we you i he she his her
    somebody image picture photo photograph view scene seen
"""
FUNCTION_WORDS = frozenset(_FUNCTION_WORDS.split())
_LONGEST = 4  # words of a short query


def kept_words(text: str) -> list[str]:
    """The words of a text without case and without function words; all of them if no others are left."""
    found = _WORD.findall(text.casefold())
    return [word for word in found if word not in FUNCTION_WORDS] or found


def content_words(text: str) -> list[str]:
    """The words of `kept_words` without the s of a plural, so that "courts" and "court" are one ("grass" stays)."""
    return [_singular(word) for word in kept_words(text)]


def said_by(texts: Sequence[str], captions: Sequence[str], own: Rows, images: int) -> Flags:
    """Which images (m, n) fit each text.

    Args:
        texts: m texts.
        captions: c captions of the images.
        own: (c,) the row of the image of each caption.
        images: n, how many images there are.
    """
    asked_words = [sorted(set(content_words(text))) for text in texts]
    said_words = [content_words(caption) for caption in captions]
    codes = {word: code for code, word in enumerate(sorted({w for some in [*asked_words, *said_words] for w in some}))}
    asked = _marked(asked_words, range(len(texts)), len(texts), codes)
    said = _marked(said_words, own.tolist(), images, codes)
    needed = np.asarray(asked.sum(axis=1)).ravel()
    shared = (asked @ said.T).toarray()
    fits: Flags = (shared >= needed[:, None]) & (needed[:, None] > 0)
    return fits


def short_queries(captions: Sequence[str], own: Rows, *, seed: int = 0) -> tuple[list[str], Rows]:
    """One query of 1 to 4 content words, in their order, for each image, and the row of the image of each.

    Args:
        captions: c captions.
        own: (c,) the row of the image of each.
        seed: of what is chosen.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(captions))
    _, first = np.unique(own[order], return_index=True)
    queries, rows = [], []
    for at in np.sort(order[first]):
        kept = kept_words(captions[at])
        if kept:
            count = int(rng.integers(1, min(_LONGEST, len(kept)) + 1))
            chosen = np.sort(rng.permutation(len(kept))[:count])
            queries.append(" ".join(kept[word] for word in chosen))
            rows.append(int(own[at]))
    return queries, np.array(rows, dtype=np.int64)


def _marked(
    found: Sequence[Sequence[str]], rows: Sequence[int], count: int, codes: Mapping[str, int]
) -> sparse.csr_array:
    """Which words (count, words) stand in which row, 1 or 0."""
    from scipy import sparse  # a search reads words, too, and would wait for the import

    at = sorted({(row, codes[word]) for row, some in zip(rows, found, strict=True) for word in some})
    index = np.array(at, dtype=np.int64).reshape(-1, 2).T
    ones = np.ones(index.shape[1], dtype=np.float32)
    return sparse.csr_array((ones, (index[0], index[1])), shape=(count, max(len(codes), 1)))


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word
