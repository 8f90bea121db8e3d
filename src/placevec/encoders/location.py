"""The location encoder: coordinates to vectors, by a position encoding and a network."""

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
from placevec.errors import UsageError
from placevec.nn import configs
from placevec.nn.position import POSITIONS, Harmonics, PositionConfig
from placevec.nn.siren import SirenConfig
from placevec.provenance import Space

NETWORKS: dict[str, type[Any]] = {SirenConfig.kind: SirenConfig}
"""Every network that can follow a position encoding, by its kind."""

BATCH = 1024  # rows at a time, always: so that a vector does not depend on how many were asked for with it


@dataclass(frozen=True)
class LocationConfig:
    """The shape of a location encoder."""

    position: PositionConfig = field(default_factory=Harmonics)  # the position encoding
    nn: Any = field(default_factory=SirenConfig)  # the network after it
    dims: int = 64  # components of the vector
    normalize: bool = True  # vectors of length 1

    def __post_init__(self) -> None:
        if self.dims < 1:
            raise UsageError(f"dims = {self.dims}: give at least 1")

    def to_json(self) -> dict[str, Any]:
        """A JSON object; see `from_json`."""
        return configs.to_json(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> LocationConfig:
        """Read what `to_json` wrote; UsageError for an unknown setting."""
        return configs.from_json(cls, value, {"position": POSITIONS, "nn": NETWORKS})


class LocationNet(nn.Module):
    """(n, 2) float64 degrees, longitude first, to (n, dims) float32."""

    def __init__(self, config: LocationConfig) -> None:
        super().__init__()
        self.normalize = config.normalize
        self.position = config.position.build()
        self.nn = config.nn.build(config.position.dims, config.dims)

    def forward(self, lonlat: Tensor) -> Tensor:
        """The vectors of points."""
        return self.follow(self.position(lonlat))

    def follow(self, encoded: Tensor) -> Tensor:
        """The vectors of points of which the position encoding is known."""
        vectors: Tensor = self.nn(encoded)
        return F.normalize(vectors, dim=1) if self.normalize else vectors


class LocationEncoder(NetworkEncoder):
    """Coordinates to vectors."""

    config_type = LocationConfig
    net_type = LocationNet

    @classmethod
    def untrained(cls, config: LocationConfig, seed: int = 0) -> LocationEncoder:
        """The encoder with the weights it starts from: the baseline that shows what training adds."""
        net = seeded_net(config, seed)
        space = Space.mint(config.dims, note="an untrained location encoder")
        return cls(config, net, location_card(config, space, name="untrained location encoder", seed=seed))

    def encode(self, data: Mapping[str, NDArray[Any]]) -> Vectors:
        """The vectors (n, dims) of `lonlat` (n, 2), degrees, longitude first."""
        lonlat = torch.from_numpy(np.ascontiguousarray(self.take(data, "lonlat"), dtype=np.float64))
        return in_fixed_batches(self.net, lonlat, BATCH, self.device, self.dims)


def location_card(config: LocationConfig, space: Space, **more: Any) -> ModelCard:
    """The card of a location encoder of this shape."""
    card = ModelCard(
        kind="location",
        space=space,
        tower="location",
        config=config.to_json(),
        inputs=("lonlat",),
        normalized=config.normalize,
    )
    return replace(card, **more)


def seeded_net(config: LocationConfig, seed: int) -> LocationNet:
    """The network with initial weights that depend on `seed` alone; torch's random state is left as it was."""
    return seeded(lambda: LocationNet(config), seed)
