"""The first layer on a grid equals the product at every pixel, for every position encoding."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from placevec.nn.position import PositionConfig
from placevec.nn.position.base import BLOCK
from position_examples import EXAMPLES


def pixelwise(config: PositionConfig, weight: torch.Tensor, lons: torch.Tensor, lats: torch.Tensor) -> torch.Tensor:
    encoding = config.build()
    rows = [encoding(torch.stack([lons, lat.expand(len(lons))], dim=1)).double() @ weight.double().T for lat in lats]
    return torch.stack(rows) if rows else torch.empty((0, len(lons), len(weight)), dtype=torch.float64)


@pytest.mark.parametrize("config", EXAMPLES, ids=lambda config: str(config.kind))
@settings(max_examples=15)
@given(
    lons=st.lists(st.floats(-180, 180), min_size=1, max_size=6),
    lats=st.lists(st.floats(-90, 90), max_size=5),
    seed=st.integers(0, 9),
)
def test_equals_the_pixelwise_product(config: PositionConfig, lons: list[float], lats: list[float], seed: int) -> None:
    weight = torch.randn((4, config.dims), generator=torch.Generator().manual_seed(seed))
    across, down = torch.tensor(lons, dtype=torch.float64), torch.tensor(lats, dtype=torch.float64)
    got = config.build().grid(weight, across)(down)
    assert got.dtype == torch.float32
    assert got.shape == (len(lats), len(lons), 4)
    assert not got.requires_grad
    want = pixelwise(config, weight, across, down)
    np.testing.assert_allclose(got.numpy(), want.numpy(), atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("config", EXAMPLES, ids=lambda config: str(config.kind))
def test_a_parameter_as_weight_and_more_than_a_block(config: PositionConfig) -> None:
    weight = torch.nn.Parameter(torch.randn(2, config.dims, generator=torch.Generator().manual_seed(0)))
    lons, lats = torch.linspace(-180, 179, 75).double(), torch.linspace(88, -88, 60).double()
    assert len(lons) * len(lats) > BLOCK
    layer = config.build().grid(weight, lons)
    whole = layer(lats)
    want = pixelwise(config, weight.detach(), lons, lats)
    np.testing.assert_allclose(whole.numpy(), want.numpy(), atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(layer(lats[20:22]), whole[20:22], rtol=0, atol=1e-5)  # strips give the same
