"""Modality tables of one set of cells, side by side: blocks of columns with what is absent masked, never hidden."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from placevec.errors import DataError, UsageError

Floats32 = NDArray[np.float32]

PRESENT = "present"
"""The name of the column that says of which cells a modality knows anything."""


@dataclass(frozen=True, eq=False)
class Block:
    """The columns of one modality at n cells.

    Attributes:
        values: (n, d) numbers; rows of absent cells are not looked at.
        present: (n,) of which cells anything is known; None: of all.
        names: (d) of the columns; absent, they are numbered.
    """

    values: NDArray[np.floating]
    present: NDArray[np.bool_] | None = None
    names: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        n, d = self.values.shape
        if self.present is not None and self.present.shape != (n,):
            raise DataError(f"a mask of the shape {self.present.shape} for {n} cells; give one value per cell")
        if self.names and len(self.names) != d:
            raise DataError(f"{len(self.names)} names for {d} columns; name each, or none")

    @property
    def mask(self) -> NDArray[np.bool_]:
        """(n,) of which cells anything is known."""
        return np.ones(len(self.values), dtype=bool) if self.present is None else self.present

    @property
    def columns(self) -> tuple[str, ...]:
        """The names (d) of the columns."""
        return self.names or tuple(f"{place}" for place in range(self.values.shape[1]))


def standardised(block: Block) -> tuple[Floats32, tuple[str, ...]]:
    """The columns of one modality with mean 0 and variance 1 over the cells that it knows, and their names.

    Absent cells are 0, which is the mean of the column; where there are any, a last column "present" (0 or 1,
    standardised too) tells them from cells that happen to lie at the mean. No label is used. A column without any
    variance becomes 0.

    Raises:
        DataError: a value of a present cell is not finite, or the modality knows no cell.
    """
    mask = block.mask
    if not mask.any():
        raise DataError("a modality knows none of the cells; leave it out")
    known = np.asarray(block.values[mask], dtype=np.float64)
    if not np.isfinite(known).all():
        row, column = (int(at[0]) for at in np.nonzero(~np.isfinite(known)))
        raise DataError(
            f"row {int(np.flatnonzero(mask)[row])}: {block.columns[column]} is {known[row, column]}, which is no number"
        )
    out = np.zeros((len(mask), known.shape[1] + (not mask.all())), dtype=np.float32)
    out[mask, : known.shape[1]] = _scaled(known)
    if mask.all():
        return out, block.columns
    out[:, -1] = _scaled(mask[:, None].astype(np.float64))[:, 0]
    return out, (*block.columns, PRESENT)


def concatenated(blocks: Mapping[str, Block]) -> tuple[Floats32, tuple[str, ...]]:
    """All modalities side by side, standardised (see `standardised`): (n, d) and names "modality:column".

    Raises:
        UsageError: no modality.
        DataError: modalities of different cells.
    """
    if not blocks:
        raise UsageError("no modality to fuse: give one or more tables")
    counts = {name: len(block.values) for name, block in blocks.items()}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise DataError(f"modalities of different cells ({listed}); bring them to the same rows first")
    parts, names = [], []
    for name, block in blocks.items():
        values, columns = standardised(block)
        parts.append(values)
        names += [f"{name}:{column}" for column in columns]
    return np.concatenate(parts, axis=1), tuple(names)


def _scaled(values: NDArray[np.float64]) -> NDArray[np.float64]:
    centred = values - values.mean(axis=0)
    sd = centred.std(axis=0)
    # Rounding leaves something of the variance of a constant.
    moving = sd > 1e-12 * np.maximum(np.abs(values).max(axis=0), 1.0)
    return np.where(moving, centred / np.where(moving, sd, 1.0), 0.0)
