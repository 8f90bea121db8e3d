"""An image with the evidence for a query laid over it: heat, numbered boxes, and what the colours mean."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec.atlas import ink, legend_ink, palettes
from placevec.atlas.ink import BODY, EDGE, GREY, SMALL, Pen
from placevec.atlas.legends import RampLegend
from placevec.errors import SchemaError
from placevec.registry import need

WIDE, SIDE, GAP = 5.6, 2.55, 0.35  # inches: the image's longer side at most, the column beside it, between them
PLENTY = 3.0  # deviations above the background that take the whole ramp, if nothing is higher
SPAN = 0.75  # deviations from the ramp's one end to the other at least: faint differences look faint
WEAK = 0.25  # boxes below this share of the best one's height are drawn thinly
DRAWN = 700  # pixels of the longer side at which the heat is drawn
OPAQUE = 0.66  # of the highest heat: what lies below can still be seen


@dataclass(frozen=True)
class Mark:
    """A box on the image, in its pixels."""

    x: float  # left edge
    y: float  # upper edge
    width: float
    height: float
    score: float  # calibrated
    share: float  # of the image's area


def heat_ramp() -> NDArray[np.uint8]:
    """Colours (256, 3) from a deep violet over red to a light yellow, lightness rising evenly (CIELAB)."""
    share = np.linspace(0, 1, 256)
    light = 40 + 50 * share
    # Hue turns from violet (320°) by red to yellow (95°); chroma is highest in the middle, where sRGB holds most.
    hue = np.radians(320 + (455 - 320) * share)
    chroma = 48 + 26 * np.sin(np.pi * share)
    return palettes.from_lab(np.stack([light, chroma * np.cos(hue), chroma * np.sin(hue)], axis=1))


def opacity(share: NDArray[np.float64]) -> NDArray[np.float64]:
    """How much of the image the heat of `share` 0 ... 1 covers: nothing at the background, rising smoothly."""
    return OPAQUE * np.clip(share, 0, 1) ** 1.25


def scale(values: NDArray[np.float64]) -> tuple[float, float]:
    """The ends of the ramp for a map of calibrated scores.

    It begins at the background, 0, or at the map's median where that is higher: where nearly all of an image fits the
    query, colour is for what stands out of it.
    """
    low = max(0.0, float(np.median(values)))
    return low, max(PLENTY, low + SPAN, float(values.max()))


def heat_rgba(
    values: NDArray[np.float64], ends: tuple[float, float], size: tuple[int, int], *, smooth: bool
) -> NDArray[np.uint8]:
    """The heat (rows, columns) as RGBA (height, width, 4), clear at the ramp's low end and below.

    Args:
        values: calibrated scores, evenly over the image.
        ends: of the ramp, see `scale`.
        size: height and width in pixels.
        smooth: between the centres of positions linearly; otherwise each position is one flat piece.
    """
    rows, columns = values.shape
    y, x = ((np.arange(n) + 0.5) * k / n - 0.5 for n, k in zip(size, (rows, columns), strict=True))
    if smooth:
        across = np.stack([np.interp(x, np.arange(columns), row) for row in values])
        placed = np.stack([np.interp(y, np.arange(rows), column) for column in across.T], axis=1)
    else:
        placed = values[np.rint(y).astype(int).clip(0, rows - 1)][:, np.rint(x).astype(int).clip(0, columns - 1)]
    share = np.clip((placed - ends[0]) / (ends[1] - ends[0]), 0, 1)
    colours = heat_ramp()[np.rint(share * 255).astype(int)]
    return np.dstack([colours, np.rint(opacity(share) * 255).astype(np.uint8)])


def overlay_figure(
    path: str | Path,
    image: NDArray[np.uint8],
    values: NDArray[np.float64],
    marks: Sequence[Mark],
    *,
    query: str,
    subtitle: str = "",
    facts: Sequence[str] = (),
    like: NDArray[np.uint8] | None = None,
    smooth: bool = True,
) -> Path:
    """Draw the evidence for a query over an image, and the bare image beside it, and write a PNG.

    Args:
        path: the PNG.
        image: (height, width, 3) uint8.
        values: (rows, columns) calibrated scores over the whole image, 0 as the background.
        marks: boxes by rank, the best one first.
        query: what was looked for; the title.
        subtitle: in which image, by which method.
        facts: lines of text at the foot of the side column.
        like: (h, w, 3) the image that is the query, if it is one.
        smooth: see `heat_rgba`.

    Raises:
        SchemaError: this is no image, or no map.
    """
    if image.ndim != 3 or image.shape[2] != 3 or values.ndim != 2 or 0 in (*image.shape, *values.shape):
        raise SchemaError(f"an image {image.shape} and heat {values.shape}: give (height, width, 3), (rows, columns)")
    tall, wide = image.shape[:2]
    inches = WIDE / max(tall, wide)
    across, down = max(wide * inches, 1.2), max(tall * inches, 1.2)
    total = max(EDGE + across + GAP + SIDE + EDGE, 6.4)
    ends = scale(values)
    legend = _legend(ends, float(values.max()))
    if ends[0] > 0:
        facts = [*facts, f"half of the image lies at {ink.number(ends[0])} or above: colour is what stands out of that"]
    column = legend_ink.height(legend, SIDE) + 0.4 + 0.22 * len(marks) + _facts_height(facts)
    thumb = min(1.25, SIDE / 2 - 0.1)
    column += thumb * min(1.0, tall / wide if wide >= tall else 1.0) + 0.3
    top = ink.heading(ink.new_figure(total, 4), query, subtitle, left=EDGE)
    figure = ink.new_figure(total, top + max(down, column) + EDGE)
    ink.heading(figure, query, subtitle, left=EDGE)
    height = float(figure.get_size_inches()[1])
    axes = figure.add_axes((EDGE / total, 1 - (top + down) / height, across / total, down / height))
    _picture(axes, image)
    grow = DRAWN / max(tall, wide)
    size = max(1, round(tall * grow)), max(1, round(wide * grow))
    shown = heat_rgba(values, ends, size, smooth=smooth)
    axes.imshow(shown, extent=(0, wide, tall, 0), interpolation="nearest", aspect="auto", zorder=2)
    _boxes(axes, marks, wide)
    axes.set_xlim(0, wide)
    axes.set_ylim(tall, 0)
    pen = Pen(figure, EDGE + across + GAP, top, total - EDGE - across - GAP - EDGE, max(down, column) + 0.1)
    legend_ink.draw(pen, legend)
    pen.skip(0.02)
    _list(pen, marks)
    pen.skip(0.1)
    _thumbnails(figure, pen, [("image", image), *([("like", like)] if like is not None else [])], thumb, total, top)
    for line in facts:
        pen.line(line, size=SMALL, color=GREY)
    return ink.save(figure, path)


def _legend(ends: tuple[float, float], best: float) -> RampLegend:
    share = np.linspace(0, 1, 256)
    # As it looks over an image of middling brightness.
    cover = opacity(share)[:, None]
    table = np.rint(heat_ramp() * cover + np.array([176, 178, 174]) * (1 - cover)).astype(np.uint8)
    title = "Evidence, deviations above background" if best > 0 else "Evidence: none above the background"
    return RampLegend(title=title, units="", low=ends[0], high=ends[1], table=table, below=True)


def _picture(axes: Any, image: NDArray[np.uint8]) -> None:
    tall, wide = image.shape[:2]
    axes.imshow(image, extent=(0, wide, tall, 0), interpolation="antialiased", aspect="auto", zorder=1)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def _boxes(axes: Any, marks: Sequence[Mark], wide: int) -> None:
    patches = need("matplotlib.patches", extra="plot", purpose="drawing figures")
    effects = need("matplotlib.patheffects", extra="plot", purpose="drawing figures")
    best = max((mark.score for mark in marks), default=0.0)
    # The best box is drawn last, over the others.
    for rank, mark in reversed(list(enumerate(marks, 1))):
        strong = mark.score > max(WEAK * best, 0.0)
        line = patches.Rectangle(
            (mark.x, mark.y),
            mark.width,
            mark.height,
            fill=False,
            edgecolor="white",
            linewidth=1.5 if strong else 0.9,
            linestyle="-" if strong else (0, (3, 2)),
            joinstyle="miter",
            zorder=4,
            clip_on=False,
            path_effects=[effects.Stroke(linewidth=3.0 if strong else 2.0, foreground="#16181dc0"), effects.Normal()],
        )
        axes.add_patch(line)
        room = 0.006 * wide
        ink.write(
            axes,
            mark.x + room,
            mark.y + room,
            str(rank),
            size=BODY,
            weight="bold",
            color=ink.INK if strong else GREY,
            va="top",
            ha="left",
            zorder=5,
            bbox={"boxstyle": "square,pad=0.18", "facecolor": "white", "edgecolor": "none", "alpha": 0.92},
        )


def _list(pen: Pen, marks: Sequence[Mark]) -> None:
    """The boxes by rank: a bar for each score, and the share of the image."""
    pen.text(0.0, "Regions", weight="bold")
    pen.text(pen.width, "share of image", size=SMALL, color=GREY, ha="right")
    pen.skip(0.22)
    best = max([mark.score for mark in marks] + [1e-9])
    left, bar = 0.24, pen.width * 0.4
    for rank, mark in enumerate(marks, 1):
        pen.text(0.0, str(rank), weight="bold")
        long = bar * max(mark.score, 0.0) / best if best > 0 else 0.0
        pen.box(left, bar, 0.11, "#e9ecf0", dy=0.015)
        if long > 0:
            pen.box(left, long, 0.11, ink.rgb(heat_ramp()[150]), dy=0.015)
        pen.text(left + bar + 0.08, _signed(mark.score))
        pen.text(pen.width, ink.percent(mark.share), ha="right", color=GREY)
        pen.skip(0.22)


def _thumbnails(
    figure: Any, pen: Pen, images: Sequence[tuple[str, NDArray[np.uint8]]], side: float, total: float, top: float
) -> None:
    """Small images next to each other at the pen's height, each with a word below."""
    height = float(figure.get_size_inches()[1])
    left, lowest = total - EDGE - pen.width, 0.0
    for word, image in images:
        tall, wide = image.shape[:2]
        x, y = side * min(1.0, wide / tall), side * min(1.0, tall / wide)
        axes = figure.add_axes((left / total, 1 - (top + pen.y + y) / height, x / total, y / height))
        _picture(axes, image)
        words = "the image alone" if word == "image" else "what was looked for"
        ink.write(figure, left / total, 1 - (top + pen.y + y + 0.05) / height, words, size=SMALL, color=GREY)
        left, lowest = left + side + 0.2, max(lowest, y)
    pen.skip(lowest + 0.3)


def _facts_height(facts: Sequence[str]) -> float:
    fits = int(SIDE * 72 / (SMALL * 0.54))
    return sum(math.ceil(len(line) / fits) for line in facts) * SMALL * 1.4 / 72 + 0.1


def _signed(value: float) -> str:
    return ink.number(round(value, 2), 3 if abs(value) >= 1 else 2) if abs(value) >= 0.005 else "0"
