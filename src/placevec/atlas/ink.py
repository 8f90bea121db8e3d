"""The look that all figures share: type, greys, number formats, and writing a PNG whole or not at all."""

from __future__ import annotations

import io
import math
import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from placevec.files import write_bytes
from placevec.registry import need

Layout = Literal["wide", "narrow"]

DPI = 160
INK, GREY, FAINT, PAPER, GROUND = "#16181d", "#5b626d", "#c9ced6", "#ffffff", "#eceff3"
ACCENT, BASELINE = "#0072b2", "#8a919c"
TITLE, BODY, SMALL = 14.0, 8.6, 7.4  # points
EDGE = 0.3  # inches around a figure
_SHEET = 40.0  # inches: longer than any column


def new_figure(width: float, height: float) -> Any:
    """An empty white figure of `width` x `height` inches, apart from matplotlib's global state."""
    need("matplotlib", extra="plot", purpose="drawing figures")
    figure = need("matplotlib.figure", extra="plot", purpose="drawing figures").Figure(
        figsize=(width, height), dpi=DPI, facecolor=PAPER
    )
    need("matplotlib.backends.backend_agg", extra="plot", purpose="drawing figures").FigureCanvasAgg(figure)
    return figure


def save(figure: Any, path: str | Path) -> Path:
    """Write the figure as PNG, whole or not at all, the same bytes each time."""
    held = io.BytesIO()
    with warnings.catch_warnings():
        # A name in a script that the font lacks is drawn as boxes; that is no reason to lose the figure.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font", category=UserWarning)
        figure.savefig(held, format="png", dpi=DPI, facecolor=PAPER, metadata={"Software": None})
    write_bytes(path, held.getvalue())
    return Path(path)


def write(axes: Any, x: float, y: float, text: str, **style: Any) -> Any:
    """Text as it stands: a dollar sign in a name never starts a formula."""
    style = {"size": BODY, "color": INK, "family": "DejaVu Sans", "va": "top", "parse_math": False} | style
    return axes.text(x, y, text, **style)


def halo() -> list[Any]:
    """The effect of a white rim around letters, for text that stands on lines."""
    effects = need("matplotlib.patheffects", extra="plot", purpose="drawing figures")
    return [effects.Stroke(linewidth=2.4, foreground=PAPER), effects.Normal()]


def heading(figure: Any, title: str, subtitle: str, *, left: float = EDGE) -> float:
    """Title and subtitle at the upper left, `left` inches in; gives the height they take, in inches."""
    width, height = (float(side) for side in figure.get_size_inches())
    y = 0.24
    for text, size, weight, colour in ((title, TITLE, "bold", INK), (subtitle, BODY + 0.4, "normal", GREY)):
        if not text:
            continue
        # 0.56 em is the mean advance of DejaVu Sans (0.62 em bold); an inch has 72 points.
        fits = int((width - 2 * left) * 72 / (size * (0.64 if weight == "bold" else 0.56)))
        for line in textwrap.wrap(text, max(fits, 20)):
            write(figure, left / width, 1 - y / height, line, size=size, weight=weight, color=colour)
            y += size * 1.42 / 72
        y += 0.03
    return y + 0.1


def rgb(colour: NDArray[np.uint8] | Sequence[int]) -> tuple[float, float, float]:
    """A uint8 colour as matplotlib takes it."""
    red, green, blue = (int(part) / 255 for part in colour[:3])
    return red, green, blue


def number(value: float, digits: int = 3) -> str:
    """A number with about `digits` significant digits, thousands set apart, and a true minus sign."""
    if not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(value)))
    if size >= 6 or size < -4:
        return f"{value:.{digits - 1}e}".replace("-", "−")
    text = f"{value:,.{max(0, digits - 1 - size)}f}"
    return text.replace("-", "−").replace(",", "\u2009")


def count(value: int) -> str:
    """A whole number with its thousands set apart."""
    return f"{value:,}".replace(",", "\u2009")


def percent(share: float) -> str:
    """A share as a percentage: one digit after the point below ten, none above."""
    value = 100 * share
    if 0 < value < 0.1:
        return "<0.1 %"
    return f"{value:.1f} %" if value < 9.95 else f"{value:.0f} %"


def nice(span: float, pieces: float) -> float:
    """The step of 1, 2 or 5 times a power of ten that cuts `span` into about `pieces`."""
    raw = span / pieces
    power = 10.0 ** math.floor(math.log10(raw))
    return min((1, 2, 5, 10), key=lambda step: abs(step * power - raw)) * power


class Pen:
    """A column of a figure written from the top down, in inches: legends are laid out by it."""

    def __init__(self, figure: Any, left: float, top: float, width: float, height: float) -> None:
        total_width, total_height = (float(side) for side in figure.get_size_inches())
        self.axes = figure.add_axes(
            (left / total_width, 1 - (top + height) / total_height, width / total_width, height / total_height)
        )
        self.axes.set_xlim(0, width)
        self.axes.set_ylim(height, 0)
        self.axes.axis("off")
        self.width, self.height, self.y = width, height, 0.0

    def line(self, text: str, *, x: float = 0.0, wrap: bool = True, **style: Any) -> None:
        """A paragraph; the pen moves below it."""
        size = float(style.get("size", BODY))
        share = 0.62 if style.get("weight") == "bold" else 0.54
        fits = max(int((self.width - x) * 72 / (size * share)), 8)
        for part in textwrap.wrap(text, fits) if wrap else [text]:
            write(self.axes, x, self.y, part, **style)
            self.y += size * 1.4 / 72

    def text(self, x: float, text: str, *, dy: float = 0.0, **style: Any) -> None:
        """Text at the pen's height, which stays."""
        write(self.axes, x, self.y + dy, text, **style)

    def box(self, x: float, width: float, height: float, colour: Any, *, dy: float = 0.0, edge: Any = "none") -> None:
        """A filled rectangle at the pen's height, which stays."""
        patches = need("matplotlib.patches", extra="plot", purpose="drawing figures")
        self.axes.add_patch(
            patches.Rectangle((x, self.y + dy), width, height, facecolor=colour, edgecolor=edge, linewidth=0.5)
        )

    def ramp(self, x: float, width: float, height: float, table: NDArray[np.uint8]) -> None:
        """A horizontal ramp of colours at the pen's height, which stays."""
        self.axes.imshow(
            table[None], extent=(x, x + width, self.y + height, self.y), aspect="auto", interpolation="nearest"
        )
        self.axes.set_xlim(0, self.width)
        self.axes.set_ylim(self.height, 0)

    def skip(self, inches: float) -> None:
        """Move down."""
        self.y += inches


def sheet(width: float) -> Pen:
    """A pen on a long sheet of its own, to see how far down a column `width` inches wide will reach."""
    return Pen(new_figure(width, _SHEET), 0.0, 0.0, width, _SHEET)
