"""From the network's raw answers to a prediction, by calibration and decoding: numpy alone, and no images."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import shapely
from numpy.typing import NDArray

from placevec.encoders.locator.decoding import Decoding, Refinement
from placevec.encoders.locator.gallery import Gallery
from placevec.encoders.locator.net import Outputs
from placevec.encoders.locator.prediction import Prediction
from placevec.geo.geocells import GeoCells
from placevec.geo.mixture import Mixture, even_points, joint_at, points, refine, rescored
from placevec.geo.sphere import LonLat
from placevec.measure.geo_calibration import Calibration, Holdout

RADIUS_LEVEL = 0.8
"""The radius of a guess holds the place with this probability."""


def refined(outputs: Outputs, gallery: Gallery, how: Refinement, starts: NDArray[np.int64]) -> Outputs:
    """The answers with their hypotheses moved towards the training images of their cells that look alike.

    Done before the calibration, which is fitted to what is left of the errors then.
    """
    plain = Calibration.identity()
    region_logs, cell_logs = plain.temper(outputs.region_logits, outputs.cell_logits, starts)
    found = refine(
        outputs.fused,
        gallery.vectors,
        gallery.cells,
        gallery.lonlat,
        outputs.rows,
        outputs.unit,
        joint_at(region_logs, cell_logs, starts, outputs.rows),
        k=how.k,
        temperature=how.temperature,
        weight=how.weight,
        max_m=how.max_m,
    )
    return replace(outputs, unit=found.unit, similarity=found.similarity, moved=found.moved)


def decode(outputs: Outputs, geocells: GeoCells, calibration: Calibration, decoding: Decoding) -> Prediction:
    """What calibration and decoding make of raw answers."""
    starts = geocells.starts
    region_logs, cell_logs = calibration.temper(outputs.region_logits, outputs.cell_logits, starts)
    weights = joint_at(region_logs, cell_logs, starts, outputs.rows)
    if outputs.similarity is not None:
        weights = rescored(weights, outputs.similarity, gain_of(decoding))
    # A temperature changes which hypothesis is the heaviest.
    order = np.argsort(-weights, axis=1, kind="stable")
    unit = np.take_along_axis(outputs.unit, order[..., None], axis=1)
    spread = np.take_along_axis(outputs.spread_m, order, axis=1)
    weights = np.take_along_axis(weights, order, axis=1)
    mixture = calibration.mixture(unit, weights, spread, area_of(geocells), ground_of(geocells))
    point = points(mixture, decoding.point, reach_m=decoding.reach_m)
    return Prediction(
        fused=outputs.fused,
        region_logs=region_logs,
        cell_logs=cell_logs,
        starts=starts,
        rows=np.take_along_axis(outputs.rows, order, axis=1),
        mixture=mixture,
        points=point,
        confidence=calibration.confidence_of(mixture, point),
        confidence_m=calibration.confidence_m,
        radius_m=_radii(mixture, point, calibration),
        radius_level=RADIUS_LEVEL,
        moved=None if outputs.moved is None else np.take_along_axis(outputs.moved, order, axis=1),
        oracle=outputs.oracle,
    )


def holdout(
    outputs: Outputs, geocells: GeoCells, decoding: Decoding, truth: LonLat, groups: NDArray[np.generic] | None
) -> Holdout:
    """Raw answers for places held out, as `measure.geo_calibration.fit_calibration` takes them.

    Args:
        outputs: for n images; of `Locator.outputs`, with the refinement that will be used.
        geocells: of the locator.
        decoding: of the locator.
        truth: where they were taken.
        groups: (n,) the spatial block of each.
    """
    return Holdout(
        region_logs=outputs.region_logits,
        cell_logs=outputs.cell_logits,
        starts=geocells.starts,
        region=geocells.regions.assign(truth),
        cell=geocells.rows(truth),
        truth=truth,
        rows=outputs.rows,
        unit=outputs.unit,
        spread_m=outputs.spread_m,
        area_m2=area_of(geocells),
        groups=groups,
        ground=ground_of(geocells),
        similarity=outputs.similarity,
        gain=gain_of(decoding),
    )


def area_of(geocells: GeoCells) -> float:
    """The area of study in square metres: of all regions."""
    return float(geocells.regions.areas_m2.sum())


@lru_cache(maxsize=4)
def ground_of(geocells: GeoCells) -> NDArray[np.float64]:
    """Points (q, 3) spread evenly over that area: what the uniform part of a law is reckoned with."""
    return even_points(shapely.union_all(geocells.regions.polygons))


def gain_of(decoding: Decoding) -> float:
    """What the cosine of a hypothesis' best training image is multiplied by in its log weight; 0 without refinement."""
    return 0.0 if decoding.refine is None else decoding.refine.rescore / decoding.refine.temperature


def _radii(mixture: Mixture, point: LonLat, calibration: Calibration) -> NDArray[np.float64]:
    if not len(mixture):
        return np.zeros(0)
    return calibration.radii_m(mixture, point, [RADIUS_LEVEL])[:, 0]
