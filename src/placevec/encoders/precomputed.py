"""Vectors that are there already, as an encoder; by wish through a learned linear map into another Space."""

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


class PrecomputedEncoder(Carded):
    """Reads `vector` (n, inputs) and gives it on: as it is, or multiplied by `weight`.

    Args:
        card: what it is.
        weight: (dims, inputs) float32, or None for the identity.
    """

    def __init__(self, card: ModelCard, weight: NDArray[np.float32] | None = None) -> None:
        super().__init__(card)
        self.weight = weight

    @classmethod
    def of(cls, space: Space, tower: str = "") -> PrecomputedEncoder:
        """Vectors of `space`, given on as they are."""
        return cls(ModelCard(kind="precomputed", space=space, tower=tower, inputs=("vector",)))

    @classmethod
    def from_card(
        cls, card: ModelCard, state: Mapping[str, Tensor], folder: Path, device: str = "cpu"
    ) -> PrecomputedEncoder:
        """Build the encoder of a model folder; see `encoders.model.load_encoder`."""
        if set(state) - {"weight"}:
            raise CheckpointError(
                f"{folder}: a precomputed encoder has no weight {sorted(set(state) - {'weight'})[0]!r}"
            )
        weight = state["weight"].float().numpy() if "weight" in state else None
        if weight is not None and (weight.ndim != 2 or len(weight) != card.space.dims):
            raise CheckpointError(f"{folder}: weight is {weight.shape}, its Space has {card.space.dims} dims")
        return cls(card, weight)

    def save(self, folder: str | Path) -> PrecomputedEncoder:
        """Write the model folder; the answer is the encoder with the card as written."""
        from placevec.encoders.model import save_model

        state: dict[str, Tensor] = {}
        if self.weight is not None:
            import torch

            state = {"weight": torch.from_numpy(self.weight)}
        return PrecomputedEncoder(save_model(folder, state, self.card), self.weight)

    def encode(self, data: Mapping[str, NDArray[Any]]) -> Vectors:
        """The vectors (n, dims) of `vector` (n, inputs).

        Raises:
            DataError: another number of columns than the encoder reads.
        """
        vectors = np.asarray(self.take(data, "vector"), dtype=np.float32)
        expected = self.dims if self.weight is None else self.weight.shape[1]
        if vectors.ndim != 2 or vectors.shape[1] != expected:
            raise DataError(f"vectors of shape {vectors.shape}: the encoder reads (n, {expected})")
        if self.weight is not None:
            vectors = vectors @ self.weight.T
        return unit_rows(vectors) if self.card.normalized else vectors
