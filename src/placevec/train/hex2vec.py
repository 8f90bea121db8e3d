"""Hex2vec: a cell's counts are to tell its neighbours from cells far away. No label is seen.

Skip-gram with negative sampling, with cells for words (Wozniak & Szymanski, hex2vec: Context-Aware Embedding H3
Hexagons with OpenStreetMap Tags, ACM SIGSPATIAL GeoAI 2021, section 4): of a cell u, a neighbour v of its first ring
and cells w beyond its k-th, the loss is -ln s(u v) - mean ln s(-u w), s the logistic function of the product of their
vectors. Cells without any point of interest are drawn as neighbours and as far cells, and are no u.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from placevec.errors import DataError, UsageError
from placevec.geo.cells import CellArray, ring_index
from placevec.nn import configs
from placevec.nn.hex2vec import Hex2VecConfig, Hex2VecNet
from placevec.provenance import Space
from placevec.train.checkpoint import minted_space
from placevec.train.config import LoopConfig
from placevec.train.data import digest, parts
from placevec.train.loop import Report, TrainResult, fit
from placevec.train.objectives import gather

_HELD = 10  # of so many cells one is for validation
_ROWS = 1 << 16  # cells whose vectors are made at once


@dataclass(frozen=True)
class Hex2VecTraining:
    """How hex2vec is trained."""

    net: Hex2VecConfig = field(default_factory=Hex2VecConfig)  # its shape
    rings: int = 2  # cells within so many steps are never far
    negatives: int = 5  # far cells that are drawn for each pair
    loop: LoopConfig = field(default_factory=lambda: LoopConfig(epochs=20, batch_size=512, learning_rate=1e-3))

    def __post_init__(self) -> None:
        if self.rings < 1 or self.negatives < 1:
            raise UsageError(f"rings = {self.rings}, negatives = {self.negatives}: give at least 1 of each")

    def to_json(self) -> dict[str, Any]:
        """A JSON object; see `from_json`."""
        return configs.to_json(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Hex2VecTraining:
        """Read what `to_json` wrote; UsageError for an unknown setting."""
        return configs.from_json(cls, value)


@dataclass(frozen=True, eq=False)
class TrainedHex2Vec:
    """What a training ended with."""

    net: Hex2VecNet
    space: Space  # named by the weights: a run that is asked for again gives the same
    result: TrainResult

    def embed(self, counts: NDArray[np.float32]) -> NDArray[np.float32]:
        """Vectors (n, dims) of counts (n, categories)."""
        with torch.inference_mode():
            blocks = [
                self.net(torch.from_numpy(counts[at : at + _ROWS])) for at in range(0, max(len(counts), 1), _ROWS)
            ]
        return np.asarray(torch.cat(blocks).numpy())


class Pairs(nn.Module):
    """The loss of cells: each against a neighbour and against far cells."""

    def __init__(self, net: Hex2VecNet, counts: Tensor, disk: Tensor, negatives: int) -> None:
        super().__init__()
        self.net = net
        self.negatives = negatives
        # Not part of the weights, and so in no checkpoint.
        self.register_buffer("counts", counts, persistent=False)  # (n, categories)
        self.register_buffer("disk", disk, persistent=False)  # (n, m) rows of the cells within k steps, -1 absent

    counts: Tensor
    disk: Tensor

    def forward(self, batch: dict[str, Tensor], generator: torch.Generator) -> Tensor:
        """The loss of the cells in `row` (n,)."""
        loss, known = self.losses(batch["row"], generator)
        loss, known = gather(loss), gather(known)
        return loss.sum() / known.sum().clamp(min=1.0)

    def losses(self, row: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The loss (n,) of each cell, and 1 where it has a neighbour and a far cell, else both are 0."""
        device = self.counts.device
        ring = self.disk[row.to(device), 1:7]
        chance = torch.rand(ring.shape, generator=generator).to(device)
        # The neighbour with the highest chance among those that are there.
        pick = torch.where(ring >= 0, chance, -1.0).argmax(dim=1)
        near = ring.gather(1, pick[:, None])[:, 0]
        far = torch.randint(len(self.counts), (len(row), self.negatives), generator=generator).to(device)
        beyond = (far[:, :, None] != self.disk[row.to(device)][:, None, :]).all(dim=2).float()
        known = (near >= 0).float() * (beyond.sum(dim=1) > 0)
        u = self.net(self.counts[row.to(device)]).float()
        v = self.net(self.counts[near.clamp(min=0)]).float()
        w = self.net(self.counts[far.reshape(-1)]).float().reshape(*far.shape, -1)
        alike = -logsigmoid((u * v).sum(dim=1))
        apart = -logsigmoid(-(u[:, None] * w).sum(dim=2))
        apart = (apart * beyond).sum(dim=1) / beyond.sum(dim=1).clamp(min=1.0)
        return (alike + apart) * known, known


