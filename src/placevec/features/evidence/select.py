"""Which regions are shown: always some, more where more stand out alike, never too many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from placevec.errors import UsageError
from placevec.features.evidence.boxes import Region


@dataclass(frozen=True)
class Selection:
    """How many regions are shown."""

    top: int = 4  # the best ones, always
    share: float = 0.9  # further ones reach this share of the best one's height above the background
    most: int = 8  # never more

    def __post_init__(self) -> None:
        if not (1 <= self.top <= self.most and 0 < self.share <= 1):
            raise UsageError(f"{self}: top is 1 ... most, and share above 0, at most 1")


def select(regions: Sequence[Region], selection: Selection | None = None) -> list[Region]:
    """The regions to show, the best first: the `top`, and those near the best one.

    Heights are calibrated, so that a share of the maximum is a share of what stands out; where nothing does (the best
    one is not above the background), the `top` alone are shown.

    Args:
        regions: all, in any order.
        selection: how many.
    """
    rule = selection or Selection()
    ranked = sorted(regions, key=lambda one: -one.score)
    best = ranked[0].score if ranked else 0.0
    near = [one for one in ranked[rule.top :] if best > 0 and one.score >= rule.share * best]
    return (ranked[: rule.top] + near)[: rule.most]
