"""A pair of towers that knows three colours: what it says about any image can be worked out by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from placevec.encoders.base import Carded, ModelCard, unit_rows
from placevec.encoders.pair import PairModel, pair_card
from placevec.errors import DataError
from placevec.provenance import Space

COLOURS = ("red", "green", "blue")
STRIDE = 8  # pixels of a position


class Colours(Carded):
    """Images to the mean of their colours less grey; its positions are squares of `STRIDE` pixels."""

    def encode_dense(self, data: Mapping[str, Any], *, size: tuple[int, int] | None = None) -> np.ndarray:
        images = self.take(data, "image").astype(np.float32) / 255
        n, bands, height, width = images.shape
        if bands != 3:
            raise DataError(f"chips of {bands} bands: the encoder reads 3")
        rows, columns = max(height // STRIDE, 1), max(width // STRIDE, 1)
        part = images[:, :, : rows * (height // rows), : columns * (width // columns)]
        part = part.reshape(n, bands, rows, height // rows, columns, width // columns).mean(axis=(3, 5))
        out = part.transpose(0, 2, 3, 1)
        return (out - 0.8 * out.mean(axis=3, keepdims=True)).astype(np.float32)

    def encode(self, data: Mapping[str, Any]) -> np.ndarray:
        return unit_rows(self.encode_dense(data).mean(axis=(1, 2)) + 1e-6)


class Plain(Colours):
    """The same without positions."""

    encode_dense = None

    def __getattribute__(self, name: str) -> Any:
        if name == "encode_dense":
            raise AttributeError(name)
        return super().__getattribute__(name)

    def encode(self, data: Mapping[str, Any]) -> np.ndarray:
        return Colours(self.card).encode(data)


class Words(Carded):
    """Texts to the colours that they name; a text without any lies off them all by a little of its own."""

    truncated = 0

    def encode(self, data: Mapping[str, Any]) -> np.ndarray:
        texts = [str(text) for text in self.take(data, "text")]
        self.truncated = sum(len(text.split()) > 20 for text in texts)
        named = np.array([[text.lower().count(colour) for colour in COLOURS] for text in texts], dtype=np.float32)
        own = np.array([np.random.default_rng(len(text)).uniform(0.2, 1, 3) for text in texts])
        return unit_rows(named - 0.5 * named.mean(axis=1, keepdims=True) + 0.3 * own)

    def known_words(self, text: str) -> float:
        return float(np.mean([word.isalpha() for word in text.split()]))


def pair(image: type[Colours] = Colours, relevance: Mapping[str, Any] | None = None) -> PairModel:
    """The two towers."""
    space = Space.asserted("colours", 3)
    card = ModelCard(kind="colours", space=space, tower="image", inputs=("image",), normalized=True, name="colours")
    towers = image(card), Words(ModelCard(kind="words", space=space, tower="text", inputs=("text",), normalized=True))
    return PairModel(*towers, pair_card(towers[0]), relevance)


def painted(side: int = 64, **squares: tuple[int, int, int]) -> np.ndarray:
    """A grey image (3, side, side) with squares of colours, each (x, y, side) in pixels."""
    image = np.full((3, side, side), 110, dtype=np.uint8)
    for name, (x, y, size) in squares.items():
        image[:, y : y + size, x : x + size] = 20
        image[COLOURS.index(name), y : y + size, x : x + size] = 230
    return image
