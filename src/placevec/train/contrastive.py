"""The location encoder learns from frozen image vectors: a place and its image belong together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from placevec.encoders.base import ModelCard
from placevec.encoders.location import (
    LocationConfig,
    LocationEncoder,
    LocationNet,
    location_card,
    seeded_net,
)
from placevec.encoders.precomputed import PrecomputedEncoder
from placevec.errors import DataError, UsageError
from placevec.geo.sphere import LonLat
from placevec.nn import configs
from placevec.nn.losses import Temperature, symmetric_infonce
from placevec.provenance import Space
from placevec.train.checkpoint import minted_space
from placevec.train.config import LoopConfig
from placevec.train.data import digest, parts
from placevec.train.loop import Report, TrainResult, fit
from placevec.train.objectives import gather

CACHED = 2**27  # numbers of the position encodings that are kept in memory (512 MB); beyond it they are made anew


@dataclass(frozen=True)
class LocationTraining:
    """How a location encoder is trained against image vectors."""

    encoder: LocationConfig = field(default_factory=LocationConfig)  # its shape
    projection: Literal["auto", "identity", "linear"] = "auto"  # of the image vectors; auto: linear if dims differ
    temperature: float = 0.07  # at the start; it is learned
    loop: LoopConfig = field(
        default_factory=lambda: LoopConfig(epochs=100, batch_size=512, learning_rate=2e-3, weight_decay=0.1)
    )

    def __post_init__(self) -> None:
        if self.projection not in ("auto", "identity", "linear"):
            raise UsageError(f"projection = {self.projection!r}: give auto, identity or linear")
        if not 0 < self.temperature <= 1:
            raise UsageError(f"temperature = {self.temperature}: give a number above 0, at most 1")

    def to_json(self) -> dict[str, Any]:
        """A JSON object; see `from_json`."""
        return configs.to_json(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> LocationTraining:
        """Read what `to_json` wrote; UsageError for an unknown setting."""
        given = dict(value)
        encoder = given.pop("encoder", None)
        config = configs.from_json(cls, given)
        if encoder is None:
            return config
        return replace(config, encoder=LocationConfig.from_json(encoder))


@dataclass(frozen=True)
class TrainedLocation:
    """A location encoder, the encoder that brings image vectors into the same Space, and the run.

    Attributes:
        encoder: coordinates to vectors.
        image: image vectors (key "vector") to vectors of the same Space: the identity where the encoder joined it.
        result: the run.
    """

    encoder: LocationEncoder
    image: PrecomputedEncoder
    result: TrainResult


class Pairs(nn.Module):
    """Places and their image vectors, to the symmetric InfoNCE loss."""

    def __init__(self, net: LocationNet, projection: nn.Module, temperature: float) -> None:
        super().__init__()
        self.net = net
        self.projection = projection
        self.temperature = Temperature(temperature)

    def forward(self, batch: dict[str, Tensor], generator: torch.Generator) -> Tensor:
        """The loss of `encoded` (n, position dims) or `lonlat` (n, 2), and `vector` (n, d)."""
        place, image = self.towers(batch)
        return symmetric_infonce(gather(place), gather(image), self.temperature())

    def towers(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The vectors (n, dims) of the places, and of their images."""
        place = self.net.follow(batch["encoded"]) if "encoded" in batch else self.net(batch["lonlat"])
        return place.float(), self.projection(batch["vector"]).float()


class LocationObjective:
    """Places against image vectors; see `train.objectives.Objective`."""

    mode: Literal["min", "max"] = "min"

    def __init__(
        self, lonlat: LonLat, vectors: NDArray[np.float32], val: NDArray[np.bool_], config: LocationTraining
    ) -> None:
        self.config = config
        degrees = np.stack([lonlat.lon, lonlat.lat], axis=1)
        if vectors.ndim != 2 or len(vectors) != len(degrees):
            raise DataError(
                f"{len(degrees)} places and image vectors of shape {vectors.shape}: give one vector a place"
            )
        if not np.isfinite(vectors).all():
            raise DataError("an image vector is not finite: embed the chips again, or leave that place out")
        self.key = digest(degrees, vectors, np.asarray(val))
        train, held = parts(val, len(degrees))
        self.count = len(train)
        self.linear = config.projection == "linear" or (
            config.projection == "auto" and config.encoder.dims != vectors.shape[1]
        )
        if not self.linear and config.encoder.dims != vectors.shape[1]:
            raise UsageError(
                f"projection = identity, but the encoder has {config.encoder.dims} dims and the image vectors "
                f"{vectors.shape[1]}: set dims = {vectors.shape[1]} or projection = linear"
            )
        net = seeded_net(config.encoder, config.loop.seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.loop.seed + 1)
            projection: nn.Module = (
                nn.Linear(vectors.shape[1], config.encoder.dims, bias=False) if self.linear else nn.Identity()
            )
        self.net, self.projection = net, projection
        self.module: nn.Module = Pairs(net, projection, config.temperature)
        self.training = self._tensors(degrees[train], vectors[train])
        self.held = self._tensors(degrees[held], vectors[held])
        self.monitor = "loss" if len(held) >= 2 else ""

    def _tensors(self, degrees: NDArray[np.float64], vectors: NDArray[np.float32]) -> dict[str, Tensor]:
        lonlat = torch.from_numpy(degrees)
        found = {"vector": torch.from_numpy(np.ascontiguousarray(vectors, dtype=np.float32))}
        # A fixed encoding of fixed places needs to be made once only.
        if len(degrees) * self.config.encoder.position.dims <= CACHED:
            with torch.no_grad():
                found["encoded"] = self.net.position(lonlat).contiguous()
        else:
            found["lonlat"] = lonlat
        return found

    def batch(self, rows: NDArray[np.int64]) -> dict[str, Tensor]:
        """Places and vectors of training rows."""
        picked = torch.from_numpy(rows)
        return {name: values[picked] for name, values in self.training.items()}

    def validate(self, device: torch.device) -> dict[str, float]:
        """The loss of the validation places, and how well each finds its own image among theirs."""
        assert isinstance(self.module, Pairs)
        place, image = self.module.towers({name: values.to(device) for name, values in self.held.items()})
        loss = symmetric_infonce(place, image, self.module.temperature())
        return {"loss": float(loss), **retrieval(place, image)}

    def identity(self) -> Mapping[str, Any]:
        """Settings and data."""
        settings = {name: value for name, value in self.config.to_json().items() if name != "loop"}
        return {"objective": "location", "settings": settings, "data": self.key}


