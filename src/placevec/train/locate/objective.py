"""What the training loop sees of a phase: batches, the loss, and the figures of the validation rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.distributions import Beta

from placevec.encoders.locator.net import LocatorNet
from placevec.geo.geocells import GeoCells
from placevec.nn import configs
from placevec.nn.locator.losses import LocatorLoss, pairwise_m
from placevec.train.augment import augment
from placevec.train.locate.config import PhaseConfig
from placevec.train.locate.data import LocateData
from placevec.train.locate.mixture import mixture_loss

Rows = NDArray[np.int64]

FEATURE, EXTRA = "feature/", "extra/"
_GREY = 64.0  # grey levels that count as one deviation of a band, for augmentation
_TOGETHER = 256  # validation rows of one batch


class Locating(nn.Module):
    """Images, or the features of frozen encoders, through a locator's network to the loss.

    Args:
        net: backbones and head.
        geocells: the cells of the head.
        config: of the phase.
        counts: (P,) training images of each region.
        cached: whether batches hold features; then the backbones are no part of what is trained.
        per_epoch: steps of an epoch, for the ramp of the offset's weight.
    """

    step: Tensor
    centres: Tensor
    region: Tensor
    areas_m2: Tensor
    counts: Tensor

    def __init__(
        self, net: LocatorNet, geocells: GeoCells, config: PhaseConfig, counts: Tensor, cached: bool, per_epoch: int
    ) -> None:
        super().__init__()
        self.head = net.head
        self.backbones = nn.ModuleList() if cached else net.backbones
        self.config = config
        self.per_epoch = per_epoch
        self.total_m2 = float(geocells.regions.areas_m2.sum())
        # The steps done stand in the checkpoint, so that a run that goes on has the ramp where it was.
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        self.register_buffer("centres", torch.from_numpy(geocells.centres.unit()), persistent=False)
        self.register_buffer("region", torch.from_numpy(geocells.region.copy()), persistent=False)
        self.register_buffer("areas_m2", torch.from_numpy(geocells.regions.areas_m2.copy()), persistent=False)
        self.register_buffer("counts", counts, persistent=False)
        self.loss = self._loss()

    def _loss(self) -> LocatorLoss:
        return LocatorLoss(self.config.loss, self.centres, self.region, self.counts, self.areas_m2)

    def forward(self, batch: dict[str, Tensor], generator: torch.Generator) -> Tensor:
        """The loss of a batch, features of pairs of images mixed where the phase says so."""
        features = self.features(batch, generator)
        extras = {name.removeprefix(EXTRA): value for name, value in batch.items() if name.startswith(EXTRA)}
        truth = {name: batch[name] for name in ("unit", "region", "cell")}
        epoch = float(self.step) / self.per_epoch
        if self.training:
            self.step += 1
        if not (self.config.mixup and self.training):
            return self.total(self.head.fuse(features, extras), truth, epoch)
        share, order = self._mix(len(batch["unit"]), generator)
        if extras:
            share = max(share, 1.0 - share)  # further inputs are those of the first image: it has to count for more
        order = order.to(batch["unit"].device)
        mixed = [share * feature + (1.0 - share) * feature[order] for feature in features]
        fused = self.head.fuse(mixed, extras)
        other = {name: value[order] for name, value in truth.items()}
        return share * self.total(fused, truth, epoch) + (1.0 - share) * self.total(fused, other, epoch)

    def features(self, batch: Mapping[str, Tensor], generator: torch.Generator | None) -> list[Tensor]:
        """The features (n, width) of each backbone."""
        if not len(self.backbones):
            return [batch[name] for name in sorted(batch, key=_number) if name.startswith(FEATURE)]
        image = batch["image"]
        if generator is not None and self.training and not self.config.augment.still:
            seen = augment((image.float() - 127.5) / _GREY, self.config.augment, generator)
            image = (seen * _GREY + 127.5).clamp_(0.0, 255.0).round_().to(torch.uint8)
        return [backbone(image) for backbone in self.backbones]

    def total(self, fused: Tensor, truth: Mapping[str, Tensor], epoch: float) -> Tensor:
        """The weighted sum of the terms for fused vectors (n, dims)."""
        if self.loss.centres.device != self.centres.device:  # the loop has moved the module since
            self.loss = self._loss()
        found = self.loss(self.head, fused, truth["unit"], truth["region"], truth["cell"], epoch)
        loss = found["total"]
        if self.config.mixture:
            joint = self.head.joint_logs(self.head.region_logits(fused), self.head.cell_logits(fused))
            density = mixture_loss(self.head, fused, joint, self.centres, truth["unit"], self.total_m2)
            loss = loss + self.config.mixture * density.to(loss.dtype)
        return loss

    def _mix(self, n: int, generator: torch.Generator) -> tuple[float, Tensor]:
        """The share of the first image of each pair, and the row of the second (on the CPU)."""
        seed = int(torch.randint(2**31, (1,), generator=generator))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            share = float(Beta(self.config.mixup, self.config.mixup).sample())
        return share, torch.randperm(n, generator=generator)


class LocateObjective:
    """One phase; see `train.objectives.Objective`.

    Args:
        data: the rows.
        net: backbones and head; they are changed.
        geocells: of the head.
        config: of the phase.
        features: (n, width) of each backbone for the rows of the store, where the backbones are frozen.
        rates: factors of the learning rate by the start of parameters' names.
        identity: settings by which a run is known, besides the data.
    """

    mode: Literal["min", "max"] = "min"

    def __init__(
        self,
        data: LocateData,
        net: LocatorNet,
        geocells: GeoCells,
        config: PhaseConfig,
        *,
        features: list[NDArray[np.float32]] | None,
        rates: Mapping[str, float],
        identity: Mapping[str, Any],
    ) -> None:
        self.data, self.net, self.geocells, self.config = data, net, geocells, config
        self.features = features
        self._examples = {"train": data.train, "val": data.val}
        self._cells = {name: geocells.rows(part.lonlat, part.region) for name, part in self._examples.items()}
        counts = torch.from_numpy(np.bincount(data.train.region, minlength=len(geocells.regions)))
        self.drawn = drawn_rows(data.train.region, config.loss.balance.drawn(counts))
        self.count = len(self.drawn)
        per_epoch = max(1, self.count // min(config.loop.batch_size, self.count))
        self.module: nn.Module = Locating(net, geocells, config, counts, features is not None, per_epoch)
        self.monitor = ("energy_km" if config.loss.cell else "region_loss") if len(data.val) else ""
        self._shift = config.loss.balance.adjustment(counts)
        self._rates = dict(rates)
        self._identity = dict(identity)

    def rates(self) -> Mapping[str, float]:
        """Factors of the learning rate; see `train.objectives.Rated`."""
        return self._rates

    def batch(self, rows: Rows) -> dict[str, Tensor]:
        """The content and the truth of training rows."""
        return self._tensors("train", self.drawn[rows])

    def _tensors(self, part: str, rows: Rows) -> dict[str, Tensor]:
        examples = self._examples[part]
        where = examples.lonlat[rows]
        found: dict[str, Tensor] = {
            "unit": torch.from_numpy(where.unit()),
            "region": torch.from_numpy(examples.region[rows]),
            "cell": torch.from_numpy(self._cells[part][rows]),
        }
        if self.features is None:
            found["image"] = torch.from_numpy(examples.images(rows))
        else:
            at = examples.at[rows]
            found |= {f"{FEATURE}{k}": torch.from_numpy(values[at]) for k, values in enumerate(self.features)}
        extras = self.net.head.extras(examples.columns(rows))
        return {**found, **{f"{EXTRA}{name}": value.cpu() for name, value in extras.items()}}

    def validate(self, device: torch.device) -> dict[str, float]:
        """How good the laws over regions and cells are on the validation rows.

        ``energy_km`` is the energy score of the law over cells, E d(X, x) - E d(X, X') / 2 in km (Gneiting and Raftery
        2007, section 4.3): proper, and it counts how far wrong cells lie. It chooses the weights. What is done about
        rare regions is undone here as it is when the locator is asked.
        """
        module = self.module
        assert isinstance(module, Locating)
        head = self.net.head
        total: dict[str, float] = {}
        apart = pairwise_m(module.centres, module.centres) / 1000.0
        n = len(self.data.val)
        for start in range(0, n, _TOGETHER):
            rows = np.arange(start, min(start + _TOGETHER, n))
            batch = {name: value.to(device) for name, value in self._tensors("val", rows).items()}
            extras = {name.removeprefix(EXTRA): value for name, value in batch.items() if name.startswith(EXTRA)}
            fused = head.fuse(module.features(batch, None), extras)
            regions = head.region_logits(fused) + self._shift.to(device)
            figures = {
                "region_loss": nn.functional.cross_entropy(regions, batch["region"], reduction="sum"),
                "region_accuracy": (regions.argmax(dim=1) == batch["region"]).sum(),
            }
            if self.config.loss.cell:
                law = head.joint_logs(regions, head.cell_logits(fused)).exp().double()
                away = pairwise_m(batch["unit"], module.centres) / 1000.0
                figures["energy_km"] = ((law * away).sum(dim=1) - ((law @ apart) * law).sum(dim=1) / 2.0).sum()
                figures["cell_accuracy"] = (law.argmax(dim=1) == batch["cell"]).sum()
            for name, value in figures.items():
                total[name] = total.get(name, 0.0) + float(value) / n
        return total

    def identity(self) -> Mapping[str, Any]:
        """Settings and data."""
        return {
            "objective": "locate",
            "phase": {name: value for name, value in configs.to_json(self.config).items() if name != "loop"},
            "data": self.data.key,
            "rows": [len(part) for part in (self.data.train, self.data.val, self.data.calibration)],
            "geocells": self.geocells.fingerprint(),
            **self._identity,
        }


def drawn_rows(region: Rows, weights: Tensor | None) -> Rows:
    """Training rows as an epoch goes through them: each once, or as often as the sampler's weights say, at least once.

    Args:
        region: (n,) region of each row.
        weights: (P,) of `BalanceConfig.drawn`, or None.
    """
    n = len(region)
    if weights is None:
        return np.arange(n)
    each = weights.double().numpy()[region]
    ends = np.cumsum(each / each.min())
    return np.searchsorted(ends, np.arange(round(ends[-1])) + 0.5).clip(max=n - 1).astype(np.int64)


def _number(name: str) -> int:
    return int(name.removeprefix(FEATURE)) if name.startswith(FEATURE) else -1
