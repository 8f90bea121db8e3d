"""Captions by image: which texts there are, which of them mean the same, and which are drawn in a step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from placevec.errors import DataError
from placevec.measure.retrieval import normalised
from placevec.nn.text import words

NONE = -1  # no caption


@dataclass(frozen=True, eq=False)
class Captions:
    """The captions of n images, each text once.

    Attributes:
        texts: m different texts, in the order in which they are met.
        own: (n, most) the rows in `texts` of the captions of an image, from the first again where it has fewer.
        counts: (n,) how many captions an image has.
        keys: (m,) a number for each text, equal for texts that `measure.retrieval` takes as equal.
        said: (n, most) the keys of the captions of an image, -1 where it has fewer.
    """

    texts: tuple[str, ...]
    own: Tensor
    counts: Tensor
    keys: Tensor
    said: Tensor

    @classmethod
    def of(cls, captions: Sequence[Sequence[str]]) -> Captions:
        """The captions of each image; DataError for an image without any, or a text without a word."""
        known: dict[str, int] = {}
        same: dict[str, int] = {}
        keys: list[int] = []
        rows: list[list[int]] = []
        for number, given in enumerate(captions):
            if isinstance(given, str) or not len(given):
                raise DataError(f"image {number} has the captions {given!r}: give a list of at least one text")
            for text in given:
                if text not in known:
                    if not isinstance(text, str) or not words(text):
                        raise DataError(f"image {number} has the caption {text!r}, which has no word: leave it out")
                    known[text] = len(known)
                    keys.append(same.setdefault(normalised(text), len(same)))
            rows.append([known[text] for text in given])
        if not rows:
            raise DataError("there are no captions: training needs images with at least one text each")
        most = max(len(own) for own in rows)
        own = np.array([np.resize(np.array(row), most) for row in rows], dtype=np.int64)
        counts = np.array([len(row) for row in rows], dtype=np.int64)
        key = np.array(keys, dtype=np.int64)
        said = np.where(np.arange(most) < counts[:, None], key[own], NONE)
        return cls(tuple(known), *(torch.from_numpy(array) for array in (own, counts, key, said)))

    def drawn(self, rows: NDArray[np.int64], count: int) -> Tensor:
        """`count` captions, as rows of `texts`, for each of the images `rows`: (len(rows), count); 0: all.

        The captions of an image are drawn without repetition until all are there. The numbers come from torch's global
        generator, which the loop seeds for each step.
        """
        picked = torch.from_numpy(rows)
        own, most = self.own[picked], self.own.shape[1]
        wanted = count or most
        if count == 0 or most == 1:
            order = torch.arange(wanted).expand(len(rows), wanted)
        else:
            chance = torch.rand(len(rows), most)
            chance[torch.arange(most) >= self.counts[picked][:, None]] = 2.0  # what is a repetition comes last
            order = chance.argsort(dim=1)[:, torch.arange(wanted) % most]
            order = torch.where(order < self.counts[picked][:, None], order, order[:, :1])
        return own.gather(1, order % most)

    def key(self) -> NDArray[np.uint8]:
        """What tells these captions from others, for a hash."""
        lines = "\n".join(repr(text) for text in self.texts)
        return np.concatenate([np.frombuffer(lines.encode(), dtype=np.uint8), self.own.numpy().view(np.uint8).ravel()])
