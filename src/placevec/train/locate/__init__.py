"""Training a locator: images to provinces, geocells and points, in three phases."""

from placevec.train.locate.config import PHASES, LocateTraining, Phase, PhaseConfig
from placevec.train.locate.data import Parts
from placevec.train.locate.training import TrainedLocator, train_locator

__all__ = ["PHASES", "LocateTraining", "Parts", "Phase", "PhaseConfig", "TrainedLocator", "train_locator"]
