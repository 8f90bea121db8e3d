"""Drawing the legends of `legends` with a pen, one function for each kind."""

from __future__ import annotations

import numpy as np

from placevec.atlas import ink, palettes
from placevec.atlas.colour import channels_to_colours
from placevec.atlas.ink import BODY, GREY, SMALL, Pen
from placevec.atlas.legends import BinLegend, ClassLegend, Legend, PcaLegend, RampLegend

CHANNEL_NAMES = {"rgb": ("red", "green", "blue"), "opponent": ("dark–light", "blue–yellow", "green–red")}
SHARES = {"rgb": ("#d7301f", "#2c9c4b", "#2b5fd0"), "opponent": ("#4a4f57", "#c9a227", "#b0486a")}


def draw(pen: Pen, legend: Legend) -> None:
    """Write `legend` from the pen's height downwards."""
    if isinstance(legend, PcaLegend):
        _pca(pen, legend)
    elif isinstance(legend, ClassLegend):
        _classes(pen, legend)
    elif isinstance(legend, BinLegend):
        _bins(pen, legend)
    else:
        _ramp(pen, legend)


def height(legend: Legend, width: float) -> float:
    """Inches that the legend takes in a column `width` inches wide: it is drawn on a sheet that nobody sees."""
    pen = ink.sheet(width)
    draw(pen, legend)
    return pen.y


def _pca(pen: Pen, legend: PcaLegend) -> None:
    pen.line("Like colour, like vector", weight="bold")
    pen.skip(0.06)
    side = min(1.25, pen.width * 0.6)
    if legend.scheme == "rgb":
        _triangle(pen, side)
    else:
        _square(pen, side)
    pen.skip(0.1)
    pen.line("Variance shown by each channel", size=SMALL, color=GREY)
    pen.skip(0.03)
    # Turned towards another basis, a channel is near that one's component and a mixture of several of its own.
    sign = "= PC" if legend.agreement is None else "≈ old PC" if legend.scheme == "rgb" else "≈ old"
    for channel, share in enumerate(legend.explained):
        ends = np.full((64, 3), 0.0 if legend.scheme == "rgb" else 0.5)
        ends[:, channel] = np.linspace(0, 1, 64)
        table = channels_to_colours(ends, legend.scheme)
        pen.ramp(0, 0.42, 0.13, table)
        pen.text(0.5, f"{CHANNEL_NAMES[legend.scheme][channel]} {sign} {channel + 1}", dy=-0.01)
        pen.text(pen.width, ink.percent(share), dy=-0.01, ha="right", weight="bold")
        pen.skip(0.2)
    pen.skip(0.03)
    at = 0.0
    left_out = max(0.0, 1 - sum(legend.explained))
    for share, colour in zip((*legend.explained, left_out), (*SHARES[legend.scheme], "#dcdfe4"), strict=True):
        pen.box(at * pen.width, share * pen.width, 0.1, colour)
        at += share
    pen.skip(0.15)
    pen.line(f"{ink.percent(sum(legend.explained))} shown, {ink.percent(left_out)} not", size=SMALL, color=GREY)
    low, high = (f"{end:g}" for end in legend.clip)
    stretch = f"stretched from percentile {low} to {high}" if legend.agreement is None else "stretched as before"
    pen.line(f"One basis, fitted on {ink.count(legend.rows)} vectors; each channel {stretch}.", size=SMALL, color=GREY)
    if legend.agreement is not None:
        one = legend.agreement
        pen.skip(0.06)
        pen.line(f"Colours agree {ink.percent(one.share)} with “{one.name}”", size=SMALL, weight="bold")
        pen.line(
            f"variance of its scores, at {ink.count(one.places)} places of both; no turn of the axes exceeds "
            f"{ink.percent(one.bound)}.",
            size=SMALL,
            color=GREY,
        )


