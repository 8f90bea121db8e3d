"""From images of bytes to what a network reads: resized, cut to the centre and normalised, as tensors, in batches.

The image processors of transformers do it image by image with Pillow. Here it is done on tensors, so that it is part of
the module and a training can feed it batches; `Preparation.check` holds one against the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from placevec.errors import CheckpointError, DataError, UsageError
from placevec.nn import configs

Mode = Literal["bilinear", "bicubic"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Mean of red, green and blue over ImageNet, of values from 0 to 1, as torchvision's models expect it."""
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Their deviation."""

_MODES: dict[int, Mode] = {2: "bilinear", 3: "bicubic"}  # by Pillow's numbers (PIL.Image.Resampling)
_CROPPED_BELOW = 384  # a ConvNeXT's processor resizes to size / crop_pct and takes the centre of `size`, if smaller
_LEVELS = 1.0  # of 255 by which, in the mean, an image may differ from what the image processor makes of it


@dataclass(frozen=True)
class Preparation:
    """What is done with a square image before a network reads it."""

    resize: int  # side in pixels to which it is resized, with the pixels averaged that fall together
    crop: int  # side in pixels of the centre that is kept; equal to `resize`: all of it
    mean: tuple[float, ...] = IMAGENET_MEAN  # of each band, taken away after the scaling
    std: tuple[float, ...] = IMAGENET_STD  # of each band, divided by
    mode: Mode = "bilinear"  # interpolation
    scale: float = 1 / 255  # what the bytes are multiplied by first

    def __post_init__(self) -> None:
        if not 1 <= self.crop <= self.resize:
            raise UsageError(f"resize = {self.resize}, crop = {self.crop}: give 1 <= crop <= resize")
        if self.mode not in ("bilinear", "bicubic"):
            raise UsageError(f"mode = {self.mode!r}: give bilinear or bicubic")
        if not self.mean or len(self.mean) != len(self.std) or min(self.std) <= 0 or self.scale <= 0:
            raise UsageError(f"mean = {self.mean}, std = {self.std}: give one for each band, deviations above 0")

    def to_json(self) -> dict[str, Any]:
        """A JSON object; see `from_json`."""
        return configs.to_json(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Preparation:
        """Read what `to_json` wrote; UsageError for an unknown setting."""
        return configs.from_json(cls, value)

    @classmethod
    def of_processor(cls, settings: Mapping[str, Any], where: str = "the model") -> Preparation:
        """That of an image processor of transformers, from its ``preprocessor_config.json``.

        Args:
            settings: the JSON object of that file.
            where: the model, for messages.

        Raises:
            CheckpointError: it makes something else than squares of one size, or by another interpolation.
        """
        try:
            mode = _MODES[int(settings.get("resample", 2))]
            scale = float(settings.get("rescale_factor", 1 / 255)) if settings.get("do_rescale", True) else 1.0
            normalises = settings.get("do_normalize", True)
            mean = tuple(float(value) for value in settings["image_mean"]) if normalises else (0.0,) * 3
            std = tuple(float(value) for value in settings["image_std"]) if normalises else (1.0,) * 3
            resize = _side(settings["size"])
            crop = _side(settings["crop_size"]) if settings.get("do_center_crop") else resize
            if not settings.get("do_resize", True):
                resize = crop
            elif settings.get("crop_pct") and not settings.get("do_center_crop") and resize < _CROPPED_BELOW:
                resize, crop = int(resize / float(settings["crop_pct"])), resize
            return cls(resize, crop, mean, std, mode, scale)
        except (KeyError, TypeError, ValueError, UsageError) as error:
            raise CheckpointError(
                f"{where} prepares its images in a way that is not known here ({error!r}): take a model that reads "
                "squares of one size, such as a CLIP, SigLIP, ViT or DINOv2"
            ) from None

    def __call__(self, images: Tensor) -> Tensor:
        """Square images (n, bands, S, S) uint8 of any S to (n, bands, crop, crop) float32, normalised."""
        found = resized(images, self.resize, self.mode)
        if self.crop < self.resize:
            start = (self.resize - self.crop) // 2
            found = found[:, :, start : start + self.crop, start : start + self.crop]
        mean = torch.tensor(self.mean, device=found.device)[:, None, None]
        std = torch.tensor(self.std, device=found.device)[:, None, None]
        return found.float().mul_(self.scale).sub_(mean).div_(std)

    def check(self, processor: Any, where: str) -> None:
        """CheckpointError unless it does what an image processor of transformers does with an example."""
        side = self.resize + self.resize // 2 + 1
        blocks = np.random.default_rng(0).integers(0, 256, (3, -(-side // 8), -(-side // 8)), dtype=np.uint8)
        image = blocks.repeat(8, axis=1).repeat(8, axis=2)[:, :side, :side].copy()
        wanted = processor(images=[image], return_tensors="pt", input_data_format="channels_first")
        pixels = wanted.get("pixel_values")
        mine = self(torch.from_numpy(image)[None])
        levels = torch.tensor(self.std)[:, None, None] / self.scale
        if (
            not isinstance(pixels, Tensor)
            or pixels.shape != mine.shape
            or ((pixels - mine).abs() * levels).mean() > _LEVELS
        ):
            raise CheckpointError(
                f"{where} prepares its images in a way that is not known here (its image processor makes something "
                "else of an example): take a model that reads squares of one size, such as a CLIP, SigLIP or ViT"
            )


def resized(images: Tensor, side: int, mode: Mode) -> Tensor:
    """Images (n, bands, h, w) uint8 as (n, bands, side, side) uint8, antialiased, within 2 levels of Pillow's.

    On a processor torch has a kernel for bytes, which rounds as Pillow does. Elsewhere the two axes are taken one after
    the other in float32, with what is rounded and cut off in between, as Pillow does; in one step the overshoot of
    bicubic curves at edges would differ by up to 13 levels (measured).
    """
    if images.shape[2:] == (side, side) or not len(images):
        return images if len(images) else images.new_empty((0, images.shape[1], side, side))
    if images.device.type == "cpu":
        return F.interpolate(images, size=(side, side), mode=mode, align_corners=False, antialias=True)
    return resized_in_floats(images, side, mode)


def resized_in_floats(images: Tensor, side: int, mode: Mode) -> Tensor:
    """What `resized` does where there is no kernel for bytes."""
    found = images.float()
    for size in ((images.shape[2], side), (side, side)):
        found = F.interpolate(found, size=size, mode=mode, align_corners=False, antialias=True)
        found = found.clamp_(0.0, 255.0).round_()
    return found.to(torch.uint8)


def check_images(images: Tensor, bands: int, *, floats: bool = False) -> None:
    """DataError unless these are square images (n, bands, S, S) of bytes, or where `floats` says so of numbers."""
    kinds = "uint8 or floats" if floats else "uint8"
    known = images.dtype == torch.uint8 or (floats and images.is_floating_point())
    if images.ndim != 4 or images.shape[1] != bands or not known:
        raise DataError(
            f"images {str(images.dtype).removeprefix('torch.')} {tuple(images.shape)}: the network reads {kinds} "
            f"(n, {bands}, S, S); stretch or choose the bands"
        )
    height, width = images.shape[2:]
    if height != width or not height:
        raise DataError(
            f"images of {width} x {height} pixels: the network reads squares, which keep the shape of what they show; "
            "cut them before (fit = crop)"
        )


def _side(size: Any) -> int:
    """The side in pixels that a processor's `size` makes of a square image."""
    if isinstance(size, int):
        return size
    given = {key: value for key, value in dict(size).items() if value is not None}
    if set(given) == {"shortest_edge"}:
        return int(given["shortest_edge"])
    if set(given) == {"height", "width"} and given["height"] == given["width"]:
        return int(given["height"])
    raise ValueError(f"size {given}")