class Hex2VecObjective:
    """Hex2vec on the cells of an area; see `train.objectives.Objective`."""

    mode: Literal["min", "max"] = "min"

    def __init__(self, counts: NDArray[np.float32], cells: CellArray, config: Hex2VecTraining) -> None:
        if len(counts) != len(cells):
            raise DataError(f"counts of {len(counts)} cells, and {len(cells)} cells: give as many of each")
        if not np.isfinite(counts).all() or (counts < 0).any():
            raise DataError("a count is negative or not finite: hex2vec reads counts of points")
        disk = ring_index(cells, config.rings)
        some = np.flatnonzero((counts.sum(axis=1) > 0) & (disk[:, 1:7] >= 0).any(axis=1))
        some = some[np.argsort(cells[some])]
        if len(some) < 4 or len(cells) <= disk.shape[1]:
            raise DataError(
                f"{len(some)} of {len(cells)} cells have a point of interest and a neighbour: hex2vec needs more to "
                "learn from; take a larger area, finer cells, or the modality poi"
            )
        held = np.arange(len(some)) % _HELD == _HELD - 1
        train, val = parts(held, len(some))
        self.config = config
        self.train_rows, self.val_rows = some[train], some[val]
        self.count = len(self.train_rows)
        self.monitor = "loss" if len(self.val_rows) else ""
        self.key = digest(counts, cells)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.loop.seed)
            self.net = config.net.build(counts.shape[1])
        self.module: nn.Module = Pairs(self.net, torch.from_numpy(counts), torch.from_numpy(disk), config.negatives)

    def batch(self, rows: NDArray[np.int64]) -> dict[str, Tensor]:
        """The cells of training rows."""
        return {"row": torch.from_numpy(self.train_rows[rows])}

    def validate(self, device: torch.device) -> dict[str, float]:
        """The loss of the cells that are held out as u, with the same neighbours and far cells each time."""
        assert isinstance(self.module, Pairs)
        loss, known = self.module.losses(torch.from_numpy(self.val_rows), torch.Generator().manual_seed(0))
        return {"loss": float(loss.sum() / known.sum().clamp(min=1.0))}

    def identity(self) -> Mapping[str, Any]:
        """Settings and data."""
        settings = {name: value for name, value in self.config.to_json().items() if name != "loop"}
        return {"objective": "hex2vec", "settings": settings, "data": self.key}


def train_hex2vec(
    counts: NDArray[np.float32],
    cells: CellArray,
    config: Hex2VecTraining,
    folder: str | Path,
    *,
    progress: Report | None = None,
    restart: bool = False,
) -> TrainedHex2Vec:
    """Train hex2vec on the counts of an area.

    Args:
        counts: (n, categories) points of interest, none negative.
        cells: (n,) H3 cells of one resolution, distinct, in any order.
        config: the settings.
        folder: of the run; the same call goes on with a run that was killed.
        progress: called as (step, total, metrics).
        restart: forget what is in the folder.

    Raises:
        DataError: too few cells have a point of interest and a neighbour.
    """
    objective = Hex2VecObjective(np.ascontiguousarray(counts, dtype=np.float32), cells, config)
    result = fit(objective, config.loop, folder, progress=progress, restart=restart)
    space = minted_space(objective.net, config.net.dims, "hex2vec of points of interest")
    return TrainedHex2Vec(objective.net, space, result)
