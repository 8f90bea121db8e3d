"""Scores at positions against what neutral queries score there, so that a height means something by itself.

Cosines of an image with any text lie in a narrow band (0.2 to 0.3 for CLIP): "at least 90 % of the maximum" keeps
nearly everything. Here a score is measured from the mean of background queries, in their standard deviations: 0 is
"as any neutral phrase", 3 is far beyond them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from placevec.encoders.base import Vectors, unit_rows
from placevec.errors import DataError
from placevec.features.evidence.field import Field, Floats

LEAST = 2  # background queries: fewer have no deviation


@dataclass(frozen=True)
class Background:
    """What a query is measured against.

    Raises:
        DataError: fewer than two background queries.
    """

    queries: Vectors  # (k, dims) vectors of neutral queries of the same kind as the query
    images: Vectors | None = None  # (r, dims) vectors of reference images: each query's own mean and deviation

    def __post_init__(self) -> None:
        if self.queries.ndim != 2 or len(self.queries) < LEAST:
            raise DataError(f"background of shape {self.queries.shape}: give the vectors of two or more queries")


@dataclass(frozen=True)
class HeatMap:
    """Calibrated scores over an image."""

    values: Floats  # (rows, columns): 0 as the background, 1 a deviation above it
    size: tuple[int, int]  # height and width of the image in pixels
    whole: float  # the image as one, on the same scale
    cells: bool = False  # see `Field.cells`

    @property
    def peak(self) -> tuple[float, float]:
        """Where the maximum lies: x and y in pixels of the image."""
        row, column = np.unravel_index(int(self.values.argmax()), self.values.shape)
        rows, columns = self.values.shape
        return (float(column) + 0.5) * self.size[1] / columns, (float(row) + 0.5) * self.size[0] / rows


def heat_map(field: Field, query: Vectors, background: Background | None, *, smooth: float = 0.0) -> HeatMap:
    """The calibrated scores of a query over an image.

    With background queries b and a query t, of which s_p is the score at position p, and with the mean μ and deviation
    σ of each over reference images (0 and 1 without them):

        z_p(t) = (s_p(t) - μ(t)) / σ(t)        c_p(t) = (z_p(t) - mean_b z_p(b)) / sqrt(mean_p var_b z_p(b))

    The mean over the background is that of the position, so that what raises all texts there (brightness, detail) goes
    out; the deviation is one for the whole image, so that noise of a few texts does not move the maximum.

    Args:
        field: the vectors of the image.
        query: (dims,).
        background: what to measure against; None leaves plain scores.
        smooth: standard deviation of a Gaussian over the map, in shares of its shorter side; 0: none.
    """
    asked = unit_rows(query[None])
    if background is None:
        values, whole = field.scores(asked)[0], float(field.score(asked)[0])
    else:
        every = np.concatenate([asked, unit_rows(background.queries)])
        mean, deviation = _own_scale(every, background.images)
        z = (field.scores(every) - mean[:, None, None]) / deviation[:, None, None]
        one = (field.score(every) - mean) / deviation
        sd = float(np.sqrt(z[1:].var(axis=0).mean()))
        sd = sd if sd > 1e-9 else 1.0  # all of the background alike: nothing to measure by
        values, whole = (z[0] - z[1:].mean(axis=0)) / sd, float((one[0] - one[1:].mean()) / sd)
    if smooth > 0 and not field.cells:
        values = ndimage.gaussian_filter(values, smooth * min(values.shape), mode="nearest")
    return HeatMap(values, field.size, whole, field.cells)


def _own_scale(queries: Vectors, images: Vectors | None) -> tuple[Floats, Floats]:
    if images is None or len(images) < LEAST:
        return np.zeros(len(queries)), np.ones(len(queries))
    found: NDArray[np.float64] = queries.astype(np.float64) @ unit_rows(images).T.astype(np.float64)
    deviation = found.std(axis=1)
    return found.mean(axis=1), np.where(deviation > 1e-9, deviation, 1.0)