def retrieval(queries: Tensor, items: Tensor) -> dict[str, float]:
    """How well query i finds item i by cosine among all items: ties count against it.

    Returns:
        recall_at_1, recall_at_10, mrr (mean reciprocal rank), and percentile: the mean share of the other items that
        stand behind its own (chance: 0.5).
    """
    cosines = F.normalize(queries, dim=1) @ F.normalize(items, dim=1).T
    rank = (cosines >= cosines.diagonal()[:, None]).sum(dim=1).double()
    return {
        "recall_at_1": float((rank <= 1).double().mean()),
        "recall_at_10": float((rank <= 10).double().mean()),
        "mrr": float((1.0 / rank).mean()),
        "percentile": float((1.0 - (rank - 1) / max(1, len(items) - 1)).mean()),
    }


def train_location(
    lonlat: LonLat,
    vectors: NDArray[np.float32],
    val: NDArray[np.bool_],
    config: LocationTraining,
    folder: str | Path,
    *,
    space: Space | None = None,
    progress: Report | None = None,
    restart: bool = False,
    **card: Any,
) -> TrainedLocation:
    """Train a location encoder against frozen image vectors by symmetric InfoNCE.

    Which Space the result has: where the image vectors are used as they are (no projection), the encoder learns to
    answer in *their* Space, and carries its identity with the origin `joined`: coordinates can search the images' own
    table at once. Where a projection of the image vectors is learned, both towers end in a new Space (origin
    `trained`), and image vectors have to go through the `image` encoder of the answer first. A Space of another metric
    than cosine is not joined either, for the loss knows directions only.

    Args:
        lonlat: n places.
        vectors: (n, d) their image vectors.
        val: (n,) bool, the rows of the spatial validation split, by which the best weights are chosen.
        config: the settings.
        folder: of the run; the same call goes on with a run that was killed.
        space: of the image vectors; None: unknown.
        progress: called as (step, total, metrics).
        restart: forget what is in the folder.
        card: fields of the ModelCard (licence, sources, parents, saw ...).

    Raises:
        DataError: vectors that are not finite, or do not fit the places.
        UsageError: settings that contradict the vectors.
        CheckpointError: see `train.loop.fit`.
    """
    objective = LocationObjective(lonlat, np.asarray(vectors), np.asarray(val), config)
    result = fit(objective, config.loop, folder, progress=progress, restart=restart)
    dims = config.encoder.dims
    joins = not objective.linear and (space is None or space.metric == "cosine")
    if joins:
        home = space or Space.unknown(dims, note="image vectors of unknown origin")
        own = replace(home, origin="joined", note="a location encoder trained against frozen image vectors")
    else:
        note = "a location encoder and a projection of image vectors, trained jointly"
        home = own = minted_space(objective.module, dims, note)
    about = location_card(
        config.encoder,
        own,
        name="location encoder, contrastive against images",
        recipe=config.to_json(),
        seed=config.loop.seed,
        scores=result.metrics,
    )
    projection = ModelCard(
        kind="precomputed", space=home, tower="image", inputs=("vector",), normalized=not joins, name="image vectors"
    )
    learned = objective.projection
    weight = learned.weight.detach().numpy().copy() if isinstance(learned, nn.Linear) else None
    return TrainedLocation(
        LocationEncoder(config.encoder, objective.net, replace(about, **card)),
        PrecomputedEncoder(projection, weight),
        result,
    )
