"""The words that a training showed, numbered."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from placevec.errors import CheckpointError, DataError, UsageError
from placevec.nn.text.splitting import words

UNKNOWN, BEGIN, END = 1, 2, 3  # after PADDING = 0
SPECIALS = 4  # numbers that are no words

VERSION = 1


@dataclass(frozen=True)
class Vocabulary:
    """Words in the order of their numbers, which begin at `SPECIALS`."""

    words: tuple[str, ...]  # distinct, as `splitting.words` gives them; the most frequent first

    @classmethod
    def of(cls, captions: Iterable[str], min_count: int = 1, limit: int = 0) -> Vocabulary:
        """The words of captions, the most frequent first, equally frequent ones by the alphabet.

        Args:
            captions: texts.
            min_count: how often a word stands in them at least.
            limit: the most words that are kept; 0: all.

        Raises:
            UsageError: a number out of range.
            DataError: no word is left.
        """
        if min_count < 1 or limit < 0:
            raise UsageError(f"min_count = {min_count}, limit = {limit}: give at least 1, and 0 (all) or more")
        counts = Counter(word for caption in captions for word in words(caption))
        kept = sorted((-count, word) for word, count in counts.items() if count >= min_count)
        if not kept:
            raise DataError(
                f"no word stands {min_count} times in the captions ({len(counts)} different words): "
                "give more captions, or a smaller min_count"
            )
        return cls(tuple(word for _, word in kept[: limit or None]))

    def __len__(self) -> int:
        """Number of tokens: the words and the specials."""
        return SPECIALS + len(self.words)

    def __contains__(self, word: str) -> bool:
        return word in self._numbers

    def numbers(self, text: Sequence[str]) -> list[int]:
        """The numbers of the words of a text; `UNKNOWN` for those that are not known."""
        return [self._numbers.get(word, UNKNOWN) for word in text]

    def known(self, text: str) -> float:
        """The share of the words of a text that are known; 0 for a text without words."""
        found = words(text)
        return sum(word in self._numbers for word in found) / len(found) if found else 0.0

    def to_bytes(self) -> bytes:
        """The content of `vocabulary.json`; see `from_bytes`."""
        value = {"version": VERSION, "specials": ["padding", "unknown", "begin", "end"], "words": self.words}
        return (json.dumps(value, ensure_ascii=False, indent=0) + "\n").encode()

    @classmethod
    def from_bytes(cls, content: bytes, where: str) -> Vocabulary:
        """Read what `to_bytes` wrote.

        Raises:
            CheckpointError: it is damaged, or written by a newer placevec; the message begins with `where`.
        """
        try:
            value = json.loads(content)
            version, found = value["version"], value["words"]
            if version != VERSION:
                raise CheckpointError(f"{where} has version {version!r}; this placevec reads version {VERSION}")
            if not all(isinstance(word, str) for word in found) or len(set(found)) != len(found):
                raise ValueError("words are distinct texts")
            return cls(tuple(found))
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"{where} is damaged ({error}): copy the model folder whole") from None

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.words, start=SPECIALS)}