def _triangle(pen: Pen, side: float) -> None:
    rows, columns = 160, 184
    y, x = np.mgrid[0:rows, 0:columns]
    up, across = 1 - (y + 0.5) / rows, (x + 0.5) / columns
    weight = np.stack([up, 1 - across - up / 2, across - up / 2], axis=-1)  # red at the top, green left, blue right
    inside = (weight >= 0).all(axis=-1)
    colour = weight / np.maximum(weight.max(axis=-1, keepdims=True), 1e-9)
    picture = np.dstack([np.clip(colour, 0, 1), inside])
    tall = side * rows / columns
    left = (pen.width - side) / 2
    pen.text(pen.width / 2, "PC 1 high", ha="center", size=SMALL, color=GREY)
    pen.skip(0.15)
    pen.axes.imshow(picture, extent=(left, left + side, pen.y + tall, pen.y), aspect="auto", interpolation="bilinear")
    pen.axes.set_xlim(0, pen.width)
    pen.axes.set_ylim(pen.height, 0)
    pen.skip(tall + 0.03)
    pen.text(left - 0.1, "PC 2 high", ha="center", size=SMALL, color=GREY)
    pen.text(left + side + 0.1, "PC 3 high", ha="center", size=SMALL, color=GREY)
    pen.skip(0.14)


def _square(pen: Pen, side: float) -> None:
    up, across = np.mgrid[1:0:64j, 0:1:64j]
    share = np.stack([up, across, np.full_like(up, 0.5)], axis=-1).reshape(-1, 3)
    picture = channels_to_colours(share, "opponent").reshape(64, 64, 3)
    left, tall = (pen.width - side) / 2, side * 0.8
    pen.axes.imshow(picture, extent=(left, left + side, pen.y + tall, pen.y), aspect="auto")
    pen.axes.set_xlim(0, pen.width)
    pen.axes.set_ylim(pen.height, 0)
    pen.text(left - 0.07, "PC 1", dy=tall / 2, ha="right", va="center", size=SMALL, color=GREY)
    pen.skip(tall + 0.04)
    pen.text(left + side / 2, "PC 2", ha="center", size=SMALL, color=GREY)
    pen.skip(0.14)


def _classes(pen: Pen, legend: ClassLegend) -> None:
    total = sum(legend.sizes) + legend.rest
    pen.line(legend.title, weight="bold")
    pen.line(f"{ink.count(total)} {legend.noun}", size=SMALL, color=GREY)
    pen.skip(0.06)
    rows = list(zip(legend.names, legend.sizes, legend.colours, strict=True))
    lines = len(rows) + bool(legend.rest)
    largest = max((size for _, size, _ in rows), default=1)
    step = min(0.21, max(0.13, (pen.height - pen.y) / max(lines, 1)))
    bar_left, bar = pen.width * 0.54, pen.width * 0.22
    for name, size, colour in rows:
        pen.box(0, 0.2, step * 0.7, ink.rgb(colour))
        fits = int((bar_left - 0.35) * 72 / (BODY * 0.56))
        pen.text(0.28, name if len(name) <= fits else name[: fits - 1] + "…", dy=0.008)
        pen.box(bar_left, bar * size / largest, step * 0.36, "#b9c0ca", dy=step * 0.16)
        pen.text(pen.width, ink.count(size), dy=0.008, ha="right")
        pen.skip(step)
    if legend.rest:
        pen.box(0, 0.2, step * 0.7, ink.rgb(palettes.MISSING))
        pen.text(0.28, legend.rest_name, dy=0.008)
        pen.text(pen.width, ink.count(legend.rest), dy=0.008, ha="right")
        pen.skip(step)


