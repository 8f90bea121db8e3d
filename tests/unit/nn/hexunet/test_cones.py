"""A U-Net cone by cone: equal to the whole area, wherever the halo covers what it looks at."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import h3
import numpy as np
import pytest
import torch
from torch import nn

from hexes import PENTAGON, disk, numbers, some_edges
from placevec.errors import DataError, UsageError
from placevec.geo.hex_levels import HexLevels, hex_levels
from placevec.nn.hexunet import (
    ConeBatchingUNet,
    FullAreaUNet,
    HexGraph,
    HexUNetConfig,
    covered,
    kept_run,
    plan,
)

CONFIG = HexUNetConfig(dims=(6, 8, 10), lateral=(1, 1, 1))


def random_net(inputs: int, config: HexUNetConfig) -> FullAreaUNet:
    """All weights far from where they begin, so that each matters."""
    torch.manual_seed(0)
    net = FullAreaUNet(inputs, config)
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(torch.randn_like(weight) * 0.3)
    return net.eval()


def whole(net: nn.Module, x: torch.Tensor, graph: HexGraph, present: torch.Tensor | None = None) -> list[np.ndarray]:
    with torch.no_grad():
        return [state.numpy() for state in net(x, graph, present)]


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"lateral": (2, 1, 0), "skip": "cat"},
        {"lateral": (0, 0, 2), "skip": "add"},
        {"lateral": (3, 0, 0), "decoder": (0, 2), "smooth": 0.0},
        {"lateral": (0, 0, 0)},
    ],
)
@pytest.mark.parametrize("roots", [8, 7])
def test_the_exact_halo_gives_what_the_whole_area_gives(
    levels: HexLevels, graph: HexGraph, change: dict[str, Any], roots: int
) -> None:
    config = replace(CONFIG, **change)
    net = random_net(5, config)
    x = torch.randn(graph.sizes[0], 5)
    present = torch.rand(len(x)) < 0.8
    cones = ConeBatchingUNet(levels, graph, config, roots)
    found = cones.run(net, x, present=present)
    for a, b in zip(found, whole(net, x, graph, present), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    assert all(covered(levels, config, cone).all() for cone in cones.cones())


def test_every_row_is_in_the_core_of_one_cone(levels: HexLevels, graph: HexGraph) -> None:
    cones = ConeBatchingUNet(levels, graph, CONFIG, 7)
    times = [np.zeros(rows, dtype=int) for rows in levels.sizes]
    for cone in cones.cones():
        for level, count in enumerate(times):
            count[cone.core[level]] += 1
            rows = np.arange(levels.sizes[level])[cone.core[level]]
            np.testing.assert_array_equal(cone.rows[level][cone.inner[level]], rows)
            parents = [h3.cell_to_parent(h3.int_to_str(int(cell)), 7) for cell in levels.cells[level][rows]]
            assert set(parents) == {h3.int_to_str(cone.root)}
    assert all((count == 1).all() for count in times)
    assert len(cones) == len(set(cones.cutter.roots.tolist()))


@pytest.mark.parametrize("halo", [0, 2, 4])
def test_a_halo_of_rings_is_true_where_it_says_so(levels: HexLevels, graph: HexGraph, halo: int) -> None:
    net = random_net(5, CONFIG)
    x = torch.randn(graph.sizes[0], 5)
    cones = ConeBatchingUNet(levels, graph, CONFIG, 8, halo)
    found, told = cones.run(net, x)[0], whole(net, x, graph)[0]
    true = np.concatenate([covered(levels, CONFIG, cone) for cone in cones.cones()])
    np.testing.assert_allclose(found[true], told[true], atol=1e-5)
    if halo < 4:
        assert np.abs(found - told)[~true].max() > 1e-3
    share = plan(levels, 8, CONFIG, halo, sample=len(cones)).share
    assert share == pytest.approx(true.mean())
    assert (share == 1.0) == (halo == 4)


def test_no_smaller_halo_would_do(levels: HexLevels) -> None:
    """The gradients of a core reach every row of the cone at the finest level, but for parents that are only there."""
    plain = HexGraph.from_levels(levels)
    net = random_net(5, replace(CONFIG, lateral=(1, 0, 0), decoder=(1, 0)))
    cones = ConeBatchingUNet(levels, plain, net.config, 8)
    cone = cones.cutter.cone(len(cones) // 2)
    x = torch.randn(plain.sizes[0], 5, requires_grad=True)
    net(x, plain)[0][cone.core[0]].sum().backward()
    assert x.grad is not None
    np.testing.assert_array_equal(np.flatnonzero(x.grad.abs().sum(dim=1).numpy()), cone.rows[0])


def test_gradients_of_a_cone_are_those_of_the_whole_area(levels: HexLevels, graph: HexGraph) -> None:
    net = random_net(5, CONFIG)
    x = torch.randn(graph.sizes[0], 5)
    cones = ConeBatchingUNet(levels, graph, CONFIG, 7)
    net(x, graph)[0].square().sum().backward()
    told = [weight.grad.clone() for weight in net.parameters() if weight.grad is not None]
    net.zero_grad()
    for cone in cones.cones():
        batch = cones.cone_batch(cone, x)
        batch.core(net(batch.x, batch.graph))[0].square().sum().backward()
    found = [weight.grad for weight in net.parameters() if weight.grad is not None]
    for a, b in zip(found, told, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3 * float(b.abs().max()))


@pytest.mark.parametrize(
    "cells",
    [numbers(h3.cell_to_children(PENTAGON, 9)), disk(9, 10, h3.latlng_to_cell(-16.8, 180.0, 9))],
    ids=["pentagon", "antimeridian"],
)
def test_where_hexagons_are_odd(cells: np.ndarray) -> None:
    levels = hex_levels(cells, (9, 8, 7))
    graph = HexGraph.from_levels(levels, {9: some_edges(levels, 0)})
    net = random_net(3, CONFIG)
    x = torch.randn(graph.sizes[0], 3)
    found = ConeBatchingUNet(levels, graph, CONFIG, 7).run(net, x)
    np.testing.assert_allclose(found[0], whole(net, x, graph)[0], atol=1e-5)


def test_a_run_that_was_killed_goes_on(levels: HexLevels, graph: HexGraph, tmp_path: Path) -> None:
    net = random_net(5, CONFIG)
    x = torch.randn(graph.sizes[0], 5).numpy()
    cones = ConeBatchingUNet(levels, graph, CONFIG, 8)
    shapes = [(graph.sizes[0], 6), (graph.sizes[1], 8)]
    seen: list[int] = []

    class Killed(Exception):
        pass

    def told(what: str, done: int, total: int) -> None:
        assert what == "cones"
        seen.append(total)
        if len(seen) == 3:
            raise Killed

    run = kept_run(tmp_path / "run", shapes, len(cones), "a")
    net.train()
    with pytest.raises(Killed):
        cones.run(net, x, out=run.out, done=run.done, told=told)
    assert net.training
    assert seen == [len(cones)] * 3
    del run
    again = kept_run(tmp_path / "run", shapes, len(cones), "a")
    assert again.done.sum() == 3
    again.out[0][cones.cutter.cone(0).core[0]] = 7.0
    cones.run(net, x, out=again.out, done=again.done, told=told)
    assert seen[3:] == [len(cones) - 3] * (len(cones) - 3)
    assert again.done.all()
    # What was written is not written again.
    first = cones.cutter.cone(0).core[0]
    assert (again.out[0][first] == 7.0).all()
    direct = whole(net.eval(), torch.from_numpy(x), graph)
    np.testing.assert_allclose(again.out[0][first.stop :], direct[0][first.stop :], atol=1e-5)
    np.testing.assert_allclose(again.out[1], direct[1], atol=1e-5)
    other = kept_run(tmp_path / "run", shapes, len(cones), "b")
    assert not other.done.any()


def test_a_kept_run_that_is_broken(tmp_path: Path) -> None:
    kept_run(tmp_path / "run", [(4, 2)], 3, "a")
    (tmp_path / "run" / "level0.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(DataError, match="holds a broken run"):
        kept_run(tmp_path / "run", [(4, 2)], 3, "a")


def test_processes_share_the_cones(levels: HexLevels, graph: HexGraph) -> None:
    net = random_net(5, CONFIG)
    x = torch.randn(graph.sizes[0], 5)
    cones = ConeBatchingUNet(levels, graph, CONFIG, 8)
    out = [np.zeros((graph.sizes[0], 6), dtype=np.float32)]
    for rank in range(3):
        cones.run(net, x, out=out, which=range(rank, len(cones), 3))
    np.testing.assert_allclose(out[0], whole(net, x, graph)[0], atol=1e-5)


def test_a_plan_counts_the_nodes(levels: HexLevels, graph: HexGraph) -> None:
    found = plan(levels, 7, CONFIG, sample=1000)
    cones = list(ConeBatchingUNet(levels, graph, CONFIG, 7).cones())
    assert (found.cones, found.looked_at, found.share) == (len(cones), len(cones), 1.0)
    assert found.core == pytest.approx(levels.sizes[0] / len(cones))
    assert found.most == max(cone.nodes for cone in cones)
    assert found.times == pytest.approx(sum(len(cone.rows[0]) for cone in cones) / levels.sizes[0])


def test_cuts_that_cannot_be(levels: HexLevels, graph: HexGraph) -> None:
    with pytest.raises(UsageError, match="roots of resolution 9 are finer"):
        ConeBatchingUNet(levels, graph, CONFIG, 9)
    for halo in (-1, True, "most"):
        with pytest.raises(UsageError, match="neither"):
            ConeBatchingUNet(levels, graph, CONFIG, 7, halo)
    with pytest.raises(DataError, match="3 levels, the network 1"):
        ConeBatchingUNet(levels, graph, HexUNetConfig(dims=(4,), lateral=(1,)), 7)
    with pytest.raises(DataError, match="make it from these levels"):
        ConeBatchingUNet(levels, HexGraph.from_levels(hex_levels(disk(10, 2), (10, 9, 8))), CONFIG, 7)
    cones = ConeBatchingUNet(levels, graph, CONFIG, 7)
    with pytest.raises(UsageError, match="there is no cone 1000"):
        cones.cutter.cone(1000)
    net = random_net(5, CONFIG)
    with pytest.raises(DataError, match="6 dims do not go into"):
        cones.run(net, torch.zeros(graph.sizes[0], 5), out=[np.zeros((graph.sizes[0], 9), dtype=np.float32)])
