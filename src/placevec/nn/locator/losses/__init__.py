"""The losses of a locator. Each has its formula, and a test against a slow form of it: a loop over samples."""

from placevec.nn.locator.losses.balance import BalanceConfig, effective_weights, inverse_weights, logit_adjustment
from placevec.nn.locator.losses.cells import CUT, TAU_M, geocell_loss, region_loss, region_tau, soft_targets
from placevec.nn.locator.losses.points import auxiliary_loss, kernel_log_density, offset_loss, spread_loss
from placevec.nn.locator.losses.sphere import distance_m, move, pairwise_m, tangent_axes
from placevec.nn.locator.losses.total import LocatorLoss, LossConfig

__all__ = [
    "CUT",
    "TAU_M",
    "BalanceConfig",
    "LocatorLoss",
    "LossConfig",
    "auxiliary_loss",
    "distance_m",
    "effective_weights",
    "geocell_loss",
    "inverse_weights",
    "kernel_log_density",
    "logit_adjustment",
    "move",
    "offset_loss",
    "pairwise_m",
    "region_loss",
    "region_tau",
    "soft_targets",
    "spread_loss",
    "tangent_axes",
]
