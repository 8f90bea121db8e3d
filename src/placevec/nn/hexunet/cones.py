"""A U-Net run cone by cone: the same weights and, with the exact halo, the same results, in little memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from placevec.errors import DataError
from placevec.geo.hex_levels import HexLevels
from placevec.nn.hexunet.config import HexUNetConfig
from placevec.nn.hexunet.graph import HexGraph
from placevec.nn.hexunet.reach import Cone, ConeCutter, Halo, covered

Told = Callable[[str, int, int], None]
Vectors = NDArray[np.float32]


class ConeBatch(NamedTuple):
    """What a network takes for one cone.

    Attributes:
        cone: which rows these are.
        x: (m_0, inputs).
        graph: of the cone; its rows have the weights that they have in the full area.
        present: (m_0,) bool, which rows have data; None: all.
    """

    cone: Cone
    x: Tensor
    graph: HexGraph
    present: Tensor | None

    def core(self, states: Sequence[Tensor]) -> list[Tensor]:
        """The rows of the core out of what the network gave for each level."""
        return [state[part] for state, part in zip(states, self.cone.inner, strict=False)]


class ConeBatchingUNet:
    """Runs the weights of a `FullAreaUNet`, or of a network around it, one cone of the area at a time.

    Args:
        levels: the area.
        graph: its `HexGraph`, with the accessibility weights if there are any.
        config: of the U-Net; what it looks at sets the exact halo. A network around it may change each row by
            itself, but look at no neighbours.
        root_resolution: of the cones' roots, that of the coarsest level or coarser.
        halo: "exact", or rings of cells of the coarsest level; see `ConeCutter`.

    Raises:
        UsageError: see `ConeCutter`.
        DataError: the graph is not that of the levels, or the network has another number of levels.
    """

    def __init__(
        self,
        levels: HexLevels,
        graph: HexGraph,
        config: HexUNetConfig,
        root_resolution: int,
        halo: Halo = "exact",
    ) -> None:
        if graph.sizes != levels.sizes:
            raise DataError(f"the graph has {graph.sizes} rows, the levels {levels.sizes}; make it from these levels")
        self.graph = graph
        self.cutter = ConeCutter(levels, root_resolution, config, halo)

    def __len__(self) -> int:
        return len(self.cutter)

    def cones(self, which: Iterable[int] | None = None) -> Iterator[Cone]:
        """The cones of these numbers, or all; of several processes each takes its own."""
        return (self.cutter.cone(number) for number in (range(len(self)) if which is None else which))

    def cone_batch(
        self,
        cone: Cone,
        x: Tensor | Vectors,
        present: Tensor | NDArray[np.bool_] | None = None,
        device: torch.device | str = "cpu",
    ) -> ConeBatch:
        """What the network takes for `cone`: for a step of training, or for `run`.

        Args:
            cone: from `cones`.
            x: (n_0, inputs) of the full area, in the order of ``levels.cells[0]``; an array may lie on disk.
            present: (n_0,) bool of the full area; None: all rows have data.
            device: where the batch goes.
        """
        rows = cone.rows[0]
        here = None if present is None else _rows(present, rows).bool().to(device)
        return ConeBatch(cone, _rows(x, rows).to(device), self.graph.take(cone.rows).to(device), here)

    def run(
        self,
        net: nn.Module,
        x: Tensor | Vectors,
        *,
        present: Tensor | NDArray[np.bool_] | None = None,
        out: Sequence[Vectors] | None = None,
        which: Iterable[int] | None = None,
        done: NDArray[np.bool_] | None = None,
        device: torch.device | str = "cpu",
        told: Told | None = None,
    ) -> list[Vectors]:
        """The vectors of the area; each row is written once, by the cone whose core it is in.

        Args:
            net: (x, graph, present) to vectors for each level, or the finest of them, such as a `FullAreaUNet`; set to
                evaluation meanwhile.
            x: (n_0, inputs), see `cone_batch`.
            present: (n_0,) bool, which rows have data.
            out: for each level, or the finest of them, (n_l, dims_l) to write into, such as memory maps; None: new.
            which: numbers of the cones to run; None: all.
            done: (cones,) bool, which cones are written already: these are left out, and others marked when their
                rows are. A run that was killed goes on with the arrays it left, see `kept_run`.
            device: where the network is.
            told: progress, in cones.

        Raises:
            DataError: `out` has other shapes than the network gives.
        """
        numbers = [n for n in (range(len(self)) if which is None else which) if done is None or not done[n]]
        arrays = None if out is None else list(out)
        training = net.training
        net.eval()
        try:
            for count, cone in enumerate(self.cones(numbers)):
                with torch.inference_mode():
                    batch = self.cone_batch(cone, x, present, device)
                    states = batch.core(net(batch.x, batch.graph, batch.present))
                if arrays is None:
                    sizes = self.graph.sizes
                    arrays = [
                        np.zeros((n, state.shape[1]), dtype=np.float32) for n, state in zip(sizes, states, strict=False)
                    ]
                for array, state, core in zip(arrays, states, cone.core, strict=False):
                    _write(array, state, core)
                if done is not None:
                    _flush(arrays)
                    done[cone.number] = True
                if told is not None:
                    told("cones", count + 1, len(numbers))
        finally:
            net.train(training)
        return arrays or []


@dataclass(frozen=True)
class Plan:
    """What cutting an area into cones costs.

    Attributes:
        cones: their number.
        looked_at: how many of them the other figures are of, spread evenly over the area.
        core: mean rows of the finest core.
        nodes: for each level the mean rows of a cone.
        most: the rows of all levels of the largest cone.
        share: the part of the finest core that has all it depends on within its cone; 1 for the exact halo.
    """

    cones: int
    looked_at: int
    core: float
    nodes: tuple[float, ...]
    most: int
    share: float

    @property
    def times(self) -> float:
        """How many times each row of the finest level is computed, on average."""
        return self.nodes[0] / self.core


def plan(levels: HexLevels, root_resolution: int, config: HexUNetConfig, halo: Halo = "exact", sample: int = 8) -> Plan:
    """What cutting an area into cones costs, from `sample` of them; see `ConeCutter` for the arguments."""
    cutter = ConeCutter(levels, root_resolution, config, halo)
    numbers = np.unique(np.linspace(0, len(cutter) - 1, max(1, sample)).round().astype(int))
    cones = [cutter.cone(int(number)) for number in numbers]
    core = np.array([cone.core[0].stop - cone.core[0].start for cone in cones])
    known = sum(int(covered(levels, config, cone).sum()) for cone in cones)
    nodes = np.array([[len(rows) for rows in cone.rows] for cone in cones]).mean(axis=0)
    return Plan(
        cones=len(cutter),
        looked_at=len(cones),
        core=float(core.mean()),
        nodes=tuple(float(mean) for mean in nodes),
        most=max(cone.nodes for cone in cones),
        share=known / float(core.sum()),
    )


def _rows(x: Tensor | NDArray[np.generic], rows: NDArray[np.int64]) -> Tensor:
    if isinstance(x, Tensor):
        return x[torch.from_numpy(rows).to(x.device)]
    return torch.from_numpy(np.ascontiguousarray(x[rows]))


def _write(array: Vectors, state: Tensor, core: slice) -> None:
    found = state.float().cpu().numpy()
    if array.shape[1:] != found.shape[1:]:
        raise DataError(f"vectors of {found.shape[1]} dims do not go into an array of the shape {array.shape}")
    array[core] = found


def _flush(arrays: Sequence[Vectors]) -> None:
    """To the disk, before the cone counts as done."""
    for array in arrays:
        if isinstance(array, np.memmap):
            array.flush()
