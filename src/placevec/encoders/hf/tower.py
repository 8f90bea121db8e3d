"""What the image and the text tower of a transformers model have in common: their card, their module, their folder."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from placevec.encoders.base import Carded, ModelCard, Vectors
from placevec.encoders.hf.loading import digest, quiet
from placevec.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor

Inputs = Mapping[str, "Tensor"]  # what a tower of transformers is called with, each tensor (n, ...)


class HfTower(Carded):
    """One tower of a model of transformers.

    Args:
        model: the whole model, of which the tower is a part; the two towers of a pair share it.
        card: what the tower is; `config` holds the model's name, its revision and the sha256 of its weights.
        device: of torch.
    """

    def __init__(self, model: Any, card: ModelCard, device: str = "cpu") -> None:
        super().__init__(card)
        self.model = model.to(device).eval()
        self.device = device

    def features(self, inputs: Inputs) -> Tensor:
        """The vectors (n, dims) of prepared inputs, with their gradients; training calls it, `encode` too."""
        raise NotImplementedError

    def save_weights(self, folder: Path) -> str:
        """Write the whole model into `folder` as transformers reads it; the answer is the sha256 of its weights."""
        with quiet():
            self.model.save_pretrained(folder)
        return digest(folder)

    def save_files(self, folder: Path) -> None:
        """Write what prepares the tower's inputs (image processor, tokenizer) beside the weights in `folder`."""
        raise NotImplementedError

    def with_card(self, card: ModelCard) -> Self:
        """The same tower, on the same module, with another card (after a training: that of another Space)."""
        other = copy.copy(self)
        Carded.__init__(other, card)
        return other

    def save(self, folder: str | Path) -> Self:
        """Write a model folder that names the model; the weights stay where they are."""
        from placevec.encoders.model import save_model

        card = save_model(folder, {}, self.card)
        return self.with_card(replace(card, weights_sha256=self.card.weights_sha256))


def model_of(card: ModelCard, folder: Path) -> tuple[str, str | None]:
    """The name and the revision of the model that the card in `folder` names.

    A name that begins with ``..`` is looked for from the folder on, so that a model and the cards that name it can be
    moved together.

    Raises:
        CheckpointError: the card does not name a model, or the one beside it is missing.
    """
    name, revision = card.config.get("model"), card.config.get("revision")
    if not isinstance(name, str) or not (revision is None or isinstance(revision, str)):
        raise CheckpointError(f"{folder}: the card does not describe a transformers model (model = {name!r})")
    if not name.startswith(".."):
        return name, revision
    beside = folder / name
    if beside.is_dir():
        return str(beside), revision
    if not Path(name).is_dir():
        raise CheckpointError(f"{beside} is missing: the tower is part of a pair, copy the whole folder of that")
    return name, revision


def check_weights(card: ModelCard, sha256: str, folder: Path) -> None:
    """CheckpointError where the weights are not those that the card in `folder` was written for."""
    if sha256 != card.config.get("sha256"):
        raise CheckpointError(
            f"{folder}: the weights of {card.config.get('model')} have changed since the card was written"
        )


def pooled(out: Any) -> Tensor:
    """The tensor (n, dims) of what `get_image_features` or `get_text_features` gives.

    Releases of transformers before 5 give the tensor itself, later ones an object that holds it.
    """
    found: Tensor = out.pooler_output if hasattr(out, "pooler_output") else out
    return found


def to_numpy(vectors: Tensor) -> Vectors:
    """Vectors (n, ...) as rows (n, dims) float32."""
    found: NDArray[np.float32] = vectors.flatten(1).float().cpu().numpy()
    return found
