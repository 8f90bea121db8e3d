"""The U-Nets over hexagons: seconds per layer beside a graph library, and the memory of an epoch over 545,000 cells.

::

    python benchmarks/fusion.py [--rounds 5] [--quick]

The layers are timed in turn, so what counts is the ratio within a round. Each epoch runs in a process of its own, whose
peak of resident memory is read. The peer is torch_geometric's GCNConv, in plain torch as it installs everywhere. It is
no dependency; put it in a folder of its own, without the packages that it only needs for its own data sets::

    pip install --target pyg --no-deps torch_geometric aiohttp xxhash psutil
    PYTHONPATH=pyg python benchmarks/fusion.py

Without it the rest is measured, and the page says so.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "2")

import numpy as np
import shapely
import torch
from common import Targets, Times, arguments, fresh, in_turn, machine, report, show, spread
from torch import Tensor, nn

from placevec.geo.cells import H3Cells
from placevec.geo.hex_levels import HexLevels, hex_levels
from placevec.nn.fusion import FusionConfig, FusionNet, ModalityConfig, Tokens, plain_unet
from placevec.nn.fusion.config import Form
from placevec.nn.hexunet import ConeBatchingUNet, FullAreaUNet, HexConv, HexGraph, HexUNetConfig, neighbour_sum, plan
from placevec.nn.hexunet import pool as pool_means
from placevec.nn.hexunet.block import HexBlock
from placevec.nn.hexunet.pool import child_shares
from placevec.nn.hexunet.pool import spread as spread_down
from placevec.train.fuse import FuseTraining, fuse_area
from placevec.train.fuse.objective import FuseObjective

CELLS, QUICK = 545_000, 30_000
DIMS = 64
BOX = (3.5, 51.0, 7.4, 53.2)  # some 730,000 cells of resolution 9
RESOLUTIONS = (9, 8, 7)
ROOTS = 4  # of the cones
MASKED = 0.3
CONFIG = HexUNetConfig(dims=(64, 96, 128), lateral=(2, 1, 1))
FASTER, FULL_GIB, CONE_GIB = 2.5, 8.0, 3.0
GIB = 2**30 / 1e6  # in the MB that `report` gives


def main() -> None:
    """Time the layers, then run each epoch in a process of its own."""
    options = arguments(__doc__.splitlines()[0])
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    if options.step:
        EPOCHS[options.step](area(options.quick), options.quick)
        return
    print(f"{machine()}, torch {torch.__version__}")
    began = time.perf_counter()
    levels = area(options.quick)
    middle = time.perf_counter()
    graph = HexGraph.from_levels(levels)
    print(f"{levels.sizes} cells of resolutions {levels.resolutions}: levels {middle - began:.1f} s (with the covering")
    print(f"of the box), graph {time.perf_counter() - middle:.1f} s")
    targets = Targets()
    peers(graph, options.rounds, targets)
    layers(graph, options.rounds)
    epochs(options.quick, targets)
    targets.done()


def area(quick: bool) -> HexLevels:
    """The cells that all is measured on."""
    cells = H3Cells(RESOLUTIONS[0]).cover(shapely.box(*BOX))
    return hex_levels(cells[: QUICK if quick else CELLS], RESOLUTIONS)


def peers(graph: HexGraph, rounds: int, targets: Targets) -> None:
    """One layer of 64 to 64, forward and backward, beside the graph library."""
    torch.manual_seed(0)
    rows = graph.sizes[0]
    x, gradient = torch.randn(rows, DIMS, requires_grad=True), torch.randn(rows, DIMS)
    conv, linear = HexConv(DIMS, DIMS), nn.Linear(DIMS, DIMS)
    contestants: dict[str, Callable[[], Any]] = {
        "HexConv": step(lambda: conv(x, graph, 0), x, gradient),
        "neighbour_sum + Linear": step(lambda: linear(neighbour_sum(x, graph, 0)), x, gradient),
    }
    library = gcn(graph, linear)
    if library is not None:
        contestants["GCNConv"] = step(lambda: library(x), x, gradient)
        same(lambda: linear(neighbour_sum(x, graph, 0)), lambda: library(x), x, gradient)
    times = in_turn(contestants, rounds)
    body = []
    for name in contestants:
        ratio = spread(times.ratio(name, "GCNConv")) if library is not None else "not installed"
        body.append([name, f"{times.median(name):.2f}", ratio])
    show(f"A layer, {rows:,} cells x {DIMS}, forward and backward", ["layer", "s", "faster than GCNConv"], body)
    if library is None:
        print("torch_geometric is not installed: no ratio. See the head of this file.")
        return
    for name in ("HexConv", "neighbour_sum + Linear"):
        ratio = times.ratio(name, "GCNConv")
        targets.claim(f"{name} at least {FASTER} times as fast as GCNConv", ratio[0] >= FASTER, spread(ratio))


def gcn(graph: HexGraph, linear: nn.Linear) -> Callable[[Tensor], Tensor] | None:
    """The library's layer with the same weights of matrix and edges, so that it has nothing to normalise."""
    try:
        from torch_geometric.nn import GCNConv
    except ImportError:
        return None
    lateral = graph.lateral[0]
    there = lateral.weight > 0
    into = torch.arange(len(there))[:, None].expand_as(there)[there]
    edges, weight = torch.stack([lateral.near[there], into]), lateral.weight[there]
    layer = GCNConv(DIMS, DIMS, add_self_loops=False, normalize=False)
    with torch.no_grad():
        layer.lin.weight.copy_(linear.weight)
        layer.bias.copy_(linear.bias)
    return lambda x: layer(x, edges, weight)


