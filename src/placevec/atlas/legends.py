"""Values of places to colours, each with the legend that tells a reader how to read them.

Every function gives `(colours, legend)`: (n, 3) uint8 for the rows of a table, and a small record that `figures`
draws beside the map. A legend says what the colours hide as well as what they show: variance left out, classes
merged, values beyond the ends of the scale, places without a value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from placevec.atlas import palettes
from placevec.atlas.colour import Agreement, ColourBasis, Scheme
from placevec.errors import SchemaError, UsageError

Colours = NDArray[np.uint8]
Scale = Literal["linear", "log"]


@dataclass(frozen=True)
class PcaLegend:
    """The three channels as components: the share of variance of each, of how many vectors, agreeing with what."""

    explained: tuple[float, float, float]
    rows: int
    clip: tuple[float, float]
    scheme: Scheme = "rgb"
    agreement: Agreement | None = None


@dataclass(frozen=True)
class ClassLegend:
    """Classes with their names, sizes and colours; `rest` counts the places of the classes that were left grey."""

    title: str
    names: tuple[str, ...]
    sizes: tuple[int, ...]
    colours: Colours
    rest: int = 0
    rest_name: str = ""
    noun: str = "cells"


@dataclass(frozen=True)
class BinLegend:
    """Values in bins around zero: k + 1 edges, k colours and the share of the places in each bin."""

    title: str
    units: str
    edges: tuple[float, ...]
    colours: Colours
    shares: tuple[float, ...]
    low_words: str = ""
    high_words: str = ""
    missing: int = 0


@dataclass(frozen=True)
class RampLegend:
    """Values from `low` to `high` on a ramp; `below` and `above` say that some lie beyond.

    `mark` and `cross` say what a ring and a cross on the map are; `left_out` what is drawn in pale grey, as no value of
    the ramp. On a scale of "log" equal steps of colour are equal ratios.
    """

    title: str
    units: str
    low: float
    high: float
    table: Colours
    below: bool = False
    above: bool = False
    mark: str = ""
    missing: int = 0
    scale: Scale = "linear"
    cross: str = ""
    left_out: str = ""


Legend = PcaLegend | ClassLegend | BinLegend | RampLegend


def pca_colours(
    basis: ColourBasis, vectors: NDArray[Any], *, space: str | None = None, scheme: Scheme = "rgb"
) -> tuple[Colours, PcaLegend]:
    """Colours of `vectors` (n, d) on `basis`; see `channels_to_colours` for the schemes.

    Raises SpaceMismatch if `space` is another than the basis's.
    """
    return basis.apply(vectors, space=space, scheme=scheme), pca_legend(basis, scheme)


def pca_legend(basis: ColourBasis, scheme: Scheme = "rgb") -> PcaLegend:
    """The legend of a basis."""
    first, second, third = (float(share) for share in basis.explained)
    return PcaLegend((first, second, third), basis.rows, basis.clip, scheme, basis.agreement)


def class_colours(
    labels: NDArray[Any],
    *,
    names: Mapping[int, str] | None = None,
    title: str = "Clusters",
    noun: str = "cells",
    limit: int = 20,
) -> tuple[Colours, ClassLegend]:
    """Colours of class numbers (n,), the largest class first; negative numbers are no class.

    Beyond `limit` classes (at most 20, which is what can be told apart) the smallest are grey and counted together.
    """
    if not 1 <= limit <= len(palettes.CATEGORICAL):
        raise UsageError(f"{limit} classes cannot be told apart by colour; use 1 to {len(palettes.CATEGORICAL)}")
    number = np.asarray(labels, dtype=np.int64)
    present, sizes = np.unique(number[number >= 0], return_counts=True)
    order = np.argsort(-sizes, kind="stable")
    shown = present[order][:limit]
    code = np.full(int(number.max(initial=0)) + 1, -1, dtype=np.int64)
    code[shown] = np.arange(len(shown))
    codes = np.where(number >= 0, code[np.maximum(number, 0)], -1)
    merged = len(present) - len(shown)
    unclassed = int((number < 0).sum())
    words = ([f"{merged} smaller classes"] if merged else []) + (["no class"] if unclassed else [])
    return palettes.categorical(codes), ClassLegend(
        title=title,
        names=tuple((names or {}).get(int(value), str(int(value))) for value in shown),
        sizes=tuple(int(size) for size in sizes[order][:limit]),
        colours=palettes.CATEGORICAL[: len(shown)],
        rest=int((codes < 0).sum()),
        rest_name=" and ".join(words),
        noun=noun,
    )


def residual_colours(
    values: NDArray[Any],
    *,
    title: str = "Residual (observed − predicted)",
    units: str = "",
    quantiles: Sequence[float] = (0.2, 0.5, 0.8),
    low_words: str = "predicted too high",
    high_words: str = "predicted too low",
) -> tuple[Colours, BinLegend]:
    """Colours of residuals (n,) in bins that lie evenly around zero.

    The inner edges are the `quantiles` of the absolute values, with both signs: three of them give seven bins, the
    middle one holding the fifth of the places nearest to zero. NaN is grey.

    Raises SchemaError if no value is finite.
    """
    number = np.asarray(values, dtype=np.float64)
    good = np.isfinite(number)
    if not good.any():
        raise SchemaError("no finite value to colour; check the column")
    size = np.unique(np.quantile(np.abs(number[good]), sorted(quantiles)))
    size = size[size > 0]
    inner = np.concatenate([-size[::-1], size])
    count = len(inner) + 1
    table = palettes.DIVERGING[np.rint(np.linspace(0, 255, max(count, 3))).astype(np.int64)]
    table = table if count >= 3 else table[1:2]
    bins = np.searchsorted(inner, np.where(good, number, 0), side="right")
    colours = table[bins]
    colours[~good] = palettes.MISSING
    ends = (
        (min(float(number[good].min()), *inner), max(float(number[good].max()), *inner)) if len(inner) else (0.0, 0.0)
    )
    share = np.bincount(bins[good], minlength=count) / good.sum()
    return colours, BinLegend(
        title=title,
        units=units,
        edges=(ends[0], *(float(edge) for edge in inner), ends[1]),
        colours=table,
        shares=tuple(float(part) for part in share),
        low_words=low_words,
        high_words=high_words,
        missing=int((~good).sum()),
    )


def ramp_colours(
    values: NDArray[Any],
    *,
    title: str,
    units: str = "",
    mark: str = "",
    cross: str = "",
    clip: tuple[float, float] = (2.0, 98.0),
    table: Colours = palettes.VIRIDIS,
    scale: Scale = "linear",
) -> tuple[Colours, RampLegend]:
    """Colours of values (n,) between two percentiles of them, dark to bright: similarities, elevations, counts.

    `mark` is what the ring on the map means, for example "query", `cross` what the cross does. On a scale of
    "log" the percentiles are those of the positive values, and zero and less take the colour of the low end.

    Raises:
        SchemaError: no value is finite.
        UsageError: the scale is "log" and no value is positive.
    """
    number = np.asarray(values, dtype=np.float64)
    good = np.isfinite(number)
    if not good.any():
        raise SchemaError("no finite value to colour; check the column")
    scaled = number[good]
    if scale == "log":
        scaled = scaled[scaled > 0]
        if not len(scaled):
            raise UsageError(f"{title}: no value is above 0, which a logarithmic scale needs; use --scale linear")
    low, high = (float(end) for end in np.percentile(scaled, clip))
    legend = RampLegend(
        title=title,
        units=units,
        low=low,
        high=high,
        table=table,
        below=bool((number[good] < low).any()),
        above=bool((number[good] > high).any()),
        mark=mark,
        missing=int((~good).sum()),
        scale=scale,
        cross=cross,
    )
    if scale == "log":
        known = np.log(np.maximum(number, low), where=good, out=np.full(number.shape, np.nan))
        return palettes.sequential(known, float(np.log(low)), float(np.log(high)), table), legend
    return palettes.sequential(np.where(good, number, np.nan), low, high, table), legend


def skewed(values: NDArray[Any]) -> bool:
    """Whether a linear scale would crowd the values (n,) into one end: three quarters in the lowest fifth of it."""
    number = np.asarray(values, dtype=np.float64)
    number = number[np.isfinite(number)]
    if not len(number) or number.min() < 0:
        return False
    low, most, high = np.percentile(number, (2, 75, 98))
    return bool(high > low and most - low < 0.2 * (high - low))
