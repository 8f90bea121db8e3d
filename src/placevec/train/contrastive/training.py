"""Training a location encoder, and what comes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec.encoders.base import ModelCard
from placevec.encoders.location import LocationEncoder, location_card
from placevec.encoders.precomputed import PrecomputedEncoder
from placevec.encoders.text import TextEncoder, TextEncoderConfig
from placevec.geo.sphere import LonLat
from placevec.provenance import Space
from placevec.train.checkpoint import minted_space
from placevec.train.contrastive.config import LocationTraining
from placevec.train.contrastive.heads import head_encoder
from placevec.train.contrastive.objective import LocationObjective
from placevec.train.contrastive.tables import ImageTable
from placevec.train.loop import Report, TrainResult, fit


@dataclass(frozen=True)
class TrainedLocation:
    """A location encoder, the encoders that bring images and texts into the same Space, and the run.

    Attributes:
        encoder: coordinates to vectors; its config has the frame that was fitted to the training places.
        images: for each table, image vectors (key "vector") to vectors of the same Space: the identity where the
            encoder joined it.
        result: the run.
        text: captions (key "text") to vectors of the same Space; None without captions.
    """

    encoder: LocationEncoder
    images: Mapping[str, PrecomputedEncoder]
    result: TrainResult
    text: TextEncoder | None = field(default=None)

    @property
    def image(self) -> PrecomputedEncoder:
        """The encoder of the first, or only, table."""
        return next(iter(self.images.values()))

    @property
    def learned(self) -> dict[str, PrecomputedEncoder]:
        """Those of `images` that are not the identity."""
        return {name: encoder for name, encoder in self.images.items() if encoder.weight is not None}


def train_location(
    lonlat: LonLat,
    vectors: NDArray[np.float32] | Sequence[ImageTable],
    val: NDArray[np.bool_],
    config: LocationTraining,
    folder: str | Path,
    *,
    space: Space | None = None,
    captions: Sequence[str | None] | None = None,
    progress: Report | None = None,
    restart: bool = False,
    **card: Any,
) -> TrainedLocation:
    """Train a location encoder against frozen image vectors by symmetric InfoNCE.

    With several tables the loss is the mean of theirs, each over the rows of the batch that have a vector there.
    Captions add a text tower and the loss of places against it.

    Which Space the result has: where the vectors of a table are used as they are (no projection), the encoder learns
    to answer in *their* Space, and carries its identity with the origin `joined`: coordinates can search the images'
    own table at once, and what is projected (other tables, captions) goes there too. Where every table is projected,
    all towers end in a new Space (origin `trained`), and image vectors have to go through the `images` encoders of
    the answer first. A Space of another metric than cosine is not joined either, for the loss knows directions only.

    Args:
        lonlat: n places.
        vectors: (n, d) their image vectors, or tables of the vectors of some of them.
        val: (n,) bool, the rows of the spatial validation split, by which the best weights are chosen.
        config: the settings.
        folder: of the run; the same call goes on with a run that was killed.
        space: of the image vectors, where they are one array; None: unknown.
        captions: (n,) a text for each place, None for those without.
        progress: called as (step, total, metrics).
        restart: forget what is in the folder.
        card: fields of the ModelCard (licence, sources, parents, saw ...).

    Raises:
        DataError: vectors that are not finite, or do not fit the places.
        UsageError: settings that contradict the vectors.
        CheckpointError: see `train.loop.fit`.
    """
    given = vectors if isinstance(vectors, Sequence) else np.asarray(vectors)
    objective = LocationObjective(lonlat, given, np.asarray(val), config, captions, space)
    result = fit(objective, config.loop, folder, progress=progress, restart=restart)
    shape = objective.config.encoder
    home, own, joins = _spaces(objective, shape.dims)
    about: dict[str, Any] = {"recipe": config.to_json(), "seed": config.loop.seed, "scores": result.metrics}
    location = location_card(shape, own, name="location encoder, contrastive against images", **about)
    images = {}
    for table, kind, head in zip(objective.tables, objective.kinds, objective.heads, strict=True):
        plain = joins and kind == "identity"
        single = len(objective.tables) == 1
        tower = ModelCard(
            kind="precomputed",
            space=home if plain else own,
            tower="image" if single else f"image-{table.name}",
            inputs=("vector",),
            normalized=not plain,
            name="image vectors" if single else f"image vectors of {table.name}",
        )
        images[table.name] = head_encoder(head, tower if plain else replace(tower, **card))
    text = None
    if objective.text is not None:
        text_shape = TextEncoderConfig(net=config.text, dims=shape.dims)
        name = "text encoder, contrastive against places"
        text = TextEncoder.trained(objective.text, text_shape, own, name=name, **{**about, **card})
    return TrainedLocation(LocationEncoder(shape, objective.net, replace(location, **card)), images, result, text)


def _spaces(objective: LocationObjective, dims: int) -> tuple[Space, Space, bool]:
    """The Space of untouched image vectors, that of the location encoder, and whether it has joined the former."""
    plain = [table.space for table, kind in zip(objective.tables, objective.kinds, strict=True) if kind == "identity"]
    if plain and (plain[0] is None or plain[0].metric == "cosine"):
        home = plain[0] or Space.unknown(dims, note="image vectors of unknown origin")
        return (
            home,
            replace(home, origin="joined", note="a location encoder trained against frozen image vectors"),
            True,
        )
    note = "a location encoder and projections of image vectors, trained jointly"
    own = minted_space(objective.module, dims, note)
    return own, own, False
