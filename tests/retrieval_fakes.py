"""A pair of towers without torch: images by the mean colour of their quarters, texts by the colours they name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from placevec.encoders.base import Carded, ModelCard
from placevec.encoders.pair import PairModel, pair_card
from placevec.provenance import Saw, Space
from placevec.sources.captions import CaptionSet

COLOURS = {
    "red": (220, 30, 30),
    "green": (30, 190, 40),
    "blue": (30, 40, 220),
    "yellow": (230, 220, 30),
    "white": (245, 245, 245),
    "black": (10, 10, 10),
}


class Colours(Carded):
    """The mean colour of an image, about grey."""

    def __init__(self, space: Space, noise: float, saw: tuple[Saw, ...] = ()) -> None:
        super().__init__(ModelCard("colours", space, "image", inputs=("image",), saw=saw))
        self.noise = noise

    def encode(self, data: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        mean = self.take(data, "image").astype(np.float64).mean(axis=(2, 3)) / 255 - 0.5
        # Noise that an image always has, whatever the batch.
        wild = np.sin(1000.0 * mean @ np.array([[1.0, 7.0, 3.0], [5.0, 2.0, 9.0], [4.0, 8.0, 6.0]]))
        return (mean + self.noise * wild).astype(np.float32)


class Words(Carded):
    """The mean of the colours that a text names."""

    def __init__(self, space: Space, longest: int = 50) -> None:
        super().__init__(ModelCard("words", space, "text", inputs=("text",)))
        self.longest, self.truncated = longest, 0

    def encode(self, data: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        texts = [str(text).split() for text in self.take(data, "text")]
        self.truncated = sum(len(words) > self.longest for words in texts)
        named = [[COLOURS[word] for word in words[: self.longest] if word in COLOURS] for words in texts]
        means = [np.mean(colours, axis=0) / 255 - 0.5 if colours else np.full(3, 1e-3) for colours in named]
        return np.array(means, dtype=np.float32).reshape(-1, 3)


def toy_pair(
    noise: float = 0.05, saw: tuple[Saw, ...] = (), name: str = "toy", longest: int = 50, **card: Any
) -> PairModel:
    """A pair that knows its colours."""
    space = Space.asserted("colours", 3)
    image = Colours(space, noise)
    return PairModel(image, Words(space, longest), pair_card(image, name=name, saw=saw, **card))


def toy_captions(folder: Path, names: Sequence[str] = (), repeats: int = 4, splits: Sequence[str] = ()) -> CaptionSet:
    """Images of one colour each with a little texture, and captions that several of them share."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    ids, captions, labels = [], [], []
    for name in names or COLOURS:
        for k in range(repeats):
            ramp = np.linspace(0, 30, 40)[:, None] * rng.uniform(0.3, 1) + np.linspace(0, 20, 40) * rng.uniform(-1, 1)
            ramp = ramp + rng.normal(0, 8, (5, 5)).repeat(8, 0).repeat(8, 1)
            pixels = np.clip(np.array(COLOURS[name]) + ramp[:, :, None], 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{name}{k}.png")
            ids.append(f"{name}{k}.png")
            captions.append((f"A {name} field .", f"it is {name}", f"picture {k} of something {name}"))
            labels.append(name)
    n = len(ids)
    return CaptionSet(
        np.array(ids, dtype=object),
        np.array([folder / one for one in ids], dtype=object),
        tuple(captions),
        np.array([splits[row % len(splits)] if splits else "" for row in range(n)], dtype=object),
        np.array(labels, dtype=object),
    )
