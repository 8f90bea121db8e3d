"""Credible regions of one mixture as polygons: the smallest areas that hold the place with given probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry

from placevec.errors import DataError, UsageError
from placevec.geo.areas import polygon_areas
from placevec.geo.boxes import box_polygon
from placevec.geo.mixture.contours import outlines
from placevec.geo.mixture.law import Mixture
from placevec.geo.mixture.levels import SAMPLES, profile
from placevec.geo.mixture.mesh import FINENESS, Hypotheses, Mesh, make_mesh

LEVELS = (0.5, 0.8, 0.95)

_WORLD = box_polygon((-180.0, -90.0, 180.0, 90.0))
_WORLD_M2 = 2.0 * float(polygon_areas(np.array([box_polygon((-180.0, 0.0, 180.0, 90.0))], dtype=object))[0])


class CredibleRegion(NamedTuple):
    """A region that holds the place with a probability; `results.Region(*region)` is the same for an answer.

    Attributes:
        level: that probability.
        polygon: in lon, lat degrees, cut at the antimeridian.
        area_m2: its area in square metres.
    """

    level: float
    polygon: BaseGeometry
    area_m2: float


def credible_regions(
    mixture: Mixture,
    levels: Sequence[float] = LEVELS,
    domain: BaseGeometry | None = None,
    *,
    drawn: Sequence[float] | None = None,
    samples: int = SAMPLES,
) -> list[CredibleRegion]:
    """The highest-density regions of a mixture of one law, each within the next.

    Where a level cannot be reached by the hypotheses, because the floor has too much of the probability, the region is
    all of the domain; without a domain, all of the Earth.

    Args:
        mixture: one law, such as ``mixtures[row]``.
        levels: rising probabilities, the names of the regions.
        domain: the area of study, to which regions are cut: a (Multi)Polygon in lon, lat, cut at the antimeridian.
        drawn: the probabilities whose regions are drawn for the `levels`, if a calibration has others, see
            `Calibration.nominal`; they rise too.
        samples: of all hypotheses together.

    Raises:
        UsageError: levels that do not rise between 0 and 1, or as many as `drawn`.
        DataError: not one law; a domain that is no polygon.
    """
    wanted = list(levels) if drawn is None else list(drawn)
    if len(wanted) != len(levels) or sorted(levels) != list(levels) or sorted(wanted) != wanted:
        raise UsageError(f"levels rise, and each has its own to draw; not {list(levels)} and {wanted}")
    if not all(0.0 < level <= 1.0 for level in (*levels, *wanted)):
        raise UsageError(f"levels of regions lie between 0 and 1, not {[*levels, *wanted]}")
    if len(mixture) != 1:
        raise DataError(f"credible regions are drawn for one mixture at a time, not {len(mixture)}; pass mixtures[row]")
    if domain is not None and not isinstance(domain, Polygon | MultiPolygon):
        raise DataError(f"the area of study is a Polygon or a MultiPolygon, not {type(domain).__name__}")
    whole = _WORLD if domain is None else domain
    above = profile(mixture, samples)
    thresholds = np.array([above.thresholds(level)[0] if level < 1.0 else np.nan for level in wanted])
    drawings = _drawings(mixture, thresholds)
    polygons = [whole if drawing is None else _within(drawing, domain) for drawing in drawings]
    polygons = _each_in_the_next(polygons)
    areas = polygon_areas(np.array(polygons, dtype=object))
    # A polygon of the whole Earth has no border, so that its area by its border is 0.
    areas = np.where(shapely.area(polygons) >= _WORLD.area, _WORLD_M2, areas)
    return [CredibleRegion(*row) for row in zip(levels, polygons, areas.tolist(), strict=True)]


def _drawings(mixture: Mixture, thresholds: NDArray[np.float64]) -> list[BaseGeometry | None]:
    """The polygon at each log density, from high to low; None for NaN, and where it goes around half of the Earth."""
    finite = np.flatnonzero(np.isfinite(thresholds))
    out: list[BaseGeometry | None] = [None] * len(thresholds)
    if len(finite) == 0:
        return out
    kernels = Hypotheses.of(mixture)
    # A region that is but the tip of a peak is narrower than its spread.
    below = float(kernels.log_density(kernels.unit).max() - thresholds[finite[0]])
    fineness = FINENESS * min(1.0, np.sqrt(2.0 * max(below, 1e-6)))
    for last in range(len(finite), 0, -1):
        mesh = make_mesh(kernels, thresholds[finite[:last]], fineness)
        if mesh is not None:
            for at in finite[:last]:
                out[at] = _polygon(kernels, mesh, float(thresholds[at]))
            break
    return out


def _polygon(kernels: Hypotheses, mesh: Mesh, threshold: float) -> BaseGeometry | None:
    parts = outlines(kernels, mesh, threshold)
    if not parts:
        return None
    if len(parts) == 1:
        return parts[0]
    whole = MultiPolygon(parts)
    # Where a narrow gap lies between two squares of the mesh, their outlines may overlap by less than a triangle.
    return whole if whole.is_valid else _areal(shapely.union_all(parts))


def _within(region: BaseGeometry, domain: BaseGeometry | None) -> BaseGeometry:
    if domain is None:
        return region
    shapely.prepare(domain)
    if shapely.covers(domain, region):
        return region
    cut = _areal(shapely.intersection(domain, region))
    # Hypotheses that all lie outside the area of study say nothing about it.
    return domain if cut.is_empty else cut


def _each_in_the_next(regions: list[BaseGeometry]) -> list[BaseGeometry]:
    """Nested to the last digit: between two vertices an edge may leave the larger region by a hair."""
    out = list(regions)
    for at in range(len(out) - 2, -1, -1):
        shapely.prepare(out[at + 1])
        if out[at] is not out[at + 1] and not shapely.covers(out[at + 1], out[at]):
            inside = _areal(shapely.intersection(out[at + 1], out[at]))
            out[at] = out[at + 1] if inside.is_empty else inside
    return out


def _areal(geometry: BaseGeometry) -> BaseGeometry:
    """The polygons of an intersection, which may have lines and points where borders touch."""
    if isinstance(geometry, Polygon | MultiPolygon):
        return geometry
    parts = [part for part in shapely.get_parts(geometry) if isinstance(part, Polygon)]
    return parts[0] if len(parts) == 1 else MultiPolygon(parts)
