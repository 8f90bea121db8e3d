"""Mixtures of places on the sphere: hypotheses, their density, one point, credible regions, refinement."""

from placevec.geo.mixture.choice import hypotheses, joint_at, temper
from placevec.geo.mixture.ground import even_points
from placevec.geo.mixture.law import Mixture, log_density
from placevec.geo.mixture.levels import credible_level, mass_radii, mass_radius
from placevec.geo.mixture.points import POINTS, points
from placevec.geo.mixture.refine import Refined, refine, rescored
from placevec.geo.mixture.regions import CredibleRegion, credible_regions
from placevec.geo.mixture.within import within_mass

__all__ = [
    "POINTS",
    "CredibleRegion",
    "Mixture",
    "Refined",
    "credible_level",
    "credible_regions",
    "even_points",
    "hypotheses",
    "joint_at",
    "log_density",
    "mass_radii",
    "mass_radius",
    "points",
    "refine",
    "rescored",
    "temper",
    "within_mass",
]
