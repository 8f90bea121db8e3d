"""Words of a learned vocabulary through transformer blocks, or their plain mean, and a head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from placevec.errors import UsageError
from placevec.nn.text.base import PADDING
from placevec.nn.text.vocabulary import BEGIN, END, SPECIALS, UNKNOWN, Vocabulary
from placevec.nn.transformer import TransformerBlock, check_width, start


@dataclass(frozen=True)
class WordsConfig:
    """The shape of a text network of whole words."""

    kind: ClassVar[str] = "words"

    width: int = 128  # components of a word; a multiple of `heads`
    layers: int = 2  # transformer blocks; 0: a bag of words, whose order says nothing
    heads: int = 4  # of the attention
    ratio: float = 4.0  # width of the hidden layer of a block, as a multiple of `width`
    hidden: int = 0  # width of a hidden layer between the pooled text and its vector; 0: one linear map
    context: int = 48  # words of a text that are read
    pooling: Literal["mean", "end"] = "mean"  # of the words, or what stands at the end token
    dropout: float = 0.1  # share dropped of words' components, attention weights, branches and the hidden layer
    word_dropout: float = 0.1  # share of the words that training reads as unknown ones
    min_count: int = 1  # how often a word stands in the training captions at least, to have a vector of its own
    limit: int = 0  # the most words with a vector of their own, the most frequent ones; 0: all

    def __post_init__(self) -> None:
        for name in ("width", "context", "min_count"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} = {getattr(self, name)}: give at least 1")
        for name in ("layers", "hidden", "limit"):
            if getattr(self, name) < 0:
                raise UsageError(f"{name} = {getattr(self, name)}: give 0 or more")
        for name in ("dropout", "word_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"{name} = {getattr(self, name)}: give a share from 0 to below 1")
        if self.ratio <= 0:
            raise UsageError(f"ratio = {self.ratio}: give more than 0")
        if self.pooling not in ("mean", "end"):
            raise UsageError(f"pooling = {self.pooling!r}: give mean or end")
        if self.pooling == "end" and not self.layers:
            raise UsageError("pooling = 'end' with layers = 0: the end token knows the words by attention; give mean")
        check_width(self.width, self.heads)

    @property
    def longest_text(self) -> int:
        """Words of a text that are read."""
        return self.context

    @property
    def reads_empty(self) -> bool:
        """A text without words has no vector."""
        return False

    def learn(self, captions: Sequence[str]) -> Vocabulary:
        """The words of the training captions that get a vector of their own."""
        return Vocabulary.of(captions, self.min_count, self.limit)

    def rows(self, texts: Sequence[Sequence[str]], vocabulary: Vocabulary | None = None) -> Tensor:
        """Texts as lists of their words to (n, context + 2) int64: begin, the words, end, padding.

        Raises:
            UsageError: without a vocabulary.
        """
        known = _needed(vocabulary)
        out = torch.full((len(texts), self.context + 2), PADDING, dtype=torch.int64)
        for row, text in enumerate(texts):
            found = [BEGIN, *known.numbers(text[: self.context]), END]
            out[row, : len(found)] = torch.tensor(found)
        return out

    def build(self, dims: int, vocabulary: Vocabulary | None = None) -> WordsNet:
        """The network: tokens (n, context + 2) int64, see `rows`, to vectors (n, dims) float32.

        Raises:
            UsageError: without a vocabulary.
        """
        return WordsNet(self, dims, len(_needed(vocabulary)))


class WordsNet(nn.Module):
    """Tokens (n, up to context + 2) int64, padded with 0, to vectors (n, dims).

    Args:
        config: its shape.
        dims: components of the vector.
        count: tokens of the vocabulary, specials included.
    """

    def __init__(self, config: WordsConfig, dims: int, count: int) -> None:
        super().__init__()
        if dims < 1:
            raise UsageError(f"dims = {dims}: give at least 1")
        self.pooling = config.pooling
        self.word_dropout = config.word_dropout
        self.embed = nn.Embedding(count, config.width, padding_idx=PADDING)
        self.blocks = nn.ModuleList(
            TransformerBlock(config.width, config.heads, config.ratio, config.dropout) for _ in range(config.layers)
        )
        # A bag has no order: positions would only blur it.
        self.positions = nn.Parameter(torch.zeros(config.context + 2, config.width)) if config.layers else None
        self.drop = nn.Dropout(config.dropout)
        self.norm = nn.LayerNorm(config.width)
        inputs = config.width
        parts: list[nn.Module] = []
        if config.hidden:
            parts = [nn.Linear(inputs, config.hidden), nn.GELU(), nn.Dropout(config.dropout)]
            inputs = config.hidden
        self.head = nn.Sequential(*parts, nn.Linear(inputs, dims))
        start(self.blocks)
        with torch.no_grad():
            self.embed.weight.normal_(std=0.1)
            # Without word dropout nothing trains the unknown word: at 0 it says nothing, instead of noise.
            self.embed.weight[[PADDING, UNKNOWN]] = 0.0
            if self.positions is not None:
                self.positions.normal_(std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """The vectors of texts; what stands after the end of a text takes no part."""
        if self.training:
            tokens = self._shown(tokens)
        x = self.drop(self._embedded(tokens))
        keep = tokens != PADDING
        if self.blocks:
            looked = keep.clone()
            looked[:, 0] = True  # a row of padding alone, too, must have something to look at, or it is NaN
            for block in self.blocks:
                x = block(x, looked)
        vectors: Tensor = self.head(self.norm(self._pooled(x, tokens)))
        return vectors

    def _shown(self, tokens: Tensor) -> Tensor:
        """Training tokens: without the columns that are padding in all rows, and with some words unknown."""
        longest = int((tokens != PADDING).sum(dim=1).max()) if len(tokens) else 0
        tokens = tokens[:, : max(1, longest)]
        if not self.word_dropout:
            return tokens
        lost = (torch.rand(tokens.shape, device=tokens.device) < self.word_dropout) & (tokens >= SPECIALS)
        return tokens.masked_fill(lost, UNKNOWN)

    def _embedded(self, tokens: Tensor) -> Tensor:
        x: Tensor = self.embed(tokens)
        return x if self.positions is None else x + self.positions[: tokens.shape[1]]

    def _pooled(self, x: Tensor, tokens: Tensor) -> Tensor:
        if self.pooling == "end":
            chosen = tokens == END
        else:
            chosen = (tokens >= SPECIALS) | (tokens == UNKNOWN)
        weight = chosen.to(x.dtype)
        return torch.einsum("nlw,nl->nw", x, weight) / weight.sum(dim=1, keepdim=True).clamp_min(1.0)


def _needed(vocabulary: Vocabulary | None) -> Vocabulary:
    if vocabulary is None:
        raise UsageError("a network of words needs the vocabulary of its training: give what `learn` made of captions")
    return vocabulary
