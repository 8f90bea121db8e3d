"""Calibrating a locator on places held out: temperatures, spread, floor, conformal levels and radii, confidence."""

from placevec.measure.geo_calibration.calibration import CONFIDENCE_M, LEVELS, Calibration
from placevec.measure.geo_calibration.confidence import ConfidenceMap, fit_confidence
from placevec.measure.geo_calibration.conformal import conformal_quantile, coverage, quantile_interval
from placevec.measure.geo_calibration.fit import Holdout, fit_calibration

__all__ = [
    "CONFIDENCE_M",
    "LEVELS",
    "Calibration",
    "ConfidenceMap",
    "Holdout",
    "conformal_quantile",
    "coverage",
    "fit_calibration",
    "fit_confidence",
    "quantile_interval",
]
