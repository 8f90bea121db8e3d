"""Towers of our own that begin with random weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec.encoders.image import ImageConfig, ImageEncoder, ImageNet, image_card, prepare, seeded_net
from placevec.encoders.network import seeded
from placevec.encoders.pair import PairModel
from placevec.encoders.text import TextEncoder, TextEncoderConfig, TextTower, text_card
from placevec.errors import UsageError
from placevec.nn.text import Vocabulary, tokens
from placevec.provenance import Space
from placevec.train.pairs.config import PairTraining
from placevec.train.pairs.towers import OwnImage, OwnText, Towers


def fresh_towers(config: PairTraining, sample: NDArray[Any], captions: Sequence[Sequence[str]]) -> Towers:
    """Towers of the shape of `config`, whose weights depend on `config.loop.seed` alone.

    Args:
        config: the settings.
        sample: training images (n, bands, h, w), from which mean and deviation of the bands are taken, and what the
            image network learns without captions.
        captions: of the training images, from which words are learned.
    """
    shape = ImageConfig(net=config.image)
    image = seeded_net(shape, config.loop.seed)
    if config.warmup.epochs and image.net.learns_first:
        raise UsageError(
            f"warmup.epochs = {config.warmup.epochs}: a network of kind {config.image.kind!r} takes from images alone "
            "all it can before any training: set it to 0"
        )
    prepare(image, sample, config.loop.seed)
    words = TextEncoderConfig(net=config.text, dims=config.dims)
    vocabulary = config.text.learn([text for own in captions for text in own])
    text = seeded(lambda: TextTower(words, vocabulary=vocabulary), config.loop.seed + 1)
    return own_towers((shape, image), (words, text, vocabulary), config.temperature)


def own_towers(
    image: tuple[ImageConfig, ImageNet],
    text: tuple[TextEncoderConfig, TextTower, Vocabulary | None],
    temperature: float,
) -> Towers:
    """Towers of networks of our own.

    Args:
        image: shape and network of images.
        text: shape and network of texts, and the words it knows.
        temperature: of the loss at the start.
    """
    words, reader, vocabulary = text

    def finish(space: Space, logit_scale: float, card: Mapping[str, Any]) -> PairModel:
        own = {**card, "name": f"image tower of {card['name']}"}
        seeing = ImageEncoder(*image, image_card(image[0], space, **own))
        own["name"] = f"text tower of {card['name']}"
        reading = TextEncoder(words, reader, text_card(words, space, **own), vocabulary=vocabulary)
        return PairModel.of(seeing, reading, config={"logit_scale": logit_scale}, **card)

    return Towers(
        image=OwnImage(image[1]),
        text=OwnText(reader),
        tokens=lambda texts: tokens(texts, words.net, vocabulary),
        dims=words.dims,
        temperature=temperature,
        finish=finish,
    )


def sample_rows(rows: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """At most so many of some rows, evenly drawn."""
    return rows[:: -(-len(rows) // most) or 1]
