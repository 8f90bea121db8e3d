"""The losses of a locator on whole batches against loops over samples, as research code has them.

The peers compute each sample's terms by itself, as published training scripts do: distances by the haversine, a soft
target for each sample (once with a loop over cells, once with all cells at a time), a softmax over the cells of each
region in turn. All give the same number (checked first). One thread each, rounds in turn, ratios of processor time:
``python benchmarks/locator_losses.py [--quick]``.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy and torch are imported

import itertools
import math
import time
from collections.abc import Callable

import numpy as np
import torch
from common import Targets, arguments, in_turn, machine, show, spread
from torch import Tensor

from placevec.geo.sphere import EARTH_RADIUS_M, LonLat
from placevec.nn.locator.losses import distance_m, geocell_loss, move, offset_loss, soft_targets
from placevec.nn.locator.segments import joint_log_softmax, segment_log_softmax

CELLS = [450, 139, 50, 19, 30, 6, 5]  # as published for the seven regions of Pakistan
TAU_M = 70_000.0


def haversine(lon1: Tensor, lat1: Tensor, lon2: Tensor, lat2: Tensor) -> Tensor:
    """Metres, the usual way; all in radians."""
    h = torch.sin((lat2 - lat1) / 2) ** 2 + torch.cos(lat1) * torch.cos(lat2) * torch.sin((lon2 - lon1) / 2) ** 2
    return 2 * EARTH_RADIUS_M * torch.atan2(h.sqrt(), (1 - h).sqrt())


class Batch:
    """Points in true cells, and what a head would have said of them."""

    def __init__(self, n: int) -> None:
        rng = np.random.default_rng(0)
        total = sum(CELLS)
        self.lonlat = LonLat(rng.uniform(61, 77, total), rng.uniform(24, 37, total))
        self.centres = torch.from_numpy(self.lonlat.unit())
        self.region = torch.repeat_interleave(torch.arange(len(CELLS)), torch.tensor(CELLS))
        self.cell = torch.from_numpy(rng.integers(0, total, n))
        east, north = rng.normal(0, 8000, (2, n))
        self.unit = move(self.centres[self.cell], torch.from_numpy(np.stack([east, north], axis=1)))
        truth = LonLat.from_unit(self.unit.numpy())
        self.truth = torch.from_numpy(np.radians(np.stack([truth.lon, truth.lat], axis=1)))
        self.cells = torch.from_numpy(np.radians(np.stack([self.lonlat.lon, self.lonlat.lat], axis=1)))
        draw = torch.Generator().manual_seed(0)
        self.regions = torch.randn(n, len(CELLS), generator=draw).requires_grad_()
        self.logits = torch.randn(n, total, generator=draw).requires_grad_()
        self.offset = (5000 * torch.randn(n, 2, generator=draw)).requires_grad_()

    def cleared(self) -> None:
        """Gradients away."""
        for leaf in (self.regions, self.logits, self.offset):
            leaf.grad = None


def cells_whole(batch: Batch) -> Tensor:
    q = soft_targets(batch.unit, batch.centres, batch.cell, TAU_M)
    logs = segment_log_softmax(batch.logits, batch.region, len(CELLS))
    has = torch.ones(len(CELLS), dtype=torch.bool)
    return geocell_loss(joint_log_softmax(batch.regions, logs, batch.region, has), q)


def cells_looped(batch: Batch) -> Tensor:
    """Samples and regions one by one; the target cell by cell, in plain Python."""
    cells = batch.cells.tolist()
    rows = []
    for (lon, lat), own in zip(batch.truth.tolist(), batch.cell.tolist(), strict=True):
        away = [distance(lon, lat, *cell) for cell in cells]
        nearest = away[own]
        weights = [math.exp(-(d - nearest) / TAU_M) if d - nearest <= 5 * TAU_M else 0.0 for d in away]
        rows.append(torch.tensor(weights) / sum(weights))
    return divergence_looped(batch, rows)


def cells_rows(batch: Batch) -> Tensor:
    """A milder peer: samples and regions one by one, all cells of a region at once."""
    return divergence_looped(batch, list(targets_rows(batch)))


def divergence_looped(batch: Batch, rows: list[Tensor]) -> Tensor:
    total = torch.zeros(())
    borders = list(itertools.pairwise(itertools.accumulate(CELLS, initial=0)))
    for i, q in enumerate(rows):
        regions = batch.regions[i].log_softmax(dim=0)
        for r, (start, stop) in enumerate(borders):
            logs = regions[r] + batch.logits[i, start:stop].log_softmax(dim=0)
            part = q[start:stop]
            known = part > 0
            total = total + (part[known] * (part[known].log() - logs[known])).sum()
    return total / len(batch.cell)


def distance(lon1: float, lat1: float, lon2: float, lat2: float) -> float:
    """Metres by the haversine, in plain Python."""
    h = math.sin((lat2 - lat1) / 2) ** 2 + math.cos(lat1) * math.cos(lat2) * math.sin((lon2 - lon1) / 2) ** 2
    return 2 * EARTH_RADIUS_M * math.asin(math.sqrt(h))


def targets_whole(batch: Batch) -> Tensor:
    return soft_targets(batch.unit, batch.centres, batch.cell, TAU_M)


def targets_rows(batch: Batch) -> Tensor:
    """Samples one by one, all cells of a sample at once."""
    rows = []
    for i in range(len(batch.cell)):
        away = haversine(batch.truth[i, 0], batch.truth[i, 1], batch.cells[:, 0], batch.cells[:, 1])
        scaled = (away[batch.cell[i]] - away) / TAU_M
        rows.append(torch.where(scaled < -5, -torch.inf, scaled).softmax(dim=0).to(torch.float32))
    return torch.stack(rows)


def offsets_whole(batch: Batch) -> Tensor:
    return offset_loss(move(batch.centres[batch.cell], batch.offset), batch.unit)


def offsets_looped(batch: Batch) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for i in range(len(batch.cell)):
        point = move(batch.centres[batch.cell[i]], batch.offset[i])
        total = total + distance_m(point, batch.unit[i]) / 10_000.0
    return total / len(batch.cell)


def with_gradient(loss: Callable[[Batch], Tensor], batch: Batch) -> Callable[[], None]:
    def step() -> None:
        batch.cleared()
        loss(batch).backward()

    return step


def main() -> None:
    options = arguments(__doc__ or "")
    torch.set_num_threads(1)
    targets = Targets()
    print(machine(), f"torch {torch.__version__}")
    batch = Batch(16 if options.quick else 64)
    assert torch.allclose(targets_whole(batch), targets_rows(batch), atol=1e-5)
    rows = []
    for name, whole, looped, least in (
        ("geocell loss, loop over samples, regions and cells", cells_whole, cells_looped, 10.0),
        ("geocell loss, loop over samples and regions", cells_whole, cells_rows, 4.0),
        ("offset loss, loop over samples", offsets_whole, offsets_looped, 10.0),
        ("soft targets, loop over samples", targets_whole, targets_rows, 2.0),
    ):
        if whole is targets_whole:
            contestants = {"whole": lambda: targets_whole(batch), "looped": lambda: targets_rows(batch)}
        else:
            one, other = float(whole(batch).detach()), float(looped(batch).detach())
            assert abs(one - other) < 1e-4 * abs(other), (name, one, other)
            contestants = {"whole": with_gradient(whole, batch), "looped": with_gradient(looped, batch)}
        times = in_turn(contestants, rounds=options.rounds, clock=time.process_time)
        ratio = times.ratio("whole", "looped")
        rows.append([name, f"{1e3 * times.median('whole'):.2f}", f"{1e3 * times.median('looped'):.1f}", spread(ratio)])
        targets.claim(f"{name}: at least {least:g} times faster", ratio[0] >= least, spread(ratio))
    show(
        f"{len(batch.cell)} samples, {sum(CELLS)} cells in {len(CELLS)} regions, forward and backward",
        ["loss", "whole (ms)", "loop (ms)", "faster by"],
        rows,
    )
    targets.done()


if __name__ == "__main__":
    main()
