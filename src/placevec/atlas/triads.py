"""Three columns as one colour: their ranks as red, green and blue, beside each column alone on a readable ramp.

A mixture of three hues cannot be read with every colour vision, so each channel stands beside it as a map of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from placevec.atlas import ink, palettes
from placevec.atlas.ink import GREY, SMALL, Pen
from placevec.atlas.panels import Panel, panel_figure
from placevec.atlas.rasterise import RowMap
from placevec.errors import SchemaError

CHANNELS = ("red", "green", "blue")
_INKS = ("#d7301f", "#2c9c4b", "#2b5fd0")


@dataclass(frozen=True)
class Channel:
    """What one of the three colours shows.

    Attributes:
        name: of the column.
        words: more about it, such as its coefficient.
    """

    name: str
    words: str = ""


def rank_shares(values: ArrayLike) -> NDArray[np.float64]:
    """The ranks (n, c) of columns from 0 (lowest) to 1, ties at their mean; 0.5 for a constant column, NaN kept."""
    columns = np.asarray(values, dtype=np.float64)
    out = np.full(columns.shape, np.nan)
    for c in range(columns.shape[1]):
        good = np.isfinite(columns[:, c])
        if not good.any():
            continue
        ranks = rankdata(columns[good, c])
        span = ranks.max() - ranks.min()
        out[good, c] = (ranks - ranks.min()) / span if span > 0 else 0.5
    return out


def triad_colours(values: ArrayLike) -> NDArray[np.uint8]:
    """Colours (n, 3) of three columns (n, 3) by their ranks; grey where one is not known.

    Raises SchemaError for another number of columns.
    """
    shares = rank_shares(values)
    if shares.ndim != 2 or shares.shape[1] != 3:
        raise SchemaError(f"a colour mixes 3 columns, not {shares.shape[-1]}")
    known = np.isfinite(shares).all(axis=1)
    colours = np.tile(palettes.MISSING, (len(shares), 1))
    colours[known] = np.rint(shares[known] * 255).astype(np.uint8)
    return colours


def triad_figure(
    path: str | Path,
    values: ArrayLike,
    channels: Sequence[Channel],
    pixels: RowMap,
    *,
    title: str,
    subtitle: str = "",
    note: str = "",
) -> Path:
    """Draw three columns as red, green and blue on one map, each alone beside it, and write a PNG.

    Args:
        path: the PNG.
        values: (n, 3) the columns, for the rows of `pixels`.
        channels: what red, green and blue are.
        pixels: the places of the frame.
        title: of the figure.
        subtitle: of the figure.
        note: below the scale bar.

    Raises:
        SchemaError: not three columns and channels.
    """
    colours, shares = triad_colours(values), rank_shares(values)
    if len(channels) != 3:
        raise SchemaError(f"{len(channels)} channels for three colours; name red, green and blue")
    alone = [palettes.sequential(shares[:, c], 0.0, 1.0, palettes.CIVIDIS) for c in range(3)]
    panels = [Panel("All three", pixels.paint(colours), "ranks as red, green and blue")]
    panels += [
        Panel(f"{name.capitalize()}: {channel.name}", pixels.paint(one), channel.words)
        for name, channel, one in zip(CHANNELS, channels, alone, strict=True)
    ]
    missing = int((~np.isfinite(shares).all(axis=1)).sum())

    def legend(pen: Pen) -> None:
        pen.line("Like colour, like mixture", weight="bold")
        pen.line("white: high in all three; black: low in all", size=SMALL, color=GREY)
        pen.skip(0.08)
        for c, channel in enumerate(channels):
            ends = np.zeros((64, 3), dtype=np.uint8)
            ends[:, c] = np.linspace(0, 255, 64).astype(np.uint8)
            pen.ramp(0, 0.42, 0.13, ends)
            pen.line(channel.name, x=0.52, color=_INKS[c], weight="bold")
            if channel.words:
                pen.line(channel.words, x=0.52, size=SMALL, color=GREY)
            pen.skip(0.06)
        pen.skip(0.1)
        pen.line("Each column alone", weight="bold")
        pen.skip(0.04)
        pen.ramp(0, pen.width * 0.8, 0.13, palettes.CIVIDIS)
        pen.skip(0.17)
        pen.text(0, "lowest rank", size=SMALL, color=GREY)
        pen.text(pen.width * 0.8, "highest", size=SMALL, color=GREY, ha="right")
        pen.skip(0.2)
        if missing:
            pen.box(0, 0.2, 0.13, ink.rgb(palettes.MISSING))
            pen.text(0.28, f"no value: {ink.count(missing)}")
            pen.skip(0.2)

    return panel_figure(path, panels, pixels.frame, title=title, subtitle=subtitle, column=legend, columns=2, note=note)
