"""How geolocation is measured: errors of points, the law that was given for them, and what they have to beat."""

from placevec.measure.geolocation.classes import Share, class_ranks, share_right, share_within
from placevec.measure.geolocation.density import PlaceDensity, fit_density
from placevec.measure.geolocation.draws import Method, MethodRow, Role, lower_is_better, method_rows
from placevec.measure.geolocation.laws import LEVELS, Law, Risk, confidence_figures, risk_coverage
from placevec.measure.geolocation.points import (
    GEOSCORE_KM,
    LOWER,
    POINT_FIGURES,
    WITHIN_KM,
    distances,
    error_figures,
    geoscores,
    point_figures,
)
from placevec.measure.geolocation.rivals import Alike, alike, chance_km, fold_numbers, middle_of

__all__ = [
    "GEOSCORE_KM",
    "LEVELS",
    "LOWER",
    "POINT_FIGURES",
    "WITHIN_KM",
    "Alike",
    "Law",
    "Method",
    "MethodRow",
    "PlaceDensity",
    "Risk",
    "Role",
    "Share",
    "alike",
    "chance_km",
    "class_ranks",
    "confidence_figures",
    "distances",
    "error_figures",
    "fit_density",
    "fold_numbers",
    "geoscores",
    "lower_is_better",
    "method_rows",
    "middle_of",
    "point_figures",
    "risk_coverage",
    "share_right",
    "share_within",
]
