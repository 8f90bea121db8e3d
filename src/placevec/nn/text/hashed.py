"""Hashed words and character n-grams, their mean, and a network after it.

The features are those of fastText (Bojanowski et al. 2017, "Enriching Word Vectors with Subword Information"): a word
that was never seen still has n-grams that were. A hash takes the place of a vocabulary (Weinberger et al. 2009), so
there is no file to fetch or to lose, in any language.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from placevec.errors import UsageError
from placevec.nn.text.base import PADDING
from placevec.nn.text.vocabulary import Vocabulary


@dataclass(frozen=True)
class TextConfig:
    """The shape of a text network of hashed features."""

    kind: ClassVar[str] = "hashed"

    buckets: int = 32768  # words and n-grams are hashed to so many vectors; two that fall together share one
    width: int = 96  # components of the vector of a bucket
    capacity: int = 256  # width of the hidden layers
    layers: int = 1  # hidden layers; 0: one linear map
    dropout: float = 0.1  # after each hidden layer
    max_tokens: int = 256  # features of a text that are read: words first, then pairs of words, then n-grams
    shortest: int = 3  # characters of the shortest n-gram
    longest: int = 5  # characters of the longest one; 0: no n-grams

    def __post_init__(self) -> None:
        for name in ("buckets", "width", "capacity", "max_tokens", "shortest"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} = {getattr(self, name)}: give at least 1")
        if self.layers < 0:
            raise UsageError(f"layers = {self.layers}: give 0 or more")
        if not 0 <= self.dropout < 1:
            raise UsageError(f"dropout = {self.dropout}: give a share from 0 to below 1")
        if self.longest and self.longest < self.shortest:
            raise UsageError(f"longest = {self.longest}: give 0, or at least shortest = {self.shortest}")

    @property
    def longest_text(self) -> int:
        """Words of a text that are read."""
        return self.max_tokens

    @property
    def reads_empty(self) -> bool:
        """A text without words has a vector, which says nothing."""
        return True

    def learn(self, captions: Sequence[str]) -> Vocabulary:
        """The words of the training captions: not needed for reading, but to tell which words are known."""
        return Vocabulary.of(captions)

    def rows(self, texts: Sequence[Sequence[str]], vocabulary: Vocabulary | None = None) -> Tensor:
        """Texts as lists of their words to hashed features (n, max_tokens) int64, from 1 to `buckets`, then 0."""
        known: dict[str, list[int]] = {}  # captions repeat their words: n-grams of a word are hashed once
        out = torch.zeros(len(texts), self.max_tokens, dtype=torch.int64)
        for row, text in enumerate(texts):
            found = _features(text[: self.max_tokens], self, known)[: self.max_tokens]
            if found:
                out[row, : len(found)] = torch.tensor(found)
        return out

    def build(self, dims: int, vocabulary: Vocabulary | None = None) -> TextNet:
        """The network: tokens (n, max_tokens) int64, see `rows`, to vectors (n, dims) float32."""
        return TextNet(self, dims)


class TextNet(nn.Module):
    """Tokens (n, any width) int64, padded with 0, to vectors (n, dims): the mean over the tokens, then an MLP."""

    def __init__(self, config: TextConfig, dims: int) -> None:
        super().__init__()
        if dims < 1:
            raise UsageError(f"dims = {dims}: give at least 1")
        self.bag = nn.EmbeddingBag(config.buckets + 1, config.width, mode="mean", padding_idx=PADDING)
        with torch.no_grad():
            # Small beside what is learned, for the bucket of a feature that training never showed stays as it is.
            self.bag.weight.normal_(std=0.1)
            self.bag.weight[PADDING] = 0.0
        # The mean of many small vectors is short; the norm gives texts of any length the same scale.
        parts: list[nn.Module] = [nn.LayerNorm(config.width)]
        inputs = config.width
        for _ in range(config.layers):
            parts += [nn.Linear(inputs, config.capacity), nn.GELU(), nn.Dropout(config.dropout)]
            inputs = config.capacity
        self.mlp = nn.Sequential(*parts, nn.Linear(inputs, dims))

    def forward(self, tokens: Tensor) -> Tensor:
        """The vectors of texts; padding takes no part in the mean, and a text of padding alone has a vector too."""
        vectors: Tensor = self.mlp(self.bag(tokens))
        return vectors


def _features(found: Sequence[str], config: TextConfig, known: dict[str, list[int]]) -> list[int]:
    single = [_bucket("w", word, config) for word in found]
    pairs = [_bucket("p", f"{one} {two}", config) for one, two in itertools.pairwise(found)]
    grams: list[int] = []
    for word in found:
        if len(single) + len(pairs) + len(grams) >= config.max_tokens:
            break
        if word not in known:
            known[word] = [_bucket("c", gram, config) for gram in _grams(word, config)]
        grams += known[word]
    return single + pairs + grams


def _grams(word: str, config: TextConfig) -> Iterator[str]:
    """The character n-grams of a word with marks at its ends, but for the whole word, which has a feature already."""
    marked = f"<{word}>"
    for length in range(config.shortest, config.longest + 1):
        for start in range(len(marked) - length + 1):
            if length < len(marked):
                yield marked[start : start + length]


def _bucket(kind: str, feature: str, config: TextConfig) -> int:
    # crc32 is the same everywhere and for ever; Python's own hash() differs from process to process.
    return 1 + zlib.crc32(f"{kind}:{feature}".encode("utf-8", "surrogatepass")) % config.buckets
