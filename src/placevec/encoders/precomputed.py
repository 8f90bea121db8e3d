"""Vectors that are there already, as an encoder; by wish through a learned map into another Space."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from placevec.encoders.base import Carded, ModelCard, Vectors, unit_rows
from placevec.errors import CheckpointError, DataError
from placevec.provenance import Space

if TYPE_CHECKING:
    from torch import Tensor


Floats = NDArray[np.float32]
HIDDEN = ("hidden.weight", "hidden.bias", "bias")


class PrecomputedEncoder(Carded):
    """Reads `vector` (n, inputs) and gives it on: as it is, multiplied by `weight`, or through a hidden layer too.

    Args:
        card: what it is.
        weight: (dims, inputs) float32, or None for the identity.
        hidden: (V, c, b) of a two-layer map, weight · relu(V x + c) + b, with V (width, inputs), c (width,), b (dims,)
            and weight (dims, width); None for none.
    """

    def __init__(
        self, card: ModelCard, weight: Floats | None = None, hidden: tuple[Floats, Floats, Floats] | None = None
    ) -> None:
        super().__init__(card)
        self.weight = weight
        self.hidden = hidden

    @classmethod
    def of(cls, space: Space, tower: str = "") -> PrecomputedEncoder:
        """Vectors of `space`, given on as they are."""
        return cls(ModelCard(kind="precomputed", space=space, tower=tower, inputs=("vector",)))

    @classmethod
    def from_card(
        cls, card: ModelCard, state: Mapping[str, Tensor], folder: Path, device: str = "cpu"
    ) -> PrecomputedEncoder:
        """Build the encoder of a model folder; see `encoders.model.load_encoder`."""
        odd = sorted(set(state) - {"weight", *HIDDEN})
        if odd:
            raise CheckpointError(f"{folder}: a precomputed encoder has no weight {odd[0]!r}")
        found = {name: value.float().numpy() for name, value in state.items()}
        weight = found.get("weight")
        if weight is not None and (weight.ndim != 2 or len(weight) != card.space.dims):
            raise CheckpointError(f"{folder}: weight is {weight.shape}, its Space has {card.space.dims} dims")
        if not set(found) & set(HIDDEN):
            return cls(card, weight)
        lacking = [name for name in ("weight", *HIDDEN) if name not in found]
        if lacking:
            raise CheckpointError(f"{folder}: a precomputed encoder with a hidden layer lacks {lacking[0]!r}")
        first, shift, bias = (found[name] for name in HIDDEN)
        assert weight is not None
        if first.ndim != 2 or shift.shape != (len(first),) or weight.shape[1:] != shift.shape:
            raise CheckpointError(f"{folder}: a hidden layer of {first.shape} does not fit a weight of {weight.shape}")
        if bias.shape != (card.space.dims,):
            raise CheckpointError(f"{folder}: bias is {bias.shape}, its Space has {card.space.dims} dims")
        return cls(card, weight, (first, shift, bias))

    def save(self, folder: str | Path) -> PrecomputedEncoder:
        """Write the model folder; the answer is the encoder with the card as written."""
        from placevec.encoders.model import save_model

        state: dict[str, Tensor] = {}
        if self.weight is not None:
            import torch

            state = {"weight": torch.from_numpy(self.weight)}
            if self.hidden is not None:
                state |= {name: torch.from_numpy(value) for name, value in zip(HIDDEN, self.hidden, strict=True)}
        return PrecomputedEncoder(save_model(folder, state, self.card), self.weight, self.hidden)

    def encode(self, data: Mapping[str, NDArray[Any]]) -> Vectors:
        """The vectors (n, dims) of `vector` (n, inputs).

        Raises:
            DataError: another number of columns than the encoder reads.
        """
        vectors = np.asarray(self.take(data, "vector"), dtype=np.float32)
        first = self.weight if self.hidden is None else self.hidden[0]
        expected = self.dims if first is None else first.shape[1]
        if vectors.ndim != 2 or vectors.shape[1] != expected:
            raise DataError(f"vectors of shape {vectors.shape}: the encoder reads (n, {expected})")
        if self.weight is not None:
            if self.hidden is not None:
                vectors = np.maximum(vectors @ self.hidden[0].T + self.hidden[1], np.float32(0.0))
            vectors = vectors @ self.weight.T
            if self.hidden is not None:
                vectors = vectors + self.hidden[2]
        return unit_rows(vectors) if self.card.normalized else vectors
