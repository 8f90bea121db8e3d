"""Scenes: a residual network that tells kinds of places (Zhou et al. 2017, Places365), and whether they are indoors.

As an encoder it answers with the mean of its last map. `probabilities` are those of its classes, and `indoor` is the
sum over the classes that the makers of Places365 call indoor: what a filter of photos needs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from placevec.encoders.base import ModelCard, Vectors
from placevec.encoders.model import load_encoder
from placevec.encoders.network import NetworkEncoder, fixed_batches
from placevec.errors import UsageError
from placevec.nn import configs
from placevec.nn.vision.prepare import Preparation, check_images
from placevec.nn.vision.resnet import ResNet, ResNetConfig
from placevec.provenance import Space
from placevec.sources.base import Source
from placevec.table import Skipped

KIND = "scenes"
BATCH = 16  # images at a time, always; see `encoders.network.fixed_batches`
# The short side to 256, its centre of 224: how the makers of Places365 read images (run_placesCNN_basic.py).
PREPARATION = Preparation(resize=256, crop=224)


@dataclass(frozen=True)
class SceneConfig:
    """The shape of a network of scenes, and what its classes mean."""

    net: ResNetConfig = field(default_factory=ResNetConfig)  # the network
    preparation: Preparation = PREPARATION  # of its images
    categories: tuple[str, ...] = ()  # names of the classes, such as /a/airfield; empty: they have none
    indoor: tuple[bool, ...] = ()  # whether a class is indoors; empty: that is not known

    def __post_init__(self) -> None:
        for name in ("categories", "indoor"):
            found = len(getattr(self, name))
            if found not in (0, self.net.classes):
                raise UsageError(f"{name}: {found} for a network of {self.net.classes} classes; give one for each")

    def to_json(self) -> dict[str, Any]:
        """A JSON object; see `from_json`."""
        return configs.to_json(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> SceneConfig:
        """Read what `to_json` wrote; UsageError for an unknown setting."""
        return configs.from_json(cls, value)


class SceneNet(ResNet):
    """The network of a `SceneConfig`: its weights are those of `ResNet`, under torchvision's names."""

    def __init__(self, config: SceneConfig) -> None:
        super().__init__(config.net)
        self.preparation = config.preparation

    def look(self, images: Tensor) -> Tensor:
        """Images (n, bands, S, S) uint8 to vectors (n, channels)."""
        return self.pooled(self.preparation(images))

    def tell(self, images: Tensor) -> Tensor:
        """Images (n, bands, S, S) uint8 to the probabilities (n, classes)."""
        logits: Tensor = self(self.preparation(images))
        return logits.softmax(dim=1)


class SceneEncoder(NetworkEncoder):
    """Square images of bytes to vectors, and to the probabilities of scenes."""

    config_type = SceneConfig
    net_type = SceneNet

    def encode(self, data: Mapping[str, NDArray[Any]]) -> Vectors:
        """The vectors (n, dims) of `image` (n, bands, S, S) uint8.

        Raises:
            DataError: images of another type, another number of bands, or no squares.
        """
        return self._run(data, self.net.look, self.dims)

    def probabilities(self, data: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """How likely each class is, (n, classes), each row summing to 1; errors as `encode`."""
        return self._run(data, self.net.tell, self.config.net.classes)

    def indoor(self, data: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """How likely it is that each of n images was taken indoors: the sum over the classes that are indoors.

        Raises:
            UsageError: the model does not know which classes are.
        """
        if not self.config.indoor:
            raise UsageError(
                f"{self.card.name} does not know which of its classes are indoors: import it with IO_places365.txt too"
            )
        found = self.probabilities(data).astype(np.float64)
        share: NDArray[np.float32] = found[:, np.asarray(self.config.indoor)].sum(axis=1).clip(0, 1).astype(np.float32)
        return share

    def _run(
        self, data: Mapping[str, NDArray[Any]], answer: Callable[[Tensor], Tensor], width: int
    ) -> NDArray[np.float32]:
        images = torch.from_numpy(np.ascontiguousarray(self.take(data, "image")))
        check_images(images, self.config.net.bands)
        parts = list(fixed_batches(answer, images, BATCH, self.device))
        return np.concatenate(parts) if parts else np.zeros((0, width), dtype=np.float32)


def scene_card(config: SceneConfig, space: Space, **more: Any) -> ModelCard:
    """The card of a network of scenes."""
    card = ModelCard(
        kind=KIND,
        space=space,
        tower="image",
        config=config.to_json(),
        inputs=("image",),
        # The side that a reader of files gives images; see `tasks.input_files.image_size`.
        recipe={"pixels": config.preparation.resize},
    )
    return replace(card, **{**more, "recipe": {**card.recipe, **more.get("recipe", {})}})


def indoor_scores(
    folder: str | Path,
    source: Source,
    *,
    batch: int = 64,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> tuple[NDArray[np.float32], list[Skipped]]:
    """How likely it is that each image of a source was taken indoors.

    Args:
        folder: a model of scenes, which `placevec import --as places365` wrote with IO_places365.txt.
        source: n places with "image" (m, 3, S, S) uint8.
        batch: images that are read at a time.
        device: of torch.
        progress: told how many of how many images are done.

    Returns:
        scores (n,) from 0 to 1, NaN where the image could not be read, and those rows with their reasons.

    Raises:
        CheckpointError: the folder cannot be loaded.
        UsageError: it holds another model, or one that does not know which classes are indoors.
    """
    encoder = load_encoder(folder, device)
    if not isinstance(encoder, SceneEncoder):
        raise UsageError(
            f"{folder} holds an encoder of kind {encoder.card.kind}, which knows no scenes: give what "
            "`placevec import --as places365` wrote"
        )
    count = len(source.places())
    scores = np.full(count, np.nan, dtype=np.float32)
    skipped: list[Skipped] = []
    for start in range(0, count, batch):
        rows = np.arange(start, min(start + batch, count))
        found = source.read(rows)
        skipped += found.skipped
        if len(found):
            scores[found.rows] = encoder.indoor(found.data)
        if progress is not None:
            progress(int(rows[-1]) + 1, count)
    return scores, skipped
