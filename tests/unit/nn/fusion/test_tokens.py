"""Columns to tokens."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from placevec.errors import DataError
from placevec.nn.fusion import Tokens


def slow_bins(values: np.ndarray, fitted: np.ndarray, bins: int) -> np.ndarray:
    """The code by its definition, column by column and value by value."""
    found = []
    for column in range(values.shape[1]):
        edges = np.quantile(fitted[:, column].astype(np.float64), np.linspace(0, 1, bins + 1))
        for low, high in pairwise(edges):
            if high - low > 1e-6 * max(edges[-1] - edges[0], 1e-30):
                found.append([min(max((v - low) / (high - low), 0.0), 1.0) for v in values[:, column]])
    return np.array(found).T


@given(st.integers(0, 10_000), st.integers(2, 8))
def test_bins_are_the_piecewise_linear_code(seed: int, bins: int) -> None:
    draw = np.random.default_rng(seed)
    fitted = draw.normal(size=(40, 3)).astype(np.float32)
    fitted[:, 1] = np.maximum(fitted[:, 1], 0.0)  # many zeros
    made = Tokens.fit(fitted, "bins", bins)
    asked = draw.normal(size=(10, 3)).astype(np.float32) * 2
    np.testing.assert_allclose(made(torch.from_numpy(asked)).numpy(), slow_bins(asked, fitted, bins), atol=2e-4)


def test_a_linear_layer_on_bins_gives_back_the_column() -> None:
    fitted = np.random.default_rng(0).gamma(1.0, size=(200, 1)).astype(np.float32)
    made = Tokens.fit(fitted, "bins", 5)
    code = made(torch.from_numpy(fitted))
    np.testing.assert_allclose((code @ made.width + made.low[0]).numpy(), fitted[:, 0], atol=1e-5)


def test_values_are_standardised_and_constant_columns_left_out() -> None:
    draw = np.random.default_rng(0)
    values = np.stack([draw.normal(3, 2, 500), np.full(500, 7.0), draw.normal(0, 1e3, 500)], axis=1).astype(np.float32)
    made = Tokens.fit(values, "values", 8)
    code = made(torch.from_numpy(values)).numpy()
    assert made.column.tolist() == [0, 2]
    np.testing.assert_allclose(code.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(code.std(axis=0), 1, atol=1e-3)


@pytest.mark.parametrize("form", ["bins", "values"])
def test_a_modality_that_never_varies_is_refused(form: str) -> None:
    with pytest.raises(DataError, match="no column of the modality varies"):
        Tokens.fit(np.full((50, 2), 3.0, dtype=np.float32), form, 4)
