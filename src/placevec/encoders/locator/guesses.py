"""One image of a prediction as a guess for people: hypotheses, credible regions, and the training images behind it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from placevec.encoders.locator.gallery import Gallery
from placevec.encoders.locator.prediction import Prediction
from placevec.geo.mixture import Mixture, credible_regions
from placevec.geo.regions import Regions
from placevec.geo.sphere import LonLat, distance_m
from placevec.measure.geo_calibration import Calibration
from placevec.results import Evidence, Guess, Region

LEAST_LEVEL = 1e-3
"""A calibration may ask for a region of no probability at all, which has no outline."""


@dataclass(frozen=True)
class Shown:
    """How much of a guess is worked out."""

    k: int = 10  # hypotheses
    evidence: int = 5  # training images
    regions: bool = True  # whether credible regions are drawn, which takes longest


@dataclass(frozen=True, eq=False)
class Behind:
    """What a guess is made of besides the prediction: the same for all images."""

    named: Regions  # the named regions, such as provinces
    owner: NDArray[np.int64]  # (N,) the named region of each cell
    gallery: Gallery | None  # the training images, if they are known
    levels: tuple[float, ...]  # of the credible regions
    calibration: Calibration  # says which nominal level holds the place so often
    domain: BaseGeometry | None  # outside of it no place is thought of


def guesses_of(prediction: Prediction, ids: Sequence[str], shown: Shown, behind: Behind) -> Iterator[Guess]:
    """The guesses for the images of a prediction, one by one: outlines are drawn when a guess is asked for.

    Args:
        prediction: of n images.
        ids: n names.
        shown: how much is worked out.
        behind: what it is made of.
    """
    gallery = behind.gallery
    near: tuple[NDArray[np.int64], NDArray[np.float32]] | None = None
    if gallery is not None and shown.evidence and len(gallery):
        near = gallery.nearest(prediction.fused, shown.evidence)
    for row, name in enumerate(ids):
        point = prediction.points[row]
        evidence: tuple[Evidence, ...] = ()
        if gallery is not None and near is not None:
            evidence = _evidence(gallery, near[0][row], near[1][row], point)
        yield _guess(prediction, row, name, shown, behind, evidence)


def _guess(
    prediction: Prediction, row: int, id: str, shown: Shown, behind: Behind, evidence: tuple[Evidence, ...]
) -> Guess:
    mixture, named = prediction.mixture[row], behind.named
    weights = mixture.weights[0]
    kept = np.flatnonzero(weights > 0.0)[: shown.k]  # the heaviest come first
    kept = kept if len(kept) else np.array([0])
    region = int(np.argmax(prediction.region_logs[row]))
    return Guess(
        lonlat=LonLat.from_unit(mixture.unit[0, kept]),
        weights=weights[kept],
        point=prediction.points[row],
        confidence=float(prediction.confidence[row]),
        regions=_credible(mixture, behind) if shown.regions else (),
        labels=tuple(named.names[one] for one in behind.owner[prediction.rows[row, kept]]),
        id=id,
        confidence_m=prediction.confidence_m,
        region_name=named.names[region],
        region_probability=float(np.exp(prediction.region_logs[row, region])),
        radius_m=float(prediction.radius_m[row]),
        radius_level=prediction.radius_level,
        evidence=evidence,
    )


def _credible(mixture: Mixture, behind: Behind) -> tuple[Region, ...]:
    """The regions that hold the place with the probability of each level, by the calibration's nominal levels."""
    nominal = [max(behind.calibration.nominal(level), LEAST_LEVEL) for level in behind.levels]
    found = credible_regions(mixture, behind.levels, behind.domain, drawn=nominal)
    return tuple(Region(one.level, one.polygon, one.area_m2) for one in found)


def _evidence(
    gallery: Gallery, rows: NDArray[np.int64], cosines: NDArray[np.float32], point: LonLat
) -> tuple[Evidence, ...]:
    away = distance_m(gallery.lonlat[rows], point)
    return tuple(
        Evidence(str(gallery.ids[one]), gallery.lonlat[int(one)], float(cosine), float(far), str(gallery.assets[one]))
        for one, cosine, far in zip(rows, cosines, away, strict=True)
    )
