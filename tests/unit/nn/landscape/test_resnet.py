"""The residual network has all the blocks that it is asked for, and all of them learn."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from placevec.nn.landscape.resnet import ResidualBlock, ResidualStages


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("widths", [(4,), (4, 6), (4, 6, 6)])
def test_depth_times_stages_blocks_and_each_learns(depth: int, widths: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    net = ResidualStages(3, 2, widths, depth)
    blocks = [module for module in net.modules() if isinstance(module, ResidualBlock)]
    assert len(blocks) == depth * len(widths)
    assert len({id(block.first.weight) for block in blocks}) == len(blocks)
    called: list[int] = []
    for number, block in enumerate(blocks):
        block.register_forward_hook(lambda *_, number=number: called.append(number))
    out = net(torch.randn(6, 3, 16, 16))
    assert called == list(range(len(blocks)))
    assert out.shape == (6, net.count)
    out.square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    convolutions = [name for name in net.state_dict() if name.endswith(("first.weight", "second.weight"))]
    assert len(convolutions) == 2 * depth * len(widths)


@pytest.mark.parametrize("pixels", [8, 9, 10, 11, 15, 16, 17, 31, 33])
@pytest.mark.parametrize("stem", [1, 2, 3, 4])
def test_every_pixel_is_read_whatever_the_side(pixels: int, stem: int) -> None:
    net = ResidualStages(2, stem, (1,), 1).eval()
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.ones_(module.weight)  # so that no unit is shut
    planes = torch.rand(1, 2, pixels, pixels, requires_grad=True)
    net(planes).square().sum().backward()
    assert planes.grad is not None
    assert (planes.grad.abs().sum(dim=(0, 1)) > 0).all()


def test_a_side_that_squares_divide_gets_no_rim() -> None:
    torch.manual_seed(0)
    net = ResidualStages(2, 4, (4,), 1).eval()
    sizes: list[torch.Size] = []
    net.stem.register_forward_pre_hook(lambda _, given: sizes.append(given[0].shape))
    net(torch.rand(1, 2, 32, 32))
    net(torch.rand(1, 2, 33, 33))
    assert [tuple(size) for size in sizes] == [(1, 2, 32, 32), (1, 2, 36, 36)]


@pytest.mark.parametrize("side", [1, 2, 5, 8])
@pytest.mark.parametrize(("before", "after", "stride"), [(4, 4, 1), (4, 6, 1), (4, 4, 2), (4, 6, 2)])
def test_a_block_adds_what_came_in(side: int, before: int, after: int, stride: int) -> None:
    block = ResidualBlock(before, after, stride).eval()
    x = torch.rand(2, before, side, side)
    assert block(x).shape == (2, after, -(-side // stride), -(-side // stride))
    assert isinstance(block.skip, nn.Identity) == (before == after and stride == 1)
    nn.init.zeros_(block.second.weight)
    torch.testing.assert_close(block(x), block.skip(x).relu())


def test_the_average_of_the_skip_does_not_count_what_lies_outside() -> None:
    block = ResidualBlock(1, 1, 2).eval()
    assert isinstance(block.skip, nn.Sequential)
    torch.testing.assert_close(block.skip[0](torch.ones(1, 1, 5, 5)), torch.ones(1, 1, 3, 3))