def step(forward: Callable[[], Tensor], x: Tensor, gradient: Tensor) -> Callable[[], None]:
    """A call that goes forward and backward."""

    def run() -> None:
        x.grad = None
        forward().backward(gradient)

    return run


def same(ours: Callable[[], Tensor], theirs: Callable[[], Tensor], x: Tensor, gradient: Tensor) -> None:
    """Both are one function: the same values, and the same gradients."""
    found = []
    for forward in (ours, theirs):
        x.grad = None
        y = forward()
        y.backward(gradient)
        found.append((y.detach(), x.grad))
    for what, a, b in zip(("values", "gradients"), *found, strict=True):
        away = float((a - b).abs().max())
        if away > 1e-4:
            raise SystemExit(f"the {what} of the two layers differ by {away}: they are not the same")
        print(f"neighbour_sum + Linear and GCNConv: the {what} differ by {away:.1e} at most")


def layers(graph: HexGraph, rounds: int) -> None:
    """Seconds of each kind of layer at each level, forward and backward."""
    body = []
    for level, (rows, width) in enumerate(zip(graph.sizes, CONFIG.dims, strict=True)):
        x, gradient = torch.randn(rows, width, requires_grad=True), torch.randn(rows, width)
        conv, block = HexConv(width, width), HexBlock(width, CONFIG)
        calls = {
            "HexConv": step(lambda x=x, conv=conv, level=level: conv(x, graph, level), x, gradient),
            "block": step(lambda x=x, block=block, level=level: block(x, graph, level), x, gradient),
        }
        if level + 1 < len(graph.lateral):
            shares, _ = child_shares(graph, level)
            parents = torch.randn(graph.sizes[level + 1], width, requires_grad=True)
            to_parents = torch.randn_like(parents)
            calls["pool"] = step(lambda x=x, level=level, s=shares: pool_means(x, graph, level, s), x, to_parents)
            calls["spread"] = step(lambda p=parents, level=level: spread_down(p, graph, level), parents, gradient)
            calls["segment_reduce"] = step(lambda x=x, level=level: segments(x, graph, level), x, to_parents)
        times: Times = in_turn(calls, max(1, rounds // 2))
        body += [[f"{RESOLUTIONS[level]}", f"{rows:,} x {width}", name, f"{times.median(name):.3f}"] for name in calls]
    show("Seconds per layer, forward and backward", ["resolution", "rows", "layer", "s"], body)


def segments(x: Tensor, graph: HexGraph, level: int) -> Tensor:
    """The means over children by torch's own segments, beside `pool`."""
    lengths = torch.diff(graph.starts[level], append=torch.tensor([len(x)]))
    return torch.segment_reduce(x, "mean", lengths=lengths, axis=0)


def epochs(quick: bool, targets: Targets) -> None:
    """Memory and time of an epoch, in a process each."""
    more = ["--quick"] if quick else []
    body = []
    limits = {"full": FULL_GIB, "full, checkpoints": FULL_GIB, "cones": CONE_GIB}
    limits |= {"train fuse": FULL_GIB, "train fuse, cones": CONE_GIB}
    for name, limit in limits.items():
        found = fresh(__file__, "--step", name, *more)
        peak = found["peak_mb"] / GIB
        body.append([name, f"{found['seconds']:.1f}", f"{peak:.2f}", found["note"]])
        targets.claim(f"an epoch, {name}: at most {limit:g} GiB", peak <= limit, f"{peak:.2f} GiB")
    show("An epoch of masked reconstruction", ["how", "s", "peak GiB", "note"], body)


class Task:
    """Masked reconstruction: the rows of some cells are hidden, and told from those around them."""

    def __init__(self, levels: HexLevels, checkpoint: bool) -> None:
        torch.manual_seed(0)
        self.graph = HexGraph.from_levels(levels)
        self.config = HexUNetConfig(dims=CONFIG.dims, lateral=CONFIG.lateral, checkpoint=checkpoint)
        self.net = FullAreaUNet(DIMS, self.config)
        self.head = nn.Linear(DIMS, DIMS)
        self.optimiser = torch.optim.AdamW([*self.net.parameters(), *self.head.parameters()], lr=1e-3)
        self.x = torch.randn(len(levels.cells[0]), DIMS)

    def step(self, x: Tensor, graph: HexGraph, rows: slice) -> float:
        """One step on the hidden rows among `rows`."""
        hidden = torch.rand(len(x)) < MASKED
        states = self.net(x.masked_fill(hidden[:, None], 0.0), graph)
        asked = hidden[rows]
        loss = nn.functional.mse_loss(self.head(states[0][rows][asked]), x[rows][asked])
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        return float(loss.detach())


def full_epoch(levels: HexLevels, quick: bool, checkpoint: bool = False) -> None:
    """The whole area in one step."""
    task = Task(levels, checkpoint)
    began = time.perf_counter()
    loss = task.step(task.x, task.graph, slice(None))
    report(seconds=time.perf_counter() - began, note=f"1 step, loss {loss:.3f}")


def cone_epoch(levels: HexLevels, quick: bool) -> None:
    """Each cone in a step of its own."""
    task = Task(levels, checkpoint=False)
    cones = ConeBatchingUNet(levels, task.graph, task.config, ROOTS)
    began = time.perf_counter()
    losses = []
    for cone in cones.cones():
        batch = cones.cone_batch(cone, task.x)
        losses.append(task.step(batch.x, batch.graph, cone.inner[0]))
    seconds = time.perf_counter() - began
    cut = plan(levels, ROOTS, task.config)
    note = f"{len(cones)} steps, loss {np.mean(losses):.3f}; each cell computed {cut.times:.2f} times"
    report(seconds=seconds, note=note)


def training(levels: HexLevels, quick: bool, cones: bool) -> None:
    """The objective of `train fuse` itself, on four modalities: one step on the whole area, or one on each cone."""
    draw = np.random.default_rng(0)
    rows = len(levels.cells[0])
    columns = {"roads": 16, "transit": 16, "terrain": 11, "pictures": 64}
    given = [(draw.gamma(1.0, 1.0, (rows, d)).astype(np.float32), draw.random(rows) < 0.95) for d in columns.values()]
    area = fuse_area(levels.cells[0], given, levels.resolutions)
    forms: list[Form] = ["bins", "bins", "bins", "values"]
    config = FuseTraining(cone_resolution=ROOTS if cones else None, level_drop=0.0)
    codes = [Tokens.fit(area.modality(k), form, config.bins) for k, form in enumerate(forms)]
    shapes = tuple(
        ModalityConfig(name, d, code.count, form)
        for (name, d), code, form in zip(columns.items(), codes, forms, strict=True)
    )
    unet = plain_unet(len(levels), config.width, 0 if cones else rows)
    net = FusionNet(FusionConfig(shapes, levels.resolutions, config.width, config.part, config.own, unet), codes)
    objective = FuseObjective(area, net, config, np.zeros(rows, dtype=bool))
    optimiser = torch.optim.AdamW(objective.module.parameters(), lr=1e-3)
    generator = torch.Generator().manual_seed(0)
    began = time.perf_counter()
    steps = objective.count if cones else 1
    for number in range(steps):
        loss = objective.module(objective.batch(np.array([number])), generator)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    report(seconds=time.perf_counter() - began, note=f"{steps} steps of train fuse, loss {float(loss.detach()):.3f}")


EPOCHS: dict[str, Callable[[HexLevels, bool], None]] = {
    "full": full_epoch,
    "full, checkpoints": lambda levels, quick: full_epoch(levels, quick, checkpoint=True),
    "cones": cone_epoch,
    "train fuse": lambda levels, quick: training(levels, quick, cones=False),
    "train fuse, cones": lambda levels, quick: training(levels, quick, cones=True),
}


if __name__ == "__main__":
    main()
