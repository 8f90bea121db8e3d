"""What all backbones have in common: parts that can be thawed one by one, and a description to build them again from.

A backbone is the module that a locator looks with: square images of bytes in, one vector each out. It owns all that
happens to the image (size, normalisation), so that one image feeds several of them.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, Self

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from placevec.errors import UsageError
from placevec.nn.vision.prepare import check_images

Parts = tuple[tuple[str, ...], ...]


class Backbone(nn.Module, ABC):
    """Images to vectors; see the module. Everything learns until `thaw` says otherwise."""

    kind: str
    """What builds it again, see `restore_backbone`: "net", "hf" or "resnet50"."""
    width: int
    """Length of its vectors."""
    pixels: int
    """Side in pixels to which it resizes images, so the side at which they are best given; 0: it takes any as it is."""
    bands: int = 3
    """Channels of an image."""
    floats: bool = False
    """Whether images may be floats, in their own units, too."""

    def __init__(self) -> None:
        super().__init__()
        self._frozen: tuple[str, ...] = ()

    def forward(self, image: Tensor) -> Tensor:
        """Square images (n, bands, S, S) uint8 of any S to vectors (n, width) float32.

        Raises:
            DataError: images of another type, another number of bands, or no squares.
        """
        check_images(image, self.bands, floats=self.floats)
        if not len(image):
            return torch.zeros((0, self.width), device=image.device)
        return self.look(image).float()

    @abstractmethod
    def look(self, image: Tensor) -> Tensor:
        """What `forward` does once it is sure that there are images and that they fit."""

    @abstractmethod
    def parts(self) -> Parts:
        """The parts from input to output, each as the prefixes of its parameters' names; every parameter is in one."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """What it is, as JSON: with `assets`, enough to build the module without the folder it came from."""

    def assets(self) -> dict[str, bytes]:
        """Files that belong to the description, by plain names."""
        return {}

    def learn_statistics(self, chips: NDArray[Any], seed: int = 0) -> None:
        """Take from chips (n, bands, S, S) of training what is known without labels; most know it already.

        Args:
            chips: of the training part alone.
            seed: of what is drawn.
        """

    def thaw(self, last: int) -> None:
        """Let the last parts learn and freeze all others.

        Frozen parts stay as in `eval` whatever `train` says: their batch norms neither use nor gather the statistics
        of a batch, and they drop nothing, so that their answers can be computed once and kept.

        Args:
            last: how many of `parts` learn; 0 freezes everything.

        Raises:
            UsageError: fewer than 0, or more than there are.
        """
        parts = self.parts()
        if not 0 <= last <= len(parts):
            raise UsageError(f"thaw = {last}: the backbone {self.kind} has {len(parts)} parts; give 0 to {len(parts)}")
        self._frozen = tuple(prefix for part in parts[: len(parts) - last] for prefix in part)
        for name, value in self.named_parameters():
            value.requires_grad_(not below(name, self._frozen))
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """As `nn.Module.train`, but for what `thaw` has frozen."""
        super().train(mode)
        for name, module in self.named_modules():
            if below(name, self._frozen):
                module.training = False
        return self

    def part_of(self, name: str) -> int:
        """The number of the part, counted from the input, that the parameter called `name` belongs to.

        Raises:
            UsageError: there is no such parameter.
        """
        for number, prefixes in enumerate(self.parts()):
            if below(name, prefixes):
                return number
        raise UsageError(f"the backbone {self.kind} has no parameter {name!r}")

    def cache_key(self) -> str:
        """A hash of what it is and of its weights: vectors kept under it are those that it would answer now."""
        told = hashlib.sha256(json.dumps(self.describe(), sort_keys=True).encode())
        for name, content in sorted(self.assets().items()):
            told.update(f"{name} {len(content)}\n".encode())
            told.update(content)
        for name, value in sorted(self.state_dict().items()):
            told.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
            told.update(value.detach().to("cpu").contiguous().reshape(-1).view(torch.uint8).numpy().data)
        return told.hexdigest()


def below(name: str, prefixes: Iterable[str]) -> bool:
    """Whether a module or parameter is one of `prefixes`, or within one."""
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


def parts_by_blocks(module: nn.Module, prefix: str) -> Parts:
    """The parts of a network that keeps its blocks in a list: what comes before them, each block, what follows.

    Names tell the order: a network registers what it reads with first, and its head last.

    Args:
        module: the network.
        prefix: its name in the backbone.
    """
    sizes = {name: _numbers(found) for name, found in module.named_modules() if isinstance(found, nn.ModuleList)}
    outer = {name: size for name, size in sizes.items() if size and not below_another(name, sizes)}
    names = [name for name, _ in module.named_parameters()]
    if not outer:
        return (_collapsed(names, (), prefix),)
    blocks = max(outer, key=lambda name: outer[name])
    own = [number for number, name in enumerate(names) if below(name, (blocks,))]
    before, after = names[: own[0]], names[own[-1] + 1 :]
    found = [_collapsed(before, (blocks,), prefix)]
    listed = module.get_submodule(blocks)
    found += [(f"{prefix}.{blocks}.{name}",) for name, child in listed.named_children() if _numbers(child)]
    found.append(_collapsed(after, (blocks,), prefix))
    return tuple(part for part in found if part)


def below_another(name: str, names: Mapping[str, Any]) -> bool:
    """Whether `name` lies within another one of `names`."""
    return any(name.startswith(f"{other}.") for other in names)


def _collapsed(names: Iterable[str], without: tuple[str, ...], prefix: str) -> tuple[str, ...]:
    """The first components of parameters' names where those cover nothing of `without`, else the names themselves."""
    found = []
    for name in names:
        first = name.split(".")[0]
        found.append(f"{prefix}.{name if any(below(other, (first,)) for other in without) else first}")
    return tuple(dict.fromkeys(found))


def _numbers(module: nn.Module) -> int:
    return sum(value.numel() for value in module.parameters())
