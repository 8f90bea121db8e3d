"""Training a network that fuses modalities."""

from placevec.train.fuse.config import FuseLoss, FuseTraining, Hiding
from placevec.train.fuse.data import FuseArea, Labels, fuse_area
from placevec.train.fuse.training import TrainedFuser, train_fuser

__all__ = ["FuseArea", "FuseLoss", "FuseTraining", "Hiding", "Labels", "TrainedFuser", "fuse_area", "train_fuser"]
