"""What a probe of one city is worth in another, by how many labels the other city has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from placevec.atlas import ink
from placevec.atlas.ink import ACCENT, BASELINE, BODY, EDGE, FAINT, GREY, INK, SMALL, Pen
from placevec.errors import SchemaError
from placevec.measure.transfer import MEAN_OF_A, OWN, PROBE_OF_A, STANDARDISED, Transfer

_OTHER = "#e69f00"
_WORST = -0.5


def transfer_figure(path: str | Path, found: Sequence[Transfer], *, title: str = "", subtitle: str = "") -> Path:
    """Draw R² in the city that was not trained on against its labels, a panel for each target, and write a PNG.

    Blue is the probe of A, corrected by the labels; orange the labels alone; the dashed line what all of B's training
    rows reach, the dotted one the mean of A. Scores below −0.5 are drawn at the foot, with their value.

    Raises:
        SchemaError: nothing to draw.
    """
    if not found:
        raise SchemaError("no transfer to draw; evaluate one first")
    first = found[0]
    side, tall, gap, left = 3.2, 2.7, 0.75, EDGE + 0.45
    key = 2.3
    width = left + len(found) * (side + gap) + key
    title = title or f"From {first.source} to {first.goal}"
    subtitle = subtitle or "out-of-fold R² in spatial blocks of the second; bands are 95 % bootstrap over its blocks"
    top = ink.heading(ink.new_figure(width, 4), title, subtitle) + 0.2
    figure = ink.new_figure(width, top + tall + 0.75)
    ink.heading(figure, title, subtitle)
    height = float(figure.get_size_inches()[1])
    for place, one in enumerate(found):
        x = left + place * (side + gap)
        axes = figure.add_axes((x / width, 1 - (top + tall) / height, side / width, tall / height))
        _panel(axes, one)
        if place == 0:
            axes.set_ylabel("R²", size=SMALL, color=GREY)
    pen = Pen(figure, left + len(found) * (side + gap), top, key - EDGE, tall)
    for colour, dash, text in (
        (ACCENT, "solid", f"probe of {first.source}, corrected by the labels of {first.goal}"),
        (_OTHER, "solid", f"the same labels of {first.goal} alone"),
        (INK, (0, (4, 3)), f"{first.goal}'s own probe: all labels of the training blocks"),
        (BASELINE, (0, (1, 2)), f"the mean of {first.source}"),
    ):
        pen.axes.plot([0, 0.26], [pen.y + 0.07] * 2, color=colour, linestyle=dash, linewidth=1.8)
        pen.line(text, x=0.36, size=SMALL, color=GREY)
        pen.skip(0.08)
    pen.axes.plot([0.13], [pen.y + 0.07], "D", markerfacecolor="white", markeredgecolor=ACCENT, markersize=5)
    pen.line("without labels, the columns of each city standardised alone", x=0.36, size=SMALL, color=GREY)
    return ink.save(figure, path)


def _panel(axes: Any, found: Transfer) -> None:
    rows = [row for row in found.rows if row.labels > 0 or row.name == PROBE_OF_A]
    counts = sorted({row.labels for row in rows})
    at = {count: place for place, count in enumerate(counts)}
    means = [row.scores["r2"].mean for row in found.rows]
    low, high = max(min([*means, 0.0]), _WORST) - 0.08, max([*means, 0.1]) + 0.1
    axes.set_xlim(-0.5, len(counts) - 0.5)
    axes.set_ylim(low, high)
    axes.set_xticks(range(len(counts)), [str(count) for count in counts])
    axes.tick_params(labelsize=SMALL, labelcolor=GREY, color=FAINT, length=3)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}".replace("-", "−"))
    axes.grid(axis="y", color="#e6e9ed", linewidth=0.7)
    axes.set_axisbelow(True)
    for name, spine in axes.spines.items():
        spine.set_visible(name == "bottom")
        spine.set_edgecolor(FAINT)
    axes.set_xlabel(f"labelled places of {found.goal}", size=SMALL, color=GREY)
    axes.axhline(found.row(OWN).scores["r2"].mean, color=INK, linestyle=(0, (4, 3)), linewidth=1.1)
    axes.axhline(max(found.row(MEAN_OF_A).scores["r2"].mean, low), color=BASELINE, linestyle=(0, (1, 2)), linewidth=1.4)
    for from_a, colour, dark in ((False, _OTHER, "#8a5a00"), (True, ACCENT, ACCENT)):
        own = [row for row in rows if row.from_a == from_a]
        x = np.array([at[row.labels] for row in own], dtype=np.float64)
        y = np.maximum([row.scores["r2"].mean for row in own], low + 0.03)
        ends = np.clip(np.array([row.scores["r2"][1:3] for row in own]).reshape(-1, 2), low, high)
        axes.fill_between(x, ends[:, 0], ends[:, 1], color=colour, alpha=0.16, linewidth=0)
        # A single count has no area: its interval is a line.
        axes.vlines(x, ends[:, 0], ends[:, 1], color=colour, alpha=0.45, linewidth=1.4)
        axes.plot(x, y, "o-", color=colour, linewidth=1.6, markersize=4.5, zorder=4)
        for row, place, level in zip(own, x.tolist(), y.tolist(), strict=True):
            ink.write(
                axes,
                place + (0.06 if from_a else 0.0),
                level + (0.022 if from_a else -0.022) * (high - low),
                f"{row.scores['r2'].mean:.2f}".replace("-", "−"),
                ha="center",
                va="bottom" if from_a else "top",
                size=SMALL,
                color=dark,
                path_effects=ink.halo(),
                zorder=6,
            )
    for row in found.rows:
        if row.name == STANDARDISED:
            level = max(row.scores["r2"].mean, low + 0.03)
            axes.plot(
                [at[0] - 0.12], [level], "D", markerfacecolor="white", markeredgecolor=ACCENT, markersize=5, zorder=5
            )
    words = found.target + (" (log1p)" if found.transform else "")
    ink.write(axes, 0, 1.02, words, transform=axes.transAxes, va="bottom", weight="bold", size=BODY + 0.4)
