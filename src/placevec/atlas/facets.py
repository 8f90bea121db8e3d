"""Scores of all targets in one figure: a facet for each target, the same rows in the same order in all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from placevec.atlas import ink
from placevec.atlas.ink import ACCENT, BASELINE, BODY, EDGE, FAINT, GREY, INK, SMALL
from placevec.atlas.scores import SPLIT_WORDS, ScoreRow, plain, split_order
from placevec.errors import SchemaError

_EM = 0.56
_WORST = -0.25  # scores below are drawn at the edge, with their value


def facet_figure(
    path: str | Path,
    rows: Sequence[ScoreRow],
    *,
    title: str,
    subtitle: str = "",
    columns: int = 3,
) -> Path:
    """Draw the score of each set of features for each target, with its interval, and write a PNG.

    Rows stand in the order of their mean over all targets under the strictest split, so that facets compare line by
    line. Learned rows are blue, baselines grey; the strictest split is a filled dot with its value and interval, others
    are hollow.

    Args:
        path: the PNG.
        rows: of one metric; a row of features that a target lacks is left empty there.
        title: of the figure.
        subtitle: of the figure.
        columns: facets side by side.

    Raises:
        SchemaError: no rows, or rows of several metrics.
    """
    if not rows:
        raise SchemaError("no scores to draw; run the probe first")
    metrics = sorted({row.metric for row in rows})
    if len(metrics) > 1:
        raise SchemaError(f"one figure shows one metric, got {', '.join(metrics)}; draw one each")
    targets = list(dict.fromkeys(row.target for row in rows))
    splits = split_order(rows)
    strict = splits[-1]
    held = {(row.target, row.features, row.split): row for row in rows}
    learned = {row.features for row in rows if row.learned}

    def mean(name: str) -> float:
        own = [held[t, name, strict].mean for t in targets if (t, name, strict) in held]
        own = [value for value in own if math.isfinite(value)]
        return float(np.mean(own)) if own else -math.inf

    names = sorted(dict.fromkeys(row.features for row in rows), key=lambda name: -mean(name))
    many = min(columns, len(targets))
    down = math.ceil(len(targets) / many)
    fits = 40
    label = min(max(len(name) for name in names), fits) * BODY * _EM / 72 + 0.15
    panel, tall = (2.4 if many > 2 else 3.0), 0.235 * len(names) + 0.1
    left, gap, foot = EDGE + label, 0.62, 0.75
    width = left + many * (panel + gap)
    top = ink.heading(ink.new_figure(width, 4), title, subtitle) + 0.2
    figure = ink.new_figure(width, top + down * (tall + foot) + 0.2)
    ink.heading(figure, title, subtitle)
    height = float(figure.get_size_inches()[1])
    ends = [end for row in rows for end in (row.mean, row.low, row.high) if math.isfinite(end)]
    low, high = max(min([*ends, 0.0]), _WORST), max([*ends, 0.1])
    room = 0.03 * (high - low)
    for place, target in enumerate(targets):
        r, c = divmod(place, many)
        x, y = left + c * (panel + gap), top + r * (tall + foot)
        axes = figure.add_axes((x / width, 1 - (y + tall) / height, panel / width, tall / height))
        axes.set_xlim(low - room, high + room)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_yticks([])
        axes.tick_params(axis="x", labelsize=SMALL, labelcolor=GREY, color=FAINT, length=3)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}".replace("-", "−"))
        axes.grid(axis="x", color="#e6e9ed", linewidth=0.7)
        axes.axvline(0.0, color=FAINT, linewidth=0.9)
        axes.set_axisbelow(True)
        for side, spine in axes.spines.items():
            spine.set_visible(side == "bottom")
            spine.set_edgecolor(FAINT)
        axes.set_xlabel(metrics[0], size=SMALL, color=GREY)
        ink.write(axes, 0, 1.0, target, transform=axes.transAxes, va="bottom", weight="bold", size=BODY + 0.4)
        for line, name in enumerate(names):
            own = name in learned
            if c == 0:
                text = name if len(name) <= fits else name[: fits - 1] + "…"
                ink.write(
                    axes, -0.1 / panel, line, text, transform=axes.get_yaxis_transform(), ha="right", va="center",
                    weight="bold" if own else "normal", color=INK if own else GREY,
                )  # fmt: skip
            for split in splits:
                row = held.get((target, name, split))
                if row is not None:
                    _dot(axes, row, line, (low, high), strict=split == strict)
    key = 1 - (height - 0.18) / height
    words = SPLIT_WORDS.get(strict, strict).lower()
    others = " and ".join(SPLIT_WORDS.get(one, one).lower() for one in splits[:-1])
    at = EDGE
    for colour, text in ((ACCENT, "learned"), (BASELINE, "baseline")):
        ink.write(figure, at / width, key, "●", color=colour, va="center")
        ink.write(figure, (at + 0.15) / width, key, text, color=GREY, va="center", size=SMALL)
        at += 0.85
    legend = f"● {words}, with its 95 % interval and value" + (f"   ○ {others}" if others else "")
    ink.write(figure, (at + 0.1) / width, key, legend, color=GREY, va="center", size=SMALL)
    return ink.save(figure, path)


def _dot(axes: Any, row: ScoreRow, line: int, limits: tuple[float, float], *, strict: bool) -> None:
    if not math.isfinite(row.mean):
        return
    colour = ACCENT if row.learned else BASELINE
    low, high = limits
    if row.mean < low:
        if strict:
            axes.plot([low], [line], "<", color=colour, markersize=5, clip_on=False, zorder=3)
    elif strict:
        axes.plot([max(row.low, low), min(row.high, high)], [line, line], color=colour, linewidth=2.0, alpha=0.5)
        axes.plot([row.mean], [line], "o", color=colour, markersize=5.2, zorder=3)
    else:
        axes.plot([row.mean], [line], "o", markerfacecolor="white", markeredgecolor=colour, markersize=4.6, zorder=2)
    if strict:
        ink.write(
            axes, 1.02, line, plain(row.mean), transform=axes.get_yaxis_transform(), va="center",
            size=SMALL, weight="bold" if row.learned else "normal", color=INK if row.learned else GREY,
        )  # fmt: skip
