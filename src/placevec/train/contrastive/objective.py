"""Places against image vectors and captions, as the training loop wants it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from placevec.encoders.location import seeded_net
from placevec.encoders.network import seeded
from placevec.errors import DataError, UsageError
from placevec.geo.sphere import LonLat
from placevec.nn.losses import symmetric_infonce
from placevec.provenance import Space
from placevec.train.contrastive.config import LocationTraining
from placevec.train.contrastive.heads import head, projections
from placevec.train.contrastive.queue import moved
from placevec.train.contrastive.scores import chance, retrieval
from placevec.train.contrastive.tables import ImageTable, Part, captions_of, image_tables, slots_of
from placevec.train.contrastive.towers import Towers
from placevec.train.data import digest, parts

CACHED = 2**27  # numbers of the position encodings that are kept in memory (512 MB); beyond it they are made anew
VALIDATED = 8192  # validation places that are looked at for a table, at most, evenly drawn


class LocationObjective:
    """See `train.objectives.Objective`.

    Args:
        lonlat: n places.
        vectors: (n, d) image vectors, or tables of them.
        val: (n,) bool, the rows of the validation split.
        config: the settings; a position encoding that wants a frame gets that of the training places.
        captions: (n,) a text or None for each place, or None.
        space: of the vectors, where they are a bare array.
    """

    mode: Literal["min", "max"] = "min"

    def __init__(
        self,
        lonlat: LonLat,
        vectors: NDArray[np.float32] | Sequence[ImageTable],
        val: NDArray[np.bool_],
        config: LocationTraining,
        captions: Sequence[str | None] | None = None,
        space: Space | None = None,
    ) -> None:
        self.settings = {name: value for name, value in config.to_json().items() if name != "loop"}
        self.tables = image_tables(vectors, len(lonlat), space)
        train, held = parts(val, len(lonlat))
        self.key = _key(lonlat, self.tables, np.asarray(val), captions)
        self.count = len(train)
        self.config = config = fitted(config, lonlat[train])
        self.kinds = projections(self.tables, config)
        self.net = seeded_net(config.encoder, config.loop.seed)
        pairs = list(zip(self.kinds, self.tables, strict=True))
        self.heads = seeded(
            lambda: nn.ModuleList(head(kind, table.vectors.shape[1], config) for kind, table in pairs),
            config.loop.seed + 1,
        )
        known = None if captions is None else _captions(captions, len(lonlat), config)
        self.text = None
        if known is not None:
            self.text = seeded(lambda: config.text.build(config.encoder.dims), config.loop.seed + 2)
        own = {source.name: source.weight for source in config.sources}
        weights = [own.get(table.name, 1.0) for table in self.tables]
        self.towers = Towers(self.net, self.heads, weights, self.text, config)
        self.module: nn.Module = self.towers
        self.training = self._part(lonlat, train, known)
        self.held = self._part(lonlat, held, known)
        self.shown = [self._shown(index) for index in range(len(self.tables))]
        self.monitor = "loss" if any(len(rows) >= 2 for rows in self.shown) else ""

    def _part(self, lonlat: LonLat, rows: NDArray[np.int64], known: tuple[Tensor, Tensor] | None) -> Part:
        own = lonlat[rows]
        degrees = torch.from_numpy(np.stack([own.lon, own.lat], axis=1))
        encoded = None
        # A fixed encoding of fixed places needs to be made once only.
        if len(degrees) * self.config.encoder.position.dims <= CACHED:
            with torch.no_grad():
                encoded = self.net.position(degrees).contiguous()
        images = [slots_of(table, rows, len(lonlat)) for table in self.tables]
        return Part(
            count=len(rows),
            degrees=degrees,
            encoded=encoded,
            unit=torch.from_numpy(own.unit().astype(np.float32)),
            vectors=tuple(vectors for vectors, _ in images),
            slots=tuple(slots for _, slots in images),
            tokens=None if known is None else known[0],
            captions=None if known is None else known[1][torch.from_numpy(rows)],
        )

    def batch(self, rows: NDArray[np.int64]) -> dict[str, Tensor]:
        """The tensors of training rows, and of the queued places.

        Returns:
            of each row `encoded` or `lonlat`, `vector/I` and `has/I` of table I, `tokens` and `caption`; `unit` where
            near places are positives, `row` where there is a queue; and ``queue/...`` of the places in it.
        """
        picked = torch.from_numpy(rows)
        part = self.training
        found = {**part.places(picked), **part.texts(picked)}
        for index in range(len(self.tables)):
            found.update(part.images(index, picked))
        if self.config.positives_m:
            found["unit"] = part.unit[picked]
        if self.towers.queue is not None:
            found["row"] = picked
            found.update(self._queued(self.towers.queue.others(rows)))
        return found

    def _queued(self, rows: NDArray[np.int64]) -> dict[str, Tensor]:
        if len(rows) == 0:
            return {}
        picked, part, config = torch.from_numpy(rows), self.training, self.config
        if config.queue_noise_m:
            found = {"lonlat": moved(part.degrees[picked], config.queue_noise_m)}
        else:
            found = part.places(picked)
        found["row"] = picked
        if config.positives_m:
            found["unit"] = part.unit[picked]
        if config.positives_cos:
            for index in range(len(self.tables)):
                found[f"vector/{index}"] = part.images(index, picked)[f"vector/{index}"]
        if part.captions is not None:
            found["caption"] = part.captions[picked]
        return {f"queue/{name}": value for name, value in found.items()}

    def validate(self, device: torch.device) -> dict[str, float]:
        """The loss of the validation places, and how well each finds its own image, or caption, among theirs.

        Figures of several towers are called TOWER/FIGURE; those without a tower are the means over the tables, with
        their weights. In `loss` the captions count as they do in training.
        """
        towers, config = self.towers, self.config
        every: dict[str, dict[str, float]] = {}
        weights: dict[str, float] = {}
        for index, table in enumerate(self.tables):
            if len(self.shown[index]) >= 2:
                picked = self.shown[index]
                batch = _to(device, {**self.held.places(picked), **self.held.images(index, picked)})
                image = towers.images(index, batch)
                every[table.name] = _figures(towers.places(batch), image, towers.temperatures[index]())
                weights[table.name] = towers.weights[index]
        total = sum(weights.values())
        names = next(iter(every.values()))
        means = {name: sum(weights[of] * every[of][name] for of in every) / total for name in names}
        captioned = self._captioned()
        if len(captioned) >= 2:
            batch = _to(device, {**self.held.places(captioned), **self.held.texts(captioned)})
            every["text"] = _figures(towers.places(batch), towers.texts(batch), towers.temperatures[-1]())
            means["loss"] += config.caption_weight * every["text"]["loss"]
        if len(self.tables) == 1 and self.text is None:
            return means
        return means | {f"{of}/{name}": value for of, figures in every.items() for name, value in figures.items()}

    def _shown(self, index: int) -> Tensor:
        slots = self.held.slots[index]
        return _evenly(torch.arange(self.held.count) if slots is None else (slots >= 0).nonzero()[:, 0])

    def _captioned(self) -> Tensor:
        if self.held.captions is None:
            return torch.arange(0)
        # Of places with one caption only the first: a search could not tell them apart.
        rows = (self.held.captions >= 0).nonzero()[:, 0].numpy()
        _, first = np.unique(self.held.captions.numpy()[rows], return_index=True)
        return _evenly(torch.from_numpy(rows[np.sort(first)]))

    def identity(self) -> Mapping[str, Any]:
        """Settings and data."""
        return {"objective": "location", "settings": self.settings, "data": self.key}


def fitted(config: LocationTraining, lonlat: LonLat) -> LocationTraining:
    """The settings with a position encoding that knows the frame of the training places, where it has one."""
    position = config.encoder.position
    fit: Callable[..., Any] | None = getattr(position, "fitted", None)
    if fit is None:
        return config
    return replace(config, encoder=replace(config.encoder, position=fit(lonlat.lon, lonlat.lat)))


def _key(
    lonlat: LonLat,
    tables: Sequence[ImageTable],
    val: NDArray[np.bool_],
    captions: Sequence[str | None] | None,
) -> str:
    arrays: list[NDArray[Any]] = [np.stack([lonlat.lon, lonlat.lat], axis=1), val]
    for table in tables:
        arrays += [np.frombuffer(table.name.encode(), dtype=np.uint8), table.vectors]
        arrays.append(np.arange(len(lonlat)) if table.rows is None else table.rows)
    if captions is not None:
        arrays.append(np.frombuffer("\n".join(repr(text) for text in captions).encode(), dtype=np.uint8))
    return digest(*arrays)


def _captions(captions: Sequence[str | None], count: int, config: LocationTraining) -> tuple[Tensor, Tensor]:
    if len(captions) != count:
        raise DataError(f"{len(captions)} captions for {count} places: give one, or None, for each")
    found = captions_of(captions, config.text)
    if len(found[0]) <= 2:
        raise UsageError(f"{len(found[0]) - 1} different captions: learning from text needs at least 2")
    return found


def _figures(place: Tensor, other: Tensor, scale: Tensor) -> dict[str, float]:
    loss = float(symmetric_infonce(place, other, scale))
    return {"loss": loss, **retrieval(place, other), **chance(len(place))}


def _to(device: torch.device, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.to(device) for name, value in batch.items()}


def _evenly(rows: Tensor) -> Tensor:
    return rows[:: -(-len(rows) // VALIDATED) or 1]
