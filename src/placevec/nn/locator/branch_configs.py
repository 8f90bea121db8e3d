"""What a locator may read besides the image: one commented dataclass for each kind of further input.

A new kind is a dataclass here, a module in `branches`, and one line in `BRANCHES`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from placevec.errors import DataError, UsageError
from placevec.nn import configs
from placevec.nn.position import POSITIONS, PositionConfig, Sphere2VecCPlus
from placevec.nn.text import TextConfig, tokens

Column = NDArray[Any]


@dataclass(frozen=True)
class BranchConfig(ABC):
    """A further input. `kind` is its key in a batch; its network gives a vector where the input is known."""

    kind: ClassVar[str]

    hidden: int = 128  # hidden units
    dropout: float = 0.1  # share of hidden units dropped in training
    withheld: float = 0.2  # share of training images from which it is kept back, so that none comes to depend on it

    def __post_init__(self) -> None:
        if self.hidden < 1:
            raise UsageError(f"branch {self.kind}: hidden = {self.hidden}: give at least 1")
        for name in ("dropout", "withheld"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise UsageError(f"branch {self.kind}: {name} = {getattr(self, name)}: give 0 to below 1")

    @abstractmethod
    def build(self, dims: int) -> nn.Module:
        """The network: what `read` gives, (n, ...), to (vectors (n, dims), known (n,) bool)."""

    @abstractmethod
    def read(self, column: Column) -> Tensor:
        """A column of a batch as the tensor that the network reads; DataError where it has another form."""

    def fitted(self, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> Self:
        """The config for training places at `lon`, `lat` (n,), degrees: itself, unless it has something to learn."""
        return self


@dataclass(frozen=True)
class MetadataConfig(BranchConfig):
    """Numbers of the camera: time, heading, focal length. NaN is unknown, and a row of NaN is no input at all."""

    kind: ClassVar[str] = "metadata"

    columns: int = 6  # numbers of a row

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.columns < 1:
            raise UsageError(f"branch metadata: columns = {self.columns}: give at least 1")

    def build(self, dims: int) -> nn.Module:
        """A perceptron over the numbers and over which of them are known."""
        from placevec.nn.locator.branches import MetadataBranch

        return MetadataBranch(self, dims)

    def read(self, column: Column) -> Tensor:
        """(n, columns) float32."""
        return _numbers(column, self.columns, torch.float32, "metadata")


@dataclass(frozen=True)
class TagsConfig(BranchConfig):
    """Words that people gave a photo. A text without words is no input at all."""

    kind: ClassVar[str] = "tags"

    net: TextConfig = field(  # the network of hashed words
        default_factory=lambda: TextConfig(buckets=16384, capacity=128, max_tokens=128)
    )

    def build(self, dims: int) -> nn.Module:
        """A network of hashed words and n-grams."""
        from placevec.nn.locator.branches import TagsBranch

        return TagsBranch(self, dims)

    def read(self, column: Column) -> Tensor:
        """Texts (None: no words) to tokens (n, max_tokens) int64."""
        return tokens(["" if text is None else text for text in column.tolist()], self.net)


@dataclass(frozen=True)
class LocationConfig(BranchConfig):
    """A rough position that is known beforehand: longitude, latitude, and the metres by which it may be wrong.

    NaN in one of the coordinates is no input at all; NaN metres are an unknown error.
    """

    kind: ClassVar[str] = "location"

    position: PositionConfig = field(
        default_factory=lambda: Sphere2VecCPlus(min_radius=0.02), metadata=configs.one_of(POSITIONS)
    )  # how the position is encoded; a local frame is fitted to the training places

    def build(self, dims: int) -> nn.Module:
        """A perceptron over the encoded position and the logarithm of its error."""
        from placevec.nn.locator.branches import LocationBranch

        return LocationBranch(self, dims)

    def read(self, column: Column) -> Tensor:
        """(n, 3) longitude, latitude (degrees), error (metres), or (n, 2) without the error; float64 (n, 3)."""
        if column.ndim == 2 and column.shape[1] == 2:
            column = np.column_stack([column, np.full(len(column), np.nan)])
        return _numbers(column, 3, torch.float64, "location")

    def fitted(self, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> Self:
        """With the encoding fitted."""
        return replace(self, position=self.position.fitted(lon, lat))


BRANCHES: dict[str, type[Any]] = {config.kind: config for config in (MetadataConfig, TagsConfig, LocationConfig)}
"""Every further input, by its kind."""


def _numbers(column: Column, width: int, dtype: torch.dtype, kind: str) -> Tensor:
    if column.ndim != 2 or column.shape[1] != width or column.dtype.kind not in "fiu":
        raise DataError(f"{kind} has the shape {column.shape} of {column.dtype}; the model reads (n, {width}) numbers")
    return torch.from_numpy(np.ascontiguousarray(column, dtype=np.float64)).to(dtype)
