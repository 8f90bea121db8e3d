"""What a kind of text network offers: how it reads words as numbers, and the network that reads those numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol, runtime_checkable

from torch import Tensor, nn

from placevec.nn.text.splitting import split
from placevec.nn.text.vocabulary import Vocabulary

PADDING = 0  # the token that stands for nothing


@runtime_checkable
class TextNetConfig(Protocol):
    """The description of a text network: a frozen dataclass with a `kind` of its own."""

    kind: ClassVar[str]

    @property
    def longest_text(self) -> int:
        """Words of a text that are read; those after them are cut off."""

    @property
    def reads_empty(self) -> bool:
        """Whether a text without words has a vector."""

    def learn(self, captions: Sequence[str]) -> Vocabulary:
        """The vocabulary of the training captions."""

    def rows(self, texts: Sequence[Sequence[str]], vocabulary: Vocabulary | None = None) -> Tensor:
        """Texts as lists of their words to tokens (n, width) int64, filled up with `PADDING`."""

    def build(self, dims: int, vocabulary: Vocabulary | None = None) -> nn.Module:
        """The network from tokens (n, width) to vectors (n, dims) float32."""


def tokens(texts: Sequence[str], config: TextNetConfig, vocabulary: Vocabulary | None = None) -> Tensor:
    """The tokens of texts, as the network of `config` reads them.

    Args:
        texts: n texts.
        config: the kind and its settings.
        vocabulary: that `config.learn` gave; kinds that hash their words need none.

    Returns:
        (n, width) int64, filled up with 0; the same on every machine and in every process.

    Raises:
        DataError: something that is not a text.
        UsageError: the kind needs a vocabulary, and there is none.
    """
    return config.rows(split(texts), vocabulary)
