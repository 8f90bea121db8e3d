"""All heads at once against one head after another."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from placevec.nn.locator import HeadConfig
from placevec.nn.locator.cell_heads import CellHeads
from placevec.nn.locator.segments import joint_log_softmax, segment_log_softmax

CONFIG = HeadConfig(dims=10, cell_hidden=6, cell_hidden_large=8, large_from=4, dropout=0.0)


def separate(heads: CellHeads, region: int) -> nn.Module:
    """The head of a region by itself, with plain layers."""
    for members, group in zip(heads.members, heads.groups, strict=True):
        if region in members:
            at, hidden = members.index(region), group.hidden
            first, norm, last = nn.Linear(10, hidden), nn.LayerNorm(hidden), nn.Linear(hidden, group.counts[at])
            wide, cells = (
                slice(at * hidden, (at + 1) * hidden),
                slice(sum(group.counts[:at]), sum(group.counts[: at + 1])),
            )
            with torch.no_grad():
                for own, theirs in (
                    (first.weight, group.entry.weight[wide]),
                    (first.bias, group.entry.bias[wide]),
                    (norm.weight, group.scale[at]),
                    (norm.bias, group.shift[at]),
                    (last.weight, group.weight[cells]),
                    (last.bias, group.bias[cells]),
                ):
                    own.copy_(theirs)
            return nn.Sequential(first, norm, nn.GELU(), last)
    raise AssertionError(region)


@pytest.mark.parametrize("cells", [[5], [2, 3], [3, 0, 7, 1, 4, 0], [0, 1]])
def test_equal_to_separate_heads(cells: list[int]) -> None:
    torch.manual_seed(0)
    heads = CellHeads(CONFIG, cells)
    for parameter in heads.parameters():
        nn.init.normal_(parameter)
    fused = torch.randn(20, 10)
    expected = torch.cat([separate(heads, r)(fused) for r, count in enumerate(cells) if count], dim=1)
    torch.testing.assert_close(heads(fused), expected)
    with torch.no_grad():  # the way without gradients is another one
        torch.testing.assert_close(heads(fused), expected)


def test_widths_follow_the_number_of_cells() -> None:
    heads = CellHeads(CONFIG, [3, 0, 7, 1, 4])
    assert [(group.hidden, members) for group, members in zip(heads.groups, heads.members, strict=True)] == [
        (6, [0, 3]),
        (8, [2, 4]),
    ]


def test_every_image_trains_every_head() -> None:
    """Through the joint law a head also learns from images of other regions: p(cell | wrong region) is no chance."""
    torch.manual_seed(0)
    cells = [3, 0, 7, 1, 4]
    heads = CellHeads(CONFIG, cells)
    region = torch.repeat_interleave(torch.arange(5), torch.tensor(cells))
    logits = heads(torch.randn(1, 10))
    target = torch.zeros(1, 15)
    target[0, 0], target[0, 14] = 0.6, 0.4  # a point of region 0, near the border to region 4
    joint = joint_log_softmax(
        torch.zeros(1, 5), segment_log_softmax(logits, region, 5), region, torch.tensor(cells) > 0
    )
    (-(target * joint).sum()).backward()
    for r, at in ((0, 0), (4, 1)):
        group = next(g for g, members in zip(heads.groups, heads.members, strict=True) if r in members)
        start = sum(group.counts[:at])
        assert (group.weight.grad[start : start + group.counts[at]].abs().sum(dim=1) > 0).all()


@pytest.mark.parametrize("shift", [0.0, 1e4])
def test_segments_are_softmaxes_of_their_own(shift: float) -> None:
    torch.manual_seed(0)
    cells = [3, 0, 7, 1, 4]
    region = torch.repeat_interleave(torch.arange(5), torch.tensor(cells))
    logits = (30 * torch.randn(6, 15) + shift).requires_grad_()
    logs = segment_log_softmax(logits, region, 5)
    parts = [part.log_softmax(dim=1) for part in logits.split(cells, dim=1)]
    torch.testing.assert_close(logs, torch.cat(parts, dim=1))
    weight = torch.randn(6, 15)
    (mine,) = torch.autograd.grad((logs * weight).sum(), logits)
    (theirs,) = torch.autograd.grad((torch.cat(parts, dim=1) * weight).sum(), logits)
    torch.testing.assert_close(mine, theirs)


def test_mass_of_a_region_without_cells_goes_to_the_others() -> None:
    region = torch.tensor([0, 0, 2])
    regions = torch.tensor([[1.0, 50.0, 0.5]], requires_grad=True)
    logs = segment_log_softmax(torch.tensor([[0.3, 0.1, 9.0]]), region, 3)
    joint = joint_log_softmax(regions, logs, region, torch.tensor([True, False, True]))
    assert float(joint.exp().sum().detach()) == pytest.approx(1.0)
    expected = F.softmax(torch.tensor([1.0, 0.5]), dim=0)
    torch.testing.assert_close(joint[0, 2].exp().detach(), expected[1])
    joint[0, 0].backward()
    assert regions.grad.isfinite().all()
    assert float(regions.grad[0, 1]) == 0.0
