"""The residual network of SINR against its formula."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from placevec.errors import UsageError
from placevec.nn.fcnet import FCNetConfig


def linear(x: np.ndarray, layer: nn.Module) -> np.ndarray:
    weight, bias = layer.weight, layer.bias
    assert isinstance(weight, Tensor)
    assert isinstance(bias, Tensor)
    return x @ weight.detach().double().numpy().T + bias.detach().double().numpy()


@pytest.mark.parametrize("layers", [0, 1, 3])
def test_fcnet_equals_its_formula(layers: int) -> None:
    torch.manual_seed(0)
    net = FCNetConfig(capacity=7, layers=layers).build(5, 3).eval()
    x = torch.randn(6, 5)
    value = np.maximum(linear(x.double().numpy(), net.entry), 0.0)
    for block in net.blocks:
        value = value + np.maximum(linear(np.maximum(linear(value, block.first), 0.0), block.second), 0.0)
    np.testing.assert_allclose(net(x).detach().numpy(), linear(value, net.last), atol=1e-5)


def test_dropout_in_training_only() -> None:
    net = FCNetConfig(capacity=32, layers=2, dropout=0.5).build(4, 2)
    x = torch.randn(5, 4)
    assert not torch.equal(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))


@pytest.mark.parametrize("wrong", [{"dropout": -0.1}, {"capacity": 0}, {"layers": -1}])
def test_fcnet_refuses(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        FCNetConfig(**wrong)
