"""An image tower and a text tower learn from images with captions: what belongs together lies together."""

from placevec.train.pairs.config import PairTraining, TowerTuning, Tuning, WarmUp
from placevec.train.pairs.data import Captions
from placevec.train.pairs.objective import PairNet, PairObjective
from placevec.train.pairs.training import TrainedPair, train_pairs, untrained_pair

__all__ = [
    "Captions",
    "PairNet",
    "PairObjective",
    "PairTraining",
    "TowerTuning",
    "TrainedPair",
    "Tuning",
    "WarmUp",
    "train_pairs",
    "untrained_pair",
]
