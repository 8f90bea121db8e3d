"""The settings by which an image tower and a text tower are trained on images with captions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from placevec.encoders.image import ImageConfig
from placevec.errors import UsageError
from placevec.nn import configs
from placevec.nn.text import TEXT_NETS, TextNetConfig, WordsConfig
from placevec.nn.vision import VISION_NETS, SmallCNNConfig, VisionConfig
from placevec.train.augment import AugmentConfig
from placevec.train.config import LoopConfig
from placevec.train.selfsup import ImageTraining

Positives = Literal["own", "equal"]
Mode = Literal["all", "last", "lora", "locked"]


@dataclass(frozen=True)
class TowerTuning:
    """How much of a tower that was trained before is trained further."""

    mode: Mode = "all"  # all of it, its last blocks and what follows them, low-rank adapters, or nothing
    blocks: int = 2  # of "last": blocks that are trained, counted from the end
    rank: int = 8  # of "lora": of an adapter
    alpha: float = 16.0  # of "lora": an adapter counts alpha / rank times
    rate: float = 1.0  # factor of the learning rate of what is trained of the tower

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise UsageError(f"tune.mode = {self.mode!r}: give {', '.join(get_args(Mode))}")
        if self.blocks < 0 or self.rank < 1:
            raise UsageError(f"tune.blocks = {self.blocks}, tune.rank = {self.rank}: at least 0 and 1")
        if not (self.alpha > 0 and self.rate > 0):
            raise UsageError(f"tune.alpha = {self.alpha}, tune.rate = {self.rate}: give more than 0")


@dataclass(frozen=True)
class Tuning:
    """How much of each tower is trained, where a model is trained further."""

    image: TowerTuning = field(default_factory=TowerTuning)  # of the image tower
    text: TowerTuning = field(default_factory=TowerTuning)  # of the text tower


@dataclass(frozen=True)
class WarmUp:
    """Self-supervision of the image tower before it meets captions: two views of an image belong together."""

    epochs: int = 0  # passes over the images without their captions; 0: no warm-up
    batch_size: int = 256  # images of a step
    learning_rate: float = 2e-3  # at its highest
    augment: AugmentConfig = field(default_factory=AugmentConfig)  # how views differ
    loss: Literal["nt-xent", "vicreg"] = "vicreg"  # what is asked of two views
    temperature: float = 0.2  # of nt-xent
    projector: int = 128  # width of the two-layer projector between vector and loss

    def __post_init__(self) -> None:
        if self.epochs < 0:
            raise UsageError(f"warmup.epochs = {self.epochs}: give 0 (none) or more")
        if self.epochs:
            self.training(SmallCNNConfig(), LoopConfig())

    def training(self, net: VisionConfig, loop: LoopConfig) -> ImageTraining:
        """The settings of the self-supervised training of an image network, on the devices of `loop`."""
        own = replace(
            loop,
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            patience=0,
            ema=0.0,
        )
        return ImageTraining(
            encoder=ImageConfig(net=net),
            augment=self.augment,
            loss=self.loss,
            temperature=self.temperature,
            projector=self.projector,
            loop=own,
        )


@dataclass(frozen=True)
class PairTraining:
    """How an image tower and a text tower are trained on images with captions."""

    dims: int = 128  # components of the vectors of both towers
    pixels: int = 64  # side to which images are resized, in memory and within the image tower
    image: VisionConfig = field(  # the network of images; its dims and pixels are those above
        default_factory=SmallCNNConfig, metadata=configs.one_of(VISION_NETS, SmallCNNConfig.kind)
    )
    text: TextNetConfig = field(  # the network of captions
        default_factory=WordsConfig, metadata=configs.one_of(TEXT_NETS, WordsConfig.kind)
    )
    temperature: float = 0.07  # at the start; it is learned, from 0.01 to 1; a trained model begins with its own
    positives: Positives = "equal"  # of an image: its own captions, or also every caption equal to one of those
    captions_per_image: int = 1  # of a step, drawn at random; 0: all of them
    augment: AugmentConfig = field(default_factory=AugmentConfig)  # how an image differs from step to step
    warmup: WarmUp = field(default_factory=WarmUp)  # of the image tower, without captions
    micro_batch: int = 0  # rows that are encoded at a time, where a batch does not fit in memory; 0: all
    tune: Tuning = field(default_factory=Tuning)  # where a model is trained further
    loop: LoopConfig = field(
        default_factory=lambda: LoopConfig(epochs=60, batch_size=128, learning_rate=1e-3, weight_decay=0.1, ema=0.99)
    )

    def __post_init__(self) -> None:
        if self.dims < 1 or self.pixels < 1:
            raise UsageError(f"dims = {self.dims}, pixels = {self.pixels}: both must be at least 1")
        if not 0.01 <= self.temperature <= 1:
            raise UsageError(f"temperature = {self.temperature}: give a number from 0.01 to 1")
        if self.positives not in get_args(Positives):
            raise UsageError(f"positives = {self.positives!r}: give {' or '.join(get_args(Positives))}")
        for name in ("captions_per_image", "micro_batch"):
            if getattr(self, name) < 0:
                raise UsageError(f"{name} = {getattr(self, name)}: give 0 or more")
        network: Any = self.image
        # Said once, above: a tower of other dims than its partner could not be trained.
        object.__setattr__(self, "image", replace(network, dims=self.dims, pixels=self.pixels))

    def to_json(self) -> dict[str, Any]:
        """A JSON object; see `from_json`."""
        return configs.to_json(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> PairTraining:
        """Read what `to_json` wrote; UsageError for an unknown setting."""
        return configs.from_json(cls, value)
