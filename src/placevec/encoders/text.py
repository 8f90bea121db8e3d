"""The text encoder: captions to vectors, by a small tower of our own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from placevec.encoders.base import ModelCard, Vectors
from placevec.encoders.network import NetworkEncoder, in_fixed_batches, seeded
from placevec.errors import DataError, UsageError
from placevec.nn import configs
from placevec.nn.text import TextConfig, TextNet, tokens
from placevec.provenance import Space

BATCH = 256  # texts at a time, always; see `in_fixed_batches`


@dataclass(frozen=True)
class TextEncoderConfig:
    """The shape of a text encoder."""

    net: TextConfig = field(default_factory=TextConfig)  # features and network
    dims: int = 64  # components of the vector
    normalize: bool = True  # vectors of length 1

    def __post_init__(self) -> None:
        if self.dims < 1:
            raise UsageError(f"dims = {self.dims}: give at least 1")

    def to_json(self) -> dict[str, Any]:
        """A JSON object; see `from_json`."""
        return configs.to_json(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> TextEncoderConfig:
        """Read what `to_json` wrote; UsageError for an unknown setting."""
        return configs.from_json(cls, value)


class TextTower(nn.Module):
    """Tokens (n, max_tokens) int64 to (n, dims) float32."""

    def __init__(self, config: TextEncoderConfig, net: TextNet | None = None) -> None:
        super().__init__()
        self.normalize = config.normalize
        self.net = config.net.build(config.dims) if net is None else net

    def forward(self, found: Tensor) -> Tensor:
        """The vectors of tokenised texts."""
        vectors: Tensor = self.net(found)
        return F.normalize(vectors, dim=1) if self.normalize else vectors


class TextEncoder(NetworkEncoder):
    """Texts to vectors."""

    config_type = TextEncoderConfig
    net_type = TextTower

    @classmethod
    def untrained(cls, config: TextEncoderConfig, seed: int = 0) -> TextEncoder:
        """The encoder with the weights it starts from: the baseline that shows what training adds."""
        net = seeded(lambda: TextTower(config), seed)
        space = Space.mint(config.dims, note="an untrained text encoder")
        return cls(config, net, text_card(config, space, name="untrained text encoder", seed=seed))

    @classmethod
    def trained(cls, net: TextNet, config: TextEncoderConfig, space: Space, **card: Any) -> TextEncoder:
        """The encoder around a network that `config.net.build(config.dims)` gave and training changed.

        Args:
            net: the network, with its weights.
            config: its shape.
            space: that its vectors are in.
            card: further fields of the ModelCard.
        """
        return cls(config, TextTower(config, net), text_card(config, space, **card))

    def encode(self, data: Mapping[str, NDArray[Any]]) -> Vectors:
        """The vectors (n, dims) of `text` (n,), an array of str.

        Raises:
            DataError: another shape, or something that is not a text.
        """
        texts = self.take(data, "text")
        if texts.ndim != 1:
            raise DataError(f"texts of shape {texts.shape}: the encoder reads (n,), one text a place")
        out = np.empty((len(texts), self.dims), dtype=np.float32)
        # Tokens of a million captions would take 2 GiB: so they are made batch by batch.
        for start in range(0, len(texts), BATCH):
            found = tokens(texts[start : start + BATCH].tolist(), self.config.net)
            out[start : start + BATCH] = in_fixed_batches(self.net, found, BATCH, self.device, self.dims)
        return out


def text_card(config: TextEncoderConfig, space: Space, **more: Any) -> ModelCard:
    """The card of a text encoder of this shape."""
    card = ModelCard(
        kind="text",
        space=space,
        tower="text",
        config=config.to_json(),
        inputs=("text",),
        normalized=config.normalize,
    )
    return replace(card, **more)
