"""Coefficients of linear probes: the largest of one target as bars with intervals, and all of several as a heat map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from placevec.atlas import ink, palettes
from placevec.atlas.heat import heat_figure
from placevec.atlas.ink import BODY, EDGE, FAINT, GREY, INK, SMALL, Pen
from placevec.atlas.scores import plain
from placevec.errors import SchemaError
from placevec.measure.coefficients import Coefficients

_EM = 0.56  # mean advance of DejaVu Sans
_LONGEST = 44
_PALE = "#c3c9d2"


def modality_colours(groups: Sequence[str]) -> dict[str, tuple[float, float, float]]:
    """A colour for each modality, in the order in which they come; beyond twenty they are grey."""
    names = list(dict.fromkeys(groups))
    return {
        name: ink.rgb(palettes.CATEGORICAL[at] if at < len(palettes.CATEGORICAL) else palettes.LEFT_OUT)
        for at, name in enumerate(names)
    }


def coefficient_figure(
    path: str | Path,
    found: Coefficients,
    *,
    count: int = 20,
    title: str = "",
    subtitle: str = "",
    colours: Mapping[str, tuple[float, float, float]] | None = None,
) -> Path:
    """Draw the largest coefficients as bars with their intervals, in the colours of their modalities, and write a PNG.

    A bar whose interval holds 0 is pale: its sign is not sure.

    Args:
        path: the PNG.
        found: the coefficients.
        count: how many, the largest |coefficient| first.
        title: by default the target.
        subtitle: by default the table, estimator and R².
        colours: of modalities, so that several figures agree; by default `modality_colours`.

    Raises:
        SchemaError: there are no columns.
    """
    if not len(found):
        raise SchemaError("no coefficients to draw; probe a table with columns")
    rows = found.largest(count)
    palette = dict(modality_colours(found.groups) if colours is None else colours)
    names = [_short(found.names[i]) for i in rows.tolist()]
    score = f"out-of-fold R² {plain(found.r2)}"
    title = title or f"What speaks for {found.target}"
    subtitle = subtitle or (
        f"{found.features}, {found.estimator.replace('ols', 'OLS')}, {score}, {ink.count(found.n)} places; "
        f"the {len(rows)} largest of {len(found)} coefficients"
    )
    label = max(len(name) for name in names) * BODY * _EM / 72 + 0.15
    left, panel, tall = EDGE + label, 4.3, 0.235 * len(rows) + 0.1
    shown = list(dict.fromkeys(found.groups[i] for i in rows.tolist()))
    side = max(len(name) for name in shown) * BODY * _EM / 72 + 0.4
    width = left + panel + 0.3 + max(side, 1.5) + EDGE
    top = ink.heading(ink.new_figure(width, 4), title, subtitle)
    figure = ink.new_figure(width, top + tall + 0.65)
    ink.heading(figure, title, subtitle)
    height = float(figure.get_size_inches()[1])
    axes = figure.add_axes((left / width, 1 - (top + tall) / height, panel / width, tall / height))
    ends = np.concatenate([found.low[rows], found.high[rows], found.mean[rows], [0.0]])
    room = 0.04 * max(float(np.ptp(ends)), 1e-9)
    axes.set_xlim(float(ends.min()) - room, float(ends.max()) + room)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.axvline(0.0, color=INK, linewidth=0.8, zorder=3)
    for y, i in enumerate(rows.tolist()):
        unsure = found.low[i] <= 0.0 <= found.high[i]
        colour = palette[found.groups[i]]
        axes.barh([y], [found.mean[i]], height=0.62, color=colour, alpha=0.35 if unsure else 1.0, zorder=2)
        axes.plot([found.low[i], found.high[i]], [y, y], color=INK, linewidth=1.2, zorder=4, solid_capstyle="butt")
        ink.write(
            axes, -0.1 / panel, y, names[y], transform=axes.get_yaxis_transform(), ha="right", va="center",
            color=GREY if unsure else INK,
        )  # fmt: skip
    axes.set_yticks([])
    axes.tick_params(axis="x", labelsize=SMALL, labelcolor=GREY, color=FAINT, length=3)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}".replace("-", "−"))
    axes.grid(axis="x", color="#e6e9ed", linewidth=0.7)
    axes.set_axisbelow(True)
    for name, spine in axes.spines.items():
        spine.set_visible(name == "bottom")
        spine.set_edgecolor(FAINT)
    axes.set_xlabel("standard deviations of the target for one of the column", size=SMALL, color=GREY)
    pen = Pen(figure, left + panel + 0.3, top + 0.02, max(side, 1.5), tall + 0.5)
    if len(shown) > 1 or shown[0] not in ("", found.features):
        pen.line("Modality", weight="bold")
        for name in shown:
            pen.box(0, 0.2, 0.13, palette[name])
            pen.text(0.28, name)
            pen.skip(0.2)
        pen.skip(0.1)
    pen.box(0, 0.2, 0.13, _PALE)
    pen.line("pale: the 95 % interval holds 0", x=0.28, size=SMALL, color=GREY)
    pen.skip(0.04)
    pen.axes.plot([0, 0.2], [pen.y + 0.05, pen.y + 0.05], color=INK, linewidth=1.2)
    pen.line("interval by leaving out folds", x=0.28, size=SMALL, color=GREY)
    return ink.save(figure, path)


def coefficient_heat(
    path: str | Path,
    found: Sequence[Coefficients],
    *,
    count: int = 24,
    title: str = "",
    subtitle: str = "",
    colours: Mapping[str, tuple[float, float, float]] | None = None,
) -> Path:
    """Draw the coefficients of several targets on one table: columns down, targets across, and write a PNG.

    The columns with the largest |coefficient| of any target are shown, in the order of their modalities; bold are those
    whose interval leaves out 0.

    Args:
        path: the PNG.
        found: one for each target, all of one table.
        count: columns shown.
        title: of the figure.
        subtitle: of the figure.
        colours: of modalities.

    Raises:
        SchemaError: no targets, or coefficients of several tables.
    """
    if not found or any(one.names != found[0].names for one in found):
        raise SchemaError("one heat map shows the coefficients of targets on one table; draw one for each table")
    mean = np.stack([one.mean for one in found], axis=1)
    sure = np.stack([(one.low > 0.0) | (one.high < 0.0) for one in found], axis=1)
    rows = np.sort(np.argsort(-np.abs(mean).max(axis=1), kind="stable")[:count])
    palette = dict(modality_colours(found[0].groups) if colours is None else colours)
    several = len(set(found[0].groups)) > 1
    return heat_figure(
        path,
        mean[rows],
        [_short(found[0].names[i]) for i in rows.tolist()],
        [one.target for one in found],
        title=title or f"What speaks for which target: {found[0].features}",
        subtitle=subtitle or f"the {len(rows)} columns of {mean.shape[0]} with the largest coefficients",
        units="standard deviations of the target for one of the column",
        row_colours=[palette[found[0].groups[i]] for i in rows.tolist()] if several else None,
        key={name: palette[name] for name in dict.fromkeys(found[0].groups)} if several else None,
        sure=sure[rows],
        sure_words="bold: the 95 % interval leaves out 0",
    )


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"
