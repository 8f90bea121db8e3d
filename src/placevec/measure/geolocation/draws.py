"""Figures of several methods on the same photos, with intervals over blocks, and what each learned one beats.

All methods are drawn by the same resamples of blocks, so that their differences are paired.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from placevec.errors import DataError
from placevec.measure.geolocation.points import LOWER, POINT_FIGURES, WITHIN_KM, error_figures, geoscores
from placevec.measure.intervals import DRAWS, group_codes, percentile_interval, resample_counts
from placevec.measure.neighbour_report import Against

Floats = NDArray[np.float64]
Counts = NDArray[np.uint8]

Role = Literal["learned", "untrained", "baseline", "decoder", "diagnostic"]
"""A decoder is another reading of a learned law; a diagnostic was told part of the answer, and competes with none."""

QUANTILES = {"median_km": 0.5, "p90_km": 0.9}
_DRAWS_AT_ONCE = 50
_DRAWN_ANSWERS = 16


@dataclass(frozen=True, eq=False)
class Method:
    """The errors of one way to answer.

    Attributes:
        name: as tables show it.
        role: whether it is learned, or what else.
        km: (n,) errors, or (n, s): s equally likely answers to each photo.
        extra: further figures by name, (n,) each, of which the mean counts: NaN where a photo has none. Those called
            `nll` and `ece` are better where they are less.
        about: how it was made, in words.
    """

    name: str
    role: Role
    km: Floats
    extra: Mapping[str, Floats] = field(default_factory=dict)
    about: str = ""

    def __post_init__(self) -> None:
        if self.km.ndim not in (1, 2) or not len(self.km):
            raise DataError(f"{self.name}: errors of the shape {self.km.shape}; give one or more for each photo")
        odd = next((name for name, values in self.extra.items() if values.shape != self.km.shape[:1]), None)
        if odd is not None:
            raise DataError(f"{self.name}: {odd} has {len(self.extra[odd])} values for {len(self.km)} photos")

    def figures(self) -> dict[str, float]:
        """Every figure; see `error_figures`."""
        return error_figures(self.km.ravel()) | {name: _mean(values) for name, values in self.extra.items()}


@dataclass(frozen=True)
class MethodRow:
    """The figures of one way to answer, with their intervals.

    Attributes:
        name: as tables show it.
        role: whether it is learned, or what else.
        values: by figure; see `points.POINT_FIGURES`.
        low: lower ends of the 95 % intervals over blocks.
        high: upper ends.
        against: by figure, a learned method against each baseline, the strongest first; or a decoder against it.
        about: how it was made.
    """

    name: str
    role: Role
    values: Mapping[str, float]
    low: Mapping[str, float]
    high: Mapping[str, float]
    against: Mapping[str, tuple[Against, ...]] = field(default_factory=dict)
    about: str = ""


def is_ordered(figure: str) -> bool:
    """Whether more or less of a figure is better: a coverage is best where it is as wanted."""
    return not figure.startswith(("coverage", "area"))


def lower_is_better(figure: str) -> bool:
    """Whether less of a figure is better."""
    return figure in LOWER or figure in ("nll", "ece", "brier", "aurc_km")


def method_rows(
    methods: Sequence[Method],
    blocks: NDArray[Any] | None = None,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> tuple[MethodRow, ...]:
    """The figures of each method, and each learned one against every baseline and every untrained network.

    A decoder stands against the first learned method, of whose answers it is another reading.

    Args:
        methods: of the same n photos, each with a name of its own.
        blocks: (n,) the block, or the place, of each photo: its photos are drawn together.
        draws: resamples of the blocks.
        seed: of the resamples.

    Raises:
        DataError: lengths differ, or two methods have one name.
    """
    names = [one.name for one in methods]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"two methods are called {twice!r}; name them apart")
    sizes = {len(one.km) for one in methods}
    if len(sizes) != 1:
        raise DataError(f"methods of {sorted(sizes)} photos; they answer the same ones")
    codes = group_codes(blocks, sizes.pop())
    counts = resample_counts(int(codes.max()) + 1, draws, seed)
    values = {one.name: one.figures() for one in methods}
    drawn = {one.name: figure_draws(one, codes, counts) for one in methods}
    rivals = [one.name for one in methods if one.role in ("baseline", "untrained")]
    learned = [one.name for one in methods if one.role == "learned"]
    rows = []
    for one in methods:
        ends = {figure: percentile_interval(found) for figure, found in drawn[one.name].items()}
        versus = {"learned": rivals, "decoder": learned[:1]}.get(one.role, [])
        against: dict[str, tuple[Against, ...]] = {}
        for figure, value in values[one.name].items():
            if not is_ordered(figure) or not np.isfinite(value):
                continue
            met = [name for name in versus if np.isfinite(values[name].get(figure, np.nan))]
            found = [_against(figure, one.name, name, values, drawn) for name in met]
            if found:
                against[figure] = tuple(sorted(found, key=lambda other: other.difference))
        rows.append(
            MethodRow(
                one.name,
                one.role,
                values[one.name],
                {figure: low for figure, (low, _) in ends.items()},
                {figure: high for figure, (_, high) in ends.items()},
                against,
                one.about,
            )
        )
    return tuple(rows)


def figure_draws(method: Method, codes: NDArray[np.int64], counts: Counts) -> dict[str, Floats]:
    """Every figure (draws,) of each resample of the blocks.

    Args:
        method: of n photos. Where it has many equally likely answers, quantiles are drawn from 16 of each photo.
        codes: (n,) the block of each photo, from `intervals.group_codes`.
        counts: (draws, blocks) from `intervals.resample_counts`.
    """
    km = method.km if method.km.ndim == 2 else method.km[:, None]
    per_photo = {
        "mean_km": km.mean(axis=1),
        **{f"acc_{distance:g}": (km <= distance).mean(axis=1) for distance in WITHIN_KM},
        "geoscore": geoscores(km).mean(axis=1),
        **method.extra,
    }
    found = {name: _mean_draws(values, codes, counts) for name, values in per_photo.items()}
    found |= _quantile_draws(mid_quantiles(km, _DRAWN_ANSWERS), codes, counts)
    order = [*POINT_FIGURES, *method.extra]
    return {name: found[name] for name in order}


def mid_quantiles(values: Floats, count: int) -> Floats:
    """The middles (n, count) of `count` equal parts of the values (n, s) of each row; or those, where they are few."""
    if values.shape[1] <= count:
        return values
    middles = (np.arange(count) + 0.5) / count
    return np.asarray(np.quantile(values, middles, axis=1, method="hazen").T)


def _against(
    figure: str,
    name: str,
    rival: str,
    values: Mapping[str, Mapping[str, float]],
    drawn: Mapping[str, Mapping[str, Floats]],
) -> Against:
    sign = -1.0 if lower_is_better(figure) else 1.0
    difference = sign * (values[name][figure] - values[rival][figure])
    low, high = percentile_interval(sign * (drawn[name][figure] - drawn[rival][figure]))
    outcome: Literal["beats", "ties", "loses"] = "ties"
    # A win has to be earned, a loss is admitted at once.
    if difference > 0 and low > 0:
        outcome = "beats"
    elif difference < 0:
        outcome = "loses"
    return Against(rival, difference, low, high, outcome)


def _mean(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


def _mean_draws(values: Floats, codes: NDArray[np.int64], counts: Counts) -> Floats:
    known = np.isfinite(values)
    blocks = counts.shape[1]
    weight = counts.astype(np.float64)
    total = weight @ np.bincount(codes, weights=np.where(known, values, 0.0), minlength=blocks)
    held = weight @ np.bincount(codes, weights=known, minlength=blocks)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(total / held)


def _quantile_draws(km: Floats, codes: NDArray[np.int64], counts: Counts) -> dict[str, Floats]:
    """Median and 90th percentile of each resample, interpolated between two values as numpy does."""
    order = np.argsort(km.ravel(), kind="stable")
    values = km.ravel()[order]
    block = np.repeat(codes, km.shape[1])[order]
    found: dict[str, list[Floats]] = {name: [] for name in QUANTILES}
    for start in range(0, len(counts), _DRAWS_AT_ONCE):
        running = np.cumsum(counts[start : start + _DRAWS_AT_ONCE][:, block], axis=1, dtype=np.int64)
        for name, share in QUANTILES.items():
            found[name].append(np.array([_quantile_of(values, line, share) for line in running]))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _quantile_of(values: Floats, running: NDArray[np.int64], share: float) -> float:
    """The quantile of sorted values that stand as often in a sample as their running counts (n,) say."""
    total = int(running[-1])
    if total == 0:
        return float("nan")
    place = (total - 1) * share
    first = int(place)
    # The value of rank r (from 0) is the first whose running count is above r.
    low, high = np.searchsorted(running, [first, min(first + 1, total - 1)], side="right")
    return float(values[low] + (place - first) * (values[high] - values[low]))
