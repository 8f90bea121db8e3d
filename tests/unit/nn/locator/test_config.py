"""The settings of a head: there and back, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from placevec.errors import UsageError
from placevec.nn.locator import HeadConfig, LocationConfig, MetadataConfig, TagsConfig
from placevec.nn.locator.losses import BalanceConfig, LossConfig
from placevec.nn.position import Local, Wrap
from placevec.nn.text import TextConfig


def test_there_and_back() -> None:
    config = HeadConfig(
        dims=64,
        gate="channel",
        branches=(
            MetadataConfig(columns=4, hidden=16),
            TagsConfig(net=TextConfig(buckets=99)),
            LocationConfig(position=Local(encoding=Wrap()), withheld=0.5),
        ),
    )
    assert HeadConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
    assert HeadConfig.from_json({}) == HeadConfig()


def test_of_a_recipe() -> None:
    config = HeadConfig.from_json({"branches": [{"kind": "tags"}, {"kind": "metadata", "columns": 3}]})
    assert config.branches == (TagsConfig(), MetadataConfig(columns=3))


def test_hidden_units_by_number_of_cells() -> None:
    config = HeadConfig()
    assert [config.hidden_of(cells) for cells in (1, 29, 30, 450)] == [256, 256, 512, 512]


def test_branches_are_fitted() -> None:
    config = HeadConfig(branches=(MetadataConfig(), LocationConfig(position=Local(encoding=Wrap()))))
    fitted = config.fitted(np.array([69.0, 71.0]), np.array([30.0, 32.0]))
    assert fitted.branches[0] is config.branches[0]
    position = fitted.branches[1].position
    assert (position.lon, position.lat) == (70.0, 31.0)
    fitted.branches[1].build(8)


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ({"dims": 0}, "dims = 0"),
        ({"dropout": 1.0}, "dropout = 1.0"),
        ({"gate": "both"}, "'both'"),
        ({"width": 3}, "'width'"),
        ({"branches": [{"kind": "sound"}]}, "'sound'"),
        ({"branches": [{"kind": "tags"}, {"kind": "tags"}]}, "twice|two of the kind 'tags'"),
        ({"branches": [{"kind": "metadata", "columns": 0}]}, "columns = 0"),
        ({"branches": [{"kind": "metadata", "hidden": 0}]}, "hidden = 0"),
        ({"branches": [{"kind": "tags", "withheld": 1.0}]}, "withheld = 1.0"),
        ({"branches": [{"kind": "location", "position": {"kind": "flat"}}]}, "'flat'"),
    ],
)
def test_what_is_refused(value: dict, named: str) -> None:
    with pytest.raises(UsageError, match=named):
        HeadConfig.from_json(value)


def test_losses_there_and_back() -> None:
    config = LossConfig(tau_km=65, balance=BalanceConfig("sampler", strength=0.5))
    assert LossConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
    assert LossConfig.from_json({"balance": {"remedy": "weights"}}).balance.remedy == "weights"


@pytest.mark.parametrize("value", [{"cell": -1}, {"tau_km": 0}, {"ramp": -1}, {"balance": {"remedy": "both"}}])
def test_losses_that_are_refused(value: dict) -> None:
    with pytest.raises(UsageError):
        LossConfig.from_json(value)


def test_the_ramp() -> None:
    config = LossConfig(offset=2.0, spread=0.5, ramp=4)
    assert [config.weights(epoch)["offset"] for epoch in range(5)] == [0.5, 1.0, 1.5, 2.0, 2.0]
    assert [config.weights(epoch)["spread"] for epoch in range(5)] == [0.125, 0.25, 0.375, 0.5, 0.5]
    assert config.weights()["cell"] == config.weights(0)["cell"] == 1.0
    assert LossConfig(ramp=0).ramped(0) == 1.0
