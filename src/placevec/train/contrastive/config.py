"""The settings by which a location encoder is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from placevec.encoders.location import LocationConfig
from placevec.errors import UsageError
from placevec.nn import configs
from placevec.nn.text import TextConfig
from placevec.train.config import LoopConfig

Projection = Literal["auto", "identity", "linear", "mlp"]
PROJECTIONS = ("auto", "identity", "linear", "mlp")


@dataclass(frozen=True)
class SourceConfig:
    """What is different for one of several tables of image vectors."""

    name: str  # of the table: the stem of its file
    projection: Projection | None = None  # of its vectors; None: as for all
    weight: float = 1.0  # of its loss in the mean over the tables

    def __post_init__(self) -> None:
        if self.projection is not None and self.projection not in PROJECTIONS:
            raise UsageError(f"sources.projection = {self.projection!r}: give {', '.join(PROJECTIONS)}")
        if not self.weight > 0:
            raise UsageError(f"sources.weight = {self.weight} for {self.name!r}: give more than 0")


@dataclass(frozen=True)
class LocationTraining:
    """How a location encoder is trained against image vectors, and captions where there are some."""

    encoder: LocationConfig = field(default_factory=LocationConfig)  # its shape
    projection: Projection = "auto"  # of image vectors; auto: none where all of them share one Space of these dims
    head_hidden: int = 256  # width of the hidden layer of a projection "mlp"
    head_dropout: float = 0.1  # share of that layer dropped in training
    sources: tuple[SourceConfig, ...] = ()  # exceptions for single tables
    temperature: float = 0.07  # at the start; each table learns its own, from 0.01 to 1
    positives_m: float = 0.0  # places within so many metres are positives of each other; 0: none
    positives_cos: float = 0.0  # and those whose image vectors have at least this cosine; 0: none
    queue: int = 0  # places of earlier batches that are further negatives of every image; GeoCLIP: 4096
    queue_noise_m: float = 1000.0  # standard deviation, east and north, by which those are moved each time
    micro_batch: int = 0  # rows that are encoded at a time, where a whole batch does not fit in memory; 0: all
    captions: str = ""  # the column of captions; "": none
    caption_weight: float = 1.0  # of the loss of the captions, beside that of the images
    text: TextConfig = field(default_factory=TextConfig)  # the shape of the text tower
    loop: LoopConfig = field(
        default_factory=lambda: LoopConfig(epochs=100, batch_size=512, learning_rate=2e-3, weight_decay=0.1)
    )

    def __post_init__(self) -> None:
        if self.projection not in PROJECTIONS:
            raise UsageError(f"projection = {self.projection!r}: give {', '.join(PROJECTIONS)}")
        if not 0.01 <= self.temperature <= 1:
            raise UsageError(f"temperature = {self.temperature}: give a number from 0.01 to 1")
        if self.head_hidden < 1:
            raise UsageError(f"head_hidden = {self.head_hidden}: give at least 1")
        if not 0 <= self.head_dropout < 1:
            raise UsageError(f"head_dropout = {self.head_dropout}: give a share from 0 to below 1")
        for name in ("positives_m", "queue", "queue_noise_m", "micro_batch"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise UsageError(f"{name} = {getattr(self, name)}: give 0 or more")
        if not 0 <= self.positives_cos <= 1:
            raise UsageError(f"positives_cos = {self.positives_cos}: give a cosine from 0 (none) to 1")
        if not self.caption_weight > 0:
            raise UsageError(f"caption_weight = {self.caption_weight}: give more than 0, or leave captions out")
        names = [source.name for source in self.sources]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise UsageError(f"sources names {twice[0]!r} twice: give each table once")

    def to_json(self) -> dict[str, Any]:
        """A JSON object; see `from_json`."""
        return configs.to_json(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> LocationTraining:
        """Read what `to_json` wrote; UsageError for an unknown setting."""
        given = dict(value)
        # The encoder knows its own choices of parts.
        encoder = given.pop("encoder", None)
        sources = given.pop("sources", ())
        if not isinstance(sources, (list, tuple)) or not all(isinstance(item, Mapping) for item in sources):
            raise UsageError('sources is a list of tables: [{name = "clay", projection = "linear"}, ...]')
        config = replace(
            configs.from_json(cls, given), sources=tuple(configs.from_json(SourceConfig, item) for item in sources)
        )
        return config if encoder is None else replace(config, encoder=LocationConfig.from_json(encoder))
