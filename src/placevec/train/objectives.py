"""What the training loop asks of the thing that is trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


@runtime_checkable
class Objective(Protocol):
    """A module with a loss, its training rows, and the figures of its validation rows.

    Attributes:
        module: ``module(batch, generator)`` gives the loss, a scalar. All random numbers come from `generator` (a CPU
            generator, seeded anew for each step) or from torch's global one, which the loop seeds with it.
        count: number of training rows.
        monitor: the name of the validation figure by which the best weights are chosen; "" where nothing is validated.
        mode: whether less or more of it is better.
    """

    module: nn.Module
    count: int
    monitor: str
    mode: Literal["min", "max"]

    def batch(self, rows: NDArray[np.int64]) -> dict[str, Tensor]:
        """The tensors (CPU) of training rows, which are numbers from 0 to count - 1."""

    def validate(self, device: torch.device) -> dict[str, float]:
        """The figures of the validation rows with the module as it is (in eval mode, without gradients)."""

    def identity(self) -> Mapping[str, Any]:
        """JSON-able: the settings and the hashes of the data; a run folder belongs to one identity."""


@runtime_checkable
class Rated(Protocol):
    """An objective that learns some of its parameters at other rates than the rest."""

    def rates(self) -> Mapping[str, float]:
        """Factors of the learning rate by the start of parameters' names; the longest that fits counts, else 1."""


@runtime_checkable
class Single(Protocol):
    """An objective whose loss does not compare rows, so that a step may take fewer than two of them."""

    least: int  # rows of a step of one process


def first_process() -> bool:
    """Whether this is the process that writes and speaks: of several that train together the first."""
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    return not distributed or torch.distributed.get_rank() == 0


class _Gather(torch.autograd.Function):
    """Concatenate the rows of all processes; the gradient of a row is the sum of what all processes give for it."""

    @staticmethod
    def forward(context: Any, own: Tensor) -> Tensor:
        parts = [torch.empty_like(own) for _ in range(torch.distributed.get_world_size())]
        torch.distributed.all_gather(parts, own.contiguous())
        context.rows = len(own)
        return torch.cat(parts)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        torch.distributed.all_reduce(total)
        start = torch.distributed.get_rank() * context.rows
        return total[start : start + context.rows]


def gather(own: Tensor) -> Tensor:
    """The rows (n, ...) of all processes, (n · world, ...), in the order of the processes; `own` where there is one.

    With a loss computed on the gathered rows in every process, and gradients averaged over processes as DDP does, the
    update is the one that a single process would make with the whole batch.
    """
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    if not distributed or torch.distributed.get_world_size() == 1:
        return own
    out: Tensor = _Gather.apply(own)  # type: ignore[no-untyped-call]
    return out
