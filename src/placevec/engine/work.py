"""What a worker does: it turns shards into vectors and skipped rows, the same ones wherever and whenever it runs."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from placevec.errors import UsageError
from placevec.table import EmbeddingTable, Skipped

Progress = Callable[[int, int, Mapping[str, int]], None]
"""Called with the rows done, the rows of the whole job, and counts ("embedded", "skipped")."""


class Done(NamedTuple):
    """The result of one shard: its embedded rows, in their order, and those that were skipped."""

    table: EmbeddingTable
    skipped: list[Skipped]


class Work(Protocol):
    """A deterministic function from the positions of a shard to its result."""

    def __call__(self, positions: NDArray[np.int64]) -> Done:
        """The result for the places that stand at `positions` of the job's order."""


@dataclass(frozen=True)
class Spec:
    """How a process builds an object for itself: a function and JSON arguments.

    Args:
        call: ``"module:function"`` (or a class).
        args: keyword arguments; an argument may be a Spec again.
    """

    call: str
    args: Mapping[str, Any] = field(default_factory=dict)

    def build(self) -> Any:
        """Import the function and call it; UsageError if there is none."""
        module, _, name = self.call.partition(":")
        try:
            function = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError, ValueError) as error:
            raise UsageError(f"{self.call!r} cannot be built: {error}; write it as module:function") from error
        return function(**{key: build(value) for key, value in self.args.items()})

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "call": self.call,
            "args": {key: value.to_json() if isinstance(value, Spec) else value for key, value in self.args.items()},
        }


@runtime_checkable
class Rebuildable(Protocol):
    """An object that says how another process builds its equal."""

    def spec(self) -> Spec:
        """The function and arguments."""


def build(value: Any) -> Any:
    """The object itself, or what a Spec describes."""
    return value.build() if isinstance(value, Spec) else value


def spec_of(value: Any) -> Any:
    """The Spec of an object that has one, else the object."""
    return value.spec() if isinstance(value, Rebuildable) else value
