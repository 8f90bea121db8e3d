"""The shape of a landscape network: what is refused, and what its JSON keeps."""

from __future__ import annotations

import json
from typing import Any

import pytest

from placevec.errors import UsageError
from placevec.nn.landscape import LandscapeConfig, LandscapeNet, PlaneConfig

COVER, HEIGHT = PlaneConfig("cover", 5), PlaneConfig("height", 0, 800.0, 120.0)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"layers": ()}, "at least one layer"),
        ({"layers": (COVER, PlaneConfig("cover"))}, "two layers are called 'cover'"),
        ({"dims": 0}, "dims = 0: give at least 1"),
        ({"stem": 0}, "stem = 0: give at least 1"),
        ({"depth": 0}, "depth = 0: give at least 1"),
        ({"hidden": -1}, "hidden = -1"),
        ({"dropout": 1.0}, "dropout = 1.0"),
        ({"dropout": -0.1}, "dropout = -0.1"),
        ({"widths": (), "statistics": False}, "nothing to learn from"),
        ({"widths": (8, 0)}, r"widths = \(8, 0\): give at least 1 channel"),
        ({"pixels": 7}, "7 pixels a side is too small"),
        ({"pixels": 16, "stem": 8, "widths": (4, 4, 4)}, "3 stages after a stem of 8 halve a patch of 16 pixels"),
    ],
)
def test_shapes_that_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        LandscapeConfig(**{"layers": (COVER, HEIGHT), **wrong})


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"classes": 256}, "has 256 classes"),
        ({"classes": -1}, "has -1 classes"),
        ({"scale": 0.0}, "divided by 0"),
        ({"scale": float("nan")}, "divided by nan"),
    ],
)
def test_layers_that_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        PlaneConfig("cover", **wrong)


def test_its_json_keeps_it() -> None:
    config = LandscapeConfig((COVER, HEIGHT), pixels=20, dims=7, stem=3, widths=(4, 5, 6), depth=2, dropout=0.25)
    assert LandscapeConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
    with pytest.raises(UsageError, match="depht"):
        LandscapeConfig.from_json({**config.to_json(), "depht": 3})


def test_planes_are_counted() -> None:
    config = LandscapeConfig((COVER, HEIGHT, PlaneConfig("soil", 3)))
    assert config.planes == 5 + 2 + 3
    assert LandscapeNet(config).planes.layers == config.layers


def test_the_smallest_patch_that_is_allowed_runs() -> None:
    import torch

    for stem, widths in ((1, (4, 4, 4, 4)), (2, (4, 4, 4)), (4, (4, 4)), (8, (4,)), (3, (4, 4))):
        net = LandscapeNet(LandscapeConfig((COVER,), pixels=8, stem=stem, widths=widths, dims=3)).eval()
        found = net({"cover": torch.randint(0, 6, (2, 8, 8), dtype=torch.uint8)})
        assert found.shape == (2, 3)
