"""The kinds of evidence by name, for any encoder: the field of vectors that each lays over an image."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from placevec.errors import DataError, UsageError
from placevec.features.evidence import Crops, Field, crop_field, dense_field, grid_field, slide_field
from placevec.features.evidence.slide import DEBIAS

if TYPE_CHECKING:
    from placevec.encoders.base import Encoder, Vectors

Kind = Literal["dense", "crops", "grid"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Attention = Literal["value", "self"]


@dataclass(frozen=True)
class Method:
    """How evidence is found.

    Raises:
        UsageError: no such kind, or a number out of range.
    """

    kind: Kind = "dense"  # "dense": positions of one forward pass; "crops": windows; "grid": cells side by side
    tile: int = 0  # side in pixels of what the model reads as one image; 0: the image (its shorter side) is one
    crops: Crops = field(default_factory=Crops)  # of "crops": sides are shares of the tile
    cells: int = 4  # of "grid": rows and columns
    one_by_one: bool = False  # of "grid": a forward pass for each cell
    pool: float = 0.15  # of "dense" with average pooling: width of the soft crop around a position, as a share of the
    # tile (see `dense_field`); 0: a position's own part in the image's score, which add up to it exactly
    attention: Attention = "value"  # of "dense" in transformers, see `encoders.hf_dense`
    debias: float = DEBIAS  # of "dense" in transformers, see `features.evidence.slide_field`
    smooth: float = 0.04  # of heat maps: standard deviation of a Gaussian, as a share of the tile

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError(f"there is no method {self.kind!r}: give {', '.join(KINDS)}")
        if self.tile < 0 or self.cells < 1:
            raise UsageError(
                f"tile = {self.tile}, cells = {self.cells}: give a tile of 0 or more pixels, 1 or more cells"
            )
        if not (0 <= self.smooth < 1 and 0 <= self.pool < 1):
            raise UsageError(f"smooth = {self.smooth}, pool = {self.pool}: give shares of a tile, from 0 to below 1")

    def smoothing(self, height: int, width: int) -> float:
        """The deviation of the smoothing as `heat_map` takes it, for an image of this size in pixels."""
        return self.smooth * self.of_image(height, width)

    def of_image(self, height: int, width: int) -> float:
        """A tile's side as a multiple of the shorter side of an image of this size."""
        short = min(height, width)
        return (self.tile or short) / short


def field_of(encoder: Encoder, image: NDArray[np.uint8], method: Method) -> Field:
    """The field of an image (bands, height, width).

    - "dense" of a tower with average pooling and a linear head: the vectors of all positions from one forward pass.
      With a `tile` the network is laid over the image at the scale at which it reads a tile, whatever the image's
      size; without, it reads the whole image as `encode` does.
    - "dense" of a CLIP or SigLIP: the tokens of windows of a tile's size that overlap by half.
    - "crops": windows of some sizes, shares of a tile (of the shorter side without one), that overlap by half.
    - "grid": cells side by side, each read as an image of its own.

    Args:
        encoder: of images, or a pair of towers.
        image: uint8.
        method: which, and how.

    Raises:
        UsageError: "dense", and the encoder has no vectors of positions.
        DataError: the image is smaller than the grid, or has other bands than the encoder reads.
    """
    from placevec.encoders import dense

    tower: Encoder = getattr(encoder, "image", encoder)
    if image.ndim != 3 or 0 in image.shape:
        raise DataError(f"an image is (bands, height, width), not {image.shape}")
    _, height, width = image.shape

    def encode(images: NDArray[np.uint8]) -> Vectors:
        return dense.image_vectors(tower, images)

    if method.kind == "crops":
        return crop_field(encode, image, method.crops, unit=min(method.tile, height, width))
    if method.kind == "grid":
        return grid_field(encode, image, method.cells, one_by_one=method.one_by_one)
    if dense.has_positions(tower):
        size = dense.native_size(tower, height, width, method.tile)
        pool = method.pool * method.of_image(height, width)
        return dense_field(dense.positions(tower, image, size), (height, width), pool=pool)
    return _transformer(tower, encode(image[None])[0], image, method)


def _transformer(tower: Any, whole: Vectors, image: NDArray[np.uint8], method: Method) -> Field:
    if tower.card.kind != "hf":
        raise UsageError(
            f"the encoder {tower.card.name or tower.card.kind} has no vectors of positions: take the method crops"
        )
    from placevec.encoders.hf_dense import encode_dense

    def tokens(images: NDArray[np.uint8]) -> tuple[Vectors, Vectors]:
        return encode_dense(tower, {"image": images}, attention=method.attention)

    return slide_field(tokens, image, whole, unit=method.tile, debias=method.debias)
