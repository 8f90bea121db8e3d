"""Rare regions: one remedy at a time, and what undoes it when the model is asked.

A model that is trained on more of a rare region than there is takes it for more frequent than it is. So its logits are
shifted back at inference (Menon et al. 2021, "Long-tail learning via logit adjustment", section 3.1): with regions
drawn or weighted by w, training shows the law π'(r) ∝ π(r)·w(r), and log p(r | x) = logit_r - log w(r) + constant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from numpy.typing import NDArray
from torch import Tensor

from placevec.errors import UsageError

Counts = Sequence[float] | NDArray[Any] | Tensor


def effective_weights(counts: Counts, beta: float = 0.999) -> Tensor:
    """The weights of classes by their effective number, w = (1 - β) / (1 - βⁿ), with mean 1 over the samples.

    Args:
        counts: (P,) samples of each class, n; a class without any counts as if it had one.
        beta: 0: all the same; towards 1: inverse frequency (Cui et al. 2019, eq. 2).

    Raises:
        UsageError: β outside [0, 1), or counts that are negative or all zero.
    """
    if not 0.0 <= beta < 1.0:
        raise UsageError(f"beta = {beta}: give a number from 0 to below 1")
    return _scaled((1.0 - beta) / (1.0 - beta ** _counts(counts).clamp(min=1.0)), _counts(counts))


def inverse_weights(counts: Counts, strength: float = 1.0) -> Tensor:
    """The weights w = n^-strength, with mean 1 over the samples: what a sampler that evens out regions draws by."""
    return _scaled(_counts(counts).clamp(min=1.0) ** -strength, _counts(counts))


def logit_adjustment(counts: Counts, trained: Literal["plain", "balanced"] | Tensor = "plain") -> Tensor:
    """What is added to the logits of regions at inference, so that they mean the frequencies of the data.

    Args:
        counts: (P,) training samples of each region.
        trained: "plain": on the data as they are, nothing is added; "balanced": on as many of each region, log n is
            added; or the weights w (P,) of regions by which samples were drawn or weighted: -log w is added.

    Returns:
        (P,) float32, with mean 0: a shift of all logits changes nothing.

    Raises:
        UsageError: counts that are negative or all zero, or another `trained`.
    """
    number = _counts(counts)
    if isinstance(trained, Tensor):
        shift = -trained.to(torch.float64).log()
    elif trained == "plain":
        shift = torch.zeros_like(number)
    elif trained == "balanced":
        shift = number.clamp(min=1.0).log()
    else:
        raise UsageError(f"trained = {trained!r}: give 'plain', 'balanced', or the weights")
    return (shift - shift.mean()).to(torch.float32)


@dataclass(frozen=True)
class BalanceConfig:
    """What is done about rare regions. There is one setting, so that there cannot be two remedies."""

    remedy: Literal["none", "weights", "sampler"] = (
        "none"  # nothing, weights in the loss, or rare regions drawn oftener
    )
    beta: float = 0.999  # of weights: see `effective_weights`
    strength: float = 1.0  # of the sampler: 0 as the data are, 1 as many of each region

    def __post_init__(self) -> None:
        if not 0.0 <= self.beta < 1.0:
            raise UsageError(f"balance.beta = {self.beta}: give a number from 0 to below 1")
        if not 0.0 <= self.strength <= 1.0:
            raise UsageError(f"balance.strength = {self.strength}: give a number from 0 to 1")

    def region_weights(self, counts: Counts) -> Tensor | None:
        """The weights (P,) of regions in the losses, or None where there are none."""
        return effective_weights(counts, self.beta) if self.remedy == "weights" else None

    def drawn(self, counts: Counts) -> Tensor | None:
        """The weights (P,) of regions by which samples are drawn, or None where all have the same chance."""
        return inverse_weights(counts, self.strength) if self.remedy == "sampler" else None

    def adjustment(self, counts: Counts) -> Tensor:
        """The shift (P,) of region logits at inference that undoes the remedy, whichever it is."""
        weights = self.region_weights(counts) if self.remedy == "weights" else self.drawn(counts)
        return logit_adjustment(counts, "plain" if weights is None else weights)


def _counts(counts: Counts) -> Tensor:
    number = torch.as_tensor(counts).to(torch.float64)
    if number.ndim != 1 or not bool((number >= 0).all()) or not bool(number.sum() > 0):
        raise UsageError(f"counts are numbers from 0, not all 0; got {number.tolist()}")
    return number


def _scaled(weights: Tensor, counts: Tensor) -> Tensor:
    return (weights * counts.sum() / (weights * counts).sum()).to(torch.float32)
