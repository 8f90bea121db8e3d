"""SIREN and the first layer of H-SIREN."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from placevec.errors import UsageError
from placevec.nn.siren import Siren, SirenConfig


def test_siren_keeps_the_spread_of_its_activations() -> None:
    # The point of the initial weights: sines of a normal argument of deviation 1 have a deviation of about 0.66.
    torch.manual_seed(0)
    net = Siren(SirenConfig(capacity=256, layers=4, w0_first=30.0, w0=30.0, dropout=0.0), 2, 3)
    x = torch.rand(4000, 2) * 2 - 1
    for layer in net.hidden:
        x = layer(x)
        assert 0.5 < float(x.detach().std()) < 0.8


def test_siren_shapes_and_dropout() -> None:
    net = SirenConfig(capacity=8, layers=2, dropout=0.5).build(5, 3)
    assert net(torch.zeros(4, 5)).shape == (4, 3)
    assert sum(isinstance(layer, torch.nn.Dropout) for layer in net.modules()) == 2


@pytest.mark.parametrize("first", ["sine", "h-sine"])
@pytest.mark.parametrize("layers", [1, 3])
def test_siren_equals_its_formula(first: str, layers: int) -> None:
    torch.manual_seed(1)
    config = SirenConfig(6, layers, w0_first=7.0, w0=2.0, dropout=0.0, first_activation=first)
    net = config.build(4, 3)
    x = torch.randn(9, 4)
    value = x.numpy().astype(np.float64)
    for index in range(layers):
        linear = net.hidden[index].linear
        value = value @ linear.weight.detach().numpy().T.astype(np.float64) + linear.bias.detach().numpy()
        if index == 0 and first == "h-sine":
            value = np.sinh(2.0 * value)
        value = np.sin((7.0 if index == 0 else 2.0) * value)
    want = value @ net.last.weight.detach().numpy().T + net.last.bias.detach().numpy()
    np.testing.assert_allclose(net(x).detach().numpy(), want, atol=1e-5)
    with torch.no_grad():  # there it works in place
        np.testing.assert_allclose(net(x).numpy(), want, atol=1e-5)


def test_h_sine_stays_finite_where_sinh_overflows() -> None:
    net = SirenConfig(4, 2, dropout=0.0, first_activation="h-sine").build(2, 2)
    x = torch.tensor([[1e3, 1e3], [-1e4, 1e5]])
    loss = net(x).square().sum()
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
    with torch.no_grad():
        assert net(x).isfinite().all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"dropout": 1.0},
        {"capacity": 0},
        {"layers": 0},
        {"w0": 0.0},
        {"w0_first": float("nan")},
        {"first_activation": "relu"},
    ],
)
def test_siren_refuses(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        SirenConfig(**wrong)