def _bins(pen: Pen, legend: BinLegend) -> None:
    pen.line(legend.title + (f", {legend.units}" if legend.units else ""), weight="bold")
    pen.line("bins at quantiles of the size", size=SMALL, color=GREY)
    pen.skip(0.1)
    tall, wide = 0.24, 0.3
    pen.text(wide + 0.1, legend.high_words, size=SMALL, color=GREY, style="italic", dy=-0.06)
    pen.text(pen.width, "share", size=SMALL, color=GREY, dy=-0.06, ha="right")
    pen.skip(0.19)
    for row in range(len(legend.shares) - 1, -1, -1):
        pen.box(0, wide, tall, ink.rgb(legend.colours[row]))
        pen.text(
            pen.width,
            ink.percent(legend.shares[row]),
            dy=tall / 2,
            va="center_baseline",
            ha="right",
            color=GREY,
            size=SMALL,
        )
        _edge(pen, wide, legend.edges[row + 1], ends=row == len(legend.shares) - 1)
        pen.skip(tall)
    _edge(pen, wide, legend.edges[0], ends=True)
    pen.skip(0.08)
    pen.text(wide + 0.1, legend.low_words, size=SMALL, color=GREY, style="italic", dy=0.02)
    pen.skip(0.26)
    _missing(pen, legend.missing)


def _edge(pen: Pen, x: float, value: float, *, ends: bool) -> None:
    pen.axes.plot([x, x + 0.06], [pen.y, pen.y], color=GREY, linewidth=0.6, clip_on=False)
    text = ink.number(value) if value <= 0 else f"+{ink.number(value)}"
    pen.text(x + 0.1, text, va="center_baseline", size=BODY - 0.4, color=GREY if ends else ink.INK)


def _ramp(pen: Pen, legend: RampLegend) -> None:
    pen.line(legend.title + (f", {legend.units}" if legend.units else ""), weight="bold")
    pen.skip(0.08)
    pen.ramp(0, pen.width, 0.16, legend.table)
    pen.skip(0.16)
    for share in (0.0, 0.5, 1.0):
        x = share * pen.width
        pen.axes.plot([x, x], [pen.y, pen.y + 0.05], color=GREY, linewidth=0.6, clip_on=False)
        sign = "≤ " if share == 0 and legend.below else "≥ " if share == 1 and legend.above else ""
        align = {0.0: "left", 0.5: "center", 1.0: "right"}[share]
        value = legend.low + share * (legend.high - legend.low)
        if legend.scale == "log":
            value = legend.low ** (1 - share) * legend.high**share
        pen.text(x, sign + ink.number(value), dy=0.07, ha=align)
    pen.skip(0.32)
    if legend.scale == "log":
        pen.line("logarithmic scale", size=SMALL, color=GREY)
        pen.skip(0.06)
    if legend.left_out:
        pen.box(0, 0.2, 0.13, ink.rgb(palettes.LEFT_OUT))
        pen.line(legend.left_out, x=0.28)
        pen.skip(0.06)
    for text, symbol in ((legend.mark, marker()), (legend.cross, crossed())):
        if text:
            pen.axes.plot([0.1], [pen.y + 0.07], **symbol)
            # A distance is not parted from its unit at the end of a line.
            pen.line(text.replace(" km ", "\u00a0km ").replace(" m ", "\u00a0m "), x=0.28)
            pen.skip(0.06)
    _missing(pen, legend.missing)


def _missing(pen: Pen, count: int) -> None:
    if count:
        pen.box(0, 0.2, 0.13, ink.rgb(palettes.MISSING))
        pen.text(0.28, f"no value: {ink.count(count)}")
        pen.skip(0.22)


def marker() -> dict[str, object]:
    """The ring that marks a query, to be seen on any colour: white outside, black inside, hollow."""
    return {
        "marker": "o",
        "markersize": 8,
        "markerfacecolor": "white",
        "markeredgecolor": "#111111",
        "markeredgewidth": 2.0,
        "linestyle": "none",
        "clip_on": False,
        "zorder": 9,
    }


def crossed() -> dict[str, object]:
    """The sign of a place to be unlike: the ring of a query with a cross in it."""
    return {**marker(), "marker": "X", "markersize": 8.5, "markeredgewidth": 1.4}
