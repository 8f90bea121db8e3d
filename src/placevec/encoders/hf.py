"""Any vision model of the transformers library, from a folder or the local cache of the Hugging Face hub."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from placevec.encoders.base import Carded, ModelCard, Vectors
from placevec.errors import CheckpointError, DataError, UsageError
from placevec.provenance import Space, sha256_file
from placevec.registry import need

if TYPE_CHECKING:
    from torch import Tensor

BATCH = 16  # chips at a time, always; see `encoders.network.in_fixed_batches`
Pooling = Literal["auto", "pooler", "cls", "mean"]


class HfImageEncoder(Carded):
    """Chips of three bands to vectors, by a vision model of transformers; `open` makes one.

    Args:
        model: the model.
        processor: its image processor.
        card: what it is; `config` holds model, revision, pooling and bands.
        device: of torch.
    """

    def __init__(self, model: Any, processor: Any, card: ModelCard, device: str = "cpu") -> None:
        super().__init__(card)
        self.model = model.to(device).eval()
        self.processor = processor
        self.device = device

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
        transformers = need("transformers", extra="torch", purpose="hf: encoders")
        name = name.removeprefix("hf:")
        folder, label = _folder(name, revision, allow_download)
        digest = _digest(folder)
        model, processor, missing = _load(transformers, folder)
        chosen = _pooling(model, missing, pooling, name)
        identity = label or f"{folder.resolve().name}@{digest[:16]}"
        published = f"{identity}#{chosen}" if chosen != "pooler" else identity
        card = ModelCard(
            kind="hf",
            space=Space.published(published, _dims(model, processor, chosen, device)),
            tower="image",
            config={"model": name, "revision": revision, "pooling": chosen, "bands": list(bands), "sha256": digest},
            inputs=("image",),
            name=f"hf:{name}",
            weights_sha256=digest,
        )
        return cls(model, processor, card, device)

    @classmethod
    def from_card(
        cls, card: ModelCard, state: Mapping[str, Tensor], folder: Path, device: str = "cpu"
    ) -> HfImageEncoder:
        """Build the encoder of a model folder, which names the model but does not hold it."""
        config = dict(card.config)
        try:
            bands = tuple(int(band) for band in config["bands"])
            encoder = cls.open(
                str(config["model"]),
                pooling=config["pooling"],
                bands=(bands[0], bands[1], bands[2]),
                revision=config["revision"],
                device=device,
            )
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise CheckpointError(f"{folder}: the card does not describe a transformers model ({error!r})") from error
        if encoder.card.weights_sha256 != config.get("sha256"):
            raise CheckpointError(f"{folder}: the weights of {config['model']} have changed since the card was written")
        return cls(encoder.model, encoder.processor, replace(card, weights_sha256=str(config["sha256"])), device)

    def save(self, folder: str | Path) -> HfImageEncoder:
        """Write a model folder that names the model; the weights stay where they are."""
        from placevec.encoders.model import save_model

        card = save_model(folder, {}, self.card)
        return HfImageEncoder(
            self.model, self.processor, replace(card, weights_sha256=self.card.weights_sha256), self.device
        )

    def encode(self, data: Mapping[str, NDArray[Any]]) -> Vectors:
        """The vectors (n, dims) of `image` (n, bands, h, w) uint8.

        Raises:
            DataError: chips of another type, or without the bands that are red, green and blue.
        """
        chips = self.take(data, "image")
        bands = list(self.card.config["bands"])
        if chips.dtype != np.uint8 or chips.ndim != 4 or (len(chips) and max(bands) >= chips.shape[1]):
            raise DataError(
                f"chips {chips.dtype} {chips.shape}: {self.card.name} reads uint8 (n, bands, height, width) with the "
                f"bands {bands}; stretch the raster to 0 ... 255 or choose other bands"
            )
        out = np.empty((len(chips), self.dims), dtype=np.float32)
        for start in range(0, len(chips), BATCH):
            part = chips[start : start + BATCH][:, bands]
            count = len(part)
            full = np.concatenate([part, np.repeat(part[:1], BATCH - count, axis=0)])
            vectors = _vectors(self.model, self.processor, full, str(self.card.config["pooling"]), self.device)
            out[start : start + count] = vectors[:count]
        return out


def _folder(name: str, revision: str | None, allow_download: bool) -> tuple[Path, str]:
    """The folder with the model's files, and name@revision for a model of the hub."""
    local = Path(name).expanduser()
    if local.is_dir():
        return local, ""
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise CheckpointError(f"{name} is not a folder: give one that save_pretrained wrote, or a name of the hub")
    hub = need("huggingface_hub", extra="torch", purpose="models of the hub")
    try:
        found = hub.snapshot_download(
            name,
            revision=revision,
            allow_patterns=["*.json", "model*.safetensors"],
            local_files_only=not allow_download,
        )
    except Exception as error:
        # Each reason (no such model, no network, no consent) has another class, and several bases.
        step = "check the name and the network" if allow_download else "allow the download, or give a local folder"
        raise CheckpointError(f"the model {name!r} is not on this machine ({type(error).__name__}): {step}") from error
    return Path(found), f"{name}@{Path(found).name}"


