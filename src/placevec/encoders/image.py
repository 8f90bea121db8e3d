"""The image encoder: chips to vectors, by a small network trained on the chips themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from placevec.encoders.base import ModelCard, Vectors
from placevec.encoders.network import NetworkEncoder, fixed_batches, in_fixed_batches, seeded
from placevec.errors import DataError
from placevec.nn import configs
from placevec.nn.vision import DEFAULT_KIND, VISION_NETS, SmallCNNConfig, VisionConfig, VisionNet
from placevec.provenance import Space

BATCH = 64  # chips at a time, or fewer large ones; always as many for chips of one size, see `in_fixed_batches`
# Positions of a batch within the network. On a processor its maps stay in the cache, which is twice as fast, and one
# image alone does not pay for a large batch; on an accelerator it bounds the memory: a map of 16 channels takes 64 MiB.
POSITIONS = 2**16
POSITIONS_ACCELERATED = 2**20
VALUES = 2**24  # of a batch as it comes, before it is resized: 64 MiB in float32
MOST = 2**23  # positions of one image within the network: some 2.5 GiB in a small CNN of 16 channels


@dataclass(frozen=True)
class ImageConfig:
    """The shape of an image encoder."""

    net: VisionConfig = field(  # the network
        default_factory=SmallCNNConfig, metadata=configs.one_of(VISION_NETS, default=DEFAULT_KIND)
    )
    normalize: bool = True  # vectors of length 1, after the mean vector of the training chips is taken away

    def to_json(self) -> dict[str, Any]:
        """A JSON object; see `from_json`."""
        return configs.to_json(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ImageConfig:
        """Read what `to_json` wrote; UsageError for an unknown setting."""
        return configs.from_json(cls, value)


class ImageNet(nn.Module):
    """Chips to vectors that are centred and scaled, so that cosines between them spread over -1 ... 1.

    Without it the mean vector dominates, all cosines are near 1, and a ranking by cosine says little.
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, config: ImageConfig) -> None:
        super().__init__()
        self.normalize = config.normalize
        self.net: VisionNet = config.net.build()
        self.register_buffer("centre", torch.zeros(config.net.dims))
        self.register_buffer("scale", torch.ones(config.net.dims))

    def set_output(self, vectors: Tensor) -> None:
        """Take centre and scale from vectors (n, dims) of the network for the training chips."""
        self.centre.copy_(vectors.mean(dim=0))
        # One vector alone spreads over nothing.
        spread = vectors.std(dim=0).clamp_min(1e-6) if len(vectors) > 1 else torch.ones_like(self.scale)
        self.scale.copy_(spread)

    def forward(self, chips: Tensor) -> Tensor:
        """(n, bands, h, w) to (n, dims)."""
        vectors = (self.net(chips) - self.centre) / self.scale
        return F.normalize(vectors, dim=1) if self.normalize else vectors

    def dense(self, chips: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """(n, bands, h, w) to the vectors (n, h', w', dims) of the positions of the map, of any length.

        Their mean over the positions is what `forward` brings to length 1. For `size` see `VisionNet.normalise`.
        """
        return (self.net.dense(chips, size).permute(0, 2, 3, 1) - self.centre) / self.scale


class ImageEncoder(NetworkEncoder):
    """Chips to vectors."""

    config_type = ImageConfig
    net_type = ImageNet

    @classmethod
    def untrained(cls, config: ImageConfig, seed: int = 0, chips: NDArray[Any] | None = None) -> ImageEncoder:
        """The encoder with the weights it starts from: the baseline that shows what training adds.

        Args:
            config: its shape.
            seed: of the weights.
            chips: (n, bands, h, w) from which the statistics per band, and those of the vectors, are taken; without
                it chips are expected to have mean 0 and deviation 1.
        """
        net = seeded_net(config, seed)
        if chips is not None:
            fit_statistics(net, chips, seed)
        space = Space.mint(config.net.dims, note="an untrained image encoder")
        return cls(config, net, image_card(config, space, name="untrained image encoder", seed=seed))

    def encode(self, data: Mapping[str, NDArray[Any]]) -> Vectors:
        """The vectors (n, dims) of `image` (n, bands, h, w), uint8 or float, in the units of the training chips.

        Raises:
            DataError: another number of bands than the encoder was made for.
        """
        chips = checked(self.take(data, "image"), self.config)
        return in_fixed_batches(
            self.net, chips, batch_size(chips, self.config.net, device=self.device), self.device, self.dims
        )

    def encode_dense(self, data: Mapping[str, NDArray[Any]], *, size: tuple[int, int] | None = None) -> Vectors:
        """The vectors (n, h', w', dims) of the positions of `image` (n, bands, h, w), of any length.

        Args:
            data: see `encode`.
            size: height and width the images are resized to within. Without it as in `encode`, and the mean over the
                positions is then the vector that `encode` brings to length 1 (as it is, without `normalize`); with it,
                a network that reads all images at one size can be laid over a larger one without shrinking it.

        Raises:
            DataError: another number of bands than the encoder was made for.
        """
        chips = checked(self.take(data, "image"), self.config)
        rows = batch_size(chips, self.config.net, size, self.device)
        # Without images a blank one tells how many positions there are.
        shown = chips if len(chips) else torch.zeros(1, self.config.net.bands, *(max(1, n) for n in chips.shape[2:]))
        net: ImageNet = self.net
        found = list(fixed_batches(lambda part: net.dense(part, size), shown, rows, self.device))
        return np.concatenate(found)[: len(chips)]


def image_card(config: ImageConfig, space: Space, **more: Any) -> ModelCard:
    """The card of an image encoder of this shape."""
    card = ModelCard(
        kind="image",
        space=space,
        tower="image",
        config=config.to_json(),
        inputs=("image",),
        normalized=config.normalize,
    )
    return replace(card, **more)


def seeded_net(config: ImageConfig, seed: int) -> ImageNet:
    """The network with initial weights that depend on `seed` alone; torch's random state is left as it was."""
    return seeded(lambda: ImageNet(config), seed)


def fit_statistics(net: ImageNet, chips: NDArray[Any], seed: int = 0) -> None:
    """Set what a network takes from chips (n, bands, h, w) without training, and then the statistics of its vectors.

    Args:
        net: the network.
        chips: of training.
        seed: of what is learned without labels.
    """
    prepare(net, chips, seed)
    set_vector_statistics(net, chips)


def prepare(net: ImageNet, chips: NDArray[Any], seed: int = 0) -> None:
    """Set the statistics of the bands from chips (n, bands, h, w), and what the network learns without labels."""
    set_band_statistics(net, chips)
    net.net.learn(checked(chips, None), seed)


def set_band_statistics(net: ImageNet, chips: NDArray[Any]) -> None:
    """Set the mean and deviation of the bands; pixels that are not finite do not count."""
    count, total = np.zeros(chips.shape[1]), np.zeros(chips.shape[1])
    for pixels, finite in _pixels(chips):
        count += finite.sum(axis=1)
        total += np.where(finite, pixels, 0.0).sum(axis=1)
    mean = total / np.maximum(count, 1)
    squares = np.zeros(chips.shape[1])
    for pixels, finite in _pixels(chips):
        squares += np.where(finite, (pixels - mean[:, None]) ** 2, 0.0).sum(axis=1)
    net.net.set_statistics(torch.from_numpy(mean), torch.from_numpy(np.sqrt(squares / np.maximum(count, 1))))


def set_vector_statistics(net: ImageNet, chips: NDArray[Any]) -> None:
    """Set the mean and deviation of the vectors from those of `chips`."""
    net.eval()
    shown = checked(chips, None)
    rows = batch_size(shown, net.net.config, device=net.centre.device)
    net.set_output(torch.from_numpy(in_fixed_batches(net.net, shown, rows, net.centre.device, len(net.centre))))


def batch_size(
    chips: Tensor,
    config: VisionConfig,
    size: tuple[int, int] | None = None,
    device: torch.device | None = None,
) -> int:
    """How many chips (n, bands, h, w) go through the network at a time; the same for all chips of one size.

    Args:
        chips: of the size in question.
        config: of the network, which may resize them.
        size: height and width they are resized to instead.
        device: where the network is; the processor if absent.

    Raises:
        DataError: one chip alone is too large for the memory.
    """
    bands, height, width = chips.shape[1:]
    inner = size or ((config.pixels, config.pixels) if config.pixels else (height, width))
    positions, values = inner[0] * inner[1], bands * height * width
    if positions > MOST:
        raise DataError(
            f"an image of {inner[1]} x {inner[0]} pixels: the encoder reads at most {MOST} pixels at once; resize it "
            "or cut it into tiles"
        )
    most = POSITIONS if device is None or device.type == "cpu" else POSITIONS_ACCELERATED
    return max(1, min(BATCH, most // max(1, positions), VALUES // max(1, values)))


def _pixels(chips: NDArray[Any]) -> Iterator[tuple[NDArray[np.float64], NDArray[np.bool_]]]:
    """The pixels of some chips at a time, (bands, m) float64, and which are finite."""
    for start in range(0, len(chips), BATCH):
        pixels = np.moveaxis(chips[start : start + BATCH], 1, 0).reshape(chips.shape[1], -1).astype(np.float64)
        finite = np.isfinite(pixels)
        yield np.where(finite, pixels, 0.0), finite


def checked(chips: NDArray[Any], config: ImageConfig | None) -> Tensor:
    """Chips as a tensor; DataError where their shape does not fit."""
    fits = chips.ndim == 4 and (not len(chips) or min(chips.shape) > 0)
    if not fits or (config is not None and len(chips) and chips.shape[1] != config.net.bands):
        bands = config.net.bands if config is not None else "any number of"
        raise DataError(f"chips of shape {chips.shape}: the encoder reads (n, {bands} bands, height, width)")
    if chips.dtype != np.uint8:
        chips = chips.astype(np.float32)
    return torch.from_numpy(np.ascontiguousarray(chips))
