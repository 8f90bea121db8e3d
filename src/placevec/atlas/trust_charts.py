"""Charts of trust: whether a confidence means what it says, and what is gained by answering only what is sure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from placevec.atlas import ink
from placevec.atlas.ink import ACCENT, BASELINE, BODY, FAINT, GREY, INK, SMALL
from placevec.errors import SchemaError

_GRID = "#e6e9ed"


def reliability_figure(
    path: str | Path,
    said: ArrayLike,
    true: ArrayLike,
    share: ArrayLike,
    *,
    title: str = "Does the confidence mean what it says?",
    subtitle: str = "",
    coverage: Mapping[float, float] | None = None,
    words: str = "",
) -> Path:
    """Draw a reliability diagram: what was said against how often it came true, with the share of each step below.

    Args:
        path: the PNG.
        said: (k,) mean confidence of each step.
        true: (k,) how often the answers of the step were right.
        share: (k,) of all answers, that lie in the step.
        title: of the figure.
        subtitle: of the figure.
        coverage: wanted against reached coverage of credible regions, drawn as rings; None: none.
        words: in the lower right corner, such as the calibration error.

    Raises:
        SchemaError: no steps.
    """
    x, y, part = (np.asarray(one, dtype=np.float64) for one in (said, true, share))
    if not len(x) or not (len(x) == len(y) == len(part)):
        raise SchemaError("no steps of confidence to draw; measure some predictions first")
    side, left, low = 3.5, 0.85, 0.72
    width = left + side + 1.95
    top = ink.heading(ink.new_figure(width, 4), title, subtitle)
    figure = ink.new_figure(width, top + side + low + 0.75)
    ink.heading(figure, title, subtitle)
    height = float(figure.get_size_inches()[1])
    axes = figure.add_axes((left / width, 1 - (top + side) / height, side / width, side / height))
    axes.plot([0, 1], [0, 1], color=BASELINE, linewidth=1.0, linestyle=(0, (4, 3)), zorder=1)
    for one, other in zip(x, y, strict=True):
        axes.plot([one, one], [one, other], color=ACCENT, alpha=0.25, linewidth=5.0, solid_capstyle="butt", zorder=2)
    axes.plot(x, y, color=ACCENT, linewidth=1.4, zorder=3, clip_on=False)
    axes.scatter(x, y, s=18 + 260 * part, color=ACCENT, edgecolors="white", linewidths=0.8, zorder=4, clip_on=False)
    for level, reached in (coverage or {}).items():
        axes.plot(
            [level], [reached], "D", color="#d55e00", markersize=6.5, mec="white", mew=0.9, zorder=5, clip_on=False
        )
        ink.write(
            axes,
            level - 0.028,
            reached + 0.018,
            f"{100 * level:g} % region",
            size=SMALL,
            color="#a34700",
            va="bottom",
            ha="right",
            zorder=6,
            path_effects=ink.halo(),
        )
    _shares(axes, "x", "what was said")
    _shares(axes, "y", "how often it came true")
    axes.set_xticklabels([])
    axes.set_xlabel("")
    below = figure.add_axes((left / width, 1 - (top + side + 0.12 + low) / height, side / width, low / height))
    below.bar(x, part, width=0.07, color="#9db8cf", edgecolor="none")
    below.set_ylim(0, max(float(part.max()) * 1.15, 1e-6))
    _shares(below, "x", "what was said")
    below.set_yticks([])
    below.set_ylabel("share", size=SMALL, color=GREY)
    _bare(below)
    pen = ink.Pen(figure, left + side + 0.25, top, 1.55, side)
    for colour, mark, text in (
        (ACCENT, "●", "confidence, by steps; larger is more photos"),
        ("#d55e00", "◆", "credible regions: wanted and reached coverage"),
        (BASELINE, "┄", "what is said is true"),
    ):
        if mark == "◆" and not coverage:
            continue
        pen.text(0, mark, color=colour, size=BODY + 1)
        pen.line(text, x=0.2, color=GREY, size=SMALL)
        pen.skip(0.1)
    for line in words.split("\n") if words else ():
        pen.skip(0.03)
        pen.line(line, color=INK, size=SMALL)
    return ink.save(figure, path)


def risk_figure(
    path: str | Path,
    curves: Sequence[tuple[str, ArrayLike, ArrayLike]],
    *,
    title: str = "What is gained by answering only what is sure",
    subtitle: str = "",
    constant: float | None = None,
    constant_words: str = "any order",
) -> Path:
    """Draw the error of the photos that are answered against their share, the surest first.

    Args:
        path: the PNG.
        curves: name, (k,) shares of the photos and (k,) errors in kilometres; the first is the one that counts.
        title: of the figure.
        subtitle: of the figure.
        constant: the error of a random order, drawn as a dashed line; None: none.
        constant_words: what that line is.

    Raises:
        SchemaError: no curves.
    """
    drawn = [(name, np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)) for name, x, y in curves]
    if not drawn or not all(len(x) and len(x) == len(y) for _, x, y in drawn):
        raise SchemaError("no curve to draw; measure some predictions first")
    width, tall, left, room = 6.8, 3.1, 0.85, 0.4
    top = ink.heading(ink.new_figure(width, 4), title, subtitle)
    figure = ink.new_figure(width, top + tall + 0.65)
    ink.heading(figure, title, subtitle)
    height = float(figure.get_size_inches()[1])
    axes = figure.add_axes((left / width, 1 - (top + tall) / height, (width - left - room) / width, tall / height))
    scale = max(*(float(y.max()) for _, _, y in drawn), constant or 0.0, 1e-6) * 1.12
    axes.set_ylim(0, scale)
    if constant is not None:
        axes.axhline(constant, color=BASELINE, linewidth=1.0, linestyle=(0, (4, 3)), zorder=1)
        ink.write(
            axes,
            0.988,
            constant + 0.012 * scale,
            constant_words,
            va="bottom",
            ha="right",
            color=GREY,
            size=SMALL,
            zorder=6,
            path_effects=ink.halo(),
        )
    for number, (name, x, y) in enumerate(drawn):
        own = number == 0
        colour = ACCENT if own else GREY
        if own and constant is not None:
            axes.fill_between(x, y, constant, where=y <= constant, color=ACCENT, alpha=0.09, linewidth=0)
        axes.plot(x, y, color=colour, linewidth=2.2 if own else 1.2, zorder=3 - 0.1 * number, clip_on=False)
        # The first is named above its line, the others below: the lines meet at both ends.
        at = 0.46 if own else 0.62
        height_there = float(np.interp(at, x, y)) + (0.03 if own else -0.025) * scale
        place = {"va": "bottom", "ha": "right"} if own else {"va": "top", "ha": "left"}
        style = {"color": colour, "size": BODY, "weight": "bold", "zorder": 6, "path_effects": ink.halo()}
        ink.write(axes, at, height_there, name, **style, **place)
    _shares(axes, "x", "share of the photos that are answered, the surest first")
    axes.set_ylabel("error of those, km", size=SMALL, color=GREY)
    axes.tick_params(labelsize=SMALL, labelcolor=GREY, color=FAINT, length=3)
    axes.grid(axis="y", color=_GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    _bare(axes)
    return ink.save(figure, path)


def _shares(axes: Any, which: str, words: str) -> None:
    """An axis from 0 to 100 %."""
    ticks = [0.0, 0.25, 0.5, 0.75, 1.0]
    names = ["0", "25 %", "50 %", "75 %", "100 %"]
    if which == "x":
        axes.set_xlim(0.0, 1.0)
        axes.set_xticks(ticks, names)
        axes.set_xlabel(words, size=SMALL, color=GREY)
    else:
        axes.set_ylim(0.0, 1.0)
        axes.set_yticks(ticks, names)
        axes.set_ylabel(words, size=SMALL, color=GREY)
    axes.tick_params(labelsize=SMALL, labelcolor=GREY, color=FAINT, length=3)
    axes.grid(color=_GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    _bare(axes)


def _bare(axes: Any) -> None:
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("bottom", "left"))
        spine.set_edgecolor(FAINT)


__all__ = ["reliability_figure", "risk_figure"]
