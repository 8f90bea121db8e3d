"""Figures for reports and papers: maps with legend, scale bar and graticule; contact sheets; and, from `charts`, bars.

A map is drawn in its frame's projection, from an RGBA raster that `rasterise` made; nothing on it is interpolated.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from placevec.atlas import ink, legend_ink
from placevec.atlas.charts import bar_figure, variance_figure
from placevec.atlas.frames import Frame
from placevec.atlas.ink import EDGE, GREY, GROUND, SMALL, Layout, Pen
from placevec.atlas.legends import Legend
from placevec.atlas.scores import ScoreRow
from placevec.errors import SchemaError
from placevec.geo.sphere import LonLat

__all__ = ["ScoreRow", "bar_figure", "contact_sheet", "map_figure", "variance_figure"]

WIDTH, NARROW, LEGEND, GAP = 10.0, 4.9, 2.15, 0.35
TALLEST = 8.2
DEGREES = (0.1, 0.2, 0.25, 0.5, 1, 2, 5, 10, 15, 20, 30, 60)


def map_figure(
    path: str | Path,
    raster: NDArray[np.uint8],
    frame: Frame,
    *,
    title: str,
    subtitle: str = "",
    legend: Legend | None = None,
    boundary: Any = None,
    marks: LonLat | None = None,
    crosses: LonLat | None = None,
    note: str = "",
    layout: Layout = "wide",
) -> Path:
    """Draw a map and write it as PNG, whole or not at all.

    Args:
        path: the PNG.
        raster: RGBA (height, width, 4) uint8 of `frame`, see `RowMap.paint`.
        frame: the pixel grid; one of `projection="equal-area"` shows the region in its true shape.
        title: what the map shows.
        subtitle: of what, from what, how many.
        legend: what the colours mean, see `legends`.
        boundary: a shapely geometry (or array of them) in degrees whose lines are drawn thinly.
        marks: places to ring, for example the query of a search.
        crosses: places to cross, for example what a search was to be unlike.
        note: a line below the scale bar, for example the source and its licence.
        layout: "wide" has the legend at the right, for pages; "narrow" has it below the map, for telephones.

    Raises:
        SchemaError: the raster does not fit the frame.
    """
    if raster.shape != (frame.height, frame.width, 4):
        raise SchemaError(
            f"a raster of shape {raster.shape} does not fit a map of {frame.height} rows, {frame.width} columns"
        )
    below = layout == "narrow"
    ratio = frame.height / frame.width
    left = EDGE + 0.42
    width = NARROW - left - EDGE / 2 if below else WIDTH - left - GAP - LEGEND - EDGE
    width = min(width, TALLEST / ratio)
    tall = width * ratio
    total = NARROW if below else max(left + width + GAP + LEGEND + EDGE, 6.2)
    beside = total - left - EDGE if below else LEGEND
    foot = foot_lines(frame, note)
    trial = ink.sheet(beside)
    _column(trial, frame, width, legend, foot, below=below)
    side = trial.y
    top = ink.heading(ink.new_figure(total, 4), title, subtitle, left=EDGE)
    # Below a map beside its legend stand the degrees of the graticule.
    figure = ink.new_figure(total, top + (tall + GAP + side + EDGE if below else max(tall + 0.45, side + EDGE)))
    ink.heading(figure, title, subtitle, left=EDGE)
    height = float(figure.get_size_inches()[1])
    axes = figure.add_axes((left / total, 1 - (top + tall) / height, width / total, tall / height))
    axes.set_facecolor(GROUND)
    for spine in axes.spines.values():
        spine.set_visible(False)
    x0, y0, x1, y1 = frame.bounds
    axes.imshow(raster, extent=(x0, x1, y0, y1), origin="upper", interpolation="antialiased", zorder=2, aspect="auto")
    axes.set_xlim(x0, x1)
    axes.set_ylim(y0, y1)
    axes.set_xticks([])
    axes.set_yticks([])
    _graticule(axes, frame)
    if boundary is not None:
        _lines(axes, frame, boundary)
    for places, symbol in ((crosses, legend_ink.crossed()), (marks, legend_ink.marker())):
        if places is not None and len(places):
            x, y = frame.project(places.lon, places.lat)
            # A query may lie outside the region that is drawn.
            held = (x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)
            axes.plot(np.asarray(x)[held], np.asarray(y)[held], **symbol)
    at = (left, top + tall + GAP) if below else (left + width + GAP, top)
    pen = Pen(figure, *at, beside, side if below else max(tall, side))
    _column(pen, frame, width, legend, foot, below=below, level=tall)
    return ink.save(figure, path)


def contact_sheet(
    path: str | Path,
    images: Sequence[NDArray[np.uint8]],
    captions: Sequence[str],
    *,
    title: str = "",
    subtitle: str = "",
    columns: int = 6,
    query: bool = True,
) -> Path:
    """Draw images in rows with a caption below each, the first marked as the query, and write a PNG.

    Args:
        path: the PNG.
        images: (h, w), (h, w, 3) or (h, w, 4) uint8 each; sizes may differ.
        captions: one for each image; lines are parted by a line break.
        title: of the sheet.
        subtitle: of the sheet.
        columns: images in a row.
        query: whether the first image is the query and is framed so.

    Raises:
        SchemaError: no images, or not as many captions as images.
    """
    if not len(images) or len(images) != len(captions):
        raise SchemaError(
            f"{len(images)} images and {len(captions)} captions; give one caption for each of some images"
        )
    columns = max(1, min(columns, len(images)))
    rows = math.ceil(len(images) / columns)
    lines = max(caption.count("\n") + 1 for caption in captions)
    tile, gap = 1.45, 0.16
    step = tile + 0.12 + lines * 0.155 + gap
    width = max(2 * EDGE + columns * tile + (columns - 1) * gap, 4.2)
    top = ink.heading(ink.new_figure(width, 4), title, subtitle, left=EDGE) if title or subtitle else 0.25
    figure = ink.new_figure(width, top + rows * step + 0.1)
    if title or subtitle:
        ink.heading(figure, title, subtitle, left=EDGE)
    height = float(figure.get_size_inches()[1])
    for place, (image, caption) in enumerate(zip(images, captions, strict=True)):
        row, column = divmod(place, columns)
        x, y = EDGE + column * (tile + gap), top + row * step
        axes = figure.add_axes((x / width, 1 - (y + tile) / height, tile / width, tile / height))
        axes.imshow(image, cmap="gray" if image.ndim == 2 else None, vmin=0, vmax=255, interpolation="antialiased")
        axes.set_anchor("C")
        axes.set_xticks([])
        axes.set_yticks([])
        first = query and place == 0
        for spine in axes.spines.values():
            spine.set_visible(first)
            spine.set_edgecolor(ink.ACCENT)
            spine.set_linewidth(2.6)
        for number, line in enumerate(caption.split("\n")):
            main = number == 0
            fits = int(tile * 72 / (SMALL * 0.6))
            ink.write(
                figure,
                x / width,
                1 - (y + tile + 0.07 + number * 0.155) / height,
                line if len(line) <= fits else line[: fits - 1] + "…",
                size=SMALL + 0.4 if main else SMALL,
                color=ink.ACCENT if first and main else ink.INK if main else GREY,
                weight="bold" if main else "normal",
            )
    return ink.save(figure, path)


def _graticule(axes: Any, frame: Frame) -> None:
    x0, y0, x1, y1 = frame.bounds

    lon, lat = _edge_degrees(frame)
    if not len(lon):
        return
    lon = (lon - frame.middle + 180) % 360 - 180 + frame.middle
    step = _step(float(np.ptp(lat)), float(np.ptp(lon)), (y1 - y0) / (x1 - x0))
    # Lines run on a little beyond the map, so that all of them cross its edge and get their label.
    wide, tall = 0.1 * float(np.ptp(lon)), 0.1 * float(np.ptp(lat))
    west_east = np.linspace(lon.min() - wide, lon.max() + wide, 361)
    south_north = np.linspace(max(lat.min() - tall, -89.9), min(lat.max() + tall, 89.9), 361)
    for value in _multiples(float(lat.min()), float(lat.max()), step):
        along = west_east
        x, y = frame.project(along, np.full_like(along, value))
        _rule(axes, frame, x, y)
        _label(axes, x, y, x0, (y0, y1), _degree(value, "N", "S", step), vertical=True)
    for value in _multiples(float(lon.min()), float(lon.max()), step):
        along = south_north
        x, y = frame.project(np.full_like(along, value), along)
        _rule(axes, frame, x, y)
        _label(axes, y, x, y0, (x0, x1), _degree((value + 180) % 360 - 180, "E", "W", step), vertical=False)


def _edge_degrees(frame: Frame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    lon, lat = [], []
    for row in sorted({*range(0, frame.height, max(1, frame.height // 40)), frame.height - 1}):
        some = frame.centres(slice(row, row + 1))
        lon.append(some[0][0])
        lat.append(some[1][0])
    at_lon, at_lat = np.concatenate(lon), np.concatenate(lat)
    seen = np.isfinite(at_lon)
    return at_lon[seen], at_lat[seen]


def _step(tall: float, wide: float, ratio: float) -> float:
    # About five lines on the longer side; one step for both, so that the mesh shows the shape of a degree.
    raw = max(tall / (5 * min(ratio, 1) + 0.5), wide / (5 / max(ratio, 1) + 0.5), 1e-6)
    return min(DEGREES, key=lambda step: abs(math.log(step / raw)))


def _multiples(low: float, high: float, step: float) -> list[float]:
    return [index * step for index in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _rule(axes: Any, frame: Frame, x: NDArray[np.float64], y: NDArray[np.float64]) -> None:
    _plot(axes, frame, x, y, np.zeros(len(x), dtype=bool), color="white", linewidth=0.9, zorder=1)


def _plot(
    axes: Any, frame: Frame, x: NDArray[np.float64], y: NDArray[np.float64], cut: NDArray[np.bool_], **style: Any
) -> None:
    """A line that is cut before the points of `cut`, off the projection, and where it leaps across the map."""
    lost = ~(np.isfinite(x) & np.isfinite(y))
    x, y = np.where(lost, np.nan, x), np.where(lost, np.nan, y)
    leap = np.append(False, np.abs(np.diff(x)) > frame.width * frame.pixel / 2)
    where = np.flatnonzero(cut | leap)
    axes.plot(np.insert(x, where, np.nan), np.insert(y, where, np.nan), **style)


def _label(
    axes: Any,
    across: NDArray[np.float64],
    along: NDArray[np.float64],
    edge: float,
    limits: tuple[float, float],
    text: str,
    *,
    vertical: bool,
) -> None:
    """Write `text` where the line crosses the map's edge: `across` is its distance to that edge, `along` runs on it.

    A line that ends before the edge, as all do on a map of the Earth, has it at its end.
    """
    with np.errstate(invalid="ignore"):
        crossing = np.flatnonzero((across[:-1] - edge) * (across[1:] - edge) <= 0)
    seen = np.flatnonzero(np.isfinite(across) & np.isfinite(along))
    spots: list[tuple[float, float]] = []
    for index in crossing[:1]:
        span = across[index + 1] - across[index]
        share = (edge - across[index]) / span if span else 0.0
        spots.append((edge, float(along[index] + share * (along[index + 1] - along[index]))))
    if not len(crossing) and len(seen) and (across[seen] > edge).all():
        end = seen[across[seen].argmin()]
        spots.append((float(across[end]), float(along[end])))
    for edge, at in spots:
        room = 0.015 * (limits[1] - limits[0])
        if not limits[0] + room <= at <= limits[1] - room:
            continue
        style: dict[str, Any] = {"textcoords": "offset points", "size": SMALL, "color": GREY, "annotation_clip": False}
        if vertical:
            axes.annotate(text, (edge, at), (-4, 0), ha="right", va="center", **style)
        else:
            axes.annotate(text, (at, edge), (0, -4), ha="center", va="top", **style)


def _degree(value: float, positive: str, negative: str, step: float) -> str:
    digits = 0 if step >= 1 else 2 if step == 0.25 else 1
    plain = abs(value) < 1e-9 or abs(abs(value) - 180) < 1e-9  # 0 and 180 degrees have no side
    letter = "" if plain else positive if value > 0 else negative
    return f"{abs(value):.{digits}f}°{letter}"


def _lines(axes: Any, frame: Frame, boundary: Any) -> None:
    parts = shapely.get_parts(np.atleast_1d(np.asarray(boundary, dtype=object)))
    rings = shapely.get_parts(shapely.boundary(parts)) if len(parts) else parts
    for ring in rings:
        # A straight line in degrees is a curve on the map.
        corners = shapely.get_coordinates(shapely.segmentize(ring, 0.25))
        x, y = frame.project(corners[:, 0], corners[:, 1])
        # GeoJSON cuts polygons at the antimeridian; the seam is no border of anything.
        seam = (np.abs(np.abs(corners[:, 0]) - 180) < 1e-6) | (np.abs(corners[:, 1]) > 90 - 1e-6)
        cut = np.append(False, seam[1:] & seam[:-1])
        style = {"color": "#22262e", "linewidth": 0.7, "alpha": 0.85, "solid_joinstyle": "round", "zorder": 3}
        _plot(axes, frame, x, y, cut, **style)


def _column(
    pen: Pen,
    frame: Frame,
    width: float,
    legend: Legend | None,
    foot: Sequence[str],
    *,
    below: bool,
    level: float = 0.0,
) -> None:
    """What explains a map `width` inches wide: legend, scale bar, foot; below it, or beside it down to its `level`."""
    if below:
        scale_bar(pen, frame, width)
        pen.skip(0.12)
    if legend is not None:
        legend_ink.draw(pen, legend)
    if below:
        pen.skip(0.12)
    else:
        # The scale bar stands level with the foot of the map, or below a legend that is longer.
        pen.y = max(pen.y + 0.3, level - 0.42 - 0.15 * len(foot))
        scale_bar(pen, frame, width)
    for line in foot:
        pen.line(line, size=SMALL - 0.6, color=GREY)


def scale_bar(pen: Pen, frame: Frame, map_inches: float) -> None:
    """Draw the scale of a map `map_inches` wide at the pen's height; the pen moves below it."""
    metres_per_inch = frame.width * frame.pixel * frame.metres_per_unit() / map_inches
    length = ink.nice(metres_per_inch * pen.width * 0.62, 1)
    if length / metres_per_inch > pen.width * 0.9:
        length /= 2
    inches = length / metres_per_inch
    pen.box(0, inches / 2, 0.055, ink.INK)
    pen.box(inches / 2, inches / 2, 0.055, "white", edge=ink.INK)
    pen.skip(0.075)
    kilometres = length / 1000
    for share, text in ((0.0, "0"), (0.5, f"{kilometres / 2:g}"), (1.0, f"{kilometres:g} km")):
        pen.text(share * inches, text, ha="center" if share else "left", size=SMALL)
    pen.skip(0.24)


def foot_lines(frame: Frame, note: str) -> list[str]:
    """What stands below the scale bar: the projection, and the note."""
    if frame.crs == "EPSG:4326":
        name = "plate carrée; scale true at mid-latitude, east-west"
    elif frame.crs == "EPSG:3857":
        name = "web Mercator; scale true at mid-latitude"
    elif "eqearth" in frame.crs:
        name = "Equal Earth, equal-area"
    else:
        name = "Lambert azimuthal equal-area"
    return [name, *([note] if note else [])]
