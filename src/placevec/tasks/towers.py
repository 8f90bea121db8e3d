"""The pair of towers that belongs to a Space: given by name, or found beside the tables that it made."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from placevec.errors import SpaceMismatch, UsageError
from placevec.provenance import Space
from placevec.registry import need

if TYPE_CHECKING:
    from placevec.encoders.pair import PairModel

CARD = "card.json"
_KIND = "pair"


def find_pair(space: Space, *, near: Sequence[Path], given: str | None = None) -> PairModel:
    """The image and text towers of a Space.

    Args:
        space: that the vectors to be compared are in.
        near: files (tables) or folders; pairs are looked for beside them, in `models` beside them, and in `models`
            one folder up, in this order and by name.
        given: a folder of a pair or ``hf:NAME``; nothing is looked for then.

    Raises:
        UsageError: nothing was given and no pair of this Space lies near.
        SpaceMismatch: the one given is of another Space.
        CheckpointError: the folder of the pair is damaged.
    """
    need("torch", extra="torch", purpose="a pair of image and text towers")
    from placevec.encoders.pair import open_pair

    if given is not None:
        pair = open_pair(given)
        require_space(space, pair.space, given)
        return pair
    places = list(dict.fromkeys(_places(near)))
    for folder in places:
        for card in sorted(folder.glob(f"*/{CARD}")):
            if _is_pair_of(card, space):
                return open_pair(str(card.parent))
    looked = ", ".join(str(place) for place in places) or "nowhere: the table lies in no folder"
    raise UsageError(
        f"no pair of image and text towers of the Space {space.label} was found (looked in {looked}): "
        f"{_next_step(space)}"
    )


def require_space(space: Space, other: Space, name: str) -> None:
    """SpaceMismatch, with the next step, unless the model called `name`, of the Space `other`, is of `space`."""
    if (space.id, space.dims) != (other.id, other.dims):
        raise SpaceMismatch(
            f"the model {name} makes vectors of the Space {other.label}, the table holds {space.label}: give the model "
            f"that made the table, or embed the images with this one (placevec embed ... --encoder {name})"
        )


def _places(near: Sequence[Path]) -> Iterator[Path]:
    """The folders that may hold pairs, those that exist."""
    for path in near:
        beside = Path(path).absolute().parent
        for folder in (beside, beside / "models", beside.parent / "models"):
            if folder.is_dir():
                yield folder


def _is_pair_of(card: Path, space: Space) -> bool:
    """Whether a card says so; one that cannot be read is somebody else's."""
    try:
        value = json.loads(card.read_text(encoding="utf-8"))
        return value["kind"] == _KIND and (value["space"]["id"], value["space"]["dims"]) == (space.id, space.dims)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _next_step(space: Space) -> str:
    name = space.id.removeprefix("published:")
    if name != space.id:
        return f"give --model hf:{name.split('@')[0]}, or the folder of such a model"
    return "give the folder that `placevec train image-text` wrote with --model"
