"""Landscape encoders learn from pairs of neighbouring patches: near ones belong together, far ones do not."""

from placevec.train.landscape.config import LandscapeTraining
from placevec.train.landscape.objective import LandscapeObjective
from placevec.train.landscape.pairs import Pairs
from placevec.train.landscape.training import TrainedLandscape, train_landscape

__all__ = ["LandscapeObjective", "LandscapeTraining", "Pairs", "TrainedLandscape", "train_landscape"]
