"""The columns of a modality as tokens: what a network of few cells can learn thresholds from."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from placevec.errors import DataError
from placevec.nn.fusion.config import Form

LEAST_SPREAD = 1e-6
"""Two quantiles that differ by less, as a share of the column's range, are one."""


class Tokens(nn.Module):
    """Values (n, columns) to tokens (n, count), fixed before training.

    "bins": each column becomes the piecewise-linear code of Gorishniy et al. (2022), "On embeddings for numerical
    features in tabular deep learning", section 3.2.1: for each bin between two quantiles of the column, how far the
    value has gone through it, from 0 to 1. A linear layer on it is any piecewise-linear function of the column. Columns
    of many zeros have fewer bins, constant ones none.

    "values": (x − mean) / sd of each column, for vectors of an encoder, whose single components mean nothing.
    """

    low: Tensor
    width: Tensor
    column: Tensor

    def __init__(self, columns: int, count: int, form: Form) -> None:
        super().__init__()
        self.columns, self.count, self.form = columns, count, form
        self.register_buffer("low", torch.zeros(count))
        self.register_buffer("width", torch.ones(count))
        self.register_buffer("column", torch.zeros(count, dtype=torch.int64))

    def forward(self, values: Tensor) -> Tensor:
        """Tokens (n, count) of values (n, columns)."""
        found = (values[:, self.column] - self.low) / self.width
        return found.clamp(0.0, 1.0) if self.form == "bins" else found

    @classmethod
    def fit(cls, values: NDArray[np.float32], form: Form, bins: int) -> Tokens:
        """The tokens for a modality with these rows (n, columns), all of them known.

        Raises:
            DataError: no column varies.
        """
        if form == "values":
            mean, spread = values.mean(axis=0, dtype=np.float64), values.std(axis=0, dtype=np.float64)
            keep = np.flatnonzero(spread > LEAST_SPREAD * max(float(np.abs(values).max(initial=0.0)), 1e-30))
            low, width, column = mean[keep], spread[keep], keep
        else:
            edges = np.quantile(values.astype(np.float64), np.linspace(0.0, 1.0, bins + 1), axis=0)
            reach = np.maximum(edges[-1] - edges[0], 1e-30)
            step, column = np.nonzero(np.diff(edges, axis=0) > LEAST_SPREAD * reach)
            order = np.lexsort((step, column))
            step, column = step[order], column[order]
            low = edges[step, column]
            # A bin begins where the last one of its column ended, so that no value lies between two.
            width = edges[step + 1, column] - low
        if len(column) == 0:
            raise DataError("no column of the modality varies over the cells; leave the modality out")
        made = cls(values.shape[1], len(column), form)
        made.low.copy_(torch.from_numpy(low.astype(np.float32)))
        made.width.copy_(torch.from_numpy(width.astype(np.float32)))
        made.column.copy_(torch.from_numpy(column.astype(np.int64)))
        return made
