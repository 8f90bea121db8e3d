"""Where vectors come from: the Space they live in, who made them, and which labels that maker saw.

A Space is minted when a model is trained, not computed from its weights: two runs of one recipe give two Spaces,
because nothing makes their axes agree. Vectors compare only within one Space.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from placevec.errors import FormatError, SpaceMismatch, UsageError

Metric = Literal["cosine", "dot", "l2"]
Origin = Literal["trained", "joined", "published", "derived", "asserted", "unknown"]

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Space:
    """The identity of a vector space. Two Spaces are the same if their `id` and `dims` are.

    Attributes:
        id: the identity; minted at random, or spelt from what determines it (published, derived, asserted).
        dims: number of components of a vector.
        metric: how vectors of it are compared.
        origin: how it came to be, see the architecture's list of nouns.
        note: for people.
        parents: ids of the Spaces it was derived from.
    """

    id: str
    dims: int
    metric: Metric = "cosine"
    origin: Origin = "unknown"
    note: str = field(default="", compare=False)
    parents: tuple[str, ...] = field(default=(), compare=False)

    @classmethod
    def mint(cls, dims: int, *, origin: Origin = "trained", metric: Metric = "cosine", note: str = "") -> Space:
        """A new Space, equal to no other."""
        return cls(f"{origin}:{uuid.uuid4().hex}", dims, metric, origin, note)

    @classmethod
    def unknown(cls, dims: int, *, note: str = "") -> Space:
        """The Space of vectors about which nothing is known: it equals only itself."""
        return cls.mint(dims, origin="unknown", note=note)

    @classmethod
    def published(cls, name: str, dims: int, *, metric: Metric = "cosine") -> Space:
        """The Space of a public model, `name` written as ``name@revision``."""
        return cls(f"published:{name}", dims, metric, "published")

    @classmethod
    def asserted(cls, name: str, dims: int, *, metric: Metric = "cosine") -> Space:
        """A Space that the user vouches for (``import --space NAME``)."""
        if not name.strip():
            raise UsageError("the name of a Space is empty: give one, such as --space clay-v1")
        return cls(f"asserted:{name.strip()}", dims, metric, "asserted")

    @classmethod
    def derived(
        cls,
        parents: Sequence[Space],
        transform_digest: str,
        dims: int,
        *,
        metric: Metric = "cosine",
        note: str = "",
    ) -> Space:
        """The Space of vectors made from those of `parents` by a fitted transform with the digest given."""
        ids = tuple(parent.id for parent in parents)
        digest = digest_json([list(ids), transform_digest, dims])[:32]
        return cls(f"derived:{digest}", dims, metric, "derived", note, ids)

    def require(self, other: Space, doing: str = "comparing") -> None:
        """Raise SpaceMismatch unless `other` is this Space; `doing` says what was attempted."""
        if self.id == other.id and self.dims == other.dims:
            return
        raise SpaceMismatch(
            f"{doing}: vectors of two Spaces do not compare: {self.label} and {other.label}; embed both with one "
            "model, or say that they are one with `placevec import --space NAME` on each"
        )

    @property
    def label(self) -> str:
        """A short name for messages, such as ``trained:1f3a9c2e (64 dims)``."""
        kind, _, rest = self.id.partition(":")
        short = rest if kind in {"published", "asserted"} else rest[:8]
        return f"{kind}:{short} ({self.dims} dims)"

    def to_json(self) -> dict[str, Any]:
        """A JSON object; see `from_json`."""
        return {
            "id": self.id,
            "dims": self.dims,
            "metric": self.metric,
            "origin": self.origin,
            "note": self.note,
            "parents": list(self.parents),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Space:
        """Read what `to_json` wrote; FormatError if it is not that."""
        try:
            space = cls(
                str(value["id"]),
                int(value["dims"]),
                value.get("metric", "cosine"),
                value.get("origin", "unknown"),
                str(value.get("note", "")),
                tuple(str(parent) for parent in value.get("parents", ())),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise FormatError(f"not the description of a Space: {value!r}") from error
        if space.metric not in get_args(Metric) or space.origin not in get_args(Origin):
            raise FormatError(f"a Space with an unknown metric or origin: {value!r}")
        return space


@dataclass(frozen=True)
class SourceRef:
    """A source that was read: its address, hash, licence and the words of attribution that it asks for."""

    href: str
    sha256: str = ""
    licence: str = ""
    attribution: str = ""


@dataclass(frozen=True)
class Saw:
    """Labels that an encoder or transform was fitted on.

    Attributes:
        table: fingerprint of the table that held the labels ("" if it is not known: then the column counts
            as seen wherever it stands).
        column: name of the label column.
        split: the spec of the split (`measure.splits.Split.spec`); empty if all rows were seen.
        folds: the folds of that split that were seen; ignored where `split` is empty.
    """

    table: str
    column: str
    split: Mapping[str, Any] = field(default_factory=dict)
    folds: tuple[int, ...] = ()


@dataclass(frozen=True)
class TableMeta:
    """What the footer `emb` of an EmbeddingTable holds; the names are those of the STAC Embedding extension.

    Attributes:
        space: the Space of the vectors.
        tower: which of the encoders that share the Space made them ("image", "text", "location", ...).
        dtype: storage type of a component: float32, float16 or int8.
        normalized: whether decoded vectors have length 1.
        codec: how int8 is decoded: ``{"method": "linear", "scale": s, "offset": o}`` (value = v·scale + offset) or
            ``{"method": "alphaearth"}``; None for floats.
        dims: names of the components where they have names (hand-made features).
        kind: "chip" or "pixel" (`emb:type`).
        chip_layout: `emb:chip_layout`, such as ``{"layout_type": "named_grid", "grid_id": "h3:6"}``.
        encoder: what made the vectors, for people and for `embed` again.
        weights_sha256: hash of the encoder's weights.
        recipe: the settings that made the table.
        seed: the random seed used.
        sources: what was read.
        parents: fingerprints of the tables that it was made from.
        saw: labels that were seen on the way, inherited from parents and encoder.
    """

    space: Space
    tower: str = ""
    dtype: str = "float32"
    normalized: bool = False
    codec: Mapping[str, Any] | None = None
    dims: tuple[str, ...] = ()
    kind: Literal["chip", "pixel"] = "chip"
    chip_layout: Mapping[str, Any] | None = None
    encoder: str = ""
    weights_sha256: str = ""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    sources: tuple[SourceRef, ...] = ()
    parents: tuple[str, ...] = ()
    saw: tuple[Saw, ...] = ()

    def replace(self, **changes: Any) -> TableMeta:
        """A copy with some fields changed."""
        return replace(self, **changes)

    def stac_properties(self) -> dict[str, Any]:
        """The properties of the STAC Embedding extension v0.0.1."""
        properties: dict[str, Any] = {
            "emb:type": self.kind,
            "emb:dimensions": self.space.dims,
            "data_type": self.dtype,
        }
        if self.chip_layout is not None:
            properties["emb:chip_layout"] = dict(self.chip_layout)
        if self.codec is not None:
            properties["emb:quantization"] = {
                "original_dtype": "float32",
                "quantized_dtype": self.dtype,
                **self.codec,
            }
        return properties

    def to_footer(self) -> dict[str, Any]:
        """The JSON object of the footer key ``emb``."""
        own = {
            "version": FORMAT_VERSION,
            "space": self.space.to_json(),
            "tower": self.tower,
            "dims": list(self.dims),
            "normalized": self.normalized,
            "encoder": self.encoder,
            "weights_sha256": self.weights_sha256,
            "recipe": dict(self.recipe),
            "seed": self.seed,
            "sources": [asdict(source) for source in self.sources],
            "parents": list(self.parents),
            "saw": [{**asdict(saw), "folds": list(saw.folds)} for saw in self.saw],
        }
        return {**self.stac_properties(), "placevec": own}

    @classmethod
    def from_footer(cls, footer: Mapping[str, Any]) -> TableMeta:
        """Read what `to_footer` wrote; FormatError if it was not written by placevec or by a newer one."""
        own = footer.get("placevec")
        if not isinstance(own, Mapping):
            raise FormatError("the footer `emb` was not written by placevec: bring the file in with `placevec import`")
        version = own.get("version")
        if not isinstance(version, int) or version > FORMAT_VERSION:
            raise FormatError(f"the table has format version {version!r}; this placevec reads up to {FORMAT_VERSION}")
        try:
            quantization = footer.get("emb:quantization")
            codec = None
            if quantization is not None:
                codec = {k: v for k, v in quantization.items() if not k.endswith("_dtype")}
            return cls(
                space=Space.from_json(own["space"]),
                tower=str(own.get("tower", "")),
                dtype=str(footer["data_type"]),
                normalized=bool(own.get("normalized", False)),
                codec=codec,
                dims=tuple(own.get("dims", ())),
                kind=footer.get("emb:type", "chip"),
                chip_layout=footer.get("emb:chip_layout"),
                encoder=str(own.get("encoder", "")),
                weights_sha256=str(own.get("weights_sha256", "")),
                recipe=own.get("recipe", {}),
                seed=own.get("seed"),
                sources=tuple(_build(SourceRef, source) for source in own.get("sources", ())),
                parents=tuple(own.get("parents", ())),
                saw=tuple(_build(Saw, {**saw, "folds": tuple(saw["folds"])}) for saw in own.get("saw", ())),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise FormatError(f"the footer `emb` is damaged: {error!r}") from error


def _build(cls: type[Any], value: Mapping[str, Any]) -> Any:
    known = {item.name for item in fields(cls)}
    return cls(**{key: item for key, item in value.items() if key in known})


def inherit_saw(*families: Sequence[Saw]) -> tuple[Saw, ...]:
    """The labels seen by any of several ancestors, each once, in a stable order."""
    seen: dict[str, Saw] = {}
    for family in families:
        for saw in family:
            seen.setdefault(digest_json({**asdict(saw), "split": dict(saw.split)}), saw)
    return tuple(seen.values())


def digest_json(value: Any) -> str:
    """sha256 (hex) of a JSON value in its canonical form: sorted keys, no spaces."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def sha256_file(path: Path) -> str:
    """sha256 (hex) of a file, read in blocks."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
