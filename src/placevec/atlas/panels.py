"""Several maps of one frame side by side, with one legend and one scale bar for all."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from placevec.atlas import ink
from placevec.atlas.figures import foot_lines, scale_bar
from placevec.atlas.frames import Frame
from placevec.atlas.ink import BODY, EDGE, GREY, GROUND, SMALL, Pen
from placevec.errors import SchemaError

_COLUMN, _GAP, _PAGE = 2.6, 0.25, 10.0
_HEAD = 0.36  # inches above each panel, for its heading
_TALLEST = 4.6


@dataclass(frozen=True, eq=False)
class Panel:
    """One map.

    Attributes:
        title: above it, bold.
        raster: RGBA (height, width, 4) uint8 of the common frame.
        subtitle: below its title, grey.
        below: draws what belongs below this map alone, such as a ramp; None: nothing.
    """

    title: str
    raster: NDArray[np.uint8]
    subtitle: str = ""
    below: Callable[[Pen], None] | None = None


def panel_figure(
    path: str | Path,
    panels: Sequence[Panel],
    frame: Frame,
    *,
    title: str,
    subtitle: str = "",
    column: Callable[[Pen], None] | None = None,
    columns: int | None = None,
    note: str = "",
) -> Path:
    """Draw maps of one frame in rows, with what explains them in a column at the right, and write a PNG.

    Args:
        path: the PNG.
        panels: the maps.
        frame: the pixel grid of all.
        title: of the figure.
        subtitle: of the figure.
        column: draws the legend from a pen's height downwards; it is called twice, once to measure.
        columns: maps in a row; by default as many as give them most room.
        note: below the scale bar.

    Raises:
        SchemaError: no maps, or a raster that does not fit the frame.
    """
    if not panels:
        raise SchemaError("no maps to draw; give one or more")
    for panel in panels:
        if panel.raster.shape != (frame.height, frame.width, 4):
            raise SchemaError(
                f"{panel.title}: a raster of shape {panel.raster.shape} does not fit {frame.height} rows of pixels"
            )
    many = columns or (len(panels) if len(panels) <= 3 else math.ceil(math.sqrt(len(panels))))
    rows = math.ceil(len(panels) / many)
    room = (_PAGE - 2 * EDGE - _COLUMN - many * _GAP) / many
    ratio = frame.height / frame.width
    wide = min(room, _TALLEST / ratio)
    under = max((_tall(panel.below, wide) for panel in panels), default=0.0)
    step = _HEAD + wide * ratio + under + _GAP
    foot = foot_lines(frame, note)

    def explain(pen: Pen) -> None:
        if column is not None:
            column(pen)
            pen.skip(0.25)
        scale_bar(pen, frame, wide)
        for line in foot:
            pen.line(line, size=SMALL - 0.6, color=GREY)

    side = _tall(explain, _COLUMN)
    total = 2 * EDGE + many * (wide + _GAP) + _COLUMN
    top = ink.heading(ink.new_figure(total, 4), title, subtitle, left=EDGE)
    figure = ink.new_figure(total, top + max(rows * step, side) + EDGE)
    ink.heading(figure, title, subtitle, left=EDGE)
    height = float(figure.get_size_inches()[1])
    x0, y0, x1, y1 = frame.bounds
    for place, panel in enumerate(panels):
        row, at = divmod(place, many)
        x, y = EDGE + at * (wide + _GAP), top + row * step
        fits = max(int(wide * 72 / (BODY * 0.64)), 6)
        ink.write(figure, x / total, 1 - y / height, _cut(panel.title, fits), weight="bold")
        ink.write(
            figure, x / total, 1 - (y + 0.17) / height, _cut(panel.subtitle, int(fits * 1.2)), size=SMALL, color=GREY
        )
        y += _HEAD
        axes = figure.add_axes((x / total, 1 - (y + wide * ratio) / height, wide / total, wide * ratio / height))
        axes.set_facecolor(GROUND)
        for spine in axes.spines.values():
            spine.set_visible(False)
        axes.imshow(panel.raster, extent=(x0, x1, y0, y1), origin="upper", interpolation="antialiased", aspect="auto")
        axes.set_xticks([])
        axes.set_yticks([])
        if panel.below is not None:
            panel.below(Pen(figure, x, y + wide * ratio + 0.05, wide, under))
    explain(Pen(figure, EDGE + many * (wide + _GAP) + 0.1, top, _COLUMN - 0.1, max(side, rows * step)))
    return ink.save(figure, path)


def _tall(draw: Callable[[Pen], None] | None, width: float) -> float:
    if draw is None:
        return 0.0
    pen = ink.sheet(width)
    draw(pen)
    return pen.y + 0.05


def _cut(text: str, fits: int) -> str:
    return text if len(text) <= fits else text[: fits - 1] + "…"
