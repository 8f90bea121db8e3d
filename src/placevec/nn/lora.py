"""Low-rank adapters (Hu et al. 2021, "LoRA"): a pretrained network learns by small matrices beside frozen ones."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from placevec.errors import CheckpointError, UsageError

CLIP_LAYERS = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")
"""The linear layers of a block of CLIP and SigLIP, as transformers calls them."""


class LowRankLinear(nn.Linear):
    """W x + b + (alpha / rank) · up (down x), of which only `up` and `down` learn (section 4.1 of the paper).

    `down` starts from a normal distribution and `up` at 0, so that the layer is at first the one it replaces.

    Args:
        linear: the layer; its weight and bias are taken over as they are, not copied, and frozen.
        rank: rows of `down`.
        alpha: the scale of what is added is alpha / rank.
    """

    def __init__(self, linear: nn.Linear, rank: int, alpha: float) -> None:
        # On "meta" nothing is allocated for the weights, which are replaced at once.
        super().__init__(linear.in_features, linear.out_features, linear.bias is not None, device="meta")
        self.weight = linear.weight.requires_grad_(False)
        self.bias = linear.bias
        if self.bias is not None:
            self.bias.requires_grad_(False)
        self.scale = alpha / rank
        self.down = nn.Parameter(torch.randn(rank, linear.in_features) / linear.in_features**0.5)
        self.up = nn.Parameter(torch.zeros(linear.out_features, rank))
        # Drawn on the CPU, so that a seed gives the same adapters on every device.
        self.to(linear.weight.device)
        self.train(linear.training)

    def forward(self, x: Tensor) -> Tensor:
        """(..., inputs) to (..., outputs)."""
        added = F.linear(F.linear(x.to(self.down.dtype), self.down), self.up)
        return super().forward(x) + (self.scale * added).to(x.dtype)

    def folded(self) -> nn.Linear:
        """A plain layer with the weight W + (alpha / rank) · up · down, summed in float64 and rounded once."""
        plain = nn.Linear(self.in_features, self.out_features, self.bias is not None, device="meta")
        added = self.scale * (self.up.detach().double() @ self.down.detach().double())
        folded = (self.weight.detach().double() + added).to(self.weight.dtype)
        plain.weight = nn.Parameter(folded, requires_grad=False)
        plain.bias = self.bias
        return plain.train(self.training)


def attach(module: nn.Module, rank: int, alpha: float, names: Sequence[str] = CLIP_LAYERS) -> list[str]:
    """Freeze `module`, and give the linear layers that `names` picks a low-rank adapter each.

    Args:
        module: is changed in place: afterwards the adapters are all of it that learns.
        rank: of the adapters.
        alpha: their scale is alpha / rank.
        names: patterns as of a shell (``*``, ``?``), of a layer's own name ("q_proj") or its whole one
            ("*.layers.11.*").

    Returns:
        the names of the layers, in the order of the module.

    Raises:
        UsageError: a number out of range, a pattern that picks no linear layer, or adapters that are there already.
    """
    if rank < 1 or not alpha > 0:
        raise UsageError(f"rank = {rank}, alpha = {alpha}: give at least 1, and more than 0")
    if adapters(module):
        raise UsageError("the network has adapters already: merge them before others are attached")
    linear = _linear(module)
    for pattern in names:
        if not any(_fits(name, pattern) for name in linear):
            known = ", ".join(sorted({name.rpartition(".")[2] for name in linear})) or "none"
            raise UsageError(f"no linear layer is called {pattern!r}; the network has: {known}")
    picked = [name for name in linear if any(_fits(name, pattern) for pattern in names)]
    if not picked:
        raise UsageError("no names are given: name the linear layers that get adapters")
    module.requires_grad_(False)
    for name in picked:
        _put(module, name, LowRankLinear(linear[name], rank, alpha))
    return picked


def merge(module: nn.Module) -> nn.Module:
    """Fold all adapters of `module` into the frozen weights they stand beside; it has its first structure again."""
    for name, part in _adapted(module).items():
        _put(module, name, part.folded())
    return module


def adapters(module: nn.Module) -> dict[str, Tensor]:
    """The weights of the adapters alone, by their names in the state dict: what there is to keep of a fine-tuning."""
    return {
        f"{name}.{weight}": getattr(part, weight).detach()
        for name, part in _adapted(module).items()
        for weight in ("down", "up")
    }


def load_adapters(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Put what `adapters` gave into the adapters of `module`.

    Raises:
        CheckpointError: a name or a shape does not fit; the message names it.
    """
    own = adapters(module)
    odd = sorted(set(own) ^ set(state))
    if odd:
        raise CheckpointError(f"the adapter {odd[0]!r} is on one side only: attach them to the same layers")
    for name, value in state.items():
        if own[name].shape != value.shape:
            raise CheckpointError(
                f"the adapter {name!r} is {tuple(value.shape)}, here {tuple(own[name].shape)}: attach with its rank"
            )
        own[name].copy_(value)


def _adapted(module: nn.Module) -> dict[str, LowRankLinear]:
    return {name: part for name, part in module.named_modules() if isinstance(part, LowRankLinear)}


def _linear(module: nn.Module) -> dict[str, nn.Linear]:
    """The linear layers within `module`, but those of torch's own attention, which reads weights past `forward`."""
    past = [name for name, part in module.named_modules() if isinstance(part, nn.MultiheadAttention)]
    return {
        name: part
        for name, part in module.named_modules()
        if name and isinstance(part, nn.Linear) and name.rpartition(".")[0] not in past
    }


def _fits(name: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(name.rpartition(".")[2], pattern)


def _put(module: nn.Module, name: str, part: nn.Module) -> None:
    above, _, own = name.rpartition(".")
    setattr(module.get_submodule(above), own, part)
