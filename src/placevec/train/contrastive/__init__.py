"""The location encoder learns from frozen image vectors: a place and its image belong together."""

from placevec.train.contrastive.config import LocationTraining, SourceConfig
from placevec.train.contrastive.joined import Joined, join_tables
from placevec.train.contrastive.objective import LocationObjective
from placevec.train.contrastive.scores import chance, retrieval
from placevec.train.contrastive.tables import ImageTable
from placevec.train.contrastive.training import TrainedLocation, train_location

__all__ = [
    "ImageTable",
    "Joined",
    "LocationObjective",
    "LocationTraining",
    "SourceConfig",
    "TrainedLocation",
    "chance",
    "join_tables",
    "retrieval",
    "train_location",
]
