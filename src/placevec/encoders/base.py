"""What an encoder is, and the card that goes with every model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from placevec import __version__
from placevec.errors import CheckpointError, PlacevecError, UsageError
from placevec.provenance import Saw, SourceRef, Space

Vectors = NDArray[np.float32]

CARD_VERSION = 1


@dataclass(frozen=True)
class ModelCard:
    """What stands in `card.json` of a model folder: enough to build the encoder, and to know where it comes from.

    Attributes:
        kind: the encoder's name in the registry ("location", "image", ...).
        space: the Space of its vectors.
        tower: which of the encoders that share the Space it is.
        config: its settings, from which the network is built.
        inputs: the keys of a batch that it reads.
        normalized: whether its vectors have length 1.
        name: for people.
        licence: of the weights.
        recipe: the settings of the training.
        seed: of the training.
        saw: labels that it was fitted on.
        parents: fingerprints of tables and sha256 of weights that it was made from.
        scores: figures of the training, by name.
        sources: what was read.
        assets: further files of the folder, with their sha256.
        weights_sha256: of `model.safetensors`; "" for a model without weights of its own.
        version: of the placevec that wrote it.
    """

    kind: str
    space: Space
    tower: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    normalized: bool = False
    name: str = ""
    licence: str = ""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    saw: tuple[Saw, ...] = ()
    parents: tuple[str, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict)
    sources: tuple[SourceRef, ...] = ()
    assets: Mapping[str, str] = field(default_factory=dict)
    weights_sha256: str = ""
    version: str = __version__

    def to_json(self) -> dict[str, Any]:
        """A JSON object; see `from_json`."""
        return {"card_version": CARD_VERSION, **asdict(self), "space": self.space.to_json()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any], where: str = "card.json") -> ModelCard:
        """Read what `to_json` wrote.

        Raises:
            CheckpointError: a key is missing, unknown or of the wrong type, or a newer placevec wrote it.
        """
        given = dict(value)
        version = given.pop("card_version", None)
        if not isinstance(version, int) or version > CARD_VERSION:
            raise CheckpointError(f"{where} has card version {version!r}; this placevec reads up to {CARD_VERSION}")
        names = {item.name for item in fields(cls)}
        odd = sorted(set(given) ^ names)
        if odd:
            verb = "has the unknown key" if odd[0] in given else "lacks"
            raise CheckpointError(f"{where} {verb} {odd[0]!r}: it was not written by this version of placevec")
        try:
            given["space"] = Space.from_json(given["space"])
            given["saw"] = tuple(Saw(**{**saw, "folds": tuple(saw["folds"])}) for saw in given["saw"])
            given["sources"] = tuple(SourceRef(**source) for source in given["sources"])
            given["inputs"] = tuple(given["inputs"])
            given["parents"] = tuple(given["parents"])
            for name in ("config", "recipe", "scores", "assets"):
                given[name] = dict(given[name])
            return cls(**given)
        except (TypeError, ValueError, KeyError, PlacevecError) as error:
            raise CheckpointError(f"{where} is damaged: {error}") from error

    def text(self) -> str:
        """The card as it is written."""
        return json.dumps(self.to_json(), indent=1, sort_keys=True) + "\n"


@runtime_checkable
class Encoder(Protocol):
    """Turns the content of places into vectors of one Space."""

    @property
    def card(self) -> ModelCard:
        """What it is and where it comes from."""

    @property
    def space(self) -> Space:
        """The Space of its vectors."""

    @property
    def tower(self) -> str:
        """Which of the encoders that share the Space it is."""

    @property
    def dims(self) -> int:
        """Number of components of a vector."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """The keys of a batch that it reads."""

    def encode(self, data: Mapping[str, NDArray[Any]]) -> Vectors:
        """The vectors (n, dims) float32 of n places; the answer does not depend on how they are batched."""


class Carded:
    """The parts of an encoder that its card answers."""

    def __init__(self, card: ModelCard) -> None:
        self._card = card

    @property
    def card(self) -> ModelCard:
        """What it is and where it comes from."""
        return self._card

    @property
    def space(self) -> Space:
        """The Space of its vectors."""
        return self._card.space

    @property
    def tower(self) -> str:
        """Which of the encoders that share the Space it is."""
        return self._card.tower

    @property
    def dims(self) -> int:
        """Number of components of a vector."""
        return self._card.space.dims

    @property
    def inputs(self) -> tuple[str, ...]:
        """The keys of a batch that it reads."""
        return self._card.inputs

    def take(self, data: Mapping[str, NDArray[Any]], key: str) -> NDArray[Any]:
        """The array called `key`, or UsageError naming what is there."""
        if key not in data:
            raise UsageError(
                f"a {self._card.kind} encoder reads {key!r}, and the source gives "
                f"{', '.join(sorted(data)) or 'nothing'}: use another source or encoder"
            )
        return np.asarray(data[key])


def unit_rows(vectors: NDArray[Any]) -> Vectors:
    """Rows of length 1 in float32; a row of zeros stays as it is."""
    length = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    return (vectors / np.where(length > 0, length, 1.0)).astype(np.float32)
