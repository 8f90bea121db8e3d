"""Where a probe is wrong: residuals in quantile bins, the cells of a bin dissolved, as GeoJSON and as PNG."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray

from placevec.atlas.figures import map_figure
from placevec.atlas.ink import Layout
from placevec.atlas.legends import BinLegend, residual_colours
from placevec.atlas.rasterise import frame_of_cells, rows_of_cells
from placevec.errors import SchemaError
from placevec.files import write_text
from placevec.geo.cells import H3Cells
from placevec.geo.dissolve import dissolve
from placevec.measure.metrics import Moran, morans_i, ring_weights


@dataclass(frozen=True, eq=False)
class ResidualBins:
    """Residuals of cells in bins that lie evenly around zero.

    Attributes:
        cells: (n,) H3 cells of one resolution.
        values: (n,) observed minus predicted; NaN for cells that were never tested.
        bins: (n,) the bin of each, from the lowest; -1 for NaN.
        colours: (n, 3) uint8.
        legend: edges, shares and colours of the bins.
        moran: Moran's I of the residuals over the neighbours of cells; NaN where no cell has one.
    """

    cells: NDArray[np.uint64]
    values: NDArray[np.float64]
    bins: NDArray[np.int64]
    colours: NDArray[np.uint8]
    legend: BinLegend
    moran: Moran

    @property
    def words(self) -> str:
        """Moran's I for people, such as "Moran's I 0.21 (z 12.3)"."""
        if not np.isfinite(self.moran.i):
            return "Moran's I cannot be told"
        return f"Moran's I of the residuals {self.moran.i:.2f} (z {self.moran.z:.1f})".replace("-", "−")

    def to_geojson(self) -> dict[str, Any]:
        """One feature for each bin: the dissolved ground of its cells, and what lies in it."""
        features = []
        for number in np.unique(self.bins[self.bins >= 0]).tolist():
            own = self.bins == number
            red, green, blue = (int(part) for part in self.legend.colours[number])
            features.append(
                {
                    "type": "Feature",
                    "geometry": json.loads(shapely.to_geojson(dissolve(self.cells[own]))),
                    "properties": {
                        "bin": number,
                        "low": self.legend.edges[number],
                        "high": self.legend.edges[number + 1],
                        "cells": int(own.sum()),
                        "share": self.legend.shares[number],
                        "mean": float(self.values[own].mean()),
                        "fill": f"#{red:02x}{green:02x}{blue:02x}",
                    },
                }
            )
        return {"type": "FeatureCollection", "features": features}


def residual_bins(cells: ArrayLike, values: ArrayLike, *, units: str = "") -> ResidualBins:
    """Put the residuals of cells into quantile bins around zero, and measure how they hang together in space.

    Args:
        cells: (n,) H3 cells of one resolution, each once.
        values: (n,) observed minus predicted; NaN where a cell was never tested.
        units: of the values.

    Raises:
        SchemaError: no value is finite, or the lengths differ.
    """
    own, residual = np.asarray(cells, dtype=np.uint64), np.asarray(values, dtype=np.float64)
    if own.shape != residual.shape or own.ndim != 1:
        raise SchemaError(f"{own.shape} cells and {residual.shape} residuals; give one residual for each cell")
    colours, legend = residual_colours(residual, units=units)
    good = np.isfinite(residual)
    bins = np.where(good, np.searchsorted(legend.edges[1:-1], np.where(good, residual, 0.0), side="right"), -1)
    weights = ring_weights(own[good])
    moran = morans_i(residual[good], weights) if weights.nnz else Moran(*(float("nan"),) * 5)
    return ResidualBins(own, residual, bins.astype(np.int64), colours, legend, moran)


def write_residual_bins(path: str | Path, found: ResidualBins) -> Path:
    """Write the dissolved bins as GeoJSON."""
    write_text(path, json.dumps(found.to_geojson(), ensure_ascii=False) + "\n")
    return Path(path)


def residual_figure(
    path: str | Path,
    found: ResidualBins,
    *,
    title: str,
    subtitle: str = "",
    boundary: Any = None,
    note: str = "",
    width: int = 1600,
    layout: Layout = "wide",
) -> Path:
    """Draw the bins on the map with Moran's I below its title, and write a PNG.

    Args:
        path: the PNG.
        found: from `residual_bins`.
        title: of the figure.
        subtitle: before Moran's I.
        boundary: a shapely geometry in degrees whose lines are drawn; None: none.
        note: below the scale bar.
        width: pixels of the longer side.
        layout: "wide", or "narrow" for telephones.
    """
    system = H3Cells(int(found.cells[0] >> np.uint64(52)) & 15)
    frame = frame_of_cells(system, found.cells, width=width)
    return map_figure(
        path,
        rows_of_cells(system, found.cells, frame).paint(found.colours),
        frame,
        title=title,
        subtitle="; ".join(part for part in (subtitle, found.words) if part),
        legend=found.legend,
        boundary=boundary,
        note=note,
        layout=layout,
    )
