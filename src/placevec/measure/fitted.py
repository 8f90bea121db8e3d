"""Features that are fitted on training rows: what they may say besides, and how some rows of them are taken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from numpy.typing import NDArray

from placevec.measure.nested import Fitted, Rows

Blocks = Sequence[tuple[str, int, int]]
"""(name, first column, column after the last) of each part of a vector."""


@runtime_checkable
class FittedParts(Protocol):
    """Fitted features that are laid together of several parts."""

    def __call__(self, train: Rows) -> NDArray[Any]:
        """Features (n, p) of all rows."""

    def parts(self, train: Rows) -> tuple[NDArray[Any], Blocks]:
        """Features (n, p) of all rows, and their blocks."""


def some_rows(make: Fitted, rows: Rows) -> Fitted:
    """The same features of some rows only, numbered anew: the others are neither trained on nor asked for."""
    return _SomeParts(make, rows) if isinstance(make, FittedParts) else _Some(make, rows)


class _Some:
    def __init__(self, make: Fitted, rows: Rows) -> None:
        self.make, self.rows = make, rows

    def __call__(self, train: Rows) -> NDArray[Any]:
        return self.make(self.rows[train])[self.rows]


class _SomeParts(_Some):
    def parts(self, train: Rows) -> tuple[NDArray[Any], Blocks]:
        assert isinstance(self.make, FittedParts)
        features, blocks = self.make.parts(self.rows[train])
        return features[self.rows], blocks
