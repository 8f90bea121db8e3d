"""From facts to sentences: several wordings, none of which says what is not there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from placevec.sources.tag_captions.facts import Fact

_NUMBERS = {2: "two", 3: "three", 4: "four"}
_MANY = 10  # from so many on, and five are several already, things are not counted any more
_TOLD = 6  # facts of a kind that are spoken of, the most prominent
_MOSTLY = 0.5  # of the tile: from there on land is what the tile is
_ROUNDS = 6  # of all wordings, in the hope of different ones


def sentences(facts: Sequence[Fact], count: int, rng: np.random.Generator) -> list[str]:
    """Up to `count` different sentences about a tile; the first names its most prominent facts.

    Lower case with a full stop of its own, as the caption sets of the field have them. A tile of which little is known
    has fewer sentences; one of which nothing is known has none.

    Args:
        facts: the most prominent first.
        count: how many sentences.
        rng: chooses the wordings.
    """
    found: dict[str, None] = {}
    teller = _Teller(facts, rng)
    for _ in range(_ROUNDS if facts else 0):
        for wording in teller.wordings():
            if len(found) >= count:
                return list(found)
            found.setdefault(f"{wording} .")
    return list(found)


class _Phrase(NamedTuple):
    text: str
    plural: bool


class _Teller:
    """Tells of one tile."""

    def __init__(self, facts: Sequence[Fact], rng: np.random.Generator) -> None:
        self.facts = facts
        self.rng = rng
        self.lands, self.things, self.lines = (
            [fact for fact in facts if fact.form == form][:_TOLD] for form in ("land", "thing", "line")
        )

    def wordings(self) -> Iterator[str]:
        """One sentence of each kind that the facts allow, the summary first, the others in any order."""
        yield self.summary()
        kinds: list[Callable[[], str]] = [partial(self.plain, self.one(self.facts[:_TOLD]))]
        kinds += [partial(self.plain, thing) for thing in self.things[:3]]
        if len(self.facts) > 1:
            kinds.append(self.view)
        if self.lands:
            kinds.append(self.land)
        if self.lands and self.things:
            kinds.append(self.near)
        if self.lines:
            kinds.append(self.line)
        if len(self.things) > 1:
            kinds.append(self.pair)
        for k in self.rng.permutation(len(kinds)).tolist():
            yield kinds[k]()

    def summary(self) -> str:
        first = self.say(self.facts[0])
        others = self.listed(self.facts[1:3])
        if not others:
            return self.plain(self.facts[0])
        return f"{first.text} with {others}"

    def plain(self, fact: Fact) -> str:
        phrase = self.say(fact)
        there = "there are" if phrase.plural else "there is"
        return f"{self.pick(there, 'we can see', 'the picture shows')} {phrase.text}"

    def view(self) -> str:
        last = int(self.rng.integers(2, min(len(self.facts), 4) + 1))
        return f"{self.pick('an aerial view of', 'a satellite image of')} {self.listed(self.facts[:last])}"

    def land(self) -> str:
        most = self.lands[0]
        if most.share >= _MOSTLY:
            return f"{self.pick('mostly', 'nearly everywhere', 'a large area of')} {self.say(most).text}"
        if len(self.lands) > 1:
            return self.listed(self.lands[:2])
        return f"{self.pick('an area with', 'a place with', 'land with')} {self.say(most).text}"

    def near(self) -> str:
        land = self.one(self.lands[:2])
        return f"{self.say(self.one(self.things)).text} {self.pick('near', 'close to')} {self.say(land).text}"

    def line(self) -> str:
        line = self.one(self.lines)
        others = [fact for fact in self.facts if fact is not line][:3]
        if not others:
            return self.plain(line)
        return f"{self.say(line).text} and {self.say(self.one(others)).text}"

    def pair(self) -> str:
        two = sorted(self.rng.permutation(len(self.things))[:2].tolist())
        return self.listed([self.things[k] for k in two])

    def listed(self, facts: Sequence[Fact]) -> str:
        texts = [self.say(fact).text for fact in facts]
        return " and ".join([" , ".join(texts[:-1]), texts[-1]]) if len(texts) > 1 else "".join(texts)

    def say(self, fact: Fact) -> _Phrase:
        """What a fact is called, with its number."""
        if fact.form == "land":
            word = self.pick(*fact.words)
            return _Phrase(word, word.endswith("s") and not word.endswith("ss"))
        if fact.count == 1:
            return _Phrase(fact.words[0], False)
        if fact.form == "line":
            return _Phrase(fact.many, True)
        number = _NUMBERS.get(fact.count) or ("several" if fact.count < _MANY else "many")
        return _Phrase(f"{number} {fact.many}", True)

    def one(self, facts: Sequence[Fact]) -> Fact:
        return facts[int(self.rng.integers(len(facts)))]

    def pick(self, *words: str) -> str:
        return str(words[int(self.rng.integers(len(words)))])
