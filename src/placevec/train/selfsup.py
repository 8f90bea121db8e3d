"""The image encoder learns from chips alone: two views of a chip belong together. Where a chip lies is not used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from placevec.encoders.image import (
    ImageConfig,
    ImageEncoder,
    ImageNet,
    checked,
    image_card,
    seeded_net,
    set_band_statistics,
    set_vector_statistics,
)
from placevec.errors import UsageError
from placevec.nn import configs
from placevec.nn.losses import nt_xent, vicreg
from placevec.train.augment import AugmentConfig, augment
from placevec.train.checkpoint import minted_space
from placevec.train.config import LoopConfig
from placevec.train.data import Rows, digest, parts
from placevec.train.loop import Report, TrainResult, fit
from placevec.train.objectives import gather

SAMPLE = 4096  # training chips from which statistics are taken
VALIDATED = 1024  # validation chips that are looked at, at most


@dataclass(frozen=True)
class ImageTraining:
    """How an image encoder is trained on chips."""

    encoder: ImageConfig = field(default_factory=ImageConfig)  # its shape
    augment: AugmentConfig = field(default_factory=AugmentConfig)  # how views differ
    loss: Literal["nt-xent", "vicreg"] = "vicreg"  # what is asked of two views
    temperature: float = 0.2  # of nt-xent
    projector: int = 128  # width of the two-layer projector between vector and loss, thrown away after training
    loop: LoopConfig = field(default_factory=lambda: LoopConfig(epochs=20, batch_size=256, learning_rate=2e-3))

    def __post_init__(self) -> None:
        if self.loss not in ("nt-xent", "vicreg"):
            raise UsageError(f"loss = {self.loss!r}: give nt-xent or vicreg")
        if self.temperature <= 0 or self.projector < 1:
            raise UsageError(f"temperature = {self.temperature}, projector = {self.projector}: both must be above 0")

    def to_json(self) -> dict[str, Any]:
        """A JSON object; see `from_json`."""
        return configs.to_json(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ImageTraining:
        """Read what `to_json` wrote; UsageError for an unknown setting."""
        return configs.from_json(cls, value)


@dataclass(frozen=True)
class TrainedImage:
    """An image encoder with its Space, and the run that made it."""

    encoder: ImageEncoder
    result: TrainResult


class Views(nn.Module):
    """Two augmented views of each chip, through network and projector, to the loss."""

    def __init__(self, net: ImageNet, config: ImageTraining) -> None:
        super().__init__()
        self.config = config
        self.net = net
        width = config.projector
        self.projector = nn.Sequential(
            nn.Linear(config.encoder.net.dims, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, width)
        )

    def forward(self, batch: dict[str, Tensor], generator: torch.Generator) -> Tensor:
        """The loss of chips `image` (n, bands, h, w)."""
        a, b = self.views(batch["image"], generator)
        return self.loss(gather(a), gather(b))

    def views(self, chips: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The projected vectors (n, projector) of two views of each chip."""
        normalised = self.net.net.normalise(chips)
        both = torch.cat([augment(normalised, self.config.augment, generator) for _ in range(2)])
        projected: Tensor = self.projector(self.net.net.project(both))
        a, b = projected.float().chunk(2)
        return a, b

    def loss(self, a: Tensor, b: Tensor) -> Tensor:
        """The loss of projected views."""
        return nt_xent(a, b, self.config.temperature) if self.config.loss == "nt-xent" else vicreg(a, b)


class ImageObjective:
    """Self-supervision on chips; see `train.objectives.Objective`."""

    mode: Literal["min", "max"] = "min"

    def __init__(self, chips: Rows, val: NDArray[np.bool_], config: ImageTraining) -> None:
        self.config = config
        self.chips = chips
        self.train_rows, self.val_rows = parts(val, chips.count)
        self.count = len(self.train_rows)
        self.key = digest(np.asarray(val))
        net = seeded_net(config.encoder, config.loop.seed)
        if net.net.learns_first:
            raise UsageError(
                f"encoder.net.kind = {config.encoder.net.kind!r}: this network learns from images without training, "
                "and its head from captions (placevec train image-text): take another kind for self-supervision"
            )
        set_band_statistics(net, self.sample())
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.loop.seed + 1)
            self.module: nn.Module = Views(net, config)
        self.net = net
        self.monitor = "loss" if len(self.val_rows) >= 2 else ""
        step = -(-len(self.val_rows) // VALIDATED) or 1
        self.held = checked(chips.read(self.val_rows[::step]), config.encoder) if self.monitor else None

    def sample(self) -> NDArray[Any]:
        """Training chips, evenly drawn, for statistics."""
        step = -(-self.count // SAMPLE)
        chips = self.chips.read(self.train_rows[::step])
        checked(chips, self.config.encoder)
        return chips

    def batch(self, rows: NDArray[np.int64]) -> dict[str, Tensor]:
        """The chips of training rows."""
        return {"image": checked(self.chips.read(self.train_rows[rows]), self.config.encoder)}

    def validate(self, device: torch.device) -> dict[str, float]:
        """The loss of the validation chips, and how often a view finds its other among them all."""
        assert self.held is not None
        assert isinstance(self.module, Views)
        generator = torch.Generator().manual_seed(0)  # the same views each time
        pairs = [self.module.views(part.to(device), generator) for part in torch.split(self.held, 256)]
        a, b = torch.cat([pair[0] for pair in pairs]), torch.cat([pair[1] for pair in pairs])
        cosines = nn.functional.normalize(a, dim=1) @ nn.functional.normalize(b, dim=1).T
        found = (cosines.argmax(dim=1) == torch.arange(len(a), device=device)).float().mean()
        return {"loss": float(self.module.loss(a, b)), "view_recall_at_1": float(found)}

    def identity(self) -> Mapping[str, Any]:
        """Settings and data."""
        settings = {name: value for name, value in self.config.to_json().items() if name != "loop"}
        return {"objective": "image", "settings": settings, "data": self.chips.key, "validation": self.key}


def train_image(
    chips: NDArray[Any] | Rows,
    val: NDArray[np.bool_],
    config: ImageTraining,
    folder: str | Path,
    *,
    progress: Report | None = None,
    restart: bool = False,
    **card: Any,
) -> TrainedImage:
    """Train an image encoder on chips, self-supervised.

    Args:
        chips: (n, bands, h, w) uint8 or float, or Rows that read them.
        val: (n,) bool, the rows of the spatial validation split, by which the best weights are chosen.
        config: the settings.
        folder: of the run; the same call goes on with a run that was killed.
        progress: called as (step, total, metrics).
        restart: forget what is in the folder.
        card: fields of the ModelCard (licence, sources, parents ...).

    Returns:
        the encoder, in a Space of its own (origin `trained`): its id comes from the weights, so that a run
        that is resumed or asked for again gives the same Space, and its tables the same fingerprint.
    """
    objective = ImageObjective(Rows.of(chips), np.asarray(val), config)
    result = fit(objective, config.loop, folder, progress=progress, restart=restart)
    set_vector_statistics(objective.net, objective.sample())
    space = minted_space(objective.net, config.encoder.net.dims, "an image encoder, self-supervised")
    about = image_card(
        config.encoder,
        space,
        name="image encoder, self-supervised",
        recipe=config.to_json(),
        seed=config.loop.seed,
        scores=result.metrics,
    )
    return TrainedImage(ImageEncoder(config.encoder, objective.net, replace(about, **card)), result)
