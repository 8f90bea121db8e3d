"""Preparation on tensors against Pillow and against the image processors of transformers."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import tiny_transformers as tiny
from placevec.errors import CheckpointError, DataError, UsageError
from placevec.nn.vision.prepare import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Preparation,
    check_images,
    resized,
    resized_in_floats,
)

transformers = pytest.importorskip("transformers")

MODES = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def pillow(images: np.ndarray, side: int, mode: str) -> np.ndarray:
    made = [Image.fromarray(image.transpose(1, 2, 0)).resize((side, side), MODES[mode]) for image in images]
    return np.stack([np.asarray(one).transpose(2, 0, 1) for one in made])


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("size", "side"), [(320, 224), (100, 224), (90, 32), (37, 36), (500, 24)])
def test_sizes_are_made_as_pillow_makes_them(mode: Any, size: int, side: int) -> None:
    images = np.random.default_rng(size).integers(0, 256, (2, 3, size, size), dtype=np.uint8)
    images[1] = np.where(images[1] > 127, 255, 0)  # hard edges, where bicubic curves overshoot
    wanted = pillow(images, side, mode).astype(int)
    for make in (resized, resized_in_floats):
        found = make(torch.from_numpy(images), side, mode)
        assert found.dtype == torch.uint8
        off = np.abs(found.numpy().astype(int) - wanted)
        assert off.max() <= 2, make.__name__
        assert off.mean() < 0.25, make.__name__


def test_an_image_of_the_right_size_is_not_touched() -> None:
    images = torch.from_numpy(tiny.chips(3, size=40))
    assert resized(images, 40, "bicubic") is images
    assert resized(images[:0], 32, "bicubic").shape == (0, 3, 32, 32)


PROCESSORS = {
    "clip": lambda: transformers.CLIPImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    ),
    "siglip": lambda: transformers.SiglipImageProcessorPil(size={"height": 48, "width": 48}),
    "dinov2": lambda: transformers.BitImageProcessorPil(
        size={"shortest_edge": 40},
        crop_size={"height": 32, "width": 32},
        image_mean=IMAGENET_MEAN,
        image_std=IMAGENET_STD,
    ),
    "vit": lambda: transformers.ViTImageProcessorPil(size={"height": 24, "width": 24}),
    "convnext": lambda: transformers.ConvNextImageProcessorPil(size={"shortest_edge": 32}, crop_pct=0.875),
    "plain": lambda: transformers.ViTImageProcessorPil(size={"height": 24, "width": 24}, do_normalize=False),
    "bytes": lambda: transformers.ViTImageProcessorPil(
        size={"height": 24, "width": 24}, do_normalize=False, do_rescale=False
    ),
}


@pytest.mark.parametrize("name", list(PROCESSORS))
@pytest.mark.parametrize("size", [20, 40, 75])
def test_preparation_is_that_of_the_image_processor(name: str, size: int) -> None:
    processor = PROCESSORS[name]()
    made = Preparation.of_processor(json.loads(processor.to_json_string()))
    made.check(processor, name)
    images = tiny.chips(4, size=size)
    wanted = processor(images=list(images), return_tensors="pt", input_data_format="channels_first")["pixel_values"]
    found = made(torch.from_numpy(images))
    assert found.dtype == torch.float32
    # 2 levels of 255, as the network sees them.
    off = (found - wanted.float()).abs() * torch.tensor(made.std)[:, None, None] / made.scale
    assert float(off.max()) <= 2.01
    assert float(off.mean()) < 0.2
    assert Preparation.from_json(json.loads(json.dumps(made.to_json()))) == made


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": {"longest_edge": 32}},
        {"size": {"height": 32, "width": 24}},
        {"size": None},
        {"resample": 1},
        {"image_mean": None},
        {"image_std": [0.5, 0.5]},
        {"crop_size": {"height": 64, "width": 64}, "do_center_crop": True},
    ],
)
def test_what_is_not_known_is_refused(wrong: dict[str, Any]) -> None:
    settings = {"size": {"shortest_edge": 32}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "resample": 3}
    assert Preparation.of_processor(settings) == Preparation(32, 32, (0.5,) * 3, (0.5,) * 3, "bicubic")
    with pytest.raises(CheckpointError, match="tiny prepares its images in a way that is not known here"):
        Preparation.of_processor({**settings, **wrong}, "tiny")


def test_a_processor_that_does_something_else_is_found_out() -> None:
    processor = PROCESSORS["clip"]()
    made = Preparation.of_processor(json.loads(processor.to_json_string()))
    other = transformers.CLIPImageProcessorPil(
        size={"shortest_edge": 40}, crop_size={"height": 32, "width": 32}, resample=2
    )
    with pytest.raises(CheckpointError, match="something else of an example"):
        made.check(other, "tiny")
    patches = transformers.Siglip2ImageProcessorPil(patch_size=8, max_num_patches=16)
    with pytest.raises(CheckpointError, match="something else of an example"):
        made.check(patches, "tiny")


def test_images_that_do_not_fit() -> None:
    bytes_ = torch.zeros((2, 3, 8, 8), dtype=torch.uint8)
    check_images(bytes_, 3)
    check_images(bytes_.float(), 3, floats=True)
    for wrong, words in (
        (bytes_.float(), "float32"),
        (bytes_[:, :2], "uint8 .2, 2, 8, 8."),
        (bytes_[0], "uint8 .3, 8, 8."),
        (bytes_[:, :, :6], "8 x 6 pixels: the network reads squares"),
        (bytes_[:, :, :0, :0], "squares"),
        (bytes_.int(), "int32"),
    ):
        with pytest.raises(DataError, match=words):
            check_images(wrong, 3)
    with pytest.raises(DataError, match="int32"):
        check_images(bytes_.int(), 3, floats=True)


@pytest.mark.parametrize(
    "wrong",
    [
        {"resize": 0, "crop": 0},
        {"resize": 8, "crop": 9},
        {"resize": 8, "crop": 8, "mode": "nearest"},
        {"resize": 8, "crop": 8, "std": [0.1, 0.0, 0.1]},
        {"resize": 8, "crop": 8, "mean": [0.1]},
        {"resize": 8, "crop": 8, "scale": 0.0},
    ],
)
def test_settings_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Preparation.from_json(wrong)
