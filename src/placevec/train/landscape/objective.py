"""Neighbours on the ground belong together, patches far away do not: the objectives of a landscape encoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from placevec.encoders.landscape import checked
from placevec.errors import UsageError
from placevec.geo.sphere import chord_of
from placevec.nn.landscape import LandscapeNet
from placevec.train.landscape.config import LandscapeTraining
from placevec.train.landscape.pairs import Pairs
from placevec.train.objectives import gather

ANCHOR, NEIGHBOUR = "anchor/", "neighbour/"
VALIDATED = 2048  # validation pairs that are looked at, at most
TOGETHER = 256  # validation pairs of one batch
_NONE = -1e4  # the logit of what is no negative


class Neighbours(nn.Module):
    """Pairs of patches, through the network, to the loss."""

    def __init__(self, net: LandscapeNet, config: LandscapeTraining, far_m: float) -> None:
        super().__init__()
        self.net = net
        self.config = config
        self.far = float(chord_of(far_m)) ** 2
        classes = [layer.classes for layer in net.config.layers if layer.classes]
        told = net.statistics.count if config.describe and net.statistics is not None else 0
        self.tell = nn.Linear(net.config.dims, 2 * told) if told else None
        # What is never hidden is never guessed: an untrained guess would be no part of a loss that chooses weights.
        guessed = config.infill and config.hide and classes
        self.guess = nn.Linear(net.config.dims, sum(classes)) if guessed else None
        if not config.contrast and self.tell is None and self.guess is None:
            raise UsageError("contrast and describe are 0, and no layer has classes to guess: nothing would be learned")

    def forward(self, batch: dict[str, Tensor], generator: torch.Generator) -> Tensor:
        """The loss of pairs `anchor/LAYER` and `neighbour/LAYER` (n, p, p), which lie at `unit` and `other` (n, 3)."""
        turn = int(torch.randint(8, (1,), generator=generator))
        anchors = {name: _turned(value, turn) for name, value in _of(batch, ANCHOR).items()}
        neighbours = {name: _turned(value, turn) for name, value in _of(batch, NEIGHBOUR).items()}
        hidden = float(torch.rand(1, generator=generator)) < self.config.hide
        pixels = self.net.config.pixels
        half = int(torch.randint(max(1, pixels // 16), 3 * pixels // 16 + 1, (1,), generator=generator))
        return self.losses(anchors, neighbours, (batch["unit"], batch["other"]), half if hidden else 0)

    def losses(
        self,
        anchors: Mapping[str, Tensor],
        neighbours: Mapping[str, Tensor],
        units: tuple[Tensor, Tensor],
        half: int = 0,
    ) -> Tensor:
        """The loss of pairs.

        Args:
            anchors: {layer: (n, p, p)}.
            neighbours: of the same pairs.
            units: (n, 3) where both lie.
            half: pixels from the centre of the anchors that are hidden to all sides; 0: none.
        """
        shown = self._hide(anchors, half) if half else anchors
        seen, far = self.net.scaled(shown), self.net.scaled(neighbours)
        a, b = self.net.head(seen), self.net.head(far)
        ends = F.normalize(a.float(), dim=1), F.normalize(b.float(), dim=1)
        # All processes validate the same pairs: gathered, each would stand among its own negatives.
        a_all, b_all, unit, other = (gather(part) if self.training else part for part in (*ends, *units))
        near = self.near(unit, other)
        loss = self.config.contrast * self.between(a_all, b_all, near)
        if self.tell is not None:
            loss = loss + self.config.describe * self._describe(
                a, b, self._told(anchors, None if half else seen), self._told(neighbours, far)
            )
        if self.guess is not None and (half or _several()):
            # Each of several processes draws whether to hide, and must have a gradient of every weight all the same.
            loss = loss + (self.config.infill if half else 0.0) * self._infill(a, anchors)
        return loss

    def between(self, a: Tensor, b: Tensor, near: Tensor) -> Tensor:
        """The loss of unit vectors (n, d) of anchors and neighbours.

        Args:
            a: of the anchors.
            b: of the neighbours.
            near: (n, n), which neighbours are no negatives of which anchors.
        """
        cosines = a @ b.T
        if self.config.loss == "triplet":
            return (triplet(cosines, near, self.config.margin) + triplet(cosines.T, near.T, self.config.margin)) / 2
        logits = (cosines / self.config.temperature).masked_fill(near, _NONE)
        own = torch.arange(len(a), device=a.device)
        return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2

    def near(self, unit: Tensor, other: Tensor) -> Tensor:
        """Which neighbours lie so near which anchors that they are not told apart, (n, n); not those of one pair.

        What counts is how far the negative itself lies: between anchors that are far enough from each other, a
        neighbour of the one may stand beside the other.

        Args:
            unit: (n, 3) where the anchors lie, in double precision: near ones differ by their last digits only.
            other: (n, 3) where their neighbours lie.
        """
        apart = ((unit[:, None] - other[None, :]) ** 2).sum(dim=2)
        near = apart < self.far
        near.fill_diagonal_(False)
        return near

    def _hide(self, patches: Mapping[str, Tensor], half: int) -> dict[str, Tensor]:
        """Patches with nothing in the square of `half` pixels to all sides of the centre."""
        pixels = self.net.config.pixels
        inside = slice(pixels // 2 - half, pixels // 2 + half)
        out = {}
        for layer in self.net.config.layers:
            patch = patches[layer.name].clone()
            patch[:, inside, inside] = 0 if layer.classes else torch.nan
            out[layer.name] = patch
        return out

    def _told(self, patches: Mapping[str, Tensor], scaled: Tensor | None = None) -> Tensor:
        """The statistics (n, count) of patches: the first of their `scaled` features, where those are known."""
        if scaled is None:
            with torch.no_grad():
                return self.net.described(patches)
        assert self.net.statistics is not None
        return scaled[:, : self.net.statistics.count].detach()

    def _describe(self, a: Tensor, b: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """How far vectors of both ends are from telling the statistics (n, count) of the own patch and of the other."""
        assert self.tell is not None
        told = F.mse_loss(self.tell(a), torch.cat([first, second], dim=1))
        # Twice the mean over both halves is the sum of their means.
        return 2.0 * (told + F.mse_loss(self.tell(b), torch.cat([second, first], dim=1)))

    def _infill(self, vectors: Tensor, patches: Mapping[str, Tensor]) -> Tensor:
        """The cross-entropy of the guessed shares of classes in the middle quarter of the patches."""
        assert self.guess is not None
        pixels = self.net.config.pixels
        inside = slice(pixels // 2 - pixels // 8, pixels // 2 + pixels // 8)
        total = vectors.new_zeros(())
        start = 0
        guessed = self.guess(vectors)
        for layer in self.net.config.layers:
            if not layer.classes:
                continue
            there = F.one_hot(patches[layer.name][:, inside, inside].long(), layer.classes + 1)[..., 1:].float()
            shares = there.mean(dim=(1, 2))
            logs = guessed[:, start : start + layer.classes].log_softmax(dim=1)
            total = total - (shares * logs).sum(dim=1).mean()
            start += layer.classes
        return total


def triplet(cosines: Tensor, near: Tensor, margin: float) -> Tensor:
    """The triplet loss of unit vectors with semi-hard negatives, from their cosines (anchors, neighbours).

    With squared distances D = 2 - 2 cos::

        loss = mean_i max(0, D(a_i, b_i) - D(a_i, b_n) + margin)

    where b_n is the nearest far patch that is not nearer than the neighbour; where there is none, the least near of
    those that are nearer (Schroff et al. 2015, section 3.2).
    """
    distance = 2.0 - 2.0 * cosines
    own = distance.diagonal()
    outside = near | torch.eye(len(own), dtype=torch.bool, device=near.device)
    hard = distance < own[:, None]
    semi = distance.masked_fill(outside | hard, torch.inf).amin(dim=1)
    least = distance.masked_fill(outside | ~hard, -torch.inf).amax(dim=1)
    chosen = torch.where(torch.isfinite(semi), semi, least)
    # Without any far patch in the batch there is nothing to compare with.
    there = torch.isfinite(chosen)
    terms = (own - torch.where(there, chosen, own.detach()) + margin).clamp_min(0.0)
    return (terms * there).sum() / there.sum().clamp_min(1)


class LandscapeObjective:
    """Training pairs and validation pairs; see `train.objectives.Objective`."""

    mode: Literal["min", "max"] = "min"

    def __init__(self, pairs: Pairs, val: Pairs, net: LandscapeNet, config: LandscapeTraining) -> None:
        self.pairs = pairs
        self.val = val.take(np.arange(0, len(val), -(-len(val) // VALIDATED) or 1))
        self.config = config
        self.count = len(pairs)
        self.far_m = pairs.reach_m if config.far_m is None else config.far_m
        self.net = net
        self.module: nn.Module = Neighbours(net, config, self.far_m)
        self.monitor = "loss" if len(self.val) >= 2 else ""
        self._units = pairs.lonlat.unit(), pairs.other.unit()
        self._held = self._tensors(self.val, np.arange(len(self.val))) if self.monitor else None

    def batch(self, rows: NDArray[np.int64]) -> dict[str, Tensor]:
        """The patches of training pairs."""
        first, second = self._tensors(self.pairs, rows)
        found = {f"{ANCHOR}{name}": value for name, value in first.items()}
        found |= {f"{NEIGHBOUR}{name}": value for name, value in second.items()}
        unit, other = (torch.from_numpy(units[rows]) for units in self._units)
        return {**found, "unit": unit, "other": other}

    def _tensors(self, pairs: Pairs, rows: NDArray[np.int64]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        first, second = pairs.read(rows)
        return checked(first, self.net.config), checked(second, self.net.config)

    def validate(self, device: torch.device) -> dict[str, float]:
        """The loss, and how well anchors of the validation pairs find their neighbours among those of all.

        The loss is that of training, of shuffled batches, with the middle quarter of the anchors hidden where training
        hides any. It falls more smoothly than ranks rise, and chooses the weights.
        """
        assert self._held is not None
        assert isinstance(self.module, Neighbours)
        a, b = (self._vectors(patches, device) for patches in self._held)
        units = [torch.from_numpy(where.unit()).to(device) for where in (self.val.lonlat, self.val.other)]
        near = self.module.near(units[0], units[1])
        order = self._shuffled()
        half = self.net.config.pixels // 8 if self.config.hide else 0
        total = 0.0
        for start in range(0, len(order), TOGETHER):
            part = torch.from_numpy(order[start : start + TOGETHER])
            first, second = (
                {name: value[part].to(device) for name, value in patches.items()} for patches in self._held
            )
            where = (units[0][part], units[1][part])
            total += len(part) * float(self.module.losses(first, second, where, half))
        ranks = own_ranks(a @ b.T, near)
        return {
            "mrr": float((1.0 / ranks).mean()),
            "recall_at_10": float((ranks <= 10).double().mean()),
            "loss": total / len(order),
        }

    def _shuffled(self) -> NDArray[np.int64]:
        """The validation pairs in an order that comes from where they lie, and not from how they were stored."""
        ends = self.val.lonlat, self.val.other
        stored = np.lexsort([degrees for end in ends for degrees in (end.lon, end.lat)])
        return stored[np.random.default_rng(0).permutation(len(stored))].astype(np.int64)

    def _vectors(self, patches: Mapping[str, Tensor], device: torch.device) -> Tensor:
        count = len(next(iter(patches.values())))
        parts = (
            F.normalize(
                self.net({name: value[start : start + 256].to(device) for name, value in patches.items()}), dim=1
            )
            for start in range(0, count, 256)
        )
        return torch.cat(list(parts)).float()

    def identity(self) -> Mapping[str, Any]:
        """Settings and data."""
        settings = {name: value for name, value in self.config.to_json().items() if name != "loop"}
        return {
            "objective": "landscape",
            "settings": settings,
            "net": self.net.config.to_json(),
            "data": self.pairs.key,
            "validation": self.val.key,
        }


def own_ranks(scores: Tensor, near: Tensor) -> Tensor:
    """The rank (n,) of entry (i, i) in row i of `scores` (n, n), without those that are `near`; ties count half."""
    others = scores.masked_fill(near, -torch.inf)
    own = scores.diagonal()[:, None]
    better = (others > own).sum(dim=1)
    equal = (others == own).sum(dim=1) - 1
    return 1.0 + better.double() + 0.5 * equal.double()


def _several() -> bool:
    """Whether other processes train together with this one."""
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    return distributed and torch.distributed.get_world_size() > 1


def _turned(patches: Tensor, turn: int) -> Tensor:
    """Patches (n, p, p) under one of the eight turns and mirrors of a square."""
    turned = torch.rot90(patches, turn % 4, (1, 2))
    return turned.flip(2) if turn >= 4 else turned


def _of(batch: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in batch.items() if name.startswith(prefix)}
