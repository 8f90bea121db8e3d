"""How much of a tower that was trained before learns further."""

from __future__ import annotations

from placevec.encoders.network import seeded
from placevec.errors import UsageError
from placevec.nn import lora
from placevec.train.pairs.config import TowerTuning
from placevec.train.pairs.towers import Tower


def tune(tower: Tower, how: TowerTuning, name: str, seed: int) -> None:
    """Let learn what `how` says of a tower, and nothing else of it; it is changed in place.

    Args:
        tower: the tower.
        how: the settings.
        name: of the tower, for messages.
        seed: of the adapters' first weights.

    Raises:
        UsageError: the tower has fewer blocks than are to be trained, or none with layers for adapters.
    """
    tower.requires_grad_(how.mode == "all")
    blocks = tower.blocks()
    if how.mode == "last":
        if how.blocks > len(blocks):
            raise UsageError(
                f"tune.{name}.blocks = {how.blocks}, and the {name} tower has {len(blocks)} blocks: give fewer"
            )
        for part in [*blocks[len(blocks) - how.blocks :], *tower.after()]:
            part.requires_grad_(True)
    elif how.mode == "lora":
        if not blocks:
            raise UsageError(f"tune.{name}.mode = 'lora', and the {name} tower has no blocks: give all or locked")

        def attached() -> Tower:
            for block in blocks:
                lora.attach(block, how.rank, how.alpha, tower.layers)
            return tower

        seeded(attached, seed)


def fold(tower: Tower) -> None:
    """Fold adapters into the weights they stand beside, so that the tower has its first structure again."""
    lora.merge(tower)
