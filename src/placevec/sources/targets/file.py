"""A file of targets: cells with a column for each target, in Parquet, with where they come from in the footer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from placevec.errors import FormatError
from placevec.provenance import SourceRef
from placevec.table import Places
from placevec.table.parquet import open_parquet
from placevec.table.stored_places import PlacesSink, StoredPlaces

FOOTER = "placevec-targets"


@dataclass(frozen=True)
class TargetsCard:
    """What a file of targets says of itself.

    Attributes:
        resolution: of its cells, H3's.
        how: of each column whether it was summed or averaged; "" where it came as it was.
        settings: how the files were read.
        sources: the files, with their hashes.
        notes: what was counted and left out.
    """

    resolution: int
    how: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    sources: tuple[SourceRef, ...] = ()
    notes: tuple[str, ...] = ()

    def to_json(self) -> str:
        """A JSON object."""
        return json.dumps({"version": 1, **asdict(self)}, ensure_ascii=False, default=str)

    @classmethod
    def from_json(cls, text: str | bytes) -> TargetsCard:
        """The card of a footer; FormatError if it is none."""
        try:
            kept = json.loads(text)
            if kept.pop("version") != 1:
                raise FormatError("the targets were written by a newer placevec; update, or make them again")
            sources = tuple(SourceRef(**ref) for ref in kept.pop("sources"))
            return cls(**{**kept, "notes": tuple(kept["notes"])}, sources=sources)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise FormatError(f"the footer {FOOTER} is damaged ({error}); import the targets again") from None


def write_targets(places: Places, path: str | Path, card: TargetsCard) -> None:
    """Write cells with their targets, whole or not at all."""
    with PlacesSink(path) as sink:
        sink.footers[FOOTER] = card.to_json()
        sink.write(places.take([]))  # says what the columns are, where there are no rows
        sink.write(places)


def is_targets(path: str | Path) -> bool:
    """Whether a file holds targets."""
    where = Path(path)
    if where.suffix != ".parquet" or not where.is_file():
        return False
    try:
        return FOOTER.encode() in open_parquet(where)[1]
    except FormatError:
        return False


def read_targets(path: str | Path) -> tuple[Places, TargetsCard]:
    """The cells of a file of targets, and its card; FormatError if it is none."""
    stored = StoredPlaces(path)
    card = stored.footer.get(FOOTER.encode())
    if card is None:
        raise FormatError(f"{path} holds no targets (no footer {FOOTER}); make it with `placevec area targets`")
    return stored.read(0, stored.num_rows), TargetsCard.from_json(card)
