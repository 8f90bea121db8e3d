"""The settings of a U-Net over hexagons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from placevec.errors import UsageError


@dataclass(frozen=True)
class HexUNetConfig:
    """A U-Net over cells at consecutive resolutions; all tuples begin with the finest."""

    kind: ClassVar[str] = "hex-unet"

    dims: tuple[int, ...] = (64, 96, 128)  # width of each level; their number is that of the levels
    lateral: tuple[int, ...] = (2, 1, 1)  # blocks over neighbours at each level on the way up; 0: none
    decoder: tuple[int, ...] | None = None  # on the way down, of each level but the last; None: as on the way up
    expand: int = 2  # width inside a block, as a multiple of the level's
    dropout: float = 0.0  # within blocks
    norm: Literal["layer", "rms"] = "layer"  # before each block
    activation: Literal["gelu", "silu", "relu"] = "gelu"
    skip: Literal["gate", "add", "cat"] = "gate"  # how a level is joined with what comes down from the next
    smooth: float = 0.5  # how far a block begins towards the mean of the neighbours, 0 to 1; 0: no such path at all
    checkpoint: bool = False  # compute the inside of blocks again for the gradient: less memory, a third more time

    def __post_init__(self) -> None:
        levels = len(self.dims)
        if levels < 1 or min(self.dims) < 1:
            raise UsageError(f"dims {list(self.dims)}: give the width of at least one level, each 1 or more")
        if len(self.lateral) != levels or min(self.lateral) < 0:
            raise UsageError(f"lateral {list(self.lateral)}: give {levels} numbers of blocks, as many as dims")
        if self.decoder is not None and (len(self.decoder) != levels - 1 or min(self.decoder, default=0) < 0):
            raise UsageError(
                f"decoder {list(self.decoder)}: give {levels - 1} numbers of blocks, one less than dims: the last "
                "level has no way down"
            )
        if self.expand < 1:
            raise UsageError(f"expand {self.expand} is a whole number from 1")
        for name, value in (("dropout", self.dropout), ("smooth", self.smooth)):
            if not 0 <= value <= 1:
                raise UsageError(f"{name} {value} is a share from 0 to 1")

    @property
    def down(self) -> tuple[int, ...]:
        """The blocks on the way down, of each level but the last."""
        return self.lateral[:-1] if self.decoder is None else self.decoder
