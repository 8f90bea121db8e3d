"""How much less what is farther counts."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from placevec.errors import UsageError

Decay = Literal["cumulative", "exponential", "gaussian"]
"""How weight falls with minutes."""

DECAYS: tuple[str, ...] = get_args(Decay)


def decayed(minutes: NDArray[np.float64], within: float, decay: str, beta: float) -> NDArray[np.float64]:
    """The weights (n,) of what is `minutes` (n,) away; 0 beyond `within` minutes.

    cumulative: 1. exponential: exp(-beta minutes). gaussian: falls to 0 at `within` without a step,
    (exp(-q²/2) - exp(-1/2)) / (1 - exp(-1/2)) with q = minutes / within (Dai, 2010, "Black residential segregation,
    disparities in spatial access to health care facilities", eq. 2).

    Raises:
        UsageError: there is no such decay.
    """
    if decay not in DECAYS:
        raise UsageError(f"there is no decay {decay!r}: choose one of {', '.join(DECAYS)}")
    if decay == "cumulative":
        weight = np.ones(len(minutes))
    elif decay == "exponential":
        weight = np.exp(-beta * minutes)
    else:
        floor = np.exp(-0.5)
        weight = (np.exp(-0.5 * (minutes / within) ** 2) - floor) / (1.0 - floor)
    return np.where(minutes <= within, weight, 0.0)
