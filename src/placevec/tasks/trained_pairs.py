"""The model that is meant where none is named: the one pair of towers that was trained below a folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from placevec.encoders.base import ModelCard
from placevec.encoders.model import CARD, read_card
from placevec.encoders.pair import KIND
from placevec.errors import CheckpointError, UsageError

MODELS = ("models", "*/models", "*/*/models")  # below the folder: its own, that of an area, that of an example


def trained_pair(root: str | Path = ".", *, named: bool = True) -> Path:
    """The folder of the only pair of towers in `models` of a folder, or of a folder in it.

    Args:
        root: the folder.
        named: only pairs whose card names the captions that they were trained on; untrained ones do not.

    Raises:
        UsageError: there is none, or there are several.
    """
    found = [folder for folder, card in _pairs(Path(root)) if card.recipe.get("captions") or not named]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(
            f"there are {len(found)} models here: {', '.join(str(path) for path in found[:8])}; name one of them"
        )
    raise UsageError(
        f"no pair of image and text towers was found in {', '.join(MODELS)}: name a model, or train one with "
        "`placevec train image-text`"
    )


def _pairs(root: Path) -> Iterator[tuple[Path, ModelCard]]:
    for pattern in MODELS:
        for path in sorted(root.glob(f"{pattern}/*/{CARD}")):
            # Hidden folders hold what is unfinished, and environments.
            if any(part.startswith(".") for part in path.relative_to(root).parts):
                continue
            try:
                card = read_card(path.parent)
            except CheckpointError:  # somebody else's
                continue
            if card.kind == KIND:
                yield path.parent, card
