"""What a fusion network learns by: to tell what was hidden from all else, and what lies around, above and beside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from placevec.errors import UsageError
from placevec.nn.fusion import FusionNet
from placevec.nn.hexunet import ConeBatchingUNet, HexGraph
from placevec.nn.losses import nt_xent
from placevec.train.data import digest
from placevec.train.fuse.config import FuseTraining
from placevec.train.fuse.data import FuseArea, Labels, Mask, graph_of, graph_tensors, side_by_side
from placevec.train.fuse.hiding import hidden

CONTRASTED = 1024  # cells whose halves are told apart in one step, at most
VALIDATED = 4  # views of the held-out cells
VALIDATED_CONES = 8
LEAST_KNOWN = 1e-3  # weight of the neighbours that have a modality, below which nothing is asked about its mean


class FuseModule(nn.Module):
    """A fusion network with its loss.

    Args:
        net: the network.
        config: the settings.
        labels: number of targets that supervise.
    """

    def __init__(self, net: FusionNet, config: FuseTraining, labels: int = 0) -> None:
        super().__init__()
        self.net, self.config = net, config
        parts = net.config.part * len(net.config.modalities)
        self.head = nn.Linear(parts, labels) if labels else None

    def forward(self, batch: dict[str, Tensor], generator: torch.Generator) -> Tensor:
        """The loss of an area or of some of its cones; cells under `learn` count."""
        graph, weights = graph_of(batch), self.config.loss
        codes, present = self.net.coded(batch["x"])
        unseen = hidden(graph, present.shape[1], self.config.hiding, generator)
        shallow = len(graph.sizes) > 1 and bool(torch.rand((), generator=generator) < self.config.level_drop)
        states = self.net.states(codes, present & ~unseen, graph, 1 if shallow else None)
        rows = _some(batch["learn"], self.config.cells, generator)
        total = states[0].new_zeros(())
        if weights.hidden or weights.neighbours:
            told, around = self.told(states[0], codes, present, unseen, graph, rows, bool(weights.neighbours))
            total = total + weights.hidden * sum(told) + weights.neighbours * sum(around)
        if weights.consistency and not shallow:
            total = total + weights.consistency * self._consistency(states, codes, present, graph, batch["learn"])
        if weights.contrast:
            total = total + weights.contrast * self._contrast(codes, present, graph, rows, generator)
        if self.head is not None:
            total = total + weights.labels * self._supervised(states[0], batch["labels"])
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            # Each process draws whether it goes without the coarser levels: one with a gradient waits for all others.
            total = total + 0.0 * torch.stack([weight.sum() for weight in self.parameters()]).sum()
        return total

    def told(
        self,
        state: Tensor,
        codes: Sequence[Tensor],
        present: Tensor,
        unseen: Tensor,
        graph: HexGraph,
        rows: Tensor,
        neighbours: bool,
        seen: float | None = None,
    ) -> tuple[list[Tensor], list[Tensor]]:
        """For each modality the loss of its tokens, and of their mean around the cell, over the cells `rows`."""
        own, near = [], []
        weight = self.config.hiding.seen if seen is None else seen
        for k, code in enumerate(codes):
            score, mean_score = self.net.decoder(k)(state[rows])
            form = self.net.config.modalities[k].form
            here = present[rows, k].float()
            counts = here * torch.where(unseen[rows, k], 1.0, weight)
            own.append(_error(score, code[rows], counts, form))
            if neighbours:
                with torch.no_grad():
                    mean, known = self.net.mean_around(code, present[:, k], graph)
                    # Where no cell around has the modality the mean is 0, and so would be learned.
                    mean, asked = mean[rows], (known[rows] > LEAST_KNOWN).float()
                near.append(_error(mean_score, mean, asked, form))
        return own, near

    def _consistency(
        self, states: Sequence[Tensor], codes: Sequence[Tensor], present: Tensor, graph: HexGraph, learn: Tensor
    ) -> Tensor:
        """The mean tokens of the cells below each coarser one, told from its state."""
        total = states[0].new_zeros(())
        with torch.no_grad():
            sums = torch.cat(list(codes), dim=1)
            known = torch.cat(
                [(present[:, k : k + 1] & learn[:, None]).float().expand(-1, c.shape[1]) for k, c in enumerate(codes)],
                dim=1,
            )
            sums = sums * known
        for level, head in enumerate(self.net.above):
            with torch.no_grad():
                gathering, _ = graph.pooling(level)
                sums, known = gathering.sum_of(sums), gathering.sum_of(known)
                mean = sums / known.clamp(min=1.0)
            score, start = head(states[level + 1]), 0
            for shape in self.net.config.modalities:
                part = slice(start, start + shape.tokens)
                counts = (known[:, start] > 0).float()
                total = total + _error(score[:, part], mean[:, part], counts, shape.form)
                start += shape.tokens
        return total / len(self.net.above) if len(self.net.above) else total

    def _contrast(
        self, codes: Sequence[Tensor], present: Tensor, graph: HexGraph, rows: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Half the modalities of a cell find the other half of the same cell among other cells."""
        count = present.shape[1]
        first = torch.zeros(count, dtype=torch.bool)
        first[torch.randperm(count, generator=generator)[: count // 2]] = True
        first = first.to(present.device)
        both = (present & first).any(dim=1) & (present & ~first).any(dim=1)
        chosen = rows[both[rows]]
        chosen = chosen[torch.randperm(len(chosen), generator=generator)[:CONTRASTED].to(chosen.device)]
        if len(chosen) < 2:
            return codes[0].new_zeros(())
        a, b = (self.net.project(self.net.states(codes, present & half, graph)[0][chosen]) for half in (first, ~first))
        return nt_xent(a, b, self.config.loss.temperature)

    def _supervised(self, state: Tensor, labels: Tensor) -> Tensor:
        assert self.head is not None
        known = ~labels.isnan()
        rows = known.any(dim=1)
        if not bool(rows.any()):
            return state.new_zeros(())
        reads = torch.cat([self.net.decoder(k).read(state[rows]) for k in range(len(self.net.decoders))], dim=1)
        wrong = (self.head(reads) - labels[rows].nan_to_num()).square() * known[rows]
        loss: Tensor = wrong.sum() / known[rows].sum()
        return loss


class FuseObjective:
    """The training of a fusion network on one area, whole or cone by cone; see `train.objectives.Objective`.

    Args:
        area: the area.
        net: the network.
        config: the settings.
        held: (n,) bool, cells of the validation: nothing is asked of them in training, but they are seen.
        labels: targets that supervise, standardised.
    """

    mode: Literal["min", "max"] = "min"
    least = 1

    def __init__(
        self, area: FuseArea, net: FusionNet, config: FuseTraining, held: Mask, labels: Labels | None = None
    ) -> None:
        self.area, self.net, self.config, self.labels = area, net, config, labels
        self.learn = ~held
        if not self.learn.any():
            raise UsageError("all cells are held out for validation: hold out fewer")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.loop.seed + 1)
            self.module: nn.Module = FuseModule(net, config, 0 if labels is None else len(labels.names))
        self.monitor = "loss" if held.any() else ""
        self.cones: ConeBatchingUNet | None = None
        self.count = config.views
        if config.cone_resolution is not None:
            halo: Any = "exact" if config.halo is None else config.halo
            self.cones = ConeBatchingUNet(area.levels, area.graph, net.config.unet, config.cone_resolution, halo)
            self.count = len(self.cones)
        self._whole: dict[str, Tensor] | None = None

    def batch(self, rows: NDArray[np.int64]) -> dict[str, Tensor]:
        """The whole area, or the cones of these numbers side by side."""
        if self.cones is None:
            if self._whole is None:
                self._whole = self._tensors(self.area.graph, torch.from_numpy(self.area.x), None)
            return self._whole
        parts = [self.cones.cone_batch(cone, self.area.x) for cone in self.cones.cones(rows.tolist())]
        graph = side_by_side([part.graph for part in parts])
        own = [np.zeros(len(part.cone.rows[0]), dtype=bool) for part in parts]
        for mask, part in zip(own, parts, strict=True):
            mask[part.cone.inner[0]] = True
        finest = np.concatenate([part.cone.rows[0] for part in parts])
        found = self._tensors(graph, torch.cat([part.x for part in parts]), finest)
        found["learn"] &= torch.from_numpy(np.concatenate(own))
        if "labels" in found:
            found["labels"][~torch.from_numpy(np.concatenate(own))] = float("nan")
        return found

    def _tensors(self, graph: HexGraph, x: Tensor, rows: NDArray[np.int64] | None) -> dict[str, Tensor]:
        def part(values: NDArray[Any]) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(values if rows is None else values[rows]))

        found = {"x": x, "learn": part(self.learn).clone(), **graph_tensors(graph)}
        if self.labels is not None:
            found["labels"] = part(self.labels.values).clone()
        return found

    def validate(self, device: torch.device) -> dict[str, float]:
        """How well what is hidden of the held-out cells is told: the mean over modalities, and each."""
        module = self.module
        assert isinstance(module, FuseModule)
        names = [shape.name for shape in self.net.config.modalities]
        sums, weight = np.zeros(len(names)), 0.0
        for batch in self._held_batches():
            parts = {name: value.to(device) for name, value in batch.items()}
            graph = graph_of(parts)
            codes, present = self.net.coded(parts["x"])
            rows = torch.nonzero(parts["held"])[:, 0]
            generator = torch.Generator().manual_seed(0)  # the same is hidden each time
            for _ in range(VALIDATED):
                unseen = hidden(graph, len(names), self.config.hiding, generator)
                state = self.net.states(codes, present & ~unseen, graph)[0]
                told, _ = module.told(state, codes, present, unseen, graph, rows, False, seen=0.0)
                sums += np.array([float(value) for value in told]) * len(rows)
                weight += len(rows)
        means = sums / max(weight, 1.0)
        return {"loss": float(means.mean()), **{name: float(m) for name, m in zip(names, means, strict=True)}}

    def _held_batches(self) -> list[dict[str, Tensor]]:
        held = ~self.learn
        if self.cones is None:
            return [{**self.batch(np.arange(1)), "held": torch.from_numpy(held)}]
        cutter = self.cones.cutter
        with_held = [n for n in range(len(self.cones)) if held[cutter.cone(n).core[0]].any()]
        step = -(-len(with_held) // VALIDATED_CONES)
        out = []
        for number in with_held[::step]:
            cone = cutter.cone(number)
            own = np.zeros(len(cone.rows[0]), dtype=bool)
            own[cone.inner[0]] = held[cone.core[0]]
            out.append({**self.batch(np.array([number])), "held": torch.from_numpy(own)})
        return out

    def identity(self) -> Mapping[str, Any]:
        """Settings and data."""
        graph = self.area.graph
        return {
            "kind": "fuse",
            "config": self.config.to_json(),
            "net": self.net.config.unet.dims,
            "cells": digest(self.area.levels.cells[0]),
            "x": digest(self.area.x),
            "weights": [digest(lateral.weight.numpy()) for lateral in graph.lateral],
            "learn": digest(self.learn),
            "labels": None if self.labels is None else [list(self.labels.names), digest(self.labels.values)],
        }


def _error(score: Tensor, target: Tensor, counts: Tensor, form: str) -> Tensor:
    """The mean error over tokens and cells, cells weighted by `counts` (n,)."""
    if form == "bins":
        wrong = F.binary_cross_entropy_with_logits(score, target, reduction="none")
    else:
        wrong = 0.5 * (score - target).square()
    return (wrong.mean(dim=1) * counts).sum() / counts.sum().clamp(min=1.0)


def _some(mask: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """The rows under `mask`, at most so many, drawn from `generator`."""
    rows = torch.nonzero(mask)[:, 0]
    if len(rows) <= most:
        return rows
    chosen = torch.randperm(len(rows), generator=generator)[:most].to(rows.device)
    return rows[chosen.sort().values]
