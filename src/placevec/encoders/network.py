"""What encoders that are one torch network have in common: building, saving, and batches of one size."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from placevec.encoders.base import Carded, ModelCard, Vectors
from placevec.encoders.model import load_strictly, save_model

N = TypeVar("N", bound=nn.Module)


class NetworkEncoder(Carded):
    """An encoder whose weights are those of one network, built from the configuration in its card.

    Args:
        config: the shape of the network.
        net: the network of that shape.
        card: what it is.
        device: of torch.
    """

    config_type: ClassVar[type[Any]]
    net_type: ClassVar[type[Any]]

    def __init__(self, config: Any, net: Any, card: ModelCard, device: str = "cpu") -> None:
        super().__init__(card)
        self.config = config
        self.net = net.to(device).eval()
        self.device = torch.device(device)

    @classmethod
    def from_card(cls, card: ModelCard, state: Mapping[str, Tensor], folder: Path, device: str = "cpu") -> Self:
        """Build the encoder of a model folder; see `encoders.model.load_encoder`."""
        config = cls.config_type.from_json(card.config)
        net = cls.net_type(config)
        load_strictly(net, state, folder)
        return cls(config, net, card, device)

    def save(self, folder: str | Path) -> Self:
        """Write the model folder; the answer is the encoder with the card as written."""
        card = save_model(folder, self.net.state_dict(), self.card)
        return type(self)(self.config, self.net, card, str(self.device))


def seeded(build: Callable[[], N], seed: int) -> N:
    """A network whose initial weights depend on `seed` alone; torch's random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def in_fixed_batches(net: nn.Module, rows: Tensor, size: int, device: torch.device, dims: int) -> Vectors:
    """The answers (n, dims) of `net` to `rows`; see `fixed_batches`."""
    out = np.empty((len(rows), dims), dtype=np.float32)
    done = 0
    for found in fixed_batches(net, rows, size, device):
        out[done : done + len(found)] = found
        done += len(found)
    return out


def fixed_batches(
    net: Callable[[Tensor], Tensor], rows: Tensor, size: int, device: torch.device
) -> Iterator[NDArray[np.float32]]:
    """Run `net` on `rows` in batches of exactly `size`, the last one filled up by repeating its first row.

    Matrix kernels round differently for other shapes; with one shape, a row has one answer.
    """
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        count = len(part)
        if count < size:
            part = torch.cat([part, part[:1].expand(size - count, *part.shape[1:])])
        with torch.inference_mode():
            found: NDArray[np.float32] = net(part.to(device))[:count].float().cpu().numpy()
        yield found
