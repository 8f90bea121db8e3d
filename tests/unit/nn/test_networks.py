"""SIREN, the small CNN, and their configurations."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from placevec.errors import UsageError
from placevec.nn import configs
from placevec.nn.position import POSITIONS, Harmonics, PositionConfig, position_config
from placevec.nn.siren import Siren, SirenConfig
from placevec.nn.vision import SmallCNNConfig


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


@pytest.mark.parametrize("wrong", [{"dropout": 1.0}, {"capacity": 0}, {"w0": 0.0}])
def test_siren_refuses(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        SirenConfig(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(("bands", "side"), [(1, 8), (3, 16), (4, 17), (12, 33)])
def test_the_cnn_takes_any_bands_and_sizes(bands: int, side: int) -> None:
    net = SmallCNNConfig(bands=bands, width=4, dims=6).build().eval()
    chips = torch.randint(0, 255, (2, bands, side, side + 3), dtype=torch.uint8)
    assert net(chips).shape == (2, 6)


def test_the_cnn_normalises_with_its_buffers() -> None:
    net = SmallCNNConfig(bands=2, width=4, dims=3).build().eval()
    net.set_statistics(torch.tensor([100.0, 10.0]), torch.tensor([50.0, 0.0]))
    chips = torch.tensor([150.0, 10.0])[None, :, None, None].expand(1, 2, 8, 8).clone()
    assert torch.equal(net.normalise(chips)[0, :, 0, 0], torch.tensor([1.0, 0.0]))
    assert {"mean", "std"} <= set(net.state_dict())
    chips[0, 0, 0, 0] = torch.nan
    assert net.normalise(chips)[0, 0, 0, 0] == 0.0
    assert net(chips).isfinite().all()
    assert torch.equal(net(chips.nan_to_num(100.0).to(torch.uint8)), net(chips))


def test_the_mean_of_dense_vectors_is_the_vector_of_the_chip() -> None:
    net = SmallCNNConfig(width=4, dims=5).build().eval()
    x = torch.randn(2, 3, 16, 16)
    dense = torch.einsum("ncij,dc->ndij", net.features(x), net.head.weight) + net.head.bias[:, None, None]
    torch.testing.assert_close(dense.mean(dim=(2, 3)), net.project(x))


@dataclass(frozen=True)
class Outer:
    position: PositionConfig = field(default_factory=Harmonics)
    siren: SirenConfig = field(default_factory=SirenConfig)
    sizes: tuple[int, ...] = (1, 2)


def test_configs_go_to_json_and_back() -> None:
    config = Outer(Harmonics(9), SirenConfig(capacity=3), (4,))
    value = configs.to_json(config)
    assert value["position"] == {"kind": "harmonics", "degrees": 9}
    assert configs.from_json(Outer, value, {"position": POSITIONS}) == config
    assert configs.from_json(Outer, {}, {"position": POSITIONS}) == Outer()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"siren": {"capacty": 3}}, "has no setting 'capacty'"),
        ({"position": {"kind": "wrap"}}, "no position is called 'wrap'"),
        ({"siren": {"capacity": "3"}}, "capacity is a int"),
        ({"siren": {"layers": True}}, "layers is a int"),
    ],
)
def test_configs_refuse(value: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        configs.from_json(Outer, value, {"position": POSITIONS})


def test_position_config_refuses() -> None:
    with pytest.raises(UsageError, match="give a number from 1"):
        position_config({"kind": "harmonics", "degrees": 0})
    assert isinstance(Harmonics(), PositionConfig)
    assert np.isclose(Harmonics(5).dims, 25)
