"""Which captions belong to which images, and which further ones say the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from placevec.errors import DataError

Rows = NDArray[np.int64]


def normalised(text: str) -> str:
    """A caption without what makes no difference: case, spaces, a full stop at the end.

    Two captions are equal if this is equal of both.
    """
    return " ".join(text.casefold().split()).rstrip(" .")


@dataclass(frozen=True)
class Pairing:
    """Images and captions, each caption being of one image.

    Attributes:
        image_of: (m,) the row of the image of each caption.
        words: (m,) the number of the text of each caption, from 0; equal captions share it.
        images: n, the number of images; some may have no caption and are found or not, but never asked for.
    """

    image_of: Rows
    words: Rows
    images: int

    @classmethod
    def of(cls, image_of: ArrayLike, images: int, captions: Sequence[str] | None = None) -> Pairing:
        """The pairing of m captions with n images.

        Args:
            image_of: (m,) the row of the image of each caption.
            images: n.
            captions: (m,) the texts; without them no two captions are equal.

        Raises:
            DataError: no caption, an image that does not exist, or another number of texts.
        """
        rows = np.asarray(image_of, dtype=np.int64)
        if rows.ndim != 1 or not len(rows):
            raise DataError(f"{rows.size} captions for {images} images: give the image of at least one caption")
        if rows.min() < 0 or rows.max() >= images:
            bad = int(rows[(rows < 0) | (rows >= images)][0])
            raise DataError(f"a caption is of image {bad}, and the images are 0 ... {images - 1}")
        if captions is None:
            return cls(rows, np.arange(len(rows), dtype=np.int64), images)
        if len(captions) != len(rows):
            raise DataError(f"{len(captions)} texts for {len(rows)} captions: give one each")
        codes: dict[str, int] = {}
        words = [codes.setdefault(normalised(text), len(codes)) for text in captions]
        return cls(rows, np.array(words, dtype=np.int64), images)

    @property
    def captions(self) -> int:
        """m, the number of captions."""
        return len(self.image_of)

    @cached_property
    def asked(self) -> Rows:
        """The images that have captions, sorted: the queries of image to text."""
        return np.unique(self.image_of)

    @cached_property
    def said(self) -> tuple[Rows, Rows, Rows]:
        """The different things said of images: image (p,), words (p,), and by how many of its captions (p,)."""
        texts = int(self.words.max()) + 1
        pairs, times = np.unique(self.image_of * texts + self.words, return_counts=True)
        return pairs // texts, pairs % texts, times.astype(np.int64)

    def own(self) -> Relation:
        """The official definition: a caption and the image that it was written for."""
        n, m = self.images, self.captions
        left = sparse.csr_array((np.ones(n, dtype=np.int8), (np.arange(n), np.arange(n))), shape=(n, n))
        right = sparse.csr_array((np.ones(m, dtype=np.int8), (np.arange(m), self.image_of)), shape=(m, n))
        return Relation(left, right)

    def equal(self) -> Relation:
        """The duplicate-aware definition: an image, and every caption that equals one of its own."""
        image, words, _ = self.said
        texts, m = int(self.words.max()) + 1, self.captions
        left = sparse.csr_array((np.ones(len(image), dtype=np.int8), (image, words)), shape=(self.images, texts))
        right = sparse.csr_array((np.ones(m, dtype=np.int8), (np.arange(m), self.words)), shape=(m, texts))
        return Relation(left, right)


@dataclass(frozen=True)
class Relation:
    """Which captions count for which images, by what both have: never held as a list of pairs, which may be long.

    Attributes:
        left: (n, c) which of c things an image has.
        right: (m, c) the one thing that a caption has.
    """

    left: sparse.csr_array
    right: sparse.csr_array

    def pairs(self, images: slice, captions: slice) -> tuple[Rows, Rows]:
        """The pairs (image, caption) of a block that count, numbered from the start of the block."""
        found = (self.left[images] @ self.right[captions].T.tocsr()).tocoo()
        return found.row.astype(np.int64), found.col.astype(np.int64)
