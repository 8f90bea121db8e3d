"""Fusion of features."""

from __future__ import annotations

import pytest
import torch

from placevec.errors import DataError
from placevec.nn.locator.gate import Fusion

ROWS = 5


def features(widths: list[int], seed: int = 0) -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return [torch.randn(ROWS, width, generator=draw) for width in widths]


def test_one_encoder_has_no_gate() -> None:
    fusion = Fusion([7], 12)
    given = features([7])
    assert not any("gate" in name for name, _ in fusion.named_parameters())
    assert torch.equal(fusion(given), fusion.projections[0](given[0]))
    assert torch.equal(fusion.weights(fusion.projected(given)), torch.ones(ROWS, 1, 1))


@pytest.mark.parametrize("channel", [False, True])
def test_two_encoders_are_weighed_by_a_sigmoid(channel: bool) -> None:
    torch.manual_seed(0)
    fusion = Fusion([7, 9], 12, channel)
    torch.nn.init.normal_(fusion.gate.weight)
    given = features([7, 9])
    a, b = fusion.projected(given)
    alpha = torch.sigmoid(fusion.gate(torch.cat([a, b], dim=1)))
    assert alpha.shape == (ROWS, 12 if channel else 1)
    torch.testing.assert_close(fusion(given), alpha * b + (1 - alpha) * a)


@pytest.mark.parametrize("channel", [False, True])
def test_weights_of_three_sum_to_one_and_begin_equal(channel: bool) -> None:
    torch.manual_seed(0)
    fusion = Fusion([3, 4, 5], 16, channel)
    weights = fusion.weights(fusion.projected(features([3, 4, 5])))
    assert weights.shape == (ROWS, 3, 16 if channel else 1)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(ROWS, weights.shape[2]))
    assert float((weights - 1 / 3).abs().max().detach()) < 0.05


def test_the_gate_learns_which_encoder_to_trust() -> None:
    torch.manual_seed(0)
    draw = torch.Generator().manual_seed(1)
    target = torch.randn(400, generator=draw)
    trusted = torch.rand(400, generator=draw) < 0.5
    noise = torch.randn(400, 2, generator=draw)
    # Each encoder says whether it can be trusted, and the answer only if so.
    first = torch.stack([torch.where(trusted, target, noise[:, 0]), trusted.float()], dim=1)
    second = torch.stack([torch.where(trusted, noise[:, 1], target), 1 - trusted.float()], dim=1)
    fusion, last = Fusion([2, 2], 16), torch.nn.Linear(16, 1)
    optimiser = torch.optim.Adam([*fusion.parameters(), *last.parameters()], lr=0.01)
    for _ in range(300):
        optimiser.zero_grad()
        loss = (last(fusion([first, second]))[:, 0] - target).square().mean()
        loss.backward()
        optimiser.step()
    weights = fusion.weights(fusion.projected([first, second]))[:, 1, 0]
    assert float(loss.detach()) < 0.1
    assert float((weights[~trusted].mean() - weights[trusted].mean()).detach()) > 0.4


@pytest.mark.parametrize("widths", [[7], [7, 8], [7, 9, 3]])
def test_features_that_do_not_fit(widths: list[int]) -> None:
    with pytest.raises(DataError, match="made for"):
        Fusion([7, 9], 12)(features(widths))
