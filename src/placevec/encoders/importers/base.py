"""What importers have in common: reading a file of torch without running it, and taking weights out by name and shape.

A checkpoint of torch is a pickle. It is read with `weights_only=True`, which builds tensors, numbers, texts and plain
containers and nothing else: a file that holds any other object is refused, whoever published it.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from placevec.encoders.location import LocationConfig, LocationEncoder, LocationNet, location_card
from placevec.errors import CheckpointError
from placevec.provenance import SourceRef, Space, sha256_file

Weight = tuple[Tensor, Tensor]  # of a linear layer: (outputs, inputs) and (outputs,), float64


@dataclass(frozen=True)
class ImportedModel:
    """What an importer has made.

    Attributes:
        encoder: of ours, with the checkpoint's weights; its card says where they come from.
        notes: what people should know, a line each.
    """

    encoder: LocationEncoder
    notes: list[str] = field(default_factory=list)


class Weights:
    """The tensors of a state dict, each taken once.

    Args:
        state: tensors by name.
        where: the file, for messages.
        what: the architecture that is looked for, for messages.
    """

    def __init__(self, state: Mapping[str, Tensor], where: Path, what: str) -> None:
        self._left = dict(state)
        self.where = where
        self.what = what

    def names(self) -> list[str]:
        """The names not taken yet."""
        return list(self._left)

    def take(self, name: str, *shape: int | None) -> Tensor:
        """The tensor called `name` in float64, of the shape given (None fits any number).

        Raises:
            CheckpointError: there is none, or it has another shape, another type, or values that are not finite.
        """
        if name not in self._left:
            raise CheckpointError(f"{self.where} lacks the weight {name!r}: it is no {self.what}")
        value = self._left.pop(name)
        fits = len(shape) == value.ndim and all(a in (None, b) for a, b in zip(shape, value.shape, strict=True))
        if not fits:
            wanted = ", ".join("n" if side is None else str(side) for side in shape)
            raise CheckpointError(
                f"{self.where}: the weight {name!r} has the shape {tuple(value.shape)}, a {self.what} has ({wanted})"
            )
        if not value.is_floating_point():
            raise CheckpointError(f"{self.where}: the weight {name!r} holds {value.dtype}, not floats")
        exact = value.detach().to("cpu", torch.float64)
        if not torch.isfinite(exact).all():
            raise CheckpointError(f"{self.where}: the weight {name!r} holds values that are not finite")
        return exact

    def linear(self, prefix: str, inputs: int | None, outputs: int | None) -> Weight:
        """The weight and bias of the linear layer `prefix`."""
        weight = self.take(f"{prefix}.weight", outputs, inputs)
        return weight, self.take(f"{prefix}.bias", len(weight))

    def finish(self) -> None:
        """CheckpointError, naming it, if a tensor was not taken."""
        if self._left:
            odd = sorted(self._left)[0]
            raise CheckpointError(
                f"{self.where} has the unknown weight {odd!r}: a {self.what} has none, so its vectors would be wrong"
            )


def read_torch(path: str | Path) -> Any:
    """The content of a file of torch (.ckpt, .pth, .pt) or of a .safetensors file, on the CPU.

    Raises:
        CheckpointError: there is no such file, it is cut short, or it holds more than tensors and plain values.
    """
    file = Path(path)
    if not file.is_file():
        raise CheckpointError(f"{file} is no file: give the checkpoint that the model's makers publish")
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(file)
        with warnings.catch_warnings():
            # Old files warn of how they were stored; nothing can be done about that here.
            warnings.simplefilter("ignore")
            return _loaded(file)
    except Exception as error:
        # Which exceptions a damaged file raises is nowhere promised: they differ by where it is damaged.
        raise CheckpointError(_why(file, str(error))) from None


def _loaded(file: Path) -> Any:
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except UnicodeDecodeError:
        # Python 2 wrote its texts as bytes of any encoding; those of names are ASCII.
        return torch.load(file, map_location="cpu", weights_only=True, encoding="latin1")


def _why(file: Path, text: str) -> str:
    with file.open("rb") as opened:
        head = opened.read(2)
    if file.suffix != ".safetensors" and not head.startswith((b"PK", b"\x80")):  # a zip of today, a pickle of old
        return f"{file} cannot be read: it is no file of torch (it begins with {head!r}); fetch it again"
    named = re.search(r"(?:GLOBAL|Unsupported (?:global|class|operand)):? ?([\w.]+\.[\w.]+)", text)
    if "weights_only" in text or "Unsupported" in text:
        what = f" ({named.group(1)})" if named else ""
        return (
            f"{file} holds a pickled object{what} beside tensors, which could run code: it is not read; ask its makers "
            "for the weights alone"
        )
    first = re.split(r"\. |\n", text)[0][:120] if text else "it has no data"
    return f"{file} cannot be read ({first}): it is cut short or no file of torch; fetch it again"


def tensors(value: Any, where: Path, what: str) -> dict[str, Tensor]:
    """`value` as a state dict; CheckpointError unless it is a mapping of names to tensors."""
    if not isinstance(value, Mapping) or not value:
        raise CheckpointError(f"{where} holds {_kind(value)}, not the weights of a {what}")
    for name, tensor in value.items():
        if not isinstance(tensor, Tensor):
            raise CheckpointError(f"{where}: {name!r} is {_kind(tensor)}, not a tensor: it is no {what}")
    return {str(name): tensor for name, tensor in value.items()}


def _kind(value: Any) -> str:
    return "nothing" if value in (None, {}, [], ()) else f"a {type(value).__name__}"


def location_encoder(
    config: LocationConfig,
    layers: Sequence[Weight],
    *,
    buffers: Mapping[str, Tensor] | None = None,
    where: Path,
    **card: Any,
) -> LocationEncoder:
    """A location encoder with given weights.

    Args:
        config: its shape.
        layers: the weights of the linear layers of its network, in the order in which the network holds them.
        buffers: further tensors by their name in the network (the random matrices of an encoding).
        where: the file they come from, for messages.
        card: further fields of the card, `space` among them.

    Raises:
        CheckpointError: weights of another shape than the network's.
    """
    net = LocationNet(config)
    own = [module for module in net.nn.modules() if isinstance(module, nn.Linear)]
    state = net.state_dict()
    if len(own) != len(layers):
        raise CheckpointError(f"{where}: {len(layers)} layers for a network of {len(own)}")
    with torch.no_grad():
        for module, (weight, bias) in zip(own, layers, strict=True):
            _fill(module.weight, weight, where)
            _fill(module.bias, bias, where)
        for name, value in (buffers or {}).items():
            _fill(state[name], value, where)
    return LocationEncoder(config, net, location_card(config, **card))


def _fill(goal: Tensor, value: Tensor, where: Path) -> None:
    if goal.shape != value.shape:
        raise CheckpointError(f"{where}: a weight of {tuple(value.shape)} for a layer of {tuple(goal.shape)}")
    goal.copy_(value)  # the one place where float64 becomes float32


def published(name: str, origin: SourceRef, dims: int) -> Space:
    """The Space of a published checkpoint: `name` and the hash of the file; equal wherever that file is imported."""
    return Space.published(f"{name}@{origin.sha256[:16]}", dims)


def source(path: Path, licence: str, attribution: str) -> SourceRef:
    """The file as a source, by its name and hash; where it lies on this machine is nobody's business."""
    return SourceRef(href=path.name, sha256=sha256_file(path), licence=licence, attribution=attribution)


def plain(value: Any) -> Any:
    """A value of a checkpoint as JSON for the card."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, Tensor):
        return plain(value.tolist())
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
