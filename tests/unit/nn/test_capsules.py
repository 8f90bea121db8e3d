"""The capsules of GeoCLIP against a loop over them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from placevec.errors import UsageError
from placevec.nn.capsules import Capsules, CapsulesConfig


def by_loops(net: Capsules, x: np.ndarray) -> np.ndarray:
    total: np.ndarray | float = 0.0
    for index, capsule in enumerate(net.capsules):
        value = x[:, index * net.width : (index + 1) * net.width]
        for layer in (capsule.entry, *capsule.hidden):
            value = np.maximum(value @ layer.weight.detach().double().numpy().T + layer.bias.detach().numpy(), 0.0)
        total = total + value @ capsule.last.weight.detach().double().numpy().T + capsule.last.bias.detach().numpy()
    return np.asarray(total)


@pytest.mark.parametrize(("scales", "layers"), [(1, 1), (3, 1), (3, 3)])
def test_capsules_equal_their_formula(scales: int, layers: int) -> None:
    torch.manual_seed(0)
    net = CapsulesConfig(scales, capacity=5, layers=layers).build(4 * scales, 3)
    x = torch.randn(6, 4 * scales)
    np.testing.assert_allclose(net(x).detach().numpy(), by_loops(net, x.double().numpy()), atol=1e-5)


def test_the_first_layer_is_block_diagonal_and_learns() -> None:
    net = CapsulesConfig(2, capacity=3, layers=2).build(8, 2)
    weight, bias = net.first()
    assert weight.shape == (6, 8)
    assert bias.shape == (6,)
    assert not weight[:3, 4:].any()
    assert not weight[3:, :4].any()
    assert torch.equal(weight[3:, 4:], net.capsules[1].entry.weight)
    weight.sum().backward()
    assert net.capsules[0].entry.weight.grad is not None


def test_the_shape_of_geoclip() -> None:
    net = CapsulesConfig().build(1536, 512)
    hidden = 2 * (1024 * 1024 + 1024)
    assert sum(p.numel() for p in net.parameters()) == 3 * (512 * 1024 + 1024 + hidden + 1024 * 512 + 512)


def test_columns_that_cannot_be_split() -> None:
    with pytest.raises(UsageError, match="100 columns .* among 3 capsules: set nn.scales"):
        CapsulesConfig(3).build(100, 4)


@pytest.mark.parametrize("wrong", [{"scales": 0}, {"capacity": 0}, {"layers": 0}, {"dropout": 1.0}])
def test_capsules_refuse(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        CapsulesConfig(**wrong)
