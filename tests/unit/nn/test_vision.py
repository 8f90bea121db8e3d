"""The image networks: any size and number of bands, their normalisation, and vectors at positions."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from placevec.errors import UsageError
from placevec.nn.configs import to_json
from placevec.nn.vision import (
    VISION_NETS,
    SmallCNNConfig,
    VisionConfig,
    VisionNet,
    ViT,
    ViTConfig,
    vision_config,
)
from placevec.nn.vision.vit import GRID, waves

TINY_VIT = ViTConfig(pixels=0, patch=4, width=16, depth=2, heads=2, dims=5)
KINDS: list[VisionConfig] = [
    SmallCNNConfig(width=4, dims=5),
    SmallCNNConfig(width=4, dims=5, stages=2, blocks=2, pixels=12),
    SmallCNNConfig(width=4, dims=5, stages=2, stride=2),
    TINY_VIT,
    ViTConfig(pixels=12, patch=4, width=16, depth=1, heads=4, dims=5),
]


def lively(config: VisionConfig, seed: int = 0) -> VisionNet:
    """The network of `config` as after some training: no weight is 0, the norms have statistics."""
    torch.manual_seed(seed)
    net = config.build()
    with torch.no_grad():
        for value in net.parameters():
            value.add_(torch.randn_like(value) * 0.1)
        net.train()(torch.rand(6, config.bands, 16, 16) * 255)
    return net.eval()


@pytest.mark.parametrize(("bands", "side"), [(1, 8), (3, 16), (4, 17), (12, 33)])
@pytest.mark.parametrize("kind", VISION_NETS)
def test_a_network_takes_any_bands_and_sizes(kind: str, bands: int, side: int) -> None:
    for pixels in (0, 16):
        width = {} if kind == "fisher" else {"width": 8}
        net = vision_config({"kind": kind, "bands": bands, **width, "dims": 6, "pixels": pixels}).build().eval()
        chips = torch.randint(0, 255, (2, bands, side, side + 3), dtype=torch.uint8)
        assert net(chips).shape == (2, 6)


@pytest.mark.parametrize("config", KINDS)
def test_a_network_normalises_with_its_buffers(config: VisionConfig) -> None:
    net = type(config)(**{**vars(config), "bands": 2}).build().eval()
    net.set_statistics(torch.tensor([100.0, 10.0]), torch.tensor([50.0, 0.0]))
    chips = torch.tensor([150.0, 10.0])[None, :, None, None].expand(1, 2, 8, 8).clone()
    torch.testing.assert_close(net.normalise(chips).mean(dim=(2, 3)), torch.tensor([[1.0, 0.0]]))
    assert {"mean", "std"} <= set(net.state_dict())
    chips[0, 0, 0, 0] = torch.nan
    assert net.normalise(chips)[0, 0, 0, 0].abs() < 1
    assert net(chips).isfinite().all()
    torch.testing.assert_close(net(chips.nan_to_num(100.0).to(torch.uint8)), net(chips))
    assert chips[0, 0, 0, 0].isnan()  # what was given is left as it was


@pytest.mark.parametrize("config", KINDS)
@pytest.mark.parametrize("shape", [(16, 16), (9, 23), (3, 3)])
def test_the_mean_of_dense_vectors_is_the_vector_of_the_chip(config: VisionConfig, shape: tuple[int, int]) -> None:
    net = lively(config)
    chips = torch.randint(0, 255, (2, 3, *shape), dtype=torch.uint8)
    dense = net.dense(chips)
    rows, columns = dense.shape[2:]
    found = net.features(net.normalise(chips))
    assert found.shape == (2, net.channels, rows, columns)
    slow = torch.stack([net.head(found[:, :, i, j]) for i in range(rows) for j in range(columns)])
    torch.testing.assert_close(dense.flatten(2).permute(2, 0, 1), slow, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(dense.mean(dim=(2, 3)), net(chips), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("config", KINDS)
def test_a_network_may_be_laid_over_a_larger_image(config: VisionConfig) -> None:
    net = lively(config)
    chips = torch.randint(0, 255, (1, 3, 24, 36), dtype=torch.uint8)
    large = net.dense(chips, (24, 36))
    plain = type(config)(**{**vars(config), "pixels": 0}).build().eval()
    plain.load_state_dict(net.state_dict())
    if isinstance(plain, ViT):
        plain.grid = net.grid
    torch.testing.assert_close(large, plain.dense(chips))
    assert large.shape[3] > large.shape[2]


def test_resizing_keeps_colours_and_drops_what_is_finer() -> None:
    net = SmallCNNConfig(pixels=8).build()
    plain = torch.full((1, 3, 50, 30), 7, dtype=torch.uint8)
    torch.testing.assert_close(net.normalise(plain), torch.full((1, 3, 8, 8), 7.0))
    board = ((torch.arange(64)[:, None] + torch.arange(64)) % 2 * 200.0).expand(1, 3, 64, 64)
    torch.testing.assert_close(net.normalise(board), torch.full((1, 3, 8, 8), 100.0), atol=4.0, rtol=0)
    assert torch.equal(net.normalise(board), net.normalise(board.to(torch.uint8)))
    same = torch.rand(1, 3, 8, 8)
    assert torch.equal(net.normalise(same), same)
    missing = board.clone()
    missing[0, :, 30, 30] = torch.inf
    assert (net.normalise(missing) - net.normalise(board)).abs().max() < 4  # one pixel of 64 that are read as one


def test_more_blocks_a_stage_leave_the_map_as_large_as_it_was() -> None:
    chips = torch.rand(1, 3, 20, 20)
    one, three = (SmallCNNConfig(width=4, stages=3, blocks=blocks).build().eval() for blocks in (1, 3))
    assert one.features(chips).shape == three.features(chips).shape == (1, 4 + 4 + 8 + 16, 5, 5)
    assert len(three.blocks) == 9
    fast = SmallCNNConfig(width=4, stages=3, stride=2).build().eval()
    assert fast.features(chips).shape == (1, 32, 3, 3)
    # The names of the weights of saved models.
    names = set(SmallCNNConfig(stages=2).build().state_dict())
    assert {"mean", "std", "stem.0.weight", "blocks.1.short.0.weight", "head.bias"} <= names


def test_positions_by_hand() -> None:
    width, grid = 8, 3
    found = waves(3, 5, width, grid)
    for row in range(3):
        for column in range(5):
            at = (float(row), (column + 0.5) * 3 / 5 - 0.5)  # five columns lie where three did
            expected = []
            for axis in at:
                angles = [axis / 10_000 ** (i / (width // 4)) for i in range(width // 4)]
                expected += [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
            torch.testing.assert_close(found[row * 5 + column], torch.tensor(expected))


@given(st.integers(1, 6), st.integers(1, 6), st.integers(2, 5))
def test_a_finer_grid_lies_between_the_positions_of_a_coarser_one(rows: int, columns: int, times: int) -> None:
    # The mean of the fine positions within a coarse patch is the coarse position: seen in the slowest wave, where the
    # sine is nearly its argument.
    coarse = waves(rows, columns, 16, 1000)[:, 3].reshape(rows, columns)
    fine = waves(rows * times, columns, 16, 1000)[:, 3].reshape(rows, times, columns)
    angle = torch.asin(fine).mean(dim=1)
    torch.testing.assert_close(angle, torch.asin(coarse), atol=1e-4, rtol=1e-3)


def test_a_transformer_reads_positions() -> None:
    net = lively(TINY_VIT)
    assert isinstance(net, ViT)
    assert net.grid == GRID
    chip = torch.rand(1, 3, 8, 8) * 255
    moved = chip.roll(4, dims=3)  # the same patches in another order
    assert not torch.allclose(net(chip), net(moved), atol=1e-4)


def test_stochastic_depth_is_for_training_alone() -> None:
    config = ViTConfig(pixels=8, patch=4, width=16, depth=3, heads=2, drop_path=0.9)
    net = lively(config)
    assert [block.after[1].share for block in net.blocks] == pytest.approx([0.0, 0.45, 0.9])
    chips = torch.rand(1, 3, 8, 8)
    assert torch.equal(net(chips), net(chips))
    net.train()
    answers = torch.stack([net(chips)[0] for _ in range(12)])
    assert answers.std(dim=0).max() > 1e-3


@pytest.mark.parametrize("kind", VISION_NETS)
def test_it_learns_which_way_stripes_run(kind: str) -> None:
    torch.manual_seed(0)
    config = vision_config({"kind": kind, "dims": 2, "pixels": 16, **_small(kind)})
    net = config.build()
    # Some colour by chance, so that nothing but the direction tells.
    stripes = (torch.arange(16) // 2 % 2).float().expand(16, 16)
    goal = torch.arange(64) % 2
    chips = torch.stack([stripes if across else stripes.T for across in goal])[:, None] * torch.rand(64, 3, 1, 1)
    chips = torch.stack([chip.roll((i % 4, i % 4), dims=(1, 2)) for i, chip in enumerate(chips.unbind())])
    net.set_statistics(chips.mean(dim=(0, 2, 3)), chips.std(dim=(0, 2, 3)))
    net.learn(chips[:48], 0)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(net(chips[:48]), goal[:48])
        loss.backward()
        optimizer.step()
    assert all(value.grad is not None and value.grad.isfinite().all() for value in net.parameters())
    assert (net.eval()(chips[48:]).argmax(dim=1) == goal[48:]).float().mean() > 0.9


def _small(kind: str) -> dict[str, Any]:
    if kind == "fisher":  # in all its views, which way stripes run cannot be told
        return {"components": 4, "gradient_reduced": 8, "colour_cells": (), "views": 1, "input_dropout": 0.0}
    return {"patch": 4, "depth": 2, "heads": 2, "width": 16} if kind == "vit" else {"width": 8}


@pytest.mark.parametrize("config", KINDS)
def test_configs_there_and_back(config: VisionConfig) -> None:
    assert vision_config(to_json(config)) == config
    assert isinstance(config, VisionConfig)
    assert vision_config({"width": 24}) == SmallCNNConfig(width=24)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"kind": "resnet"}, "no image network is called 'resnet'; known: .*small-cnn, vit"),
        ({"kind": "vit", "stages": 2}, "ViTConfig has no setting 'stages'"),
        ({"blocks": 0}, "must be at least 1"),
        ({"pixels": -1}, "pixels = -1"),
        ({"kind": "vit", "width": 18, "heads": 2}, "width = 18: give a multiple of 4"),
        ({"kind": "vit", "width": 16, "heads": 3}, "width = 16, heads = 3: the width is a multiple"),
        ({"kind": "vit", "pixels": 4, "patch": 8}, "pixels = 4: give 0"),
        ({"kind": "vit", "drop_path": 1.0}, "drop_path = 1.0"),
        ({"kind": "vit", "patch": 0}, "at least 1"),
    ],
)
def test_settings_out_of_range_are_refused(value: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as refused:
        vision_config(value)
    assert "\n" not in str(refused.value)
