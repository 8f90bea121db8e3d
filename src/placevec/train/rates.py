"""Learning rates: of a step, and of single parts of a network; and which weights decay."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import nn

from placevec.train.config import LoopConfig

FACTOR = "factor"  # of the learning rate, in a group of the optimiser


def parameter_groups(
    module: nn.Module, weight_decay: float, rates: Mapping[str, float] | None = None
) -> list[dict[str, Any]]:
    """Parameters for AdamW: weight decay for matrices and kernels, none for biases, norms and the temperature.

    Args:
        module: whose parameters are trained, but for those that want no gradient.
        weight_decay: of matrices and kernels.
        rates: factors of the learning rate by the start of parameters' names, see `objectives.Rated`.

    Returns:
        two groups for each factor, with the factor in them.
    """
    known = rates or {}
    factors: dict[float, list[nn.Parameter]] = {} if known else {1.0: []}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            fits = max((start for start in known if name.startswith(start)), key=len, default=None)
            factors.setdefault(1.0 if fits is None else known[fits], []).append(parameter)
    return [
        {"params": [p for p in trained if (p.ndim >= 2) is decays], "weight_decay": weight_decay * decays, FACTOR: f}
        for f, trained in factors.items()
        for decays in (True, False)
    ]


def learning_rate(config: LoopConfig, step: int, total: int) -> float:
    """The learning rate of `step` of `total`: a linear rise, then half a cosine down to the final share."""
    rise = round(config.warmup * total)
    if step < rise:
        return config.learning_rate * (step + 1) / rise
    done = (step - rise) / max(1, total - rise)
    low = config.final_rate
    return config.learning_rate * (low + (1.0 - low) * 0.5 * (1.0 + math.cos(math.pi * done)))
