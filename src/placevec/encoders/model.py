"""Model folders: `model.safetensors` and `card.json`, written whole, checked when read. No pickle, ever."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from placevec import files, registry
from placevec.encoders.base import Encoder, ModelCard
from placevec.errors import CheckpointError, PlacevecError, UsageError
from placevec.provenance import sha256_file

if TYPE_CHECKING:
    from torch import Tensor, nn

WEIGHTS = "model.safetensors"
CARD = "card.json"


def save_model(
    folder: str | Path, state: Mapping[str, Tensor], card: ModelCard, assets: Mapping[str, bytes] | None = None
) -> ModelCard:
    """Write a model folder, whole or not at all; an older one in its place is replaced.

    Args:
        folder: the folder.
        state: the weights by name; may be empty.
        card: its hashes are filled in here.
        assets: further files by name (tokenizer, class table ...).

    Returns:
        the card as written.

    Raises:
        UsageError: a file has the folder's name, or an asset is called by more than a plain name.
    """
    check_model_name(folder)
    with files.whole(folder) as part:
        part.mkdir()
        digest = ""
        if state:
            from safetensors.torch import save_file

            plain = {name: value.detach().to("cpu", copy=True).contiguous() for name, value in state.items()}
            with files.disk_errors(part / WEIGHTS), files.usual_mode(part / WEIGHTS):
                # One key: several are written in no fixed order.
                save_file(plain, part / WEIGHTS, metadata={"format": "pt"})
            digest = sha256_file(part / WEIGHTS)
        hashes = {}
        for name, content in (assets or {}).items():
            if name in (WEIGHTS, CARD) or Path(name).name != name:
                raise UsageError(f"an asset of a model cannot be called {name!r}: give a plain file name")
            (part / name).write_bytes(content)
            hashes[name] = sha256_file(part / name)
        written = replace(card, weights_sha256=digest, assets=hashes)
        (part / CARD).write_text(written.text(), encoding="utf-8")
    return written


def check_model_name(folder: str | Path) -> None:
    """UsageError where a file has the name, which a model folder would replace."""
    if Path(folder).is_file():
        raise UsageError(f"{folder} is a file, and a model is a folder: give another name")


def read_card(folder: str | Path) -> ModelCard:
    """The card of a model folder.

    Raises:
        CheckpointError: there is none, or it is damaged.
    """
    path = Path(folder) / CARD
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{folder} is not a model folder: it has no {CARD}; give the folder that train wrote"
        ) from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged ({error}): train the model again") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} is not a model card: it holds {type(value).__name__}, not an object")
    return ModelCard.from_json(value, str(path))


def load_encoder(folder: str | Path, device: str = "cpu") -> Encoder:
    """The encoder of a model folder.

    Args:
        folder: what `save_model` wrote.
        device: of torch, where the encoder has weights.

    Raises:
        UsageError: torch has no such device here.
        CheckpointError: a file is missing, cut short or changed, or the weights do not fit the network of the card.
    """
    _check_device(device)
    root = Path(folder)
    card = read_card(root)
    for name, digest in {**({WEIGHTS: card.weights_sha256} if card.weights_sha256 else {}), **card.assets}.items():
        path = root / name
        if not path.is_file():
            raise CheckpointError(f"{path} is missing: copy the whole model folder, or train the model again")
        if sha256_file(path) != digest:
            raise CheckpointError(f"{path} is not the file that the card names (its sha256 differs): copy it again")
    try:
        implementation: Any = registry.get("encoder", card.kind)
    except UsageError as error:
        raise CheckpointError(f"{root / CARD}: {error}") from None
    state: dict[str, Tensor] = {}
    if card.weights_sha256:
        state = _read_weights(root / WEIGHTS)
    try:
        encoder: Encoder = implementation.from_card(card, state, root, device=device)
    except CheckpointError:
        raise
    except PlacevecError as error:
        raise CheckpointError(f"{root / CARD}: {error}") from error
    return encoder


def _check_device(device: str) -> None:
    if device == "cpu":
        return
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # whichever the build of torch raises
        told = str(error).splitlines()[0][:80]
        raise UsageError(f"torch has no device {device!r} here ({told}): give cpu, or cuda on a GPU machine") from None


def load_strictly(module: nn.Module, state: Mapping[str, Tensor], where: str | Path) -> None:
    """Load `state` into `module`; every name and shape must fit.

    Raises:
        CheckpointError: one does not; the message names it.
    """
    own = module.state_dict()
    odd = sorted(set(own) ^ set(state))
    if odd:
        verb = "lacks" if odd[0] in own else "has the unknown weight"
        raise CheckpointError(
            f"{Path(where) / WEIGHTS} {verb} {odd[0]!r}: it belongs to another network than {CARD} says; "
            "copy the model folder whole"
        )
    for name, value in state.items():
        if own[name].shape != value.shape:
            raise CheckpointError(
                f"{Path(where) / WEIGHTS}: {name} is {tuple(value.shape)}, the network of {CARD} has "
                f"{tuple(own[name].shape)}: it belongs to another network; copy the model folder whole"
            )
    module.load_state_dict(dict(state))


def _read_weights(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read ({str(error).splitlines()[0]}): copy it again") from None
