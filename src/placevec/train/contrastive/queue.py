"""The places of earlier batches, as further negatives (GeoCLIP, Vivanco Cepeda et al. 2023, section 3.3).

Coordinates are kept and encoded afresh at each step, not their vectors: a location encoder is cheap, so there is no
need for the stale vectors, or the second network that follows slowly, by which image encoders get theirs. Gradients
flow into the queued places too. As the training places are known by row, the queue is a list of row numbers.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from placevec.geo.sphere import LonLat, from_tangent

EMPTY = -1


class PlaceQueue(nn.Module):
    """The rows of the last `size` places, newest first; a buffer, and so a part of every checkpoint."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.rows: Tensor
        self.register_buffer("rows", torch.full((size,), EMPTY, dtype=torch.int64))

    def push(self, rows: Tensor) -> None:
        """Put the rows (n,) of a batch before the others; the oldest leave."""
        self.rows.copy_(torch.cat([rows, self.rows])[: len(self.rows)])

    def others(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The queued rows, ascending, each once, that are not among `rows`."""
        queued = np.unique(self.rows.cpu().numpy())
        found: NDArray[np.int64] = np.setdiff1d(queued[queued != EMPTY], rows, assume_unique=True)
        return found


def moved(degrees: Tensor, metres: float) -> Tensor:
    """Places (n, 2), degrees, longitude first, each moved east and north by normal numbers of this deviation.

    The numbers come from torch's global generator, which the loop seeds for each step.
    """
    east, north = (metres * torch.randn(2, len(degrees), dtype=torch.float64)).numpy()
    lon, lat = degrees.numpy().T
    there = from_tangent(LonLat(lon, lat), east, north)
    return torch.from_numpy(np.stack([there.lon, there.lat], axis=1))
