"""A map of errors: where each photo was taken, how far off its answer is, and whither the answer went."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from placevec.atlas import ink
from placevec.atlas.figures import map_figure
from placevec.atlas.frames import Frame, frame_around
from placevec.atlas.ink import Layout
from placevec.atlas.legends import RampLegend
from placevec.atlas.palettes import VIRIDIS, sequential
from placevec.errors import SchemaError
from placevec.geo.sphere import LonLat

Floats = NDArray[np.float64]

_PIXELS = 1800
_MARGIN = 0.04
_MANY = 1500  # beyond so many photos, strokes hide more than they show
_LEAST_KM = 0.1
# From good to bad: the bright end of the table is lost on white.
_TABLE = VIRIDIS[:236][::-1]


def error_map(
    path: str | Path,
    truth: LonLat,
    points: LonLat,
    km: Floats,
    *,
    title: str,
    subtitle: str = "",
    regions: Any = None,
    note: str = "",
    layout: Layout = "wide",
) -> Path:
    """Draw a dot at each true place, coloured by its error, with a thin stroke to where it was thought to be.

    Good answers are drawn last, so that they are seen where both are; the strokes of the worst tenth are the darkest.

    Args:
        path: the PNG.
        truth: n true places.
        points: n answers.
        km: (n,) errors in kilometres.
        title: of the figure.
        subtitle: of the figure.
        regions: shapely polygons in degrees, whose ground is white and whose borders are drawn; None: none.
        note: a line below the scale bar.
        layout: "wide", or "narrow" for telephones.

    Raises:
        SchemaError: no photos, or lengths that differ.
    """
    if not len(truth) or not (len(truth) == len(points) == len(km)):
        raise SchemaError(f"{len(truth)} places, {len(points)} answers and {len(km)} errors; give n > 0 of each")
    lon, lat = truth.lon, truth.lat
    if regions is not None:
        corners = shapely.get_coordinates(np.atleast_1d(np.asarray(regions, dtype=object)))
        lon, lat = np.concatenate([lon, corners[:, 0]]), np.concatenate([lat, corners[:, 1]])
    frame = frame_around(lon, lat, width=_PIXELS, margin=_MARGIN)
    size = np.maximum(km, _LEAST_KM)
    low, high = _ends(size)
    colours = sequential(np.log(size), float(np.log(low)), float(np.log(high)), _TABLE)
    raster = _drawn(frame, truth, points, km, colours, regions)
    legend = RampLegend(
        title="Error",
        units="km",
        low=low,
        high=high,
        table=_TABLE,
        below=bool((size < low).any()),
        above=bool((size > high).any()),
        scale="log",
    )
    return map_figure(
        path,
        raster,
        frame,
        title=title,
        subtitle=subtitle,
        legend=legend,
        boundary=regions,
        note=note,
        layout=layout,
    )


def _ends(size: Floats) -> tuple[float, float]:
    """The ends of the scale: the 5th and the 95th percentile, at least a factor of ten apart."""
    low, high = (float(one) for one in np.percentile(size, (5.0, 95.0)))
    if high < 10.0 * low:
        middle = (low * high) ** 0.5
        low, high = middle / 10.0**0.5, middle * 10.0**0.5
    return low, high


def _drawn(
    frame: Frame, truth: LonLat, points: LonLat, km: Floats, colours: NDArray[np.uint8], regions: Any
) -> NDArray[np.uint8]:
    """The dots and strokes as RGBA of the frame's pixels, over white regions on a clear ground."""
    figure = ink.new_figure(frame.width / ink.DPI, frame.height / ink.DPI)
    figure.patch.set_alpha(0.0)
    axes = figure.add_axes((0, 0, 1, 1))
    x0, y0, x1, y1 = frame.bounds
    axes.set_xlim(x0, x1)
    axes.set_ylim(y0, y1)
    axes.axis("off")
    for ring in _rings(frame, regions):
        axes.fill(ring[:, 0], ring[:, 1], facecolor="white", edgecolor="none", zorder=0)
    at, to = (np.column_stack(frame.project(one.lon, one.lat)) for one in (truth, points))
    order = np.argsort(-km, kind="stable")
    strokes = order[:_MANY]
    bad = km >= np.percentile(km, 90.0)
    for row in strokes:
        line = np.stack([at[row], to[row]])
        if not np.isfinite(line).all() or abs(line[1, 0] - line[0, 0]) > (x1 - x0):
            continue
        axes.plot(
            line[:, 0],
            line[:, 1],
            color=ink.rgb(colours[row]),
            alpha=0.5 if bad[row] else 0.22,
            linewidth=0.9 if bad[row] else 0.6,
            solid_capstyle="round",
            zorder=1,
        )
    radius = float(np.clip(48.0 * (300.0 / len(km)) ** 0.5, 12.0, 64.0))
    axes.scatter(
        at[order, 0],
        at[order, 1],
        s=radius,
        c=colours[order] / 255.0,
        edgecolors="white",
        linewidths=0.45,
        zorder=2,
    )
    figure.canvas.draw()
    drawn = np.asarray(figure.canvas.buffer_rgba())[: frame.height, : frame.width].copy()
    raster = np.zeros((frame.height, frame.width, 4), dtype=np.uint8)
    raster[: drawn.shape[0], : drawn.shape[1]] = drawn
    return raster


def _rings(frame: Frame, regions: Any) -> list[Floats]:
    """The outlines of regions in the frame's units; lakes and enclaves are painted over, which a backdrop may be."""
    if regions is None:
        return []
    rings = []
    for part in shapely.get_parts(np.atleast_1d(np.asarray(regions, dtype=object))):
        corners = shapely.get_coordinates(shapely.segmentize(shapely.get_exterior_ring(part), 0.25))
        ring = np.column_stack(frame.project(corners[:, 0], corners[:, 1]))
        if np.isfinite(ring).all():
            rings.append(ring)
    return rings
