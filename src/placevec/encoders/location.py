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
from placevec.nn.networks import NETWORKS, Network
from placevec.nn.position import POSITIONS, Harmonics, PositionConfig, PositionEncoding
from placevec.nn.siren import SirenConfig
from placevec.provenance import Space

BATCH = 1024  # rows at a time, always: so that a vector does not depend on how many were asked for with it
PIXELS = 8192  # of a grid that stand between the first layer and the rest at once: 16 MB at 512 units


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
        return self._unit(self.nn(encoded))

    def finish(self, pre: Tensor) -> Tensor:
        """The vectors of points of which the first linear layer (n, h) is known; `pre` may be overwritten."""
        assert isinstance(self.nn, Network)
        return self._unit(self.nn.rest(pre))

    def _unit(self, vectors: Tensor) -> Tensor:
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

    def encode_grid(self, lons: NDArray[np.float64], lats: NDArray[np.float64]) -> Vectors:
        """The vectors (R, W, dims) of the pixels at longitudes (W,) and latitudes (R,), in degrees.

        They are those of `encode` within float32, reached by way of whole rows; see `rows_at` for many strips.
        """
        return self.rows_at(lons)(lats)

    def rows_at(self, lons: NDArray[np.float64]) -> GridRows:
        """What makes the vectors of rows of pixels at longitudes (W,), in degrees: what they share is made once."""
        return GridRows(self, lons)


class GridRows:
    """Rows of pixels to vectors.

    The first layer of a row is that of its position encoding (`PositionEncoding.grid`): for harmonics, a product of one
    table of the latitude and one of the longitudes. Where the encoding or the network of a plug-in has no such
    layer, the pixels are encoded as points.

    Args:
        encoder: makes the vectors.
        lons: longitudes (W,) of the columns, in degrees.
    """

    def __init__(self, encoder: LocationEncoder, lons: NDArray[np.float64]) -> None:
        self.encoder = encoder
        self.lons = np.asarray(lons, dtype=np.float64)
        net = encoder.net
        self._layer = None
        if isinstance(net.position, PositionEncoding) and isinstance(net.nn, Network):
            with torch.inference_mode():
                weight, self._bias = net.nn.first()
                self._layer = net.position.grid(weight, torch.from_numpy(self.lons).to(encoder.device))

    @property
    def separable(self) -> bool:
        """Whether rows are encoded as rows, and not as points."""
        return self._layer is not None

    def __call__(self, lats: NDArray[np.float64]) -> Vectors:
        """Latitudes (R,) in degrees to vectors (R, W, dims)."""
        lats = np.asarray(lats, dtype=np.float64)
        out = np.empty((len(lats), len(self.lons), self.encoder.dims), dtype=np.float32)
        step = max(1, PIXELS // max(1, len(self.lons)))
        for start in range(0, len(lats), step):
            part = slice(start, start + step)
            out[part] = self._rows(lats[part]) if self.separable else self._points(lats[part])
        return out

    def _rows(self, lats: NDArray[np.float64]) -> Vectors:
        encoder = self.encoder
        assert self._layer is not None
        found = np.empty((len(lats) * len(self.lons), encoder.dims), dtype=np.float32)
        with torch.inference_mode():
            pre = self._layer(torch.from_numpy(lats).to(encoder.device)).flatten(0, 1)
            for start in range(0, len(pre), BATCH):
                # A part that fits the cache, so that the sines find it there.
                vectors = encoder.net.finish(pre[start : start + BATCH].add_(self._bias))
                found[start : start + BATCH] = vectors.float().cpu().numpy()
        return found.reshape(len(lats), len(self.lons), encoder.dims)

    def _points(self, lats: NDArray[np.float64]) -> Vectors:
        lon, lat = np.meshgrid(self.lons, lats)
        vectors = self.encoder.encode({"lonlat": np.column_stack([lon.ravel(), lat.ravel()])})
        return vectors.reshape(*lon.shape, self.encoder.dims)


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
