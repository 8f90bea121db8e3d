"""Charts: probe scores with their intervals beside the baselines, and explained variance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from placevec.atlas import ink
from placevec.atlas.ink import ACCENT, BASELINE, BODY, EDGE, FAINT, GREY, INK, SMALL, Layout
from placevec.atlas.palettes import CATEGORICAL
from placevec.atlas.scores import SPLIT_NOTES, SPLIT_WORDS, ScoreRow, best, plain, ranked_features, split_order
from placevec.errors import SchemaError

_NEAR = 0.3  # what lies beyond the page by less than this share of its width is brought onto it


def bar_figure(
    path: str | Path,
    rows: Sequence[ScoreRow],
    *,
    title: str,
    subtitle: str = "",
    layout: Layout = "wide",
) -> Path:
    """Draw scores as dots with intervals, one panel for each split (side by side; below each other if narrow), as PNG.

    Rows stand in the order of the last split (the strictest: random before block), the best on top; learned
    features are blue and bold, baselines grey, and a dashed line marks the best baseline of each split. Scores far
    below the others are cut off and shown as an arrow with their value, so that one bad baseline does not flatten
    the rest.

    Raises SchemaError if there are no rows, or rows of several targets or metrics.
    """
    if not rows:
        raise SchemaError("no scores to draw; run the probe first")
    kinds = sorted({f"{row.target} {row.metric}".strip() for row in rows})
    if len(kinds) > 1:
        raise SchemaError(f"one figure shows one target and metric, got {', '.join(kinds)}; draw one each")
    higher = rows[0].higher_is_better
    splits, names = split_order(rows), ranked_features(rows)
    table = {(row.features, row.split): row for row in rows}
    learned = {row.features for row in rows if row.learned}
    narrow = layout == "narrow"
    size = SMALL if narrow else BODY
    label = min(max(len(name) for name in names) * size * 0.6 / 72 + 0.2, 1.9 if narrow else 3.4)
    left, tall = EDGE + label, 0.255 * len(names) + 0.1
    panel = 4.9 - left - 0.75 if narrow else 3.0
    across, down = (0.0, tall + 0.85) if narrow else (panel + 0.85, 0.0)
    width = left + panel + (len(splits) - 1) * across + (0.75 if narrow else 0.85)
    top = ink.heading(ink.new_figure(width, 4), title, subtitle) + 0.22
    figure = ink.new_figure(width, top + tall + (len(splits) - 1) * down + 0.85)
    ink.heading(figure, title, subtitle)
    height = float(figure.get_size_inches()[1])
    low, high = _limits(rows, higher_is_better=higher)
    # A narrow panel has no room for its heading and the note; the heading begins above the names.
    start = -label / panel if narrow else 0.0
    for place, split in enumerate(splits):
        x, y = left + place * across, top + place * down
        axes = figure.add_axes((x / width, 1 - (y + tall) / height, panel / width, tall / height))
        _panel(axes, split, [(name, table.get((name, split))) for name in names], learned, (low, high), start)
        axes.set_xlabel(
            rows[0].metric + (" (higher is better)" if higher else " (lower is better)"), size=SMALL, color=GREY
        )
        if place == 0 or narrow:
            for row, name in enumerate(names):
                fits = int(label * 72 / (size * 0.6))
                ink.write(
                    axes,
                    -0.12 / panel,
                    row,
                    name if len(name) <= fits else name[: fits - 1] + "…",
                    transform=axes.get_yaxis_transform(),
                    ha="right",
                    va="center",
                    size=size,
                    weight="bold" if name in learned else "normal",
                    color=INK if name in learned else GREY,
                )
    legend_y = 1 - (height - 0.2) / height
    for x, colour, text in ((EDGE, ACCENT, "learned"), (1.2, BASELINE, "baseline")):
        ink.write(figure, x / width, legend_y, "●", color=colour, va="center", size=BODY)
        ink.write(figure, (x + 0.15) / width, legend_y, text, color=GREY, va="center", size=SMALL)
    ink.write(figure, 2.2 / width, legend_y, "┆ best baseline   ─ interval", color=GREY, va="center", size=SMALL)
    return ink.save(figure, path)


def _limits(rows: Sequence[ScoreRow], *, higher_is_better: bool) -> tuple[float, float]:
    means = np.array([row.mean for row in rows if np.isfinite(row.mean)])
    ends = np.array([end for row in rows for end in (row.low, row.high) if np.isfinite(end)], dtype=np.float64)
    if not len(means):
        return 0.0, 1.0
    # Three spreads of the better half beyond the median: farther is off the page, with its value.
    better = np.sort(means)[len(means) // 2 :] if higher_is_better else np.sort(means)[: len(means) // 2 + 1]
    reach = 3 * max(float(np.ptp(better)), 0.05 * abs(float(better.mean())), 1e-6)
    middle = float(np.median(means))
    low, high = float(min(ends.min(initial=np.inf), means.min())), float(max(ends.max(initial=-np.inf), means.max()))
    if higher_is_better:
        least = min(middle - reach, float(better.min()))
        low = max(low, float(means.min()) if means.min() >= least - _NEAR * (high - least) else least)
        low = 0.0 if 0 < low < 0.4 * high else low
    else:
        low = 0.0 if low > 0 else low
        most = max(middle + reach, float(better.max()))
        high = min(high, float(means.max()) if means.max() <= most + _NEAR * (most - low) else most)
    room = 0.04 * max(high - low, 1e-6)
    return low - room, high + room


def _panel(
    axes: Any,
    split: str,
    rows: Sequence[tuple[str, ScoreRow | None]],
    learned: set[str],
    limits: tuple[float, float],
    start: float,
) -> None:
    low, high = limits
    axes.set_xlim(low, high)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_yticks([])
    axes.tick_params(axis="x", labelsize=SMALL, labelcolor=GREY, color=FAINT, length=3)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}".replace("-", "−"))
    axes.grid(axis="x", color="#e6e9ed", linewidth=0.7)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_edgecolor(FAINT)
    ink.write(
        axes,
        start,
        1.0,
        SPLIT_WORDS.get(split, split),
        transform=axes.transAxes,
        va="bottom",
        weight="bold",
        size=BODY + 0.4,
    )
    note = SPLIT_NOTES.get(split, "")
    ink.write(
        axes, 1, 1.0, note, transform=axes.transAxes, va="bottom", ha="right", size=SMALL, color=GREY, style="italic"
    )
    rival = best(row for name, row in rows if row and name not in learned)
    if rival:
        # It ends below the heading, which would be struck through where the best baseline stands near an edge.
        top = 1 - 0.3 / len(rows)
        axes.axvline(rival.mean, ymax=top, color=BASELINE, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
    for y, (name, row) in enumerate(rows):
        if row is None or not np.isfinite(row.mean):
            ink.write(axes, 1.02, y, "–", transform=axes.get_yaxis_transform(), va="center", color=GREY)
            continue
        own = name in learned
        colour = ACCENT if own else BASELINE
        if low <= row.mean <= high:
            axes.plot(
                [row.low, row.high],
                [y, y],
                color=colour,
                linewidth=2.4 if own else 1.6,
                alpha=0.55,
                solid_capstyle="round",
            )
            axes.plot([row.mean], [y], "o", color=colour, markersize=6.2 if own else 4.8, zorder=3)
        else:
            off = row.mean < low
            axes.plot(
                [low if off else high], [y], "<" if off else ">", color=colour, markersize=6, clip_on=False, zorder=3
            )
        ink.write(
            axes,
            1.02,
            y,
            plain(row.mean),
            transform=axes.get_yaxis_transform(),
            va="center",
            weight="bold" if own else "normal",
            color=INK if own else GREY,
        )


def variance_figure(
    path: str | Path,
    spectra: Mapping[str, ArrayLike],
    *,
    title: str = "Explained variance",
    subtitle: str = "",
    components: int = 20,
) -> Path:
    """Draw how much variance the first components hold, for one or some sets of vectors, and write a PNG.

    Args:
        path: the PNG.
        spectra: name to shares of variance, descending, for example `ColourBasis.spectrum`.
        title: of the figure.
        subtitle: of the figure.
        components: how many to show.

    Raises:
        SchemaError: no spectra.
    """
    if not spectra:
        raise SchemaError("no spectra to draw; fit a basis first")
    shares = {name: np.asarray(values, dtype=np.float64)[:components] for name, values in spectra.items()}
    width, tall, left = 7.6, 2.7, 0.75
    top = ink.heading(ink.new_figure(width, 4), title, subtitle)
    figure = ink.new_figure(width, top + tall + 0.6)
    ink.heading(figure, title, subtitle)
    height = float(figure.get_size_inches()[1])
    room = 1.6 if len(shares) > 1 else 0.9
    axes = figure.add_axes((left / width, 1 - (top + tall) / height, (width - left - room) / width, tall / height))
    longest = max(len(values) for values in shares.values())
    axes.axvspan(0.5, min(3, longest) + 0.5, color="#f1f4f8", zorder=0)
    ink.write(axes, 0.56, 0.985, "shown as\ncolour", transform=axes.get_xaxis_transform(), size=SMALL, color=GREY)
    ends: list[tuple[float, str, Any]] = []
    for position, (name, values) in enumerate(shares.items()):
        colour = ink.rgb(CATEGORICAL[position % len(CATEGORICAL)])
        at = np.arange(1, len(values) + 1)
        if len(shares) == 1:
            axes.bar(
                at, values, width=0.66, color=["#d7301f", "#2c9c4b", "#2b5fd0"][:3] + ["#c3c9d2"] * max(0, len(at) - 3)
            )
        axes.plot(
            at, np.cumsum(values), color=colour if len(shares) > 1 else INK, linewidth=1.6, marker="o", markersize=3.2
        )
        if len(values):
            ends.append(
                (
                    float(values.sum()),
                    f"{name}  {ink.percent(float(values.sum()))}"
                    if len(shares) > 1
                    else ink.percent(float(values.sum())),
                    colour if len(shares) > 1 else INK,
                )
            )
    last = np.inf
    for end, text, colour in sorted(ends, key=lambda entry: -entry[0]):
        last = min(end, last - 0.07)  # labels keep a line's height apart
        ink.write(axes, longest + 0.8, last, text, va="center", color=colour, weight="bold", size=BODY)
    axes.set_xlim(0.5, longest + 0.5)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("principal component", size=SMALL, color=GREY)
    axes.set_ylabel("share of variance, cumulative", size=SMALL, color=GREY)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "100 %"])
    ticks = [tick for tick in (1, 2, 3, 5, 10, 15, 20, 30, 40, 50, 64) if tick <= longest]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.tick_params(labelsize=SMALL, labelcolor=GREY, color=FAINT, length=3)
    axes.grid(axis="y", color="#e6e9ed", linewidth=0.7)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_edgecolor(FAINT)
    return ink.save(figure, path)
