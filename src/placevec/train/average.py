"""The moving average of the weights over the steps: smoother than the weights of any one step, and mostly better.

After each step the average takes a share 1 - d of the weights, with d = min(decay, (1 + t) / (10 + t)) at step t, so
that the weights of the beginning are soon forgotten (the warm-up of ``tf.train.ExponentialMovingAverage``; averaging
itself: Polyak and Juditsky 1992). Running statistics of a batch normalisation are averaged with the weights that they
belong to; whole numbers, and parameters that are not trained, are those of the module.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from placevec.errors import CheckpointError


class Average:
    """The average of the weights of a module, from the weights that it has now.

    Args:
        module: whose weights are averaged.
        decay: the share of the average that is kept at each step, above 0 and below 1.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module = module
        self.decay = decay
        self.values = {name: value.detach().clone() for name, value in self._moving().items()}

    def restore(self, values: Mapping[str, Tensor]) -> None:
        """Take up an average that was saved; CheckpointError where it is that of other weights."""
        if {name: value.shape for name, value in values.items()} != {n: v.shape for n, v in self.values.items()}:
            raise CheckpointError("the checkpoint averages other weights than the network trains: --restart")
        self.values = dict(values)

    def follow(self) -> None:
        """Move the average to where the module's weights are."""
        now = self._moving()
        self.values = {name: value.to(now[name].device) for name, value in self.values.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after the update number `step`, from 0."""
        share = 1.0 - min(self.decay, (1.0 + step) / (10.0 + step))
        for name, value in self._moving().items():
            self.values[name].lerp_(value, share)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Put the average in the place of the weights for a while; those come back bit by bit."""
        own = {name: value.clone() for name, value in self._moving().items()}
        self.put(self.values)
        try:
            yield
        finally:
            self.put(own)

    @torch.no_grad()
    def put(self, values: Mapping[str, Tensor]) -> None:
        """Give the module these weights."""
        for name, value in self._moving().items():
            value.copy_(values[name])

    def _moving(self) -> dict[str, Tensor]:
        still = {name for name, parameter in self.module.named_parameters() if not parameter.requires_grad}
        return {
            name: value
            for name, value in self.module.state_dict().items()
            if value.is_floating_point() and name not in still
        }
