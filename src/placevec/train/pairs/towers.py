"""The two towers as training sees them: modules of images and of tokens, with the parts that may be trained alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor, nn

from placevec.encoders.image import ImageNet
from placevec.encoders.text import TextTower
from placevec.provenance import Space

if TYPE_CHECKING:
    from placevec.encoders.pair import PairModel


class Tower(nn.Module):
    """A tower: `blocks` one after the other, and what stands `after` them."""

    layers: tuple[str, ...] = ("qkv", "out", "mlp.*")  # linear layers of a block that get low-rank adapters

    def blocks(self) -> list[nn.Module]:
        """The blocks in their order; none where it has no such parts."""
        return []

    def after(self) -> list[nn.Module]:
        """Norms, poolings and projections between the last block and the vector."""
        return []


class ImageTower(Tower):
    """Images to vectors, in two steps between which they are augmented."""

    def normalise(self, chips: Tensor) -> Tensor:
        """Images (n, bands, h, w) uint8 or float to float32, as the network wants them."""
        raise NotImplementedError(f"{type(self).__name__} normalises nothing")

    def project(self, normalised: Tensor) -> Tensor:
        """Normalised images to vectors (n, dims) of any length."""
        raise NotImplementedError(f"{type(self).__name__} makes no vectors")

    @property
    def learns_first(self) -> bool:
        """Whether training changes the head only; then `fixed` and `read` are the two steps."""
        return False

    def fixed(self, chips: Tensor) -> Tensor:
        """What the head reads of images (n, bands, h, w), in several views: (n, views, c)."""
        raise NotImplementedError(f"{type(self).__name__} has nothing that stays as it is")

    def read(self, fixed: Tensor) -> Tensor:
        """`fixed` (..., c) to vectors (..., dims) of any length."""
        raise NotImplementedError(f"{type(self).__name__} has nothing that stays as it is")

    @property
    def shape(self) -> str:
        """What the weights do not say about how an image is read, for a hash."""
        return ""


class OwnImage(ImageTower):
    """The image network of `encoders.image`."""

    def __init__(self, net: ImageNet) -> None:
        super().__init__()
        self.net = net

    def normalise(self, chips: Tensor) -> Tensor:
        """See `ImageTower`."""
        return self.net.net.normalise(chips)

    def project(self, normalised: Tensor) -> Tensor:
        """See `ImageTower`."""
        return (self.net.net.project(normalised) - self.net.centre) / self.net.scale

    @property
    def learns_first(self) -> bool:
        """See `ImageTower`."""
        return self.net.net.learns_first

    def fixed(self, chips: Tensor) -> Tensor:
        """See `ImageTower`."""
        return self.net.net.fixed(self.normalise(chips))

    @property
    def shape(self) -> str:
        """See `ImageTower`."""
        return repr(self.net.net.config)

    def read(self, fixed: Tensor) -> Tensor:
        """See `ImageTower`."""
        return (self.net.net.read(fixed) - self.net.centre) / self.net.scale

    def blocks(self) -> list[nn.Module]:
        """See `Tower`."""
        return parts_of(self.net.net, "blocks")

    def after(self) -> list[nn.Module]:
        """See `Tower`."""
        return [part for name in ("norm", "head", "mlp") for part in parts_of(self.net.net, name)]


class OwnText(Tower):
    """The text network of `encoders.text`."""

    def __init__(self, net: TextTower) -> None:
        super().__init__()
        self.net = net

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (n, width) to vectors (n, dims) of any length."""
        vectors: Tensor = self.net.net(tokens)
        return vectors

    def blocks(self) -> list[nn.Module]:
        """See `Tower`."""
        return parts_of(self.net.net, "blocks")

    def after(self) -> list[nn.Module]:
        """See `Tower`."""
        return [part for name in ("norm", "head", "mlp") for part in parts_of(self.net.net, name)]


class Finish(Protocol):
    """Makes the pair of towers, once they are trained."""

    def __call__(self, space: Space, logit_scale: float, card: Mapping[str, Any]) -> PairModel:
        """The pair in `space`; `card` are fields of its ModelCard, and of those of its towers."""


@dataclass(frozen=True, eq=False)
class Towers:
    """What is trained.

    Attributes:
        image: images to vectors.
        text: tokens to vectors.
        tokens: texts to what `text` reads, by the first axis.
        dims: components of a vector.
        temperature: of the loss at the start.
        finish: makes the pair, after training.
        rates: factors of the learning rate, by "image" and "text".
        identity: JSON that tells the towers at the start from others, as far as the settings do not.
    """

    image: ImageTower
    text: Tower
    tokens: Callable[[Sequence[str]], Tensor]
    dims: int
    temperature: float
    finish: Finish
    rates: Mapping[str, float] = field(default_factory=dict)
    identity: Mapping[str, Any] = field(default_factory=dict)


def parts_of(module: nn.Module, name: str) -> list[nn.Module]:
    """The part of a module called `name`; those of a list one by one; nothing where there is none."""
    found = getattr(module, name, None)
    if isinstance(found, nn.ModuleList):
        return list(found)
    return [found] if isinstance(found, nn.Module) else []


def is_locked(module: nn.Module) -> bool:
    """Whether nothing of a module is trained."""
    return not any(parameter.requires_grad for parameter in module.parameters())
