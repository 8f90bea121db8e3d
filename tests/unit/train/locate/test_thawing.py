"""Which parts of backbones learn in each phase, and at which rates."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("hdbscan")

import tiny_locator as tiny
from placevec.encoders.backbones import backbone_config, open_backbone
from placevec.encoders.locator.net import LocatorNet
from placevec.errors import UsageError
from placevec.train.locate.config import PHASES
from placevec.train.locate.thawing import random_weights, rates, thaw
from placevec.train.rates import FACTOR, parameter_groups


def net(count: int = 1) -> LocatorNet:
    head = tiny.tiny_locator(gallery=False).head
    return LocatorNet([open_backbone(backbone_config(tiny.BACKBONE), seed=k) for k in range(count)], head)


def learning(found: LocatorNet, number: int = 0) -> set[str]:
    return {name for name, value in found.backbones[number].named_parameters() if value.requires_grad}


@pytest.mark.parametrize(
    ("phase", "fresh", "all_parts"),
    [("province", True, True), ("province", False, False), ("geography", True, False), ("geography", False, False)],
)
def test_by_the_phase(phase: Any, fresh: bool, all_parts: bool) -> None:
    found = net()
    count = len(found.each()[0].parts())
    assert thaw(found, (), phase, [fresh]) == [count if all_parts else 0]
    every = {name for name, _ in found.backbones[0].named_parameters()}
    assert learning(found) == (every if all_parts else set())


def test_tuning_thaws_the_last_part_alone_and_numbers_say_otherwise() -> None:
    found = net(2)
    assert thaw(found, (), "tuning", [False, False]) == [1, 1]
    last = found.each()[0].parts()[-1]
    assert learning(found) == {n for n, _ in found.backbones[0].named_parameters() if n.startswith(last)}
    assert thaw(found, (2,), "tuning", [False, False]) == [2, 2]
    assert thaw(found, (0, 1), "tuning", [False, False]) == [0, 1]
    assert learning(found, 0) == set()
    with pytest.raises(UsageError, match=r"thaw = \[1, 1, 1\] for 2 backbones"):
        thaw(found, (1, 1, 1), "tuning", [False, False])
    with pytest.raises(UsageError, match="thaw = 99: the backbone net has"):
        thaw(found, (99,), "tuning", [False, False])


def test_rates_fall_towards_the_image_but_not_for_random_weights() -> None:
    found = net(2)
    thawed = thaw(found, (2, 1), "tuning", [False, True])
    factors = rates(found, thawed, [False, True], rate=0.1, decay=0.5)
    parts = [backbone.parts() for backbone in found.each()]
    wanted = {f"backbones.0.{name}": 0.1 for name in parts[0][-1]}
    wanted |= {f"backbones.0.{name}": 0.05 for name in parts[0][-2]}
    wanted |= {f"backbones.1.{name}": 1.0 for name in parts[1][-1]}
    assert factors == wanted
    assert rates(found, [0, 0], [False, False], rate=0.1, decay=0.5) == {}
    # A rate of 1 still falls from part to part.
    assert min(rates(found, thawed, [False, True], rate=1.0, decay=0.5).values()) == 0.5
    by_factor: dict[float, int] = {}
    for group in parameter_groups(found, 0.0, factors):
        by_factor[group[FACTOR]] = by_factor.get(group[FACTOR], 0) + sum(p.numel() for p in group["params"])
    trained = sum(p.numel() for p in found.parameters() if p.requires_grad)
    assert set(by_factor) == {1.0, 0.1, 0.05}
    assert sum(by_factor.values()) == trained


def test_which_backbones_know_nothing_yet() -> None:
    kinds: list[dict[str, Any]] = [
        tiny.BACKBONE,
        {"kind": "resnet50"},
        {"kind": "resnet50", "folder": "places365"},
        {"kind": "hf", "model": "openai/clip-vit-base-patch16"},
        {"kind": "model", "folder": "models/image"},
    ]
    found = random_weights([backbone_config(kind) for kind in kinds])
    assert found == [True, True, False, False, False]


def test_phases_are_in_their_order() -> None:
    assert PHASES == ("province", "geography", "tuning")
