"""Fusions without parameters, by the names that `fuse` and `evaluate fusion` give them.

| name | what it is |
| --- | --- |
| concat | all columns standardised, side by side |
| pca:64 | the same, then the first 64 principal components over all cells |
| rings:3 | the same, then the mean of ring 0 to ring 3, each ring alike; rings:3:exponential: ring r counts e^−r |
| ring-stack:1 | the same, and beside it its mean over the cell and its neighbours (and of that again, for more) |
| NAME+rbf | any of these, and radial bases of the coordinates beside it |

None of them sees a label, so that each may be made of all cells, tested ones too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import eigh

from placevec.errors import UsageError
from placevec.geo.sphere import LonLat
from placevec.measure.fusion.blocks import Block, Floats32, concatenated
from placevec.measure.fusion.coordinates import rbf_coordinates, rbf_width_m
from placevec.measure.fusion.rings import Weighting, resolution_of, ring_means, ring_stack, spacing_m

_METHOD = re.compile(
    r"(?:(?P<concat>concat)|pca:(?P<pca>\d+)|rings:(?P<rings>\d+)(?::(?P<weights>flat|exponential))?"
    r"|ring-stack:(?P<stack>\d+))(?P<rbf>\+rbf)?"
)
KNOWN = "concat, pca:DIMS, rings:K, rings:K:exponential, ring-stack:K, each also with +rbf"
MOST_RINGS = 30
"""Rings beyond this are refused: 30 hold 2,791 cells."""


@dataclass(frozen=True)
class Method:
    """A fusion without parameters."""

    kind: Literal["concat", "pca", "rings", "ring-stack"]
    count: int = 0  # components of pca, rings of means, steps of a stack
    weighting: Weighting = "flat"  # of ring means
    rbf: bool = False  # whether bases of the coordinates stand beside it

    def reach_m(self, resolution: int) -> float:
        """How far beyond its cell a vector has looked, in metres."""
        return self.count * spacing_m(resolution) if self.kind in ("rings", "ring-stack") else 0.0


def parse_method(text: str) -> Method:
    """The fusion that a text names.

    Raises:
        UsageError: it names none.
    """
    found = _METHOD.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"{text!r} is no fusion without parameters; there are: {KNOWN}")
    rbf = found["rbf"] is not None
    if found["concat"]:
        return Method("concat", rbf=rbf)
    if found["pca"]:
        return Method("pca", _counted(text, found["pca"], 4096), rbf=rbf)
    if found["rings"]:
        weighting: Weighting = "exponential" if found["weights"] == "exponential" else "flat"
        return Method("rings", _counted(text, found["rings"], MOST_RINGS), weighting, rbf)
    return Method("ring-stack", _counted(text, found["stack"], MOST_RINGS), rbf=rbf)


def fuse_plain(
    method: str,
    blocks: Mapping[str, Block],
    cells: ArrayLike,
    lonlat: LonLat | None = None,
    *,
    seed: int = 0,
) -> tuple[Floats32, tuple[str, ...]]:
    """Fuse modalities without learning anything: vectors (n, d) float32 and the names (d) of their columns.

    Args:
        method: see the table of this module.
        blocks: the modalities by name, all of the same n cells.
        cells: (n,) H3 cells of one resolution, each once.
        lonlat: (n,) their centres, for bases of the coordinates.
        seed: of the landmarks of these bases.

    Raises:
        UsageError: an unknown method, no modality, or no coordinates though bases are wanted.
        DataError: cells of several resolutions, or values that are not finite.
    """
    return plain_of(method, *concatenated(blocks), cells, lonlat, seed=seed)


def plain_of(
    method: str,
    values: Floats32,
    names: tuple[str, ...],
    cells: ArrayLike,
    lonlat: LonLat | None = None,
    *,
    seed: int = 0,
) -> tuple[Floats32, tuple[str, ...]]:
    """The same of what `concatenated` gave."""
    wanted = parse_method(method)
    if wanted.kind == "pca":
        values = principal_components(values, wanted.count)
        names = tuple(f"pc{place + 1}" for place in range(values.shape[1]))
    elif wanted.kind == "rings":
        values = ring_means(values, cells, wanted.count, wanted.weighting)
        names = tuple(f"{name} (rings 0-{wanted.count})" for name in names)
    elif wanted.kind == "ring-stack":
        values = ring_stack(values, cells, wanted.count)
        names = tuple(name if not step else f"{name} (W^{step})" for step in range(wanted.count + 1) for name in names)
    if not wanted.rbf:
        return values, names
    if lonlat is None:
        raise UsageError(f"{method!r} takes the coordinates of the cells; give lonlat")
    bases = rbf_coordinates(lonlat, rbf_width_m(resolution_of(cells)), seed=seed).astype(np.float32)
    return np.concatenate([values, bases], axis=1), (*names, *(f"rbf{at + 1}" for at in range(bases.shape[1])))


def principal_components(values: Floats32, dims: int) -> Floats32:
    """The first `dims` principal components (n, min(dims, d)) of columns (n, d), over all rows.

    Signs are fixed: the largest loading of each component is positive.
    """
    x = values.astype(np.float64)
    x -= x.mean(axis=0)
    d = x.shape[1]
    keep = min(dims, d)
    _, vectors = eigh(x.T @ x / len(x), subset_by_index=(d - keep, d - 1))
    vectors = vectors[:, ::-1]
    heaviest = vectors[np.abs(vectors).argmax(axis=0), np.arange(keep)]
    return np.asarray(x @ (vectors * np.where(heaviest < 0.0, -1.0, 1.0)), dtype=np.float32)


def _counted(text: str, number: str, most: int) -> int:
    count = int(number)
    if not 1 <= count <= most:
        raise UsageError(f"{text!r}: give 1 to {most}")
    return count
