"""The local scale: a region in a frame of its own, so that an encoding spends its resolution there."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from placevec.errors import UsageError
from placevec.nn import configs
from placevec.nn.position.base import POSITIONS, Floats, GridLayer, PositionConfig, PositionEncoding, Surface

MIN_RADIUS = 0.01  # degrees, 1.1 km: the frame of a single place

# Degrees of the frame at which the farthest place stands, and where its latitudes end. On the sphere 45 leaves the
# poles, where meridians meet, a whole radius away; on the plane 90 is the range of latitudes that radii are made for.
REACH: dict[Surface, float] = {"sphere": 45.0, "plane": 90.0}
LAT_LIMIT: dict[Surface, float] = {"sphere": 90.0, "plane": 180.0}
LON_LIMIT = 180.0


@dataclass(frozen=True)
class Local(PositionConfig):
    """Another encoding, in a frame that is scaled to a region.

    The frame has the coordinates::

        lon' = k · wrap(lon - lon0) · cos(lat0),   lat' = k · (lat - lat0),   k = reach / radius

    in degrees, where wrap keeps -180 ... 180 and `reach` is 45 for an encoding of the sphere and 90 for one of the
    plane. The farthest place along an axis stands at ±reach, and the waves of the encoding are k times finer.

    The frame is equirectangular: lon' depends on longitude alone and lat' on latitude alone, so that a raster keeps its
    fast path; in an azimuthal projection both would mix and the path be lost. The price is that east-west distances
    are right at lat0 only: at lat they are too long by cos(lat0) / cos(lat), for Iberia (36 to 44 N) by -5 and +6 %,
    for Chile (56 to 18 S) by -16 and +43 %. A network learns such a smooth stretch; what counts is the scale. A region
    around a pole has a seam opposite to lon0.

    Places outside are clamped: lon' to ±180, lat' to ±90 on the sphere and ±180 on the plane. All that lies farther
    than two radii north or south has thus the encoding of the border.

    Attributes left out are filled by `fitted`, in training from the training places.
    """

    kind: ClassVar[str] = "local"

    encoding: PositionConfig = field(metadata=configs.one_of(POSITIONS))  # what encodes the frame
    lon: float | None = None  # lon0, degrees
    lat: float | None = None  # lat0, degrees
    radius: float | None = None  # degrees of arc from the centre to the farthest place along an axis of the frame

    def __post_init__(self) -> None:
        if not isinstance(self.encoding, PositionConfig):
            raise UsageError(f"position.encoding = {self.encoding!r}: give a table with the kind of an encoding")
        if self.encoding.kind in ("local", "scales"):
            raise UsageError(
                f"position.encoding is {self.encoding.kind!r}: a local frame holds one plain encoding; "
                "for several write scales of local ones"
            )
        if self.lon is not None and not -180.0 <= self.lon <= 180.0:
            raise UsageError(f"position.lon = {self.lon}: give degrees from -180 to 180")
        if self.lat is not None and not -90.0 <= self.lat <= 90.0:
            raise UsageError(f"position.lat = {self.lat}: give degrees from -90 to 90")
        if self.radius is not None and not MIN_RADIUS <= self.radius <= 180.0:
            raise UsageError(f"position.radius = {self.radius}: give degrees from {MIN_RADIUS} to 180")

    @property
    def dims(self) -> int:
        """Those of the encoding."""
        return self.encoding.dims

    def build(self) -> LocalEncoding:
        """The encoding in its frame.

        Raises:
            UsageError: the frame is not known yet.
        """
        return LocalEncoding(self)

    def fitted(self, lon: Floats, lat: Floats) -> Local:
        """With what is missing of centre and radius taken from places (n,), degrees, across the antimeridian too.

        The centre is the middle of the box of the places, which is the narrowest in longitude.

        Raises:
            UsageError: there is no place, or one has no finite coordinates.
        """
        lon, lat = np.asarray(lon, dtype=np.float64), np.asarray(lat, dtype=np.float64)
        if not len(lon) or not (np.isfinite(lon).all() and np.isfinite(lat).all()):
            raise UsageError("a local frame is fitted to places: give at least one, with finite coordinates")
        lon0 = _middle(lon) if self.lon is None else self.lon
        lat0 = float(lat.min() + lat.max()) / 2.0 if self.lat is None else self.lat
        radius = self.radius
        if radius is None:
            east = np.abs(_wrap(lon - lon0)) * math.cos(math.radians(lat0))
            radius = min(max(float(east.max()), float(np.abs(lat - lat0).max()), MIN_RADIUS), 180.0)
        return replace(self, encoding=self.encoding.fitted(lon, lat), lon=lon0, lat=lat0, radius=radius)


class LocalEncoding(PositionEncoding):
    """An encoding of the frame of a region."""

    def __init__(self, config: Local) -> None:
        super().__init__()
        lon, lat, radius = config.lon, config.lat, config.radius
        if lon is None or lat is None or radius is None:
            raise UsageError("the local frame is not fitted: train the encoder, or give its lon, lat and radius")
        surface = config.encoding.surface
        self.dims = config.dims
        self.lon, self.lat = lon, lat
        self.scale = REACH[surface] / radius
        self.east = self.scale * math.cos(math.radians(lat))
        self.lat_limit = LAT_LIMIT[surface]
        self.encoding = config.encoding.build()

    def frame_lon(self, lon: Tensor) -> Tensor:
        """Longitudes of the frame, lon', of longitudes in degrees, float64."""
        turned = torch.remainder(lon - (self.lon - 180.0), 360.0) - 180.0
        return (turned * self.east).clamp_(-LON_LIMIT, LON_LIMIT)

    def frame_lat(self, lat: Tensor) -> Tensor:
        """Latitudes of the frame, lat', of latitudes in degrees, float64."""
        return ((lat - self.lat) * self.scale).clamp_(-self.lat_limit, self.lat_limit)

    def forward(self, lonlat: Tensor) -> Tensor:
        """(n, 2) degrees to (n, dims) float32."""
        framed = torch.stack([self.frame_lon(lonlat[:, 0]), self.frame_lat(lonlat[:, 1])], dim=1)
        out: Tensor = self.encoding(framed)
        return out

    def grid(self, weight: Tensor, lons: Tensor) -> GridLayer:
        """The layer of the encoding, for rows and columns of the frame."""
        return LocalLayer(self, self.encoding.grid(weight, self.frame_lon(lons)))


class LocalLayer:
    """The first layer on a grid in a local frame."""

    def __init__(self, frame: LocalEncoding, layer: GridLayer) -> None:
        self.frame = frame
        self.layer = layer

    def __call__(self, lats: Tensor) -> Tensor:
        """See `GridLayer`."""
        return self.layer(self.frame.frame_lat(lats))


def _wrap(lon: Floats) -> Floats:
    return (lon + 180.0) % 360.0 - 180.0


def _middle(lon: Floats) -> float:
    """The middle of the shortest arc that holds all longitudes, in [-180, 180)."""
    turned = np.sort(lon % 360.0)
    gaps = np.diff(turned, append=turned[0] + 360.0)
    widest = int(np.argmax(gaps))
    first = turned[(widest + 1) % len(turned)]
    middle = first + (360.0 - gaps[widest]) / 2.0
    return float((middle + 180.0) % 360.0 - 180.0)
