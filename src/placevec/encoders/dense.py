"""Vectors at the positions of one image, from any encoder that has them, at the cost of that image alone."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from placevec.encoders.base import Encoder, Vectors, unit_rows

LARGEST = 1 << 23  # pixels a network is laid over at once: some hundred MB of maps


def has_positions(encoder: Encoder) -> bool:
    """Whether an encoder gives vectors of positions whose mean is that of the image, by `encode_dense`."""
    return hasattr(encoder, "encode_dense")


def native_size(encoder: Encoder, height: int, width: int, tile: int) -> tuple[int, int] | None:
    """The size at which the encoder reads an image as it read the images of its training; None: as `encode` does.

    Args:
        encoder: one with positions.
        height: of the image in pixels.
        width: of the image in pixels.
        tile: side in pixels of what the encoder saw as one image in its training, on the scale of this image; 0: this
            image is one.
    """
    side = int(getattr(_shape(encoder), "pixels", 0))
    if not tile or not side:
        return None
    step = max(1, int(getattr(_shape(encoder), "patch", 1)))
    scale = min(side / tile, (LARGEST / (height * width)) ** 0.5)
    tall, wide = (max(step, round(length * scale / step) * step) for length in (height, width))
    return tall, wide


def positions(encoder: Encoder, image: NDArray[Any], size: tuple[int, int] | None = None) -> Vectors:
    """The vectors (h, w, dims) of one image (bands, height, width); `encode_dense` for a batch of one.

    `encode_dense` fills its batches up, so that a vector does not depend on its neighbours; for one image that would
    be tens of times the work.

    Args:
        encoder: one with positions.
        image: in the units of the training.
        size: see `native_size`.
    """
    own: Any = encoder
    found: Vectors
    if hasattr(getattr(own, "net", None), "dense"):
        found = _run(own, lambda net, chips: net.dense(chips, size), image[None])[0]
    else:
        found = own.encode_dense({"image": image[None]}, size=size)[0]
    return found


def image_vectors(encoder: Encoder, images: NDArray[Any]) -> Vectors:
    """The unit vectors (n, dims) of images (n, bands, h, w) in one batch of just that size; see `positions`."""
    if hasattr(getattr(encoder, "net", None), "dense"):
        return unit_rows(_run(encoder, lambda net, chips: net(chips), images))
    if hasattr(encoder, "prepare") and hasattr(encoder, "features"):
        import torch

        with torch.inference_mode():
            return unit_rows(encoder.features(encoder.prepare(images)).float().cpu().numpy())
    return unit_rows(encoder.encode({"image": images}))


def _run(encoder: Any, call: Any, images: NDArray[Any]) -> Vectors:
    import torch

    from placevec.encoders.image import checked

    chips = checked(images, encoder.config).to(encoder.device)
    with torch.inference_mode():
        found: Vectors = call(encoder.net, chips).float().cpu().numpy()
    return found


def _shape(encoder: Any) -> Any:
    """The settings of an encoder's network, if it has such."""
    return getattr(getattr(encoder, "config", None), "net", None)
