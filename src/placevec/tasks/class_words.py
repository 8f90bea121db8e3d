"""Labels of classes as words that a text tower can read ("tenniscourt", "TennisCourt"), and queries in words."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

from placevec.errors import DataError, UsageError

SHORTEST = 3  # letters of a word that is split off


def label_words(label: str, vocabulary: Collection[str] = ()) -> str:
    """A label in words: parted at signs and capitals, and glued words at words of the vocabulary.

    A part that is no known word is split into the fewest known ones (known as they stand, or with an s), if that can
    be done at all.

    Args:
        label: such as "tenniscourt" or "Dense_Residential".
        vocabulary: words in lower case, such as those of captions.
    """
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", label)
    parts = re.findall(r"[^\W\d_]+", apart.lower())
    known = frozenset(vocabulary)
    return " ".join(word for part in parts for word in _split(part, known)) or label


def check_words(text: str) -> str:
    """A query in words; UsageError if there is no word in it."""
    if not any(letter.isalnum() for letter in text):
        raise UsageError(f"the text {text!r} has no word: write what to look for, such as 'a river in a city'")
    return text


def caption_words(captions: Iterable[Sequence[str]]) -> set[str]:
    """The words of captions, in lower case."""
    return {word for texts in captions for text in texts for word in re.findall(r"[^\W\d_]+", text.lower())}


def read_names(path: str | Path) -> dict[str, str]:
    """A file of names: a JSON object {label: words}, or lines LABEL,WORDS.

    Raises:
        UsageError: the file does not exist.
        DataError: it is neither.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}): give a file of LABEL,WORDS lines") from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is no text in UTF-8: write it as UTF-8") from None
    if text.lstrip().startswith("{"):
        try:
            found = json.loads(text)
        except ValueError as error:
            raise DataError(f"{path} is no JSON ({error}): write an object of label: words") from None
        pairs = list(found.items())
    else:
        pairs = [tuple(line.split(",", 1)) for line in text.splitlines() if line.strip()]
    if any(len(pair) != 2 or not isinstance(pair[1], str) or not pair[1].strip() for pair in pairs):
        raise DataError(f"{path}: each label needs its words, as LABEL,WORDS or as a JSON object of texts")
    return {str(pair[0]).strip(): str(pair[1]).strip() for pair in pairs}


def prompts(labels: Iterable[str], names: Mapping[str, str] | None, vocabulary: Collection[str] = ()) -> dict[str, str]:
    """The words of each distinct label: those given, else those of `label_words`.

    Raises:
        DataError: two labels have the same words.
    """
    given = names or {}
    found = {label: given.get(label, label_words(label, vocabulary)) for label in sorted(set(labels))}
    if len(set(found.values())) < len(found):
        twice = next(words for words in found.values() if list(found.values()).count(words) > 1)
        raise DataError(f"two labels are called {twice!r}: give a file of names that tells them apart")
    return found


def _split(word: str, known: frozenset[str]) -> list[str]:
    @cache
    def best(rest: str) -> tuple[str, ...] | None:
        if rest in known or f"{rest}s" in known:
            return (rest,)
        found: tuple[str, ...] | None = None
        for end in range(SHORTEST, len(rest) - SHORTEST + 1):
            head = rest[:end]
            if head in known or f"{head}s" in known:
                tail = best(rest[end:])
                if tail is not None and (found is None or 1 + len(tail) < len(found)):
                    found = (head, *tail)
        return found

    return list(best(word) or (word,))
