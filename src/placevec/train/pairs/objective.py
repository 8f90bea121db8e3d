"""Images against their captions, as the training loop wants it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from placevec.measure.retrieval import Pairing
from placevec.nn.losses import Temperature, symmetric_infonce
from placevec.train.augment import augment
from placevec.train.contrastive.gradcache import in_parts
from placevec.train.data import Rows, digest, parts
from placevec.train.objectives import gather
from placevec.train.pairs.config import PairTraining
from placevec.train.pairs.data import Captions
from placevec.train.pairs.towers import ImageTower, Towers, is_locked
from placevec.train.pairs.validation import retrieval_figures
from placevec.train.pairs.views import Report, views_of

PART = 128  # images encoded at a time where nothing is learned
TEXTS = 1024  # texts encoded at a time where nothing is learned
VALIDATED = 2048  # validation images that are looked at, at most, evenly drawn


class PairNet(nn.Module):
    """Images and captions through both towers to one loss.

    Args:
        towers: the towers.
        config: the settings.
    """

    def __init__(self, towers: Towers, config: PairTraining) -> None:
        super().__init__()
        self.image = towers.image
        self.text = towers.text
        self.temperature = Temperature(towers.temperature)
        self.config = config

    def train(self, mode: bool = True) -> PairNet:
        """Training mode for what is trained: locked parts neither drop units nor follow the statistics of a batch."""
        super().train(mode)
        if mode:
            for part in self.modules():
                if next(part.parameters(), None) is not None and is_locked(part):
                    part.eval()
        return self

    def forward(self, batch: dict[str, Tensor], generator: torch.Generator) -> Tensor:
        """The loss of a batch; see `PairObjective.batch` for what stands in it."""
        return self.loss(
            gather(self.images(batch, generator)),
            gather(self.texts(batch)),
            gather(batch["row"]),
            gather(batch["caption"]),
            gather(batch["said"]),
        )

    def images(self, batch: Mapping[str, Tensor], generator: torch.Generator | None = None) -> Tensor:
        """The vectors (n, dims) of `image`, augmented if there is a generator; of `image/fixed`; or `image/vector`."""
        if "image/vector" in batch:
            return batch["image/vector"]
        if "image/fixed" in batch:
            assert isinstance(self.image, ImageTower)
            return self.image.read(batch["image/fixed"]).float()
        assert isinstance(self.image, ImageTower)
        seen = self.image.normalise(batch["image"])
        if generator is not None and not self.config.augment.still:
            seen = augment(seen, self.config.augment, generator)
        return in_parts(self.image.project, seen, self.config.micro_batch).float()

    def texts(self, batch: Mapping[str, Tensor]) -> Tensor:
        """The vectors (n · k, dims) of `tokens`, or `text/vector` as it is."""
        if "text/vector" in batch:
            return batch["text/vector"]
        return in_parts(self.text, batch["tokens"], self.config.micro_batch).float()

    def loss(self, image: Tensor, text: Tensor, row: Tensor, caption: Tensor, said: Tensor) -> Tensor:
        """The loss of n images and k captions of each.

        Args:
            image: (n, dims) vectors.
            text: (n · k, dims) vectors, those of an image side by side.
            row: (n,) a number of each image; images of one number are the same.
            caption: (n · k,) the key of each text.
            said: (n, most) the keys of all captions of an image, -1 where it has fewer.
        """
        count = len(text) // len(image)
        owner = row.repeat_interleave(count)
        belong = row[:, None] == owner
        if self.config.positives == "equal":
            for column in said.unbind(dim=1):
                belong = belong | (column[:, None] == caption)
        positives = belong.repeat_interleave(count, dim=0)
        return symmetric_infonce(image.repeat_interleave(count, dim=0), text, self.temperature(), positives)


class PairObjective:
    """See `train.objectives.Objective`.

    Args:
        images: n images (bands, h, w).
        captions: of each image at least one.
        val: (n,) bool, the images of the validation split.
        towers: what is trained.
        config: the settings.
        more: hashes of what the run depends on besides.
        folder: of the run, for what takes long and can be kept; None: nothing is kept.
        report: called as (step, total, figures) while images are described.
    """

    mode: Literal["min", "max"] = "max"

    def __init__(
        self,
        images: Rows,
        captions: Sequence[Sequence[str]],
        val: NDArray[np.bool_],
        towers: Towers,
        config: PairTraining,
        more: Sequence[str] = (),
        folder: Path | None = None,
        report: Report | None = None,
    ) -> None:
        self.folder, self.report = folder, report
        self.config, self.towers = config, towers
        self.images = images
        self.captions = Captions.of(captions)
        self.train_rows, held = parts(val, images.count)
        self.val_rows = held[:: -(-len(held) // VALIDATED) or 1]
        self.count = len(self.train_rows)
        self.data = [images.key, digest(np.asarray(val), self.captions.key()), *more]
        self.net = PairNet(towers, config)
        self.module: nn.Module = self.net
        self.monitor = "mean_recall" if len(self.val_rows) >= 2 else ""
        self.tokens = towers.tokens(self.captions.texts)
        self.held = self._held() if self.monitor else None

    @cached_property
    def image_vectors(self) -> Tensor | None:
        """(n, dims) of all images, where they stay the same: a locked tower, and no augmentation.

        A tower of which only the head learns sees images as they are when it is trained, and so it does when not.
        """
        still = is_locked(self.towers.image) and (self.config.augment.still or self.towers.image.learns_first)
        return self._images(np.arange(self.images.count)).cpu() if still else None

    @cached_property
    def image_views(self) -> Tensor | None:
        """(n, views, c) of all images, where all but the head of the tower stays the same."""
        if not self.towers.image.learns_first or is_locked(self.towers.image):
            return None
        return views_of(self.towers.image, self.images, self.folder, self.report)

    @cached_property
    def text_vectors(self) -> Tensor | None:
        """(m, dims) of all texts, where they stay the same: a locked tower."""
        return self._texts(self.tokens).cpu() if is_locked(self.towers.text) else None

    def batch(self, rows: NDArray[np.int64]) -> dict[str, Tensor]:
        """The tensors of training images.

        Returns:
            `image`, `image/fixed` (what the head reads of one view) or `image/vector`, `row` and `said` of each
            image; `tokens` or `text/vector`, and `caption`, of each of its k captions, those of an image side by side.
        """
        picked = self.train_rows[rows]
        drawn = self.captions.drawn(picked, self.config.captions_per_image).flatten()
        at = torch.from_numpy(picked)
        found = {"row": at, "said": self.captions.said[at], "caption": self.captions.keys[drawn]}
        if self.image_vectors is not None:
            found["image/vector"] = self.image_vectors[at]
        elif self.image_views is not None:
            views = torch.randint(self.image_views.shape[1], (len(at),))
            found["image/fixed"] = self.image_views[at, views].float()
        else:
            found["image"] = torch.from_numpy(np.ascontiguousarray(self.images.read(picked)))
        if self.text_vectors is not None:
            found["text/vector"] = self.text_vectors[drawn]
        else:
            found["tokens"] = self.tokens[drawn]
        return found

    @torch.no_grad()
    def validate(self, device: torch.device) -> dict[str, float]:
        """Recall of all validation images against all their captions, and the loss of shuffled batches of them."""
        assert self.held is not None
        rows, texts, pairing = self.held
        at = torch.from_numpy(rows)
        image = self._images(rows) if self.image_vectors is None else self.image_vectors[at].to(device)
        different, where = np.unique(texts.numpy(), return_inverse=True)
        if self.text_vectors is None:
            text = self._texts(self.tokens[torch.from_numpy(different)])[torch.from_numpy(where).to(device)]
        else:
            text = self.text_vectors[texts].to(device)
        figures = retrieval_figures(image.cpu().numpy(), text.cpu().numpy(), pairing)
        return {**figures, "loss": self._loss(image, text, texts, pairing)}

    def _loss(self, image: Tensor, text: Tensor, texts: Tensor, pairing: Pairing) -> float:
        """The mean loss of batches of the training's size, each image with its first caption, in shuffled order.

        In the order of a file, images of one class follow each other, and the loss of a batch would say little.
        """
        first = torch.from_numpy(np.searchsorted(pairing.image_of, np.arange(pairing.images)))
        row = torch.from_numpy(self.val_rows)
        key, said = self.captions.keys[texts[first]], self.captions.said[row]
        order = torch.from_numpy(np.random.default_rng(0).permutation(len(row)))
        losses = []
        for part in torch.split(order, self.config.loop.batch_size):
            if len(part) >= 2:
                told = (given[part].to(image.device) for given in (row, key, said))
                at = part.to(image.device)
                losses.append(self.net.loss(image[at], text[first.to(image.device)[at]], *told))
        return float(torch.stack(losses).mean())

    def _held(self) -> tuple[NDArray[np.int64], Tensor, Pairing]:
        """The validation images, the rows of their captions in `texts`, and which of them belong together."""
        at = torch.from_numpy(self.val_rows)
        own, counts = self.captions.own[at], self.captions.counts[at]
        there = torch.arange(own.shape[1]) < counts[:, None]
        texts = own[there]
        said = [self.captions.texts[row] for row in texts.tolist()]
        return self.val_rows, texts, Pairing.of(there.nonzero()[:, 0].numpy(), len(at), said)

    def _images(self, rows: NDArray[np.int64]) -> Tensor:
        """Vectors (len(rows), dims) of images as they are, where the network is."""
        with _as_it_is(self.net) as device:
            if self.image_views is not None:
                views = self.image_views[torch.from_numpy(rows)].to(device).float()
                return self.net.images({"image/fixed": views}).mean(dim=1)
            found = []
            for start in range(0, len(rows), PART):
                chips = np.ascontiguousarray(self.images.read(rows[start : start + PART]))
                found.append(self.net.images({"image": torch.from_numpy(chips).to(device)}))
            return torch.cat(found)

    def _texts(self, tokens: Tensor) -> Tensor:
        """Vectors (len(tokens), dims) of tokenised texts, where the network is."""
        with _as_it_is(self.net) as device:
            return torch.cat([self.net.texts({"tokens": part.to(device)}) for part in torch.split(tokens, TEXTS)])

    def rates(self) -> Mapping[str, float]:
        """Factors of the learning rate; see `train.objectives.Rated`."""
        return {f"{tower}.": rate for tower, rate in self.towers.rates.items()}

    def identity(self) -> Mapping[str, Any]:
        """Settings and data."""
        settings = {name: value for name, value in self.config.to_json().items() if name != "loop"}
        return {
            "objective": "image-text",
            "settings": settings,
            "data": self.data,
            "towers": dict(self.towers.identity),
        }


@contextmanager
def _as_it_is(net: nn.Module) -> Iterator[torch.device]:
    """Without gradients and in eval mode for a while; gives the device of the network."""
    was = net.training
    net.eval()
    try:
        with torch.no_grad():
            yield next(net.parameters()).device
    finally:
        net.train(was)
