"""The U-Net over a whole area."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from hexes import disk
from placevec.errors import DataError, UsageError
from placevec.geo.hex_levels import hex_levels
from placevec.nn.configs import from_json, to_json
from placevec.nn.hexunet import FullAreaUNet, HexGraph, HexUNetConfig, child_shares, neighbour_sum, pool, spread

CONFIG = HexUNetConfig(dims=(6, 8, 10), lateral=(2, 1, 1))


def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])


@pytest.mark.parametrize("skip", ["gate", "add", "cat"])
@pytest.mark.parametrize(
    "change",
    [
        {},
        {"lateral": (0, 2, 0)},
        {"decoder": (0, 1)},
        {"norm": "rms", "activation": "silu", "smooth": 0.0, "expand": 1},
    ],
)
def test_vectors_of_every_level_and_gradients_to_every_weight(
    graph: HexGraph, skip: str, change: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    net = FullAreaUNet(5, replace(CONFIG, skip=skip, **change))
    x = torch.randn(graph.sizes[0], 5)
    present = torch.arange(len(x)) % 5 > 0
    states = net(x, graph, present)
    assert [tuple(state.shape) for state in states] == [
        (rows, width) for rows, width in zip(graph.sizes, CONFIG.dims, strict=True)
    ]
    sum(state.square().sum() for state in states).backward()
    without = [name for name, weight in net.named_parameters() if weight.grad is None or not weight.grad.any()]
    # A join that adds has no matrix, and nothing else is without a gradient.
    assert without == []


def test_what_has_no_data_is_not_looked_at(graph: HexGraph) -> None:
    torch.manual_seed(0)
    net = FullAreaUNet(5, CONFIG)
    x = torch.randn(graph.sizes[0], 5)
    present = torch.rand(len(x)) < 0.7
    told = net(x, graph, present)
    other = torch.where(present[:, None], x, torch.nan)
    found = net(other, graph, present)
    for a, b in zip(told, found, strict=True):
        torch.testing.assert_close(a, b)
    found[0].square().sum().backward()
    assert all(bool(weight.grad.isfinite().all()) for weight in net.parameters() if weight.grad is not None)
    assert not torch.allclose(net(x, graph)[0], told[0])


def test_an_untrained_network_is_near_a_mean_over_rings(graph: HexGraph) -> None:
    torch.manual_seed(0)
    net = FullAreaUNet(5, CONFIG)
    x = torch.randn(graph.sizes[0], 5)
    with torch.no_grad():
        rings = [net.stem(x)]
        for _ in range(3):
            rings.append(neighbour_sum(rings[-1], graph, 0))
        found = [correlation(net(x, graph)[0], ring) for ring in rings]
    assert max(found[1:]) > 0.93
    assert found[0] < max(found[1:]) - 0.05


def test_an_untrained_network_without_blocks_adds_the_mean_of_the_parent(graph: HexGraph) -> None:
    net = FullAreaUNet(5, HexUNetConfig(dims=(5, 8, 8), lateral=(0, 0, 0), skip="cat"))
    x = torch.randn(graph.sizes[0], 5)
    with torch.no_grad():
        stem = net.stem(x)
        first, _ = child_shares(graph, 0)
        second, _ = child_shares(graph, 1)
        middle = pool(stem, graph, 0, first)
        coarse = pool(middle, graph, 1, second)
        told = 0.75 * stem + 0.25 * spread(0.75 * middle + 0.25 * spread(coarse, graph, 1), graph, 0)
        torch.testing.assert_close(net(x, graph)[0], told, atol=1e-5, rtol=1e-5)


def test_checkpoints_change_no_gradient(graph: HexGraph) -> None:
    x = torch.randn(graph.sizes[0], 5)
    found = []
    for checkpoint in (False, True):
        torch.manual_seed(0)
        net = FullAreaUNet(5, replace(CONFIG, checkpoint=checkpoint, dropout=0.2))
        net(x, graph)[0].square().sum().backward()
        found.append([weight.grad for weight in net.parameters()])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)


def test_one_level_and_one_cell() -> None:
    graph = HexGraph.from_levels(hex_levels(disk(9, 0), (9,)))
    (state,) = FullAreaUNet(3, HexUNetConfig(dims=(4,), lateral=(1,)))(torch.randn(1, 3), graph)
    assert state.shape == (1, 4)


def test_it_learns_what_only_the_neighbours_know() -> None:
    torch.manual_seed(0)
    graph = HexGraph.from_levels(hex_levels(disk(9, 9), (9, 8)))
    net = FullAreaUNet(4, HexUNetConfig(dims=(8, 8), lateral=(1, 1)))
    head = torch.nn.Linear(8, 1)
    x = torch.randn(graph.sizes[0], 4)
    with torch.no_grad():
        around = neighbour_sum(x[:, :1], graph, 0) - x[:, :1] / 7
        target = torch.tanh(3 * around)
    optimiser = torch.optim.Adam([*net.parameters(), *head.parameters()], lr=0.01)
    for _ in range(150):
        loss = (head(net(x, graph)[0]) - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 0.15 * float(target.var())


def test_rows_and_levels_that_do_not_fit(graph: HexGraph) -> None:
    net = FullAreaUNet(5, CONFIG)
    with pytest.raises(DataError, match=r"rows of the shape \(3, 5\)"):
        net(torch.zeros(3, 5), graph)
    with pytest.raises(DataError, match="has 3 levels, the network 1"):
        FullAreaUNet(5, HexUNetConfig(dims=(4,), lateral=(1,)))(torch.zeros(graph.sizes[0], 5), graph)


def test_settings_go_to_json_and_back() -> None:
    config = HexUNetConfig(dims=(4, 6), lateral=(1, 0), decoder=(2,), skip="add")
    assert from_json(HexUNetConfig, to_json(config)) == config
    assert from_json(HexUNetConfig, {"dims": [4, 6], "lateral": [1, 0]}).down == (1,)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"dims": ()}, "at least one level"),
        ({"dims": (4, 0, 4)}, "each 1 or more"),
        ({"lateral": (1, 1)}, "give 3 numbers"),
        ({"lateral": (1, -1, 1)}, "give 3 numbers"),
        ({"decoder": (1, 1, 1)}, "give 2 numbers"),
        ({"expand": 0}, "expand 0"),
        ({"dropout": 1.5}, "dropout 1.5"),
        ({"smooth": -0.1}, "smooth -0.1"),
    ],
)
def test_settings_that_cannot_be(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        replace(CONFIG, **wrong)
