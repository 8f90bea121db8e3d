"""Any vision model of the transformers library, from a folder or the local cache of the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from placevec.encoders.base import ModelCard, Vectors
from placevec.encoders.hf.loading import Opened, open_image_processor, open_model, quiet
from placevec.encoders.hf.tower import HfTower, Inputs, check_weights, model_of, pooled, to_numpy
from placevec.errors import CheckpointError, DataError, UsageError
from placevec.provenance import Space

if TYPE_CHECKING:
    from torch import Tensor

BATCH = 16  # chips at a time, always; see `encoders.network.in_fixed_batches`
Pooling = Literal["auto", "pooler", "cls", "mean"]


class HfImageEncoder(HfTower):
    """Chips of three bands to vectors, by a vision model of transformers; `open` makes one.

    Args:
        model: the model.
        processor: its image processor.
        card: what it is; `config` holds model, revision, pooling and bands.
        device: of torch.
    """

    def __init__(self, model: Any, processor: Any, card: ModelCard, device: str = "cpu") -> None:
        super().__init__(model, card, device)
        self.processor = processor

    @classmethod
    def open(
        cls,
        name: str,
        *,
        pooling: Pooling = "auto",
        bands: tuple[int, int, int] = (0, 1, 2),
        revision: str | None = None,
        allow_download: bool = False,
        device: str = "cpu",
    ) -> HfImageEncoder:
        """The vision model `name`.

        Args:
            name: a folder that `save_pretrained` wrote, or a name of the hub such as ``facebook/dinov2-small``; a
                leading ``hf:`` is taken off.
            pooling: "pooler" (the model's own image vector), "cls" (the first token), "mean" (of all tokens, or of the
                map); "auto" is the first of them that the stored weights allow.
            bands: the bands of a chip that are red, green and blue.
            revision: of a model of the hub.
            allow_download: may the network be used.
            device: of torch.

        Raises:
            CheckpointError: the model is not on this machine, is damaged, or has no safetensors weights.
            UsageError: another pooling than those above.
        """
        if pooling not in get_args(Pooling):
            raise UsageError(f"pooling = {pooling!r}: give auto, pooler, cls or mean")
        opened = open_model(name, revision, allow_download=allow_download)
        processor = open_image_processor(opened.folder)
        _check_vision(opened)
        chosen = _pooling(opened, pooling)
        if chosen != "pooler" and "pixel_attention_mask" in processor.model_input_names:
            raise UsageError(
                f"{opened.name} fills images up with empty patches, which the pooling {chosen!r} would take along: "
                "leave the pooling at pooler"
            )
        published = f"{opened.identity}#{chosen}" if chosen != "pooler" else opened.identity
        model = opened.model.to(device)
        card = ModelCard(
            kind="hf",
            space=Space.published(published, _dims(model, processor, chosen)),
            tower="image",
            config={
                "model": opened.name,
                "revision": revision,
                "pooling": chosen,
                "bands": list(bands),
                "sha256": opened.sha256,
            },
            inputs=("image",),
            name=f"hf:{opened.name}",
            weights_sha256=opened.sha256,
        )
        return cls(model, processor, card, device)

    @classmethod
    def from_card(
        cls, card: ModelCard, state: Mapping[str, Tensor], folder: Path, device: str = "cpu"
    ) -> HfImageEncoder:
        """Build the encoder of a model folder, which names the model but does not hold it."""
        name, revision = model_of(card, folder)
        try:
            bands = tuple(int(band) for band in card.config["bands"])
            encoder = cls.open(
                name,
                pooling=card.config["pooling"],
                bands=(bands[0], bands[1], bands[2]),
                revision=revision,
                device=device,
            )
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise CheckpointError(f"{folder}: the card does not describe a transformers model ({error!r})") from error
        check_weights(card, encoder.card.weights_sha256, folder)
        return encoder.with_card(replace(card, weights_sha256=encoder.card.weights_sha256))

    def encode(self, data: Mapping[str, NDArray[Any]]) -> Vectors:
        """The vectors (n, dims) of `image` (n, bands, h, w) uint8.

        Raises:
            DataError: chips of another type, or without the bands that are red, green and blue.
        """
        import torch

        chips = self.checked(data)
        out = np.empty((len(chips), self.dims), dtype=np.float32)
        for start in range(0, len(chips), BATCH):
            inputs = self.prepare(chips[start : start + BATCH])
            count = len(next(iter(inputs.values())))
            with torch.inference_mode():
                vectors = self.features({key: _filled(value, BATCH) for key, value in inputs.items()})
            out[start : start + count] = to_numpy(vectors)[:count]
        return out

    def checked(self, data: Mapping[str, NDArray[Any]]) -> NDArray[np.uint8]:
        """The bands (n, 3, h, w) of `image` that are red, green and blue; DataError where there are none such."""
        chips = self.take(data, "image")
        bands = list(self.card.config["bands"])
        if chips.dtype != np.uint8 or chips.ndim != 4 or (len(chips) and max(bands) >= chips.shape[1]):
            raise DataError(
                f"chips {chips.dtype} {chips.shape}: {self.card.name} reads uint8 (n, bands, height, width) with the "
                f"bands {bands}; stretch the raster to 0 ... 255 or choose other bands"
            )
        return chips[:, bands]

    def prepare(self, chips: NDArray[np.uint8]) -> dict[str, Tensor]:
        """What the model is called with for chips (n, 3, h, w), any n: resized, cropped and normalised pixels."""
        return _prepared(self.processor, chips)

    def features(self, inputs: Inputs) -> Tensor:
        """The vectors (n, dims) of what `prepare` gave, not normalised, with their gradients."""
        return _features(self.model, inputs, str(self.card.config["pooling"]))

    def save_files(self, folder: Path) -> None:
        """Write the image processor into `folder`."""
        with quiet():
            self.processor.save_pretrained(folder)


def _check_vision(opened: Opened) -> None:
    model = opened.model
    if not hasattr(model.config, "vision_config") and getattr(model, "main_input_name", "") != "pixel_values":
        raise CheckpointError(f"{opened.folder} is not a vision model: it reads {model.main_input_name!r}")


def _pooling(opened: Opened, asked: str) -> str:
    # A checkpoint without the pooler's weights is completed by random ones: no error, and vectors of noise.
    opened.check_complete(but="pooler")
    noise = any("pooler" in key for key in opened.missing)
    if asked == "pooler" and noise:
        raise CheckpointError(f"the model {opened.name} has no weights of a pooler: choose the pooling cls or mean")
    if asked != "auto":
        return asked
    return "cls" if noise else "pooler"


def _prepared(processor: Any, chips: NDArray[np.uint8]) -> dict[str, Tensor]:
    found = processor(images=list(chips), return_tensors="pt", input_data_format="channels_first")
    return {str(key): value for key, value in found.items()}


def _features(model: Any, inputs: Inputs, pooling: str) -> Tensor:
    moved = {key: value.to(model.device) for key, value in inputs.items()}
    if pooling == "pooler" and hasattr(model, "get_image_features"):
        return pooled(model.get_image_features(**moved))
    vision = getattr(model, "vision_model", model)
    return _pooled(vision(**moved), pooling)


def _pooled(out: Any, pooling: str) -> Tensor:
    hidden: Tensor = out.last_hidden_state
    if pooling == "pooler":
        own: Tensor | None = getattr(out, "pooler_output", None)
        if own is not None:
            return own.flatten(1)
    if hidden.ndim == 4:  # the map of a convolutional network has no first token
        return hidden.mean(dim=(2, 3))
    return hidden.mean(dim=1) if pooling == "mean" else hidden[:, 0]


def _filled(rows: Tensor, size: int) -> Tensor:
    import torch

    missing = size - len(rows)
    return torch.cat([rows, rows[:1].expand(missing, *rows.shape[1:])]) if missing else rows


def _dims(model: Any, processor: Any, pooling: str) -> int:
    import torch

    with torch.inference_mode():
        probe = _features(model, _prepared(processor, np.zeros((1, 3, 32, 32), dtype=np.uint8)), pooling)
    return int(probe.shape[1])
