"""What a modality says about the cells of an area: named columns, and of which cells it says nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from placevec.errors import DataError
from placevec.provenance import Saw, SourceRef, Space

Told = Callable[[str, int, int], None]
"""Progress: called with what is being done, how much of it is done, and how much there is (0: not known)."""


@dataclass(frozen=True, eq=False)
class CellFeatures:
    """The features of n cells, one row each, in the order in which the cells were given.

    Attributes:
        names: (d) of the columns, with their units: "residential_m", "departures_am_per_h". A column that holds
            ln(1 + x) is called "log1p(x)", see `log1p_columns`.
        values: (n, d) float32; rows of cells that are not `present` are not looked at.
        present: (n,) of which cells the modality knows anything. A known nothing (no road in a cell that the map
            covers) is present, and 0.
        absent: why the other cells have no row, for people.
        sources: what was read.
        space: of vectors that have no named columns, such as those of an encoder; None for named columns.
        reach_m: how far beyond its cell a row has looked, in metres; splits keep a buffer of as much.
        recipe: the settings, JSON.
        notes: lines for people about what was counted and left out.
        saw: columns of labels that the features hold, or were made of: a target never predicts itself.
    """

    names: tuple[str, ...]
    values: NDArray[np.float32]
    present: NDArray[np.bool_]
    absent: str
    sources: tuple[SourceRef, ...] = ()
    space: Space | None = None
    reach_m: float = 0.0
    recipe: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    saw: tuple[Saw, ...] = ()

    def __post_init__(self) -> None:
        shape = (len(self.present), len(self.names))
        if self.values.shape != shape:
            raise DataError(f"features of the shape {self.values.shape} for {shape[0]} cells and {shape[1]} names")
        if len(set(self.names)) != len(self.names):
            raise DataError("two columns of a modality have one name; give each its own")
        bad = ~np.isfinite(self.values) & self.present[:, None]
        if bad.any():
            row, column = (int(at[0]) for at in np.nonzero(bad))
            raise DataError(f"row {row}: {self.names[column]} is {self.values[row, column]}, which is no number")


def log1p_columns(names: Sequence[str], values: ArrayLike, plain: Sequence[str] = ()) -> tuple[tuple[str, ...], Any]:
    """Columns (n, d) of counts and lengths, none negative, as ln(1 + x) under the names "log1p(x)".

    Args:
        names: (d).
        values: (n, d).
        plain: columns that stay as they are, such as shares.
    """
    keep = np.array([name in plain for name in names])
    found = np.asarray(values, dtype=np.float64)
    told = tuple(name if same else f"log1p({name})" for name, same in zip(names, keep, strict=True))
    with np.errstate(invalid="ignore", divide="ignore"):
        logs = np.log1p(found)
    return told, np.where(keep, found, logs).astype(np.float32)
