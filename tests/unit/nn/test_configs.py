"""Configurations to JSON and back: nested, in tuples, and refused in one line."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Literal

import pytest

from placevec.errors import UsageError
from placevec.nn import configs
from placevec.nn.position import POSITIONS, Harmonics, Local, PositionConfig, Scales, Wrap, position_config
from placevec.nn.siren import SirenConfig


@dataclass(frozen=True)
class Outer:
    position: PositionConfig = field(default_factory=Harmonics)
    siren: SirenConfig = field(default_factory=SirenConfig)
    sizes: tuple[int, ...] = (1, 2)
    radius: float | None = None
    mode: Literal["a", "b"] = "a"


@dataclass(frozen=True)
class Needy:
    size: int


@dataclass(frozen=True)
class Older:
    """A field that held one dataclass before it held one of several: what was written then names no kind."""

    position: PositionConfig = field(
        default_factory=Harmonics, metadata=configs.one_of(POSITIONS, default=Harmonics.kind)
    )


def test_configs_go_to_json_and_back() -> None:
    config = Outer(Harmonics(9), SirenConfig(capacity=3), (4,), 2.5, "b")
    value = json.loads(json.dumps(configs.to_json(config)))
    assert value["position"] == {"kind": "harmonics", "degrees": 9}
    assert value["sizes"] == [4]
    assert configs.from_json(Outer, value, {"position": POSITIONS}) == config
    assert configs.from_json(Outer, {}, {"position": POSITIONS}) == Outer()
    assert configs.from_json(Outer, configs.to_json(Outer()), {"position": POSITIONS}) == Outer()


def test_configs_in_configs_and_in_tuples() -> None:
    config = Scales((Harmonics(3), Local(Wrap(180.0), lon=-3.0, lat=40.0, radius=5.0), Local(Harmonics(4))))
    value = json.loads(json.dumps(configs.to_json(config)))
    assert value["parts"][2] == {
        "kind": "local",
        "encoding": {"kind": "harmonics", "degrees": 4},
        "lon": None,
        "lat": None,
        "radius": None,
    }
    assert position_config(value) == config
    nested = configs.from_json(Outer, {"position": value}, {"position": POSITIONS})
    assert nested.position == config


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"siren": {"capacty": 3}}, "SirenConfig has no setting 'capacty'"),
        ({"siren": 3}, "Outer.siren is a table, not 3"),
        ({"position": {"kind": "wap"}}, "no position is called 'wap'; known: cartesian"),
        ({"position": "wrap"}, "position is a table with a kind, not 'wrap'"),
        ({"position": {"kind": "local", "encoding": {"kind": "hex"}}}, "no encoding is called 'hex'"),
        ({"position": {"kind": "local", "encoding": {"kind": "wrap", "lat": 1}}}, "Wrap has no setting 'lat'"),
        ({"position": {"kind": "local"}}, "Local needs the setting 'encoding'"),
        ({"position": {"kind": "scales", "parts": {"kind": "wrap"}}}, "Scales.parts is a list"),
        ({"position": {"kind": "scales", "parts": [3]}}, "Scales.parts is a table with a kind, not 3"),
        ({"siren": {"capacity": "3"}}, "capacity is a int"),
        ({"siren": {"layers": True}}, "layers is a int"),
        ({"siren": {"first_activation": "tanh"}}, "first_activation is 'tanh'; known: sine, h-sine"),
        ({"sizes": [1, "2"]}, "Outer.sizes is a int, not '2'"),
        ({"sizes": 3}, "Outer.sizes is a list, not 3"),
        ({"radius": "wide"}, "Outer.radius is a float, not 'wide'"),
        ({"mode": "c"}, "Outer.mode is 'c'; known: a, b"),
    ],
)
def test_configs_refuse(value: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message) as refused:
        configs.from_json(Outer, value, {"position": POSITIONS})
    assert "\n" not in str(refused.value)


def test_a_setting_without_a_default_is_asked_for() -> None:
    with pytest.raises(UsageError, match="Needy needs the setting 'size'"):
        configs.from_json(Needy, {})
    assert configs.from_json(Needy, {"size": 2, "kind": "needy"}) == Needy(2)


def test_a_description_without_a_kind_is_of_the_default_one() -> None:
    assert configs.from_json(Older, {"position": {"degrees": 7}}) == Older(Harmonics(7))
    assert configs.from_json(Older, {"position": {"kind": "wrap"}}).position == Wrap()
    assert configs.from_json(Older, configs.to_json(Older(Wrap(200.0)))) == Older(Wrap(200.0))
    for wrong, message in ((3, "a table with a kind"), ({"kind": "wap"}, "no position is called 'wap'")):
        with pytest.raises(UsageError, match=message):
            configs.from_json(Older, {"position": wrong})
