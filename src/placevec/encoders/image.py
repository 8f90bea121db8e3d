"""The image encoder: chips to vectors, by a small network trained on the chips themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from placevec.encoders.base import ModelCard, Vectors
from placevec.encoders.network import NetworkEncoder, in_fixed_batches, seeded
from placevec.errors import DataError
from placevec.nn import configs
from placevec.nn.vision import SmallCNN, SmallCNNConfig
from placevec.provenance import Space

BATCH = 64  # chips at a time, always; see `in_fixed_batches`


@dataclass(frozen=True)
class ImageConfig:
    """The shape of an image encoder."""

    net: SmallCNNConfig = field(default_factory=SmallCNNConfig)  # the network
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
        self.net = SmallCNN(config.net)
        self.register_buffer("centre", torch.zeros(config.net.dims))
        self.register_buffer("scale", torch.ones(config.net.dims))

    def set_output(self, vectors: Tensor) -> None:
        """Take centre and scale from vectors (n, dims) of the network for the training chips."""
        self.centre.copy_(vectors.mean(dim=0))
        self.scale.copy_(vectors.std(dim=0).clamp_min(1e-6))

    def forward(self, chips: Tensor) -> Tensor:
        """(n, bands, h, w) to (n, dims)."""
        vectors = (self.net(chips) - self.centre) / self.scale
        return F.normalize(vectors, dim=1) if self.normalize else vectors


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
            fit_statistics(net, chips)
        space = Space.mint(config.net.dims, note="an untrained image encoder")
        return cls(config, net, image_card(config, space, name="untrained image encoder", seed=seed))

    def encode(self, data: Mapping[str, NDArray[Any]]) -> Vectors:
        """The vectors (n, dims) of `image` (n, bands, h, w), uint8 or float, in the units of the training chips.

        Raises:
            DataError: another number of bands than the encoder was made for.
        """
        return in_fixed_batches(self.net, checked(self.take(data, "image"), self.config), BATCH, self.device, self.dims)


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


def fit_statistics(net: ImageNet, chips: NDArray[Any]) -> None:
    """Set the mean and deviation of the bands, and then those of the vectors, from chips (n, bands, h, w)."""
    set_band_statistics(net, chips)
    set_vector_statistics(net, chips)


def set_band_statistics(net: ImageNet, chips: NDArray[Any]) -> None:
    """Set the mean and deviation of the bands; pixels that are not finite do not count."""
    pixels = np.moveaxis(chips, 1, 0).reshape(chips.shape[1], -1).astype(np.float64)
    pixels[~np.isfinite(pixels)] = np.nan
    net.net.set_statistics(torch.from_numpy(np.nanmean(pixels, axis=1)), torch.from_numpy(np.nanstd(pixels, axis=1)))


def set_vector_statistics(net: ImageNet, chips: NDArray[Any]) -> None:
    """Set the mean and deviation of the vectors from those of `chips`."""
    net.eval()
    vectors = in_fixed_batches(net.net, checked(chips, None), BATCH, net.centre.device, len(net.centre))
    net.set_output(torch.from_numpy(vectors))


def checked(chips: NDArray[Any], config: ImageConfig | None) -> Tensor:
    """Chips as a tensor; DataError where their shape does not fit."""
    if chips.ndim != 4 or (config is not None and len(chips) and chips.shape[1] != config.net.bands):
        bands = config.net.bands if config is not None else "any number of"
        raise DataError(f"chips of shape {chips.shape}: the encoder reads (n, {bands} bands, height, width)")
    if chips.dtype != np.uint8:
        chips = chips.astype(np.float32)
    return torch.from_numpy(np.ascontiguousarray(chips))
