"""The towers of a location encoder's training, and their loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from placevec.encoders.location import LocationNet
from placevec.geo.sphere import chord_of
from placevec.nn.losses import Temperature, symmetric_infonce
from placevec.train.contrastive.config import LocationTraining
from placevec.train.contrastive.gradcache import in_parts
from placevec.train.contrastive.positives import alike, either, near
from placevec.train.contrastive.queue import PlaceQueue
from placevec.train.objectives import gather

Batch = Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class Negatives:
    """Places of earlier batches: `vectors` (q, dims), and whether they are not negatives of a row: `mask` (n, q)."""

    vectors: Tensor
    mask: Tensor


class Towers(nn.Module):
    """Places, their image vectors and captions, to one loss.

    Args:
        net: of places.
        heads: of image vectors, one for each table.
        weights: of the tables' losses in their mean.
        text: of captions, or None.
        config: the settings.
    """

    def __init__(
        self,
        net: LocationNet,
        heads: nn.ModuleList,
        weights: Sequence[float],
        text: nn.Module | None,
        config: LocationTraining,
    ) -> None:
        super().__init__()
        self.net = net
        self.heads = heads
        self.weights = tuple(weights)
        self.text = text
        towers = len(heads) + (text is not None)
        self.temperatures = nn.ModuleList(Temperature(config.temperature) for _ in range(towers))
        self.queue = PlaceQueue(config.queue) if config.queue else None
        self.config = config
        self.chord = float(chord_of(config.positives_m))

    def forward(self, batch: dict[str, Tensor], generator: torch.Generator) -> Tensor:
        """The loss of a batch; see `LocationObjective.batch` for what stands in it."""
        place = gather(self.places(batch))
        unit = gather(batch["unit"]) if "unit" in batch else None
        duplicate = None if unit is None else near(unit, unit, self.chord)
        queued = self._queued(batch, unit)
        if self.queue is not None and self.training:
            self.queue.push(gather(batch["row"]))
        losses = [
            weight * self._image_loss(index, batch, place, duplicate, queued)
            for index, weight in enumerate(self.weights)
        ]
        loss = torch.stack(losses).sum() / sum(self.weights)
        if self.text is not None:
            loss = loss + self.config.caption_weight * self._text_loss(batch, place, duplicate, queued)
        return loss

    def places(self, batch: Batch) -> Tensor:
        """The vectors (n, dims) of `encoded` (n, position dims) or `lonlat` (n, 2)."""
        if "encoded" in batch:
            return in_parts(self.net.follow, batch["encoded"], self.config.micro_batch).float()
        return in_parts(self.net, batch["lonlat"], self.config.micro_batch).float()

    def images(self, index: int, batch: Batch) -> Tensor:
        """The projected vectors (n, dims) of a table; of rows without one they mean nothing."""
        return in_parts(self.heads[index], batch[f"vector/{index}"], self.config.micro_batch).float()

    def texts(self, batch: Batch) -> Tensor:
        """The vectors (n, dims) of captions; of rows without one they mean nothing."""
        assert self.text is not None
        return in_parts(self.text, batch["tokens"], self.config.micro_batch).float()

    def _queued(self, batch: Batch, unit: Tensor | None) -> Negatives | None:
        if "queue/row" not in batch:
            return None
        places = {name.removeprefix("queue/"): value for name, value in batch.items() if name.startswith("queue/")}
        rows = gather(batch["row"])
        # What another process has in its part of the batch is a negative there already.
        mask = torch.isin(places["row"], rows)[None].expand(len(rows), -1)
        if unit is not None:
            mask = mask | near(unit, places["unit"], self.chord)
        return Negatives(self.places(places), mask)

    def _image_loss(
        self, index: int, batch: Batch, place: Tensor, duplicate: Tensor | None, queued: Negatives | None
    ) -> Tensor:
        image = gather(self.images(index, batch))
        like = unlike = None
        if self.config.positives_cos:
            raw = gather(batch[f"vector/{index}"])
            like = alike(raw, raw, self.config.positives_cos)
            if queued is not None:
                # A queued place without an image is a zero vector, whose cosine is 0.
                unlike = alike(raw, batch[f"queue/vector/{index}"], self.config.positives_cos)
        has = gather(batch[f"has/{index}"]).bool() if f"has/{index}" in batch else None
        masks = either(duplicate, like)
        return _loss(place, image, has, masks, queued, unlike, self.temperatures[index])

    def _text_loss(self, batch: Batch, place: Tensor, duplicate: Tensor | None, queued: Negatives | None) -> Tensor:
        caption = gather(batch["caption"])
        same = caption[:, None] == caption[None]
        said = None if queued is None else caption[:, None] == batch["queue/caption"][None]
        text = gather(self.texts(batch))
        return _loss(place, text, caption >= 0, either(duplicate, same), queued, said, self.temperatures[-1])


def _loss(
    place: Tensor,
    other: Tensor,
    has: Tensor | None,
    positives: Tensor | None,
    queued: Negatives | None,
    also: Tensor | None,
    temperature: nn.Module,
) -> Tensor:
    """InfoNCE of the rows that have both; 0, but with a graph, where those are fewer than two.

    `also` (n, q) adds to the queued places that are no negatives of a row.
    """
    scale = temperature()
    vectors = None if queued is None else queued.vectors
    excluded = None if queued is None else either(queued.mask, also)
    if has is not None:
        index = has.nonzero()[:, 0]
        if len(index) < 2:
            # DDP wants a gradient, if only zeros, for every parameter.
            nothing: Tensor = 0.0 * (place.sum() + other.sum() + scale)
            return nothing
        place, other = place[index], other[index]
        positives = None if positives is None else positives[index][:, index]
        excluded = None if excluded is None else excluded[index]
    return symmetric_infonce(place, other, scale, positives, vectors, excluded)
