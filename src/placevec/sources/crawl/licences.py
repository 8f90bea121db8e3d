"""Licences of Flickr's photos: its numbers, the usual short names, and which of them a crawl takes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from placevec.errors import UsageError

REUSE = "reuse"
OPEN = "open"
ALL = "all"
_SETS = (REUSE, OPEN, ALL)
_RESERVED = "all-rights-reserved"
_NAMES = {"0": _RESERVED, "7": "no-known-copyright", "8": "us-government-work"}


@dataclass(frozen=True)
class Licence:
    """A licence of `flickr.photos.licenses.getInfo`."""

    id: str  # Flickr's number
    code: str  # SPDX's where it has one, such as CC-BY-SA-4.0
    name: str  # Flickr's words
    url: str  # of its text; "" for none

    @classmethod
    def of(cls, id: str, name: str, url: str) -> Licence:
        """The licence with its code, which its address tells."""
        return cls(id, _code(id, name, url), name, url)

    @property
    def reusable(self) -> bool:
        """Whether photos may be used again and changed, as cropping does: with attribution, perhaps not for money."""
        known = self.id in ("7", "8") or self.code.startswith(("CC-BY", "CC0", "PDM"))
        return known and "-ND" not in self.code

    @property
    def open(self) -> bool:
        """Whether they may be used again for anything."""
        return self.reusable and "-NC" not in self.code


def read_licences(value: Any) -> tuple[Licence, ...]:
    """The licences of an answer of `flickr.photos.licenses.getInfo`; ValueError if it is none."""
    try:
        rows = value["licenses"]["license"]
        found = tuple(Licence.of(str(row["id"]), str(row["name"]), str(row.get("url") or "")) for row in rows)
    except (KeyError, TypeError, AttributeError):
        found = ()
    if not found:
        raise ValueError("no list of licences")
    return found


def chosen(licences: Sequence[Licence], wanted: Sequence[str]) -> tuple[Licence, ...]:
    """The licences that are meant.

    Args:
        licences: all that there are.
        wanted: "reuse" (they allow reuse and changes), "open" (for any purpose), "all", codes such as CC-BY-4.0, codes
            without a version (CC-BY), or Flickr's numbers.

    Raises:
        UsageError: there is no such licence.
    """
    taken: set[str] = set()
    for word in wanted:
        text = word.strip().casefold()
        found = {
            one.id
            for one in licences
            if text in (one.id, one.code.casefold(), re.sub(r"-[\d.]+$", "", one.code).casefold(), ALL)
            or (text == REUSE and one.reusable)
            or (text == OPEN and one.open)
        }
        if not found and text not in _SETS:
            known = ", ".join((*_SETS, *(one.code for one in licences)))
            raise UsageError(f"there is no licence {word.strip()!r}; choose of: {known}")
        taken |= found
    if not taken:
        raise UsageError("no licence is taken; choose some, such as --licences reuse")
    return tuple(one for one in licences if one.id in taken)


def _code(id: str, name: str, url: str) -> str:
    creative = re.search(r"creativecommons\.org/licenses/([a-z-]+)/(\d+(?:\.\d+)*)", url)
    if creative:
        return f"CC-{creative[1].upper()}-{creative[2]}"
    public = re.search(r"creativecommons\.org/publicdomain/(zero|mark)/(\d+(?:\.\d+)*)", url)
    if public:
        return f"{'CC0' if public[1] == 'zero' else 'PDM'}-{public[2]}"
    return _NAMES.get(id) or re.sub(r"[^a-z0-9]+", "-", name.casefold()).strip("-") or f"flickr-{id}"
