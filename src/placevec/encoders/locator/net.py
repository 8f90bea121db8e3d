"""The network of a locator, backbones and head, and its raw answers in batches of one size."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from placevec.encoders.backbones import Backbone
from placevec.encoders.base import Vectors, unit_rows
from placevec.errors import DataError
from placevec.geo.geocells import GeoCells
from placevec.geo.mixture import hypotheses
from placevec.geo.sphere import LonLat, from_tangent
from placevec.nn.locator import LocatorHead

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
Fuse = Callable[[Tensor], Tensor]
"""Rows (size,) int64 of what is asked to fused vectors (size, dims)."""

# Values of images that a batch has as the network sees them: on a processor more images at once are no faster, and an
# accelerator wants as many as its memory bears.
VALUES = 1 << 20
VALUES_ACCELERATED = 1 << 24
MOST = 32  # images are read so many at once: a batch that they fill wastes nothing


class LocatorNet(nn.Module):
    """Backbones and head as one module: its state is what `model.safetensors` of a locator holds.

    Args:
        backbones: one or more image encoders.
        head: made for their widths.
    """

    def __init__(self, backbones: Sequence[Backbone], head: LocatorHead) -> None:
        super().__init__()
        self.backbones = nn.ModuleList(backbones)
        self.head = head

    def features(self, image: Tensor) -> list[Tensor]:
        """Images (n, bands, S, S) to the features (n, width) of each backbone."""
        return [backbone(image) for backbone in self.backbones]

    @property
    def pixels(self) -> int:
        """Side of the images at which the largest backbone works; 0 if all take them as they are."""
        return max((backbone.pixels for backbone in self.each()), default=0)

    def blank(self, pixels: int) -> Tensor:
        """One empty image (1, bands, pixels, pixels)."""
        return torch.zeros((1, self.each()[0].bands, pixels, pixels), dtype=torch.uint8)

    def each(self) -> list[Backbone]:
        """The backbones."""
        return [backbone for backbone in self.backbones if isinstance(backbone, Backbone)]


@dataclass(frozen=True, eq=False)
class Outputs:
    """What the network says of n images, before any calibration.

    Attributes:
        fused: (n, d) float32 vectors of length 1.
        region_logits: (n, P), with the shift of `Decoding.region_shift`.
        cell_logits: (n, N).
        rows: (n, m) cells of the hypotheses: the best cells of the best regions. No temperature changes which they are.
        unit: (n, m, 3) where each hypothesis lies, as unit vectors.
        spread_m: (n, m) its predicted spread in metres.
        oracle: with true cells given, the places (n) that the offsets say within them.
        similarity: (n, m) cosine of the most similar training image of the hypothesis' cell, where those refine; NaN in
            a cell without images.
        moved: (n, m) which hypotheses the training images have moved.
    """

    fused: Vectors
    region_logits: Floats
    cell_logits: Floats
    rows: Rows
    unit: Floats
    spread_m: Floats
    oracle: LonLat | None = None
    similarity: Floats | None = None
    moved: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.fused)

    def take(self, rows: Any) -> Outputs:
        """Some of the images: a slice, or numbers of rows."""
        named: dict[str, Any] = {one.name: getattr(self, one.name) for one in fields(self)}
        part: dict[str, Any] = {name: None if value is None else value[rows] for name, value in named.items()}
        return replace(self, **part)

    @classmethod
    def joined(cls, parts: Sequence[Outputs]) -> Self:
        """Several batches as one."""
        named: dict[str, Any] = {}
        for one in fields(cls):
            values = [getattr(part, one.name) for part in parts]
            named[one.name] = None if values[0] is None else together(values)
        return cls(**named)


def together(values: Sequence[Any]) -> Any:
    """Arrays, or points, one after the other."""
    if isinstance(values[0], LonLat):
        lon, lat = (np.concatenate([getattr(one, axis) for one in values]) for axis in ("lon", "lat"))
        return LonLat(lon, lat)
    return np.concatenate(values)


def batch_rows(pixels: int, device: torch.device) -> int:
    """How many images of so many pixels a side go through the network at once; always as many, see `padded`."""
    values = VALUES if device.type == "cpu" else VALUES_ACCELERATED
    return max(1, min(MOST, values // max(1, 3 * pixels**2)))


def padded(count: int, size: int) -> Iterator[tuple[Tensor, int]]:
    """Rows 0 to `count` in batches of exactly `size` (the last repeats its first row), and how many of each are real.

    Matrix kernels round differently for other shapes; with one shape, a row has one answer.
    """
    for start in range(0, count, size):
        rows = torch.arange(start, min(start + size, count))
        yield torch.cat([rows, torch.full((size - len(rows),), start, dtype=torch.int64)]), len(rows)


def fuse_images(net: LocatorNet, image: Tensor, extras: Mapping[str, Tensor], device: torch.device) -> Fuse:
    """How rows of images (n, bands, S, S) and of further inputs become fused vectors."""

    def fuse(rows: Tensor) -> Tensor:
        found: Tensor = net.head.fuse(net.features(image[rows].to(device)), _rows_of(extras, rows, device))
        return found

    return fuse


def fuse_features(
    net: LocatorNet, features: Sequence[Tensor], extras: Mapping[str, Tensor], device: torch.device
) -> Fuse:
    """How rows of features (n, width) of the backbones, computed before, become fused vectors."""
    widths = [backbone.width for backbone in net.each()]
    if [values.shape[1] for values in features] != widths:
        raise DataError(
            f"features of the widths {[int(values.shape[1]) for values in features]} for backbones of {widths}: give "
            "those of each backbone, in their order"
        )

    def fuse(rows: Tensor) -> Tensor:
        found: Tensor = net.head.fuse([values[rows].to(device) for values in features], _rows_of(extras, rows, device))
        return found

    return fuse


def raw_outputs(
    net: LocatorNet,
    fuse: Fuse,
    geocells: GeoCells,
    shift: Tensor | None,
    rows: tuple[Tensor, int],
    *,
    regions: int,
    cells: int,
    true_cells: Rows | None = None,
) -> Outputs:
    """The answers of the network for one padded batch.

    Args:
        net: the network, in evaluation.
        fuse: see `fuse_images`.
        geocells: whose centres the offsets begin at.
        shift: (P,) added to the logits of the regions, or None.
        rows: of `padded`.
        regions: regions of which hypotheses are taken.
        cells: cells of each.
        true_cells: (n,) of all images that are asked, for a diagnostic; the most probable cell stands in for -1.
    """
    asked, count = rows
    head, centres = net.head, geocells.centres
    with torch.inference_mode():
        fused = fuse(asked)
        region = head.region_logits(fused)
        region = region if shift is None else region + shift
        cell = head.cell_logits(fused)
        region_logits, cell_logits = (part.double().cpu().numpy() for part in (region, cell))
        chosen, _ = hypotheses(region_logits, cell_logits, geocells.starts, regions=regions, cells=cells)
        if true_cells is not None:
            own = true_cells[asked.numpy()]
            _check_cells(own, len(centres))
            chosen = np.concatenate([chosen, np.where(own < 0, chosen[:, 0], own)[:, None]], axis=1)
        offset_m, log_spread = head.offsets(fused, torch.from_numpy(chosen).to(fused.device))
        moved = offset_m.double().cpu().numpy()
        spread = np.exp(log_spread.double().cpu().numpy())
        vectors = unit_rows(fused.float().cpu().numpy())
    places = from_tangent(centres[chosen.ravel()], moved[..., 0].ravel(), moved[..., 1].ravel())
    unit = places.unit().reshape(*chosen.shape, 3)
    oracle = None if true_cells is None else LonLat.from_unit(unit[:count, -1])
    width = chosen.shape[1] - (true_cells is not None)
    part = (slice(count), slice(width))
    return Outputs(
        fused=vectors[:count],
        region_logits=region_logits[:count],
        cell_logits=cell_logits[:count],
        rows=chosen[part],
        unit=unit[part],
        spread_m=spread[part],
        oracle=oracle,
    )


def _check_cells(cells: Rows, count: int) -> None:
    if len(cells) and (cells.min() < -1 or cells.max() >= count):
        raise DataError(
            f"{int(cells.min())} to {int(cells.max())} are no rows of the {count} geocells, nor -1 for none: give what "
            "`GeoCells.rows` says"
        )


def _rows_of(extras: Mapping[str, Tensor], rows: Tensor, device: torch.device) -> dict[str, Tensor]:
    return {name: values[rows.to(values.device)].to(device) for name, values in extras.items()}
