"""Vectors of positions at the cost of one image, equal to what `encode_dense` and `encode` give."""

from __future__ import annotations

import numpy as np
import pytest

from evidence_fakes import Plain, pair
from placevec.encoders.base import unit_rows
from placevec.encoders.dense import LARGEST, has_positions, image_vectors, native_size, positions
from placevec.encoders.image import ImageConfig, ImageEncoder
from placevec.errors import DataError
from placevec.nn.vision import SmallCNNConfig, ViTConfig


def encoder(pixels: int = 16, kind: str = "small-cnn") -> ImageEncoder:
    rng = np.random.default_rng(0)
    net = (
        SmallCNNConfig(width=4, stages=2, dims=6, pixels=pixels)
        if kind == "small-cnn"
        else ViTConfig(patch=4, width=8, depth=1, heads=2, dims=6, pixels=pixels)
    )
    return ImageEncoder.untrained(ImageConfig(net=net), 0, rng.integers(0, 255, (8, 3, 16, 16), dtype=np.uint8))


def images(n: int = 3, side: int = 20) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 255, (n, 3, side, side), dtype=np.uint8)


@pytest.mark.parametrize("kind", ["small-cnn", "vit"])
@pytest.mark.parametrize("size", [None, (32, 24)])
def test_one_image_gives_what_encode_dense_gives(kind: str, size: tuple[int, int] | None) -> None:
    tower = encoder(kind=kind)
    one = images(1)
    np.testing.assert_allclose(
        positions(tower, one[0], size), tower.encode_dense({"image": one}, size=size)[0], atol=1e-4
    )


def test_the_mean_over_the_positions_is_the_vector() -> None:
    tower = encoder()
    for image, vector in zip(images(), tower.encode({"image": images()}), strict=True):
        mean = positions(tower, image).mean(axis=(0, 1))
        np.testing.assert_allclose(mean / np.linalg.norm(mean), vector, atol=1e-4)


def test_vectors_of_images_are_those_of_encode() -> None:
    for tower in (encoder(), pair().image):
        np.testing.assert_allclose(
            image_vectors(tower, images()), unit_rows(tower.encode({"image": images()})), atol=1e-4
        )


def test_encoders_of_our_own_have_positions_and_others_may_not() -> None:
    assert has_positions(encoder())
    assert has_positions(pair().image)
    assert not has_positions(pair(Plain).image)


def test_the_native_size_keeps_the_scale_of_a_tile() -> None:
    tower = encoder(pixels=16)
    assert native_size(tower, 64, 96, 0) is None
    assert native_size(tower, 64, 96, 32) == (32, 48)
    assert native_size(encoder(pixels=0), 64, 96, 32) is None  # it reads images as they come
    assert native_size(encoder(kind="vit"), 33, 96, 32) == (16, 48)  # whole patches
    assert native_size(tower, 2, 900, 64) == (1, 225)
    tall, wide = native_size(tower, 20_000, 20_000, 16) or (0, 0)
    assert tall * wide <= LARGEST * 1.01


def test_other_bands_are_refused() -> None:
    with pytest.raises(DataError, match="bands"):
        positions(encoder(), np.zeros((5, 16, 16), np.uint8))
