"""Raw features of a chip: what its pixels say without any learning. A compulsory baseline of every probe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec.encoders.base import Carded, ModelCard
from placevec.errors import SchemaError
from placevec.provenance import Space

QUANTILES = (0.1, 0.5, 0.9)


class PixelFeatures(Carded):
    """An encoder without weights: of each band mean, standard deviation, three quantiles and a small thumbnail.

    Args:
        bands: number of bands of the chips.
        thumbnail: side of the thumbnail, in cells of averaged pixels.

    Attributes:
        names: what each component is.
    """

    def __init__(self, bands: int = 3, thumbnail: int = 4) -> None:
        self.bands = bands
        self.thumbnail = thumbnail
        statistics = ["mean", "sd", *(f"q{int(100 * q)}" for q in QUANTILES)]
        cells = [f"cell{row}{column}" for row in range(thumbnail) for column in range(thumbnail)]
        self.names = tuple(f"band{b}_{name}" for name in [*statistics, *cells] for b in range(bands))
        # The features are fixed by this code: their Space has a name, not an identity of its own.
        space = Space.published(f"placevec-pixels-{bands}x{thumbnail}@1", len(self.names), metric="l2")
        super().__init__(
            ModelCard(kind="pixels", space=space, tower="pixels", inputs=("image",), name="statistics of the pixels")
        )

    def encode(self, data: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Features (n, d) of the images (n, bands, H, W); uint8 is taken as 0 to 1."""
        images = self.take(data, "image")
        n, bands, height, width = images.shape
        if bands != self.bands:
            raise SchemaError(f"chips of {bands} bands for features of {self.bands}")
        if n == 0:
            return np.empty((0, self.dims), dtype=np.float32)
        scale = np.float32(1 / 255) if images.dtype == np.uint8 else np.float32(1)
        values = images.astype(np.float32) * scale
        flat = values.reshape(n, bands, -1)
        parts = [flat.mean(axis=2), flat.std(axis=2), *np.quantile(flat, QUANTILES, axis=2)]
        rows = np.linspace(0, height, self.thumbnail + 1).astype(int)
        columns = np.linspace(0, width, self.thumbnail + 1).astype(int)
        for top, bottom in zip(rows[:-1], np.maximum(rows[1:], rows[:-1] + 1), strict=True):
            for left, right in zip(columns[:-1], np.maximum(columns[1:], columns[:-1] + 1), strict=True):
                parts.append(values[:, :, top:bottom, left:right].mean(axis=(2, 3)))
        return np.concatenate([part.astype(np.float32) for part in parts], axis=1)
