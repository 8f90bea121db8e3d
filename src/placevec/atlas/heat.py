"""A table of numbers around zero as colours, each cell with its number: readable with any colour vision."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from placevec.atlas import ink, palettes
from placevec.atlas.ink import BODY, EDGE, GREY, INK, SMALL, Pen
from placevec.errors import SchemaError

_CELL, _TALL = 0.46, 0.27
_LABEL = 5.0
_EM = 0.56  # mean advance of DejaVu Sans


def heat_figure(
    path: str | Path,
    values: ArrayLike,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    title: str,
    subtitle: str = "",
    units: str = "",
    row_colours: Sequence[tuple[float, float, float]] | None = None,
    key: Mapping[str, tuple[float, float, float]] | None = None,
    sure: ArrayLike | None = None,
    sure_words: str = "",
) -> Path:
    """Draw a table of numbers: blue below zero, brown above, as strong as they are large; NaN is grey.

    Args:
        path: the PNG.
        values: (r, c) numbers around zero.
        rows: (r) names.
        columns: (c) names, written upwards.
        title: of the figure.
        subtitle: of the figure.
        units: of the values, below the ramp.
        row_colours: (r) a mark at the left of each row, such as that of its modality.
        key: what these marks mean.
        sure: (r, c) which numbers are printed bold.
        sure_words: what bold means.

    Raises:
        SchemaError: an empty table, or names that do not fit it.
    """
    table = np.asarray(values, dtype=np.float64)
    if not table.size or table.shape != (len(rows), len(columns)):
        raise SchemaError(f"a table of the shape {table.shape} with {len(rows)} rows and {len(columns)} columns")
    bold = np.zeros(table.shape, dtype=bool) if sure is None else np.asarray(sure, dtype=bool)
    fits = int(_LABEL * 72 / (BODY * _EM))
    told = [textwrap.shorten(name, fits, placeholder=" …") or name[:fits] for name in rows]
    left = EDGE + max(len(name) for name in told) * BODY * _EM / 72 + (0.35 if row_colours is None else 0.5)
    heads = [name if len(name) <= 26 else name[:25] + "…" for name in columns]
    up = max(len(name) for name in heads) * BODY * _EM / 72 * 0.9 + 0.2
    # Names at the right lean over the edge of the table.
    lean = len(heads[-1]) * BODY * _EM / 72 * 0.6
    wide, tall = _CELL * table.shape[1], _TALL * table.shape[0]
    width = max(left + wide + lean + EDGE, 6.4)
    top = ink.heading(ink.new_figure(width, 4), title, subtitle)
    figure = ink.new_figure(width, top + up + tall + max(0.95, 0.25 + 0.2 * len(key or ())))
    ink.heading(figure, title, subtitle)
    height = float(figure.get_size_inches()[1])
    limit = float(np.nanmax(np.abs(table))) if np.isfinite(table).any() else 1.0
    limit = limit or 1.0
    colours = palettes.sequential(table.ravel(), -limit, limit, palettes.DIVERGING).reshape(*table.shape, 3)
    axes = figure.add_axes((left / width, 1 - (top + up + tall) / height, wide / width, tall / height))
    axes.imshow(colours, aspect="auto", interpolation="nearest", extent=(0, table.shape[1], table.shape[0], 0))
    axes.axis("off")
    for line in range(1, table.shape[0]):
        axes.axhline(line, color="white", linewidth=1.0)
    for line in range(1, table.shape[1]):
        axes.axvline(line, color="white", linewidth=1.0)
    for r, name in enumerate(told):
        ink.write(axes, -0.22 if row_colours is None else -0.5, r + 0.5, name, ha="right", va="center", size=BODY)
        if row_colours is not None:
            axes.plot([-0.25], [r + 0.5], "s", color=row_colours[r], markersize=5.5, clip_on=False)
        for c in range(table.shape[1]):
            value = table[r, c]
            pale = not np.isfinite(value) or abs(value) < 0.62 * limit
            text = f"{value:.2f}".replace("-", "−") if np.isfinite(value) else "–"
            text = text.replace("−0.00", "0.00")
            ink.write(
                axes,
                c + 0.5,
                r + 0.5,
                text,
                ha="center",
                va="center",
                size=SMALL,
                color=INK if pale else "white",
                weight="bold" if bold[r, c] else "normal",
            )
    for c, name in enumerate(heads):
        ink.write(axes, c + 0.42, -0.25, name, ha="left", va="bottom", rotation=52, rotation_mode="anchor", size=BODY)
    pen = Pen(figure, left, top + up + tall + 0.18, width - left - 0.1, 0.75)
    pen.ramp(0, 1.6, 0.13, palettes.DIVERGING)
    for share, align in ((0.0, "left"), (0.5, "center"), (1.0, "right")):
        text = f"{limit * (2 * share - 1):+.2f}".replace("-", "−") if share != 0.5 else "0"
        pen.text(1.6 * share, text, dy=0.16, ha=align, size=SMALL)
    words = units + (f"; {sure_words}" if sure is not None and sure_words else "")
    pen.skip(0.34)
    pen.line(words, size=SMALL, color=GREY)
    if key:
        side = Pen(figure, EDGE, top + up + tall + 0.18, left - EDGE - 0.3, 0.2 * len(key))
        for name, colour in key.items():
            side.box(0, 0.13, 0.13, colour)
            side.text(0.22, name, size=SMALL)
            side.skip(0.2)
    return ink.save(figure, path)
