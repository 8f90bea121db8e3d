"""Offsets: shorter than the reach, smooth, never out of gradient; the shared first layer against a plain one."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from placevec.nn.locator import HeadConfig
from placevec.nn.locator.offsets import SPAN, OffsetHead, bounded

CONFIG = HeadConfig(dims=12, region_dims=4, cell_dims=5, offset_hidden=16, offset_last=8, dropout=0.0)
REGION = torch.tensor([0, 0, 0, 2, 2, 2, 2])
REACH = torch.tensor([5e3, 6e3, 1e4, 5e4, 3e4, 1.0, 2e4])


def head() -> OffsetHead:
    torch.manual_seed(0)
    made = OffsetHead(CONFIG, REGION, 3, REACH)
    nn.init.normal_(made.last.weight)
    nn.init.normal_(made.cell_embedding.weight)
    return made


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("length", [0.0, 1e-12, 1e-6, 1e-3, 1.0, 8.0, 20.0, 1e3, 1e10])
def test_offsets_are_bounded_tanh(length: float, dtype: torch.dtype) -> None:
    angle = torch.linspace(0, 6.2, 40, dtype=dtype)
    v = length * torch.stack([angle.cos(), angle.sin()], dim=1)
    reach = torch.full((40,), 5000.0, dtype=dtype)
    got = bounded(v, reach)
    assert (got.norm(dim=1) < 5000.0).all()
    assert got.norm(dim=1).tolist() == pytest.approx([5000.0 * math.tanh(length)] * 40, rel=3e-6, abs=1e-9)
    if length:
        torch.testing.assert_close(got / got.norm(dim=1, keepdim=True), v / v.norm(dim=1, keepdim=True))


@pytest.mark.parametrize("length", [0.0, 1e-30, 1e-6, 0.5, 5.0, 9.0, 20.0, 40.0])
def test_the_gradient_is_finite_and_never_0(length: float) -> None:
    """Outwards too: torch's 1 - tanh² is 0 in float32 from 9 on, and a hard clamp from the bound on."""
    direction = torch.tensor([[0.6, -0.8]])
    v = (length * direction).requires_grad_()
    outwards = (bounded(v, torch.tensor([5000.0])) * direction).sum()
    outwards.backward()
    slope = float((v.grad * direction).sum())
    assert math.isfinite(slope)
    assert slope > 0
    expected = 5000.0 * 4 * math.exp(-2 * length) / (1 + math.exp(-2 * length)) ** 2
    assert slope == pytest.approx(expected, rel=1e-3, abs=0)


def test_far_beyond_the_bound_there_still_is_a_way_back() -> None:
    for length in (60.0, 1e4, 1e15):
        v = torch.tensor([[0.0, length]], requires_grad=True)
        bounded(v, torch.tensor([5000.0]))[0, 1].backward()
        assert float(v.grad[0, 1]) > 0


def test_gradcheck_of_the_bound() -> None:
    v = torch.tensor([[0.3, -0.2], [1.0, 2.0], [1e-3, 0.0], [5.0, 1.0]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: bounded(x, torch.ones(4, dtype=torch.float64)), (v,))
    origin = torch.zeros(1, 2, dtype=torch.float64, requires_grad=True)
    jacobian = torch.autograd.functional.jacobian(lambda x: bounded(x, torch.ones(1).double()), origin)
    torch.testing.assert_close(jacobian.view(2, 2), torch.eye(2, dtype=torch.float64), atol=2e-6, rtol=0)


def test_the_shared_first_layer_is_one_layer_over_all_inputs() -> None:
    made = head()
    fused, cells = torch.randn(9, 12), torch.randint(0, 7, (9, 3))
    offsets, log_spread = made(fused, cells)
    whole = nn.Linear(21, 16)
    with torch.no_grad():
        whole.weight.copy_(torch.cat([made.of_image.weight, made.of_region.weight, made.of_cell.weight], dim=1))
        whole.bias.copy_(made.of_image.bias)
    for row in range(9):
        for k in range(3):
            cell = cells[row, k]
            parts = [fused[row], made.region_embedding.weight[REGION[cell]], made.cell_embedding.weight[cell]]
            joined = torch.cat([norm(part) for norm, part in zip(made.norms, parts, strict=True)])
            raw = made.last(made.body(whole(joined)))
            torch.testing.assert_close(offsets[row, k], bounded(raw[:2], REACH[cell]), rtol=1e-4, atol=1e-2)
            torch.testing.assert_close(log_spread[row, k], REACH[cell].log() + SPAN * torch.tanh(raw[2] / SPAN))


def test_few_and_many_cells_go_different_ways_to_the_same() -> None:
    made = head()
    fused = torch.randn(4, 12)
    cells = torch.tensor([[5], [0], [3], [3]])
    few = made(fused, cells)
    many = made(fused, cells.expand(4, 4))
    for one, other in zip(few, many, strict=True):
        torch.testing.assert_close(one[:, 0], other[:, 2])


def test_it_begins_at_the_centres_as_unsure_as_the_cells_are_wide() -> None:
    torch.manual_seed(0)
    made = OffsetHead(CONFIG, REGION, 3, REACH)
    offsets, log_spread = made(torch.randn(50, 12), torch.arange(7).expand(50, 7))
    assert float((offsets.norm(dim=2) / REACH).max().detach()) < 0.2
    ratio = log_spread.exp() / REACH
    assert 0.8 < float(ratio.min().detach()) <= float(ratio.max().detach()) < 1.25
    assert (log_spread - REACH.log()).abs().max() < SPAN
