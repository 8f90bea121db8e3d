"""Which captions a model has seen: splits of a caption set go by their names, as the set itself says them.

Other labels leak by the name of their column alone. Captions have no such name: every set calls them captions, and
those of one set say nothing of another's. So the set counts too, where both sides name one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from placevec.errors import LeakError
from placevec.provenance import Saw

COLUMN = "captions"
RULE = "named"


def saw_captions(table: str, splits: Iterable[str]) -> Saw:
    """What stands in the card of a model that was fitted on, or chosen by, captions.

    Args:
        table: the caption set: a hash of its content, or what it was called ("dataset:ucm", a path); "" if it is not
            known.
        splits: names of the splits that were seen; none if the set has no splits, so that all of it was.
    """
    names = sorted({name for name in splits if name})
    return Saw(table, COLUMN, {"rule": RULE, "names": names} if names else {})


def seen_splits(saw: Sequence[Saw], known: Sequence[str], splits: Sequence[str]) -> list[str]:
    """Those of the splits of a caption set that were seen; "" stands for captions without a split.

    Args:
        saw: of the model.
        known: what the set is called, and the hash of its content; where nothing is known it counts as any set.
        splits: that are to be tested.
    """
    found: set[str] = set()
    for one in saw:
        if one.column != COLUMN or not same_set(one.table, known):
            continue
        names = one.split.get("names") if one.split else None
        # What cannot be read counts as all.
        found |= set(splits) & set(names) if isinstance(names, list | tuple) else set(splits)
    return sorted(found)


def other_sets(saw: Sequence[Saw], known: Sequence[str]) -> list[str]:
    """The caption sets that were seen besides this; whether they share images with it is not known."""
    return sorted({one.table for one in saw if one.column == COLUMN and not same_set(one.table, known)})


def refuse_seen(name: str, saw: Sequence[Saw], known: Sequence[str], splits: Sequence[str]) -> None:
    """LeakError if the model `name` has seen one of the splits that are to be tested; see `seen_splits`."""
    found = seen_splits(saw, known, splits)
    if found:
        words = ", ".join(repr(split) for split in found) if any(found) else "all of it"
        raise LeakError(
            f"{name} was fitted on, or chosen by, captions of {next(iter(known), 'this set')} ({words}): test another "
            "split, or a model that has not seen it"
        )


def same_set(table: str, known: Sequence[str]) -> bool:
    """Whether a set that was seen is the one in question, as far as can be told."""
    names = {_place(name) for name in known if name}
    return not table or not names or _place(table) in names


def _place(table: str) -> str:
    # A hash of the content stays what it is but for the folder before it, which is the same for all.
    return table if table.startswith("dataset:") else str(Path(table).resolve())
