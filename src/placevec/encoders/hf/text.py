"""The text tower of a model of transformers that has one: CLIP, SigLIP, SigLIP 2 and their kin."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from placevec.encoders.base import ModelCard, Vectors
from placevec.encoders.hf.image import HfImageEncoder
from placevec.encoders.hf.loading import model_folder, open_model, open_tokenizer, quiet
from placevec.encoders.hf.tower import HfTower, Inputs, check_weights, model_of, pooled, to_numpy
from placevec.errors import CheckpointError, DataError
from placevec.provenance import Space

if TYPE_CHECKING:
    from torch import Tensor

BATCH = 16  # texts at a time, always; see `encoders.network.in_fixed_batches`
CHUNK = 4096  # texts that are split into tokens at a time; those of one length then fill batches

# Lengths to which texts are filled up. What follows the end token of a CLIP text does not change its vector (the mask
# is causal), so that a caption of 12 words costs a fifth of what the whole context would.
LENGTHS = (16, 32)


class HfTextEncoder(HfTower):
    """Texts to vectors, by the text tower of a model of transformers; `open` or `beside` makes one.

    Texts longer than the context are cut off, and counted in `truncated`.

    Args:
        model: the whole model.
        tokenizer: its tokenizer.
        card: what it is; `config` holds model, revision and sha256.
        device: of torch.
    """

    def __init__(self, model: Any, tokenizer: Any, card: ModelCard, device: str = "cpu") -> None:
        super().__init__(model, card, device)
        self.tokenizer = tokenizer
        self.truncated = 0  # texts of the last `encode` (or `tokens`) that were longer than the context
        family = str(model.config.model_type)
        # SigLIP reads its vector off the last place of the whole context and was trained without a mask.
        self._whole = family.startswith("siglip")
        self._causal = family == "clip"

    @classmethod
    def open(
        cls, name: str, *, revision: str | None = None, allow_download: bool = False, device: str = "cpu"
    ) -> HfTextEncoder:
        """The text tower of the model `name`, in the Space of `HfImageEncoder.open(name)`.

        Args:
            name: a folder that `save_pretrained` wrote, with its tokenizer, or a name of the hub such as
                ``openai/clip-vit-base-patch32``; a leading ``hf:`` is taken off.
            revision: of a model of the hub.
            allow_download: may the network be used.
            device: of torch.

        Raises:
            CheckpointError: the model is not on this machine, is damaged, has no text tower or no tokenizer.
        """
        opened = open_model(name, revision, allow_download=allow_download)
        _check_text(opened.model, opened.name)
        opened.check_complete()
        tokenizer = open_tokenizer(opened.folder)
        config = {"model": opened.name, "revision": revision, "sha256": opened.sha256}
        model = opened.model.to(device)
        space = Space.published(opened.identity, _dims(model))
        return cls(model, tokenizer, _card(config, space, f"hf:{opened.name}"), device)

    @classmethod
    def beside(cls, image: HfImageEncoder, tokenizer: Any = None) -> HfTextEncoder:
        """The text tower of the model whose image tower is open: nothing is read twice.

        Args:
            image: the image tower.
            tokenizer: its tokenizer; None reads that of the model's folder.

        Raises:
            CheckpointError: the model has no text tower or no tokenizer, or the image tower's pooling is not "pooler",
                so that its vectors are in another Space than the texts'.
        """
        config = image.card.config
        _check_text(image.model, str(config["model"]))
        if config["pooling"] != "pooler":
            raise CheckpointError(
                f"{image.card.name}: its texts compare with the model's own image vectors alone, not with the pooling "
                f"{config['pooling']!r}: open the image tower with the pooling 'pooler'"
            )
        if tokenizer is None:
            tokenizer = open_tokenizer(model_folder(str(config["model"]), config["revision"]))
        own = {key: config[key] for key in ("model", "revision", "sha256")}
        return cls(image.model, tokenizer, _card(own, image.space, image.card.name), image.device)

    @classmethod
    def from_card(
        cls, card: ModelCard, state: Mapping[str, Tensor], folder: Path, device: str = "cpu"
    ) -> HfTextEncoder:
        """Build the encoder of a model folder, which names the model but does not hold it."""
        name, revision = model_of(card, folder)
        encoder = cls.open(name, revision=revision, device=device)
        check_weights(card, encoder.card.weights_sha256, folder)
        return encoder.with_card(replace(card, weights_sha256=encoder.card.weights_sha256))

    @property
    def context(self) -> int:
        """The longest text, in tokens with those of its begin and end."""
        return min(int(_text_config(self.model).max_position_embeddings), int(self.tokenizer.model_max_length))

    def encode(self, data: Mapping[str, NDArray[Any]]) -> Vectors:
        """The vectors (n, dims) of `text` (n,), an array of str; `truncated` then says how many were cut off.

        Raises:
            DataError: another shape, something that is not a text, or a text without a word.
        """
        import torch

        texts = self.take(data, "text")
        if texts.ndim != 1:
            raise DataError(f"texts of shape {texts.shape}: the encoder reads (n,), one text a place")
        out = np.empty((len(texts), self.dims), dtype=np.float32)
        cut = 0
        for start in range(0, len(texts), CHUNK):
            found = self._ids(texts[start : start + CHUNK].tolist(), start)
            cut += self.truncated
            for rows, inputs in self._batches(found):
                with torch.inference_mode():
                    vectors = self.features(inputs)
                out[start + rows] = to_numpy(vectors)[: len(rows)]
        self.truncated = cut
        return out

    def prepare(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """What the model is called with for some texts: all of one length, the shortest that fits them.

        Raises:
            DataError: something that is not a text, or a text without a word.
        """
        found = self._ids(list(texts), 0)
        length = max((self._length(ids) for ids in found), default=self._length([]))
        return self._tensors(found, length)

    def features(self, inputs: Inputs) -> Tensor:
        """The vectors (n, dims) of what `prepare` gave, not normalised, with their gradients."""
        moved = {key: value.to(self.model.device) for key, value in inputs.items()}
        return pooled(self.model.get_text_features(**moved)).flatten(1)

    def save_files(self, folder: Path) -> None:
        """Write the tokenizer into `folder`."""
        with quiet():
            self.tokenizer.save_pretrained(folder)

    def _ids(self, texts: list[Any], first: int) -> list[list[int]]:
        """The tokens of each text, at most `context`; sets `truncated`. `first` is the row of the first text."""
        clean = []
        for row, text in enumerate(texts, start=first):
            if not isinstance(text, str):
                raise DataError(f"row {row} holds {type(text).__name__}, not a text: the encoder reads str")
            if not text.strip():
                raise DataError(f"the text of row {row} is empty: leave it out, or give it words")
            # SigLIP learned from small letters alone; not each of its tokenizers sees to that.
            clean.append(text.lower() if self._whole else text)
        if not clean:
            self.truncated = 0
            return []
        found = [list(ids) for ids in self.tokenizer(clean, verbose=False)["input_ids"]]
        known = int(_text_config(self.model).vocab_size)
        if max(map(max, found)) >= known:
            raise CheckpointError(f"{self.card.name}: its tokenizer has tokens beyond the {known} of its text tower")
        long = [row for row, ids in enumerate(found) if len(ids) > self.context]
        self.truncated = len(long)
        if long:
            # The tokenizer cuts, as it knows which tokens of begin and end have to stay.
            parts = self.tokenizer([clean[row] for row in long], truncation=True, max_length=self.context)["input_ids"]
            for row, ids in zip(long, parts, strict=True):
                found[row] = list(ids)
        return found

    def _length(self, ids: list[int]) -> int:
        if not self._causal:
            return self.context
        return next((length for length in LENGTHS if len(ids) <= length < self.context), self.context)

    def _batches(self, found: list[list[int]]) -> Iterator[tuple[NDArray[np.int64], dict[str, Tensor]]]:
        """Rows, and their inputs in batches of exactly `BATCH` texts of one length."""
        lengths = np.asarray([self._length(ids) for ids in found], dtype=np.int64)
        for length in np.unique(lengths):
            rows = np.flatnonzero(lengths == length)
            for start in range(0, len(rows), BATCH):
                part = rows[start : start + BATCH]
                filled = [found[row] for row in part] + [found[part[0]]] * (BATCH - len(part))
                yield part, self._tensors(filled, int(length))

    def _tensors(self, found: list[list[int]], length: int) -> dict[str, Tensor]:
        if not found:
            import torch

            return {"input_ids": torch.empty((0, length), dtype=torch.long)}
        inputs = self.tokenizer.pad({"input_ids": found}, padding="max_length", max_length=length, return_tensors="pt")
        if self._whole or self._causal:
            # Neither needs a mask: and with one, some batches would go through other kernels than the rest.
            return {"input_ids": inputs["input_ids"]}
        return {str(key): value for key, value in inputs.items()}


def _card(config: Mapping[str, Any], space: Space, name: str) -> ModelCard:
    return ModelCard(
        kind="hf-text",
        space=space,
        tower="text",
        config=dict(config),
        inputs=("text",),
        name=name,
        weights_sha256=str(config["sha256"]),
    )


def _check_text(model: Any, name: str) -> None:
    if not hasattr(model, "get_text_features"):
        raise CheckpointError(
            f"the model {name} ({model.config.model_type}) has no text tower: give a CLIP or a SigLIP, such as "
            "openai/clip-vit-base-patch32"
        )


def _text_config(model: Any) -> Any:
    return getattr(model.config, "text_config", model.config)


def _dims(model: Any) -> int:
    import torch

    with torch.inference_mode():
        ids = torch.zeros((1, int(_text_config(model).max_position_embeddings)), dtype=torch.long)
        return int(pooled(model.get_text_features(input_ids=ids.to(model.device))).flatten(1).shape[1])
