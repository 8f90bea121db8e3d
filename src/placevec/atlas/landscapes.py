"""Landscapes: clusters at several resolutions side by side, in colours that agree, with one legend in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from placevec.atlas import ink, palettes
from placevec.atlas.heat import heat_figure
from placevec.atlas.ink import BODY, GREY, SMALL, Pen
from placevec.atlas.panels import Panel, panel_figure
from placevec.atlas.rasterise import RowMap
from placevec.errors import SchemaError

Labels = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Landscape:
    """Clusters of the same places at one resolution.

    Attributes:
        title: such as "resolution 7".
        labels: (n,) the cluster of each place.
    """

    title: str
    labels: Labels


def landscape_colours(levels: Sequence[Landscape]) -> list[NDArray[np.uint8]]:
    """The colours (k, 3) of the clusters of each level, the first being the finest.

    The largest finest clusters take the categorical colours in order of size; beyond twenty they are grey. A coarser
    cluster takes the colour of the finest cluster that it holds most places of, each colour going to one cluster of a
    level: to that which holds most of it; so that one legend, that of the finest level, serves all maps.
    """
    finest = levels[0].labels
    sizes = np.bincount(finest)
    order = np.argsort(-sizes, kind="stable")
    base = np.tile(palettes.LEFT_OUT, (len(sizes), 1))
    shown = order[: len(palettes.CATEGORICAL)]
    base[shown] = palettes.CATEGORICAL[: len(shown)]
    found = [base]
    for level in levels[1:]:
        count = int(level.labels.max()) + 1
        shared = np.zeros((count, len(sizes)), dtype=np.int64)
        np.add.at(shared, (level.labels, finest), 1)
        colours = np.tile(palettes.LEFT_OUT, (count, 1))
        free = np.ones(len(sizes), dtype=bool)
        pending = set(range(count))
        for flat in np.argsort(-shared, axis=None, kind="stable").tolist():
            cluster, fine = divmod(flat, len(sizes))
            if cluster in pending and free[fine] and shared[cluster, fine]:
                colours[cluster], free[fine] = base[fine], False
                pending.discard(cluster)
        found.append(colours)
    return found


def landscape_figure(
    path: str | Path,
    levels: Sequence[Landscape],
    pixels: RowMap,
    *,
    names: Sequence[str],
    title: str,
    subtitle: str = "",
    note: str = "",
) -> Path:
    """Draw the landscapes of all levels side by side, with the names of the finest clusters as the legend.

    Args:
        path: the PNG.
        levels: the finest first, as `measure.clusters` hands them out; drawn from coarse to fine.
        pixels: the places of the frame.
        names: what the finest clusters are called, by their number.
        title: of the figure.
        subtitle: of the figure.
        note: below the scale bar.

    Raises:
        SchemaError: no levels, or a name is missing.
    """
    if not levels or len(names) <= int(levels[0].labels.max()):
        raise SchemaError(f"{len(levels)} levels with {len(names)} names; give a name for each finest cluster")
    colours = landscape_colours(levels)
    panels = [
        Panel(
            level.title,
            pixels.paint(table[level.labels]),
            f"{len(np.unique(level.labels))} landscapes" if len(levels) > 1 else f"{len(level.labels):,} cells",
        )
        for level, table in zip(levels, colours, strict=True)
    ][::-1]
    sizes = np.bincount(levels[0].labels, minlength=len(names))
    order = np.argsort(-sizes, kind="stable")

    def legend(pen: Pen) -> None:
        pen.line(levels[0].title if len(levels) > 1 else "Clusters", weight="bold")
        words = "number, words and share of the cells"
        pen.line(words + ("; coarser maps take the colour of what they mostly hold" if len(levels) > 1 else ""),
                 size=SMALL, color=GREY)  # fmt: skip
        pen.skip(0.08)
        grey = 0
        for place, cluster in enumerate(order.tolist()):
            if place >= len(palettes.CATEGORICAL):
                grey += int(sizes[cluster])
                continue
            pen.box(0, 0.2, 0.14, ink.rgb(colours[0][cluster]))
            pen.text(pen.width, ink.percent(sizes[cluster] / sizes.sum()), ha="right", size=SMALL, color=GREY)
            # The words keep clear of the share at the right.
            full, pen.width = pen.width, pen.width - 0.45
            pen.line(f"{cluster}  {names[cluster]}", x=0.28, size=BODY - 0.4)
            pen.width = full
            pen.skip(0.05)
        if grey:
            pen.box(0, 0.2, 0.14, ink.rgb(palettes.LEFT_OUT))
            pen.line(f"{len(order) - len(palettes.CATEGORICAL)} smaller ones, {ink.count(grey)} cells", x=0.28)

    return panel_figure(path, panels, pixels.frame, title=title, subtitle=subtitle, column=legend, note=note)


def profile_figure(
    path: str | Path,
    z: NDArray[np.float64],
    concepts: Sequence[str],
    names: Sequence[str],
    *,
    title: str,
    subtitle: str = "",
    most: int = 16,
) -> Path:
    """Draw the profiles of clusters as a table of colours: clusters down, concepts across, standard deviations.

    Args:
        path: the PNG.
        z: (k, c) the mean of each cluster in standard deviations; NaN is grey.
        concepts: (c) their names; those that part the clusters most are shown, at most `most`.
        names: (k) what the clusters are called.
        title: of the figure.
        subtitle: of the figure.
        most: concepts shown.

    Raises:
        SchemaError: nothing to draw.
    """
    if not z.size:
        raise SchemaError("no profiles to draw; give columns to profile by")
    spread = np.nanmax(np.where(np.isfinite(z), z, -np.inf), axis=0) - np.nanmin(np.where(np.isfinite(z), z, np.inf), 0)
    kept = np.sort(np.argsort(-spread, kind="stable")[:most])
    return heat_figure(
        path,
        z[:, kept],
        [f"{cluster}  {name}" for cluster, name in enumerate(names)],
        [concepts[c] for c in kept.tolist()],
        title=title,
        subtitle=subtitle,
        units="standard deviations from the mean of all cells",
    )
