"""Every position encoding with every network, built from JSON, runs and learns."""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor, nn

from placevec.nn import configs
from placevec.nn.networks import NETWORKS, Network, NetworkConfig
from placevec.nn.position import POSITIONS, PositionConfig, position_config
from position_examples import EXAMPLES, NEAR_EDGES

SMALL = {
    "siren": {"capacity": 8, "first_activation": "h-sine"},
    "fcnet": {"capacity": 8, "layers": 1},
    "capsules": {"scales": 1, "capacity": 8, "layers": 2},
}


def network(kind: str) -> NetworkConfig:
    config = configs.from_json(NETWORKS[kind], json.loads(json.dumps(SMALL[kind])))
    assert isinstance(config, NetworkConfig)
    return config


def test_each_kind_has_an_example() -> None:
    assert set(SMALL) == set(NETWORKS)
    assert {config.kind for config in EXAMPLES} == set(POSITIONS)


@pytest.mark.parametrize("kind", sorted(NETWORKS))
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda config: str(config.kind))
def test_every_pair_runs_from_json_and_learns(example: PositionConfig, kind: str) -> None:
    torch.manual_seed(0)
    config = position_config(json.loads(json.dumps(configs.to_json(example))))
    assert config == example
    net = network(kind).build(config.dims, 4)
    encoded = config.build()(NEAR_EDGES)
    assert encoded.dtype == torch.float32
    assert encoded.shape == (len(NEAR_EDGES), config.dims)
    out = net(encoded)
    assert out.shape == (len(NEAR_EDGES), 4)
    assert out.isfinite().all()
    out.square().sum().backward()
    for parameter in net.parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()


@pytest.mark.parametrize("kind", sorted(NETWORKS))
@pytest.mark.parametrize("learning", [True, False])
def test_first_and_rest_are_the_network(kind: str, learning: bool) -> None:
    torch.manual_seed(0)
    net = network(kind).build(6, 4).eval()
    assert isinstance(net, nn.Module)
    assert isinstance(net, Network)
    x = torch.randn(9, 6)
    with torch.set_grad_enabled(learning):
        weight, bias = net.first()
        assert weight.shape == (len(bias), 6)
        pre: Tensor = x @ weight.T + bias
        torch.testing.assert_close(net.rest(pre), net(x), rtol=1e-5, atol=1e-6)
