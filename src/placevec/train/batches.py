"""The order of training rows and the random seeds of a step: functions of (seed, epoch, step), without any state.

Nothing about the order has to be saved, so that a run that was killed goes on exactly where it was.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from placevec.errors import UsageError

_ORDER, _STEP = 1, 2  # streams of random numbers that must not meet


@dataclass(frozen=True)
class Batches:
    """Shuffled batches of `count` rows, split between `world` processes.

    Attributes:
        count: number of training rows.
        size: rows of one step over all processes; smaller where there are fewer rows. The last, incomplete batch of
            an epoch is left out (its rows come again in the next epoch, in another order).
        seed: of the shuffles.
        world: number of processes; each takes an equal, contiguous part of every batch.
        least: the fewest rows that a step makes sense with; of a loss that compares rows 2.
    """

    count: int
    size: int
    seed: int
    world: int = 1
    least: int = 2

    def __post_init__(self) -> None:
        if self.count < self.least * self.world:
            raise UsageError(
                f"{self.count} training rows for {self.world} processes: training needs at least {self.least} for each"
            )
        if self.size < self.least * self.world:
            raise UsageError(
                f"batch_size = {self.size} for {self.world} processes: each needs at least {self.least}: "
                f"give {self.least * self.world} or more"
            )

    @property
    def whole(self) -> int:
        """Rows of one step over all processes, a multiple of `world`."""
        return min(self.size, self.count) // self.world * self.world

    @property
    def per_epoch(self) -> int:
        """Steps of one epoch."""
        return self.count // self.whole

    def order(self, epoch: int) -> NDArray[np.int64]:
        """(count,) the order of the rows in `epoch`."""
        return np.random.default_rng([_ORDER, self.seed, epoch]).permutation(self.count)

    def rows(self, order: NDArray[np.int64], index: int, rank: int = 0) -> NDArray[np.int64]:
        """The rows of process `rank` in batch `index` of an epoch with the `order` given."""
        part = self.whole // self.world
        start = index * self.whole + rank * part
        return order[start : start + part]


def step_seed(seed: int, step: int, rank: int = 0) -> int:
    """A seed for all random numbers of one step in one process: augmentation, dropout."""
    return int(np.random.SeedSequence([_STEP, seed, step, rank]).generate_state(1, np.uint64)[0] >> 1)
