"""Pairs of towers for tests: one without weights that knows eight things, and a small untrained one of our own nets."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec.encoders.base import Carded, ModelCard
from placevec.encoders.image import ImageConfig, ImageEncoder
from placevec.encoders.pair import PairModel
from placevec.encoders.text import TextEncoder, TextEncoderConfig
from placevec.nn.text import TextConfig
from placevec.nn.vision import SmallCNNConfig
from placevec.provenance import Space
from placevec.table import EmbeddingTable, Places

THINGS = ("river", "forest", "harbor", "court", "field", "road", "boat", "tree")
DIMS = 32
# The last components: a direction of each tower that all of its vectors share (the modality gap), then noise.
_IMAGE_CONE, _TEXT_CONE, _NOISE = len(THINGS), len(THINGS) + 1, len(THINGS) + 2


def image_of(*things: str, seed: int = 0) -> NDArray[np.uint8]:
    """An image (3, 4, 4) that shows some things, and noise by `seed`."""
    pixels = np.zeros(48, dtype=np.uint8)
    for thing in things:
        pixels[THINGS.index(thing)] = 200
    pixels[len(THINGS) :] = np.random.default_rng(seed).integers(0, 255, 48 - len(THINGS))
    return pixels.reshape(3, 4, 4)


class ToyImages(Carded):
    """Reads what `image_of` draws: cosines between images spread widely."""

    def encode(self, data: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        flat = self.take(data, "image").reshape(-1, 48).astype(np.float64) / 200
        out = np.zeros((len(flat), DIMS))
        out[:, : len(THINGS)] = flat[:, : len(THINGS)]
        out[:, _IMAGE_CONE] = 1.0
        noise = flat[:, len(THINGS) : len(THINGS) + DIMS - _NOISE]
        out[:, _NOISE:] = 0.5 * (noise - 0.6)
        return unit(out)


class ToyTexts(Carded):
    """Reads the names of things; a word that it does not know is a direction by chance. At most 12 words."""

    truncated = 0

    def encode(self, data: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        out = np.zeros((len(data["text"]), DIMS))
        self.truncated = 0
        for row, text in zip(out, self.take(data, "text"), strict=True):
            words = text.lower().split()
            self.truncated += len(words) > 12
            row[_TEXT_CONE] = 4.0
            for word in words[:12]:
                name = word.removesuffix("s")
                if name in THINGS:
                    row[THINGS.index(name)] += 0.7
                else:
                    digest = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "little")
                    row[:] += 0.1 * np.random.default_rng(digest).standard_normal(DIMS)
        return unit(out)

    def known_words(self, text: str) -> float:
        words = text.lower().split()
        return sum(word.removesuffix("s") in THINGS for word in words) / len(words)


def toy_pair(space: Space | None = None, relevance: Mapping[str, Any] | None = None, **config: Any) -> PairModel:
    """The pair of both, in a Space that is minted unless it is given."""
    space = space or Space.mint(DIMS)
    towers = [
        kind(ModelCard(name, space, tower=name, inputs=(name,), normalized=True, weights_sha256=f"{at:064d}"))
        for at, (name, kind) in enumerate([("image", ToyImages), ("text", ToyTexts)], start=1)
    ]
    return PairModel.of(towers[0], towers[1], relevance=relevance, config=config)


def toy_images(n: int = 120, seed: int = 0) -> tuple[NDArray[np.uint8], list[tuple[str, ...]]]:
    """n images (n, 3, 4, 4) of one to three things, and what each shows."""
    rng = np.random.default_rng(seed)
    shown = [tuple(str(one) for one in rng.choice(THINGS, rng.integers(1, 4), replace=False)) for _ in range(n)]
    return np.stack([image_of(*things, seed=1000 * seed + at) for at, things in enumerate(shown)]), shown


def toy_table(pair: PairModel, n: int = 120, seed: int = 0) -> EmbeddingTable:
    """The images as a table, with what each shows as the attributes `things` and `label` (the first of them)."""
    images, shown = toy_images(n, seed)
    attributes = {"things": [" ".join(one) for one in shown], "label": [one[0] for one in shown]}
    places = Places.create([f"image-{at:03d}" for at in range(n)], attributes=attributes)
    return table_of(pair, "image", places, pair.image.encode({"image": images}))


def toy_captions(pair: PairModel, n: int = 120, seed: int = 0) -> EmbeddingTable:
    """One caption for each of the same images, as a table whose `place` is the image."""
    _, shown = toy_images(n, seed)
    texts = captions_of(shown)
    places = Places.create(
        [f"image-{at:03d}#0" for at in range(n)],
        place=[f"image-{at:03d}" for at in range(n)],
        attributes={"text": texts},
    )
    return table_of(pair, "text", places, pair.text.encode({"text": np.array(texts, dtype=object)}))


def captions_of(shown: Sequence[Sequence[str]]) -> list[str]:
    return ["there is a " + " and a ".join(one) for one in shown]


def table_of(pair: PairModel, tower: str, places: Places, vectors: NDArray[Any]) -> EmbeddingTable:
    made = getattr(pair, tower)
    return EmbeddingTable.of(
        places, vectors, pair.space, tower=made.tower, weights_sha256=made.card.weights_sha256, encoder="toy"
    )


def unit(vectors: NDArray[Any]) -> NDArray[np.float32]:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def small_pair(seed: int = 0, relevance: Mapping[str, Any] | None = None) -> PairModel:
    """An untrained pair of our own networks with 8 dims, which can be saved."""
    space = Space.mint(8)
    image = ImageEncoder.untrained(ImageConfig(SmallCNNConfig(dims=8, width=4)), seed)
    text = TextEncoder.untrained(TextEncoderConfig(TextConfig(buckets=64, width=8, capacity=8), dims=8), seed)
    towers = [type(one)(one.config, one.net, replace(one.card, space=space)) for one in (image, text)]
    return PairModel.of(towers[0], towers[1], relevance=relevance)
