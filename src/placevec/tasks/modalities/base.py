"""A modality: one kind of data about cells. A new one is one file with one dataclass, and one line of the registry."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from placevec.features.modality import CellFeatures, Told


def option(help: str, default: Any = dataclasses.MISSING, *, many: bool = False) -> Any:
    """A field of a modality: an option of its command (``--like-this``) and of its recipe step.

    Args:
        help: one line for people.
        default: its value where it is not given; without one it must be given.
        many: whether it is given several times, and so a tuple.
    """
    told = {"help": help, "many": many}
    if default is dataclasses.MISSING:
        return dataclasses.field(metadata=told)
    return dataclasses.field(default=default, metadata=told)


@dataclasses.dataclass(frozen=True)
class Modality(ABC):
    """The settings of one modality, and how the features of cells are made by them.

    A subclass is a frozen dataclass whose fields are made by `option`, of the types str, Path, int, float, bool, their
    unions with None, and tuples of them. Its docstring is the help of `placevec area features NAME`.

    Attributes:
        example: a command, for the help.
        inputs: the fields that name files, so that a recipe knows what has to be there.
        known: what such a field may say that is no file, such as the name of a class table.
    """

    example: ClassVar[str] = ""
    inputs: ClassVar[Sequence[str]] = ()
    known: ClassVar[Sequence[str]] = ()

    @abstractmethod
    def compute(self, cells: NDArray[np.uint64], told: Told | None = None) -> CellFeatures:
        """The features of `cells` (n,), H3 cells of one resolution, distinct, in any order."""

    def compute_in(self, folder: Path, cells: NDArray[np.uint64], told: Told | None = None) -> CellFeatures:
        """`compute` with a folder in which what is finished may be kept, so that a run that was killed goes on.

        The folder need not exist; the caller removes it when the features are written.
        """
        del folder
        return self.compute(cells, told)
