"""The text encoder: captions to vectors, by a small tower of our own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from placevec.encoders.base import ModelCard, Vectors
from placevec.encoders.model import load_strictly, save_model
from placevec.encoders.network import NetworkEncoder, in_fixed_batches, seeded
from placevec.errors import CheckpointError, DataError, UsageError
from placevec.nn import configs
from placevec.nn.text import DEFAULT_KIND, PADDING, TEXT_NETS, TextConfig, TextNetConfig, Vocabulary, split
from placevec.provenance import Space

# Texts at a time, always; see `in_fixed_batches`. On a processor more of them are no faster, and a query, which is one
# text, waits for a whole batch; an accelerator is as fast with many as with few.
BATCH = 16
BATCH_ON_DEVICE = 256
WIDTH = 16  # texts are read at the next multiple of so many tokens: most are far shorter than the longest that fits
CHUNK = 4096  # texts whose tokens are made at a time: those of a million would take 2 GiB
VOCABULARY = "vocabulary.json"  # the asset of the model folder that holds the words of the training


@dataclass(frozen=True)
class TextEncoderConfig:
    """The shape of a text encoder."""

    net: TextNetConfig = field(  # how texts are read, and the network
        default_factory=TextConfig, metadata=configs.one_of(TEXT_NETS, default=DEFAULT_KIND)
    )
    dims: int = 64  # components of the vector
    normalize: bool = True  # vectors of length 1

    def __post_init__(self) -> None:
        if self.dims < 1:
            raise UsageError(f"dims = {self.dims}: give at least 1")

    def to_json(self) -> dict[str, Any]:
        """A JSON object; see `from_json`."""
        return configs.to_json(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> TextEncoderConfig:
        """Read what `to_json` wrote; UsageError for an unknown setting."""
        return configs.from_json(cls, value)


class TextTower(nn.Module):
    """Tokens (n, width) int64, see `placevec.nn.text.tokens`, to (n, dims) float32.

    Args:
        config: its shape.
        net: a network of that shape; built where it is not given.
        vocabulary: for the kinds of network that need it.
    """

    def __init__(
        self, config: TextEncoderConfig, net: nn.Module | None = None, vocabulary: Vocabulary | None = None
    ) -> None:
        super().__init__()
        self.normalize = config.normalize
        self.net = config.net.build(config.dims, vocabulary) if net is None else net

    def forward(self, found: Tensor) -> Tensor:
        """The vectors of tokenised texts."""
        vectors: Tensor = self.net(found)
        return F.normalize(vectors, dim=1) if self.normalize else vectors


class TextEncoder(NetworkEncoder):
    """Texts to vectors.

    Args:
        config: the shape of the network.
        net: the network of that shape.
        card: what it is.
        device: of torch.
        vocabulary: the words of the training; None where it kept none.

    Attributes:
        truncated: how many texts the last `encode` cut because they have more words than the network reads.
    """

    config_type = TextEncoderConfig
    net_type = TextTower

    def __init__(
        self,
        config: TextEncoderConfig,
        net: TextTower,
        card: ModelCard,
        device: str = "cpu",
        vocabulary: Vocabulary | None = None,
    ) -> None:
        super().__init__(config, net, card, device)
        self.vocabulary = vocabulary
        self.truncated = 0

    @classmethod
    def from_card(cls, card: ModelCard, state: Mapping[str, Tensor], folder: Path, device: str = "cpu") -> Self:
        """Build the encoder of a model folder; see `encoders.model.load_encoder`."""
        config = TextEncoderConfig.from_json(card.config)
        vocabulary = None
        if VOCABULARY in card.assets:
            path = Path(folder) / VOCABULARY
            vocabulary = Vocabulary.from_bytes(path.read_bytes(), str(path))
        try:
            net = TextTower(config, vocabulary=vocabulary)
        except UsageError as error:
            raise CheckpointError(f"{folder}: its text network cannot be built: {error}") from error
        load_strictly(net, state, folder)
        return cls(config, net, card, device, vocabulary)

    @classmethod
    def untrained(cls, config: TextEncoderConfig, seed: int = 0, vocabulary: Vocabulary | None = None) -> TextEncoder:
        """The encoder with the weights it starts from: the baseline that shows what training adds.

        Args:
            config: its shape.
            seed: of the weights.
            vocabulary: what `config.net.learn` made of captions, for the kinds of network that need it.
        """
        net = seeded(lambda: TextTower(config, vocabulary=vocabulary), seed)
        space = Space.mint(config.dims, note="an untrained text encoder")
        card = text_card(config, space, name="untrained text encoder", seed=seed)
        return cls(config, net, card, vocabulary=vocabulary)

    @classmethod
    def trained(
        cls,
        net: nn.Module,
        config: TextEncoderConfig,
        space: Space,
        *,
        vocabulary: Vocabulary | None = None,
        **card: Any,
    ) -> TextEncoder:
        """The encoder around a network that ``config.net.build(config.dims, vocabulary)`` gave and training changed.

        Args:
            net: the network, with its weights.
            config: its shape.
            space: that its vectors are in.
            vocabulary: of the training captions; kinds that do not need it tell known words by it.
            card: further fields of the ModelCard.
        """
        return cls(config, TextTower(config, net), text_card(config, space, **card), vocabulary=vocabulary)

    def save(self, folder: str | Path) -> Self:
        """Write the model folder, the vocabulary with it; the answer is the encoder with the card as written."""
        assets = {} if self.vocabulary is None else {VOCABULARY: self.vocabulary.to_bytes()}
        card = save_model(folder, self.net.state_dict(), self.card, assets)
        return type(self)(self.config, self.net, card, str(self.device), self.vocabulary)

    def encode(self, data: Mapping[str, NDArray[Any]]) -> Vectors:
        """The vectors (n, dims) of `text` (n,), an array of str; `truncated` then says how many of them were cut.

        Raises:
            DataError: another shape, something that is not a text, or, where the network has no vector for it, a text
                without words; the message names the row.
        """
        texts = self.take(data, "text")
        if texts.ndim != 1:
            raise DataError(f"texts of shape {texts.shape}: the encoder reads (n,), one text a place")
        out = np.empty((len(texts), self.dims), dtype=np.float32)
        shape: TextNetConfig = self.config.net
        truncated = 0
        for start in range(0, len(texts), CHUNK):
            part = texts[start : start + CHUNK].tolist()
            found = split(part, start)
            if not shape.reads_empty and [] in found:
                row = found.index([])
                raise DataError(
                    f"row {start + row} is {part[row]!r}, a text without words: leave it out or describe it"
                )
            truncated += sum(len(text) > shape.longest_text for text in found)
            out[start : start + len(part)] = self._vectors(shape.rows(found, self.vocabulary))
        self.truncated = truncated
        return out

    def _vectors(self, tokens: Tensor) -> Vectors:
        """The vectors (n, dims) of tokens (n, width); those of one width go through the network together.

        The width of a row depends on its own tokens alone, so that its vector does, too.
        """
        size = BATCH if self.device.type == "cpu" else BATCH_ON_DEVICE
        used = (tokens != PADDING).sum(dim=1).clamp_min(1)
        widths = ((used + WIDTH - 1) // WIDTH * WIDTH).clamp_max(tokens.shape[1])
        out = np.empty((len(tokens), self.dims), dtype=np.float32)
        for width in sorted(set(widths.tolist())):
            rows = (widths == width).nonzero().flatten()
            out[rows.numpy()] = in_fixed_batches(self.net, tokens[rows, :width], size, self.device, self.dims)
        return out

    def known_words(self, text: str) -> float:
        """The share of the words of `text` that training saw, 0 for a text without words.

        A network of hashed features has a vector for any word; where its training kept no vocabulary, all count as
        known.
        """
        if self.vocabulary is not None:
            return self.vocabulary.known(text)
        return float(bool(split([text])[0]))


def text_card(config: TextEncoderConfig, space: Space, **more: Any) -> ModelCard:
    """The card of a text encoder of this shape."""
    card = ModelCard(
        kind="text",
        space=space,
        tower="text",
        config=config.to_json(),
        inputs=("text",),
        normalized=config.normalize,
    )
    return replace(card, **more)
