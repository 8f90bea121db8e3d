"""A tiny Fisher network and pictures it can learn from, for tests."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from placevec.encoders.image import ImageConfig, ImageEncoder
from placevec.nn.vision import FisherConfig
from placevec.nn.vision.fisher import channel

SMALL: dict[str, Any] = {
    "dims": 6,
    "pixels": 24,
    "stride": 4,
    "gradient_cells": (3, 4),
    "gradient_dims": 10,
    "colour_cells": (4,),
    "colour_dims": 5,
    "components": 3,
    "gradient_reduced": 12,
    "colour_reduced": 7,
    "hidden": 9,
}


def config(**changes: Any) -> FisherConfig:
    """The tiny shape with some changed."""
    return FisherConfig(**{**SMALL, **changes})


def chips(n: int = 20, bands: int = 3, height: int = 24, width: int = 24, seed: int = 0) -> np.ndarray:
    """(n, bands, height, width) uint8: stripes of different widths, ways and colours, with some noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    out = np.empty((n, bands, height, width))
    for row in range(n):
        angle, wave = rng.uniform(0, np.pi), rng.uniform(4, 12)
        stripes = np.sin((x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / wave)
        out[row] = 128 + 80 * stripes * rng.uniform(-1, 1, bands)[:, None, None]
    return np.clip(out + rng.normal(0, 6, out.shape), 0, 255).astype(np.uint8)


def encoder(seed: int = 1, n: int = 20, learned: np.ndarray | None = None, **changes: Any) -> ImageEncoder:
    """An encoder that has learned from n chips; its head is as it begins."""
    shape = config(**changes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(channel, "_SAMPLE", 3000)
        given = chips(n, shape.bands) if learned is None else learned
        return ImageEncoder.untrained(ImageConfig(net=shape), seed, given)
