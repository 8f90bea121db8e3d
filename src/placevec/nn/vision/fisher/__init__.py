"""A network of Fisher vectors: local descriptors described by a mixture of Gaussians, and a small trained head."""

from placevec.nn.vision.fisher.net import FisherConfig, FisherNet

__all__ = ["FisherConfig", "FisherNet"]