def _digest(folder: Path) -> str:
    weights = sorted(folder.glob("model*.safetensors"))
    if not weights:
        raise CheckpointError(f"{folder} has no model.safetensors: convert the model, pickled weights are not read")
    if len(weights) == 1:
        return sha256_file(weights[0])
    return hashlib.sha256("".join(sha256_file(path) for path in weights).encode()).hexdigest()


def _load(transformers: Any, folder: Path) -> tuple[Any, Any, set[str]]:
    try:
        with _quiet(transformers):
            processor = transformers.AutoImageProcessor.from_pretrained(folder, local_files_only=True)
            model, info = transformers.AutoModel.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, output_loading_info=True
            )
    except Exception as error:
        # transformers raises OSError, ValueError, KeyError, RuntimeError and safetensors' own for a bad folder.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(f"{folder} cannot be loaded as a vision model of transformers: {reason}") from error
    if not hasattr(model.config, "vision_config") and getattr(model, "main_input_name", "") != "pixel_values":
        raise CheckpointError(f"{folder} is not a vision model: it reads {model.main_input_name!r}")
    return model, processor, set(info["missing_keys"])


@contextlib.contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Without transformers' own bars and reports; missing weights are looked at by us."""
    logging = transformers.utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _pooling(model: Any, missing: set[str], asked: str, name: str) -> str:
    # A checkpoint without the pooler's weights is completed by random ones: no error, and vectors of noise.
    noise = {key for key in missing if "pooler" in key}
    others = sorted(key for key in missing - noise if not key.endswith("position_ids"))
    if others:
        raise CheckpointError(f"the model {name} lacks the weights {others[0]!r}: the folder is not complete")
    if asked == "pooler" and noise:
        raise CheckpointError(f"the model {name} has no weights of a pooler: choose the pooling cls or mean")
    if asked != "auto":
        return asked
    return "cls" if noise else "pooler"


def _vectors(model: Any, processor: Any, chips: NDArray[np.uint8], pooling: str, device: str) -> Vectors:
    import torch

    pixels = processor(images=list(chips), return_tensors="pt", input_data_format="channels_first")["pixel_values"]
    with torch.inference_mode():
        if pooling == "pooler" and hasattr(model, "get_image_features"):
            out = model.get_image_features(pixel_values=pixels.to(device))
        else:
            vision = getattr(model, "vision_model", model)
            out = vision(pixel_values=pixels.to(device))
        vectors = _pooled(out, pooling)
    found: Vectors = vectors.flatten(1).float().cpu().numpy()
    return found


def _pooled(out: Any, pooling: str) -> Any:
    if not hasattr(out, "last_hidden_state") and not hasattr(out, "pooler_output"):
        return out  # older releases of transformers give the tensor itself
    hidden = out.last_hidden_state
    if pooling == "pooler":
        own = getattr(out, "pooler_output", None)
        return own if own is not None else _pooled(out, "cls")
    if hidden.ndim == 4:  # the map of a convolutional network has no first token
        return hidden.mean(dim=(2, 3))
    return hidden[:, 0] if pooling == "cls" else hidden.mean(dim=1)


def _dims(model: Any, processor: Any, pooling: str, device: str) -> int:
    probe = np.zeros((1, 3, 32, 32), dtype=np.uint8)
    return int(_vectors(model.to(device).eval(), processor, probe, pooling, device).shape[1])
