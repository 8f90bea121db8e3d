"""Vectors to colours: the first three principal components as red, green and blue, on one basis for many tables.

Two maps can be compared only if equal vectors have equal colours on both, so a basis is fitted once, jointly, over
all tables that are to be shown, and kept (`to_json`). Vectors of two Spaces never share one; `align` keeps colours
similar from one model to the next.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from placevec.atlas.palettes import from_lab
from placevec.errors import FormatError, SchemaError, SpaceMismatch, UsageError

Scheme = Literal["rgb", "opponent"]

CHANNELS = 3
CHUNK_ROWS = 16_384
SPECTRUM = 64  # leading explained-variance ratios that a basis remembers for `variance_figure`


@dataclass(frozen=True)
class Anchors:
    """Some places that a basis was fitted on, with their scores, by which a basis of another model is turned to it.

    Attributes:
        ids: (n,) of rows; empty strings for pixels.
        lon: (n,) degrees; NaN for a place without coordinates.
        lat: (n,) degrees.
        scores: (n, 3) on the basis.
    """

    ids: tuple[str, ...]
    lon: NDArray[np.float64]
    lat: NDArray[np.float64]
    scores: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.ids)

    def to_json(self) -> dict[str, Any]:
        """A JSON object; numbers are rounded to what colours need."""
        return {
            "ids": list(self.ids),
            "lon": [None if np.isnan(value) else round(float(value), 6) for value in self.lon],
            "lat": [None if np.isnan(value) else round(float(value), 6) for value in self.lat],
            "scores": [[float(f"{value:.6g}") for value in row] for row in self.scores],
        }

    @classmethod
    def from_json(cls, value: Any) -> Anchors:
        """Read what `to_json` wrote; ValueError, TypeError or KeyError if it is not that."""
        lon, lat = (np.array(value[name], dtype=np.float64) for name in ("lon", "lat"))
        scores = np.array(value["scores"], dtype=np.float64).reshape(-1, CHANNELS)
        ids = tuple(str(one) for one in value["ids"])
        if not len(ids) == len(lon) == len(lat) == len(scores):
            raise ValueError("its anchors differ in number")
        return cls(ids, lon, lat, scores)


@dataclass(frozen=True)
class Agreement:
    """How far an aligned basis gives the colours of the old one.

    Attributes:
        name: what the colours were aligned to, for people.
        places: how many places both models know.
        share: mean over the channels of the squared correlation of new and old scores, 0..1.
        bound: the same for the best linear function of the new scores, which no turn of them exceeds.
    """

    name: str
    places: int
    share: float
    bound: float


@dataclass(frozen=True)
class ColourBasis:
    """A map from vectors of one Space to red, green and blue.

    Attributes:
        space: id of the Space whose vectors it takes.
        mean: (d,) float64, the mean of the vectors it was fitted on.
        components: (3, d) float64, orthonormal unless turned by `align`; zero rows where the vectors have fewer than
            three directions.
        explained: (3,) share of the variance that each channel shows, 0..1.
        low: (3,) scores that become 0.
        high: (3,) scores that become 255.
        spectrum: leading shares of variance, descending, for as many components as were kept.
        rows: number of vectors it was fitted on.
        clip: the percentiles that `low` and `high` are.
        anchors: some of the places that it was fitted on, or None.
        agreement: how far it was brought to agree with an older basis, or None if its channels are components.
    """

    space: str
    mean: NDArray[np.float64]
    components: NDArray[np.float64]
    explained: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    spectrum: NDArray[np.float64]
    rows: int
    clip: tuple[float, float]
    anchors: Anchors | None = None
    agreement: Agreement | None = None

    def scores(self, vectors: NDArray[Any]) -> NDArray[np.float64]:
        """Principal component scores (n, 3) of `vectors` (n, d).

        Raises SchemaError if `vectors` have another number of dimensions.
        """
        if vectors.ndim != 2 or vectors.shape[1] != len(self.mean):
            raise SchemaError(
                f"vectors of shape {vectors.shape} do not fit colours of {len(self.mean)} dimensions; fit a new basis"
            )
        out = np.empty((len(vectors), CHANNELS))
        for start in range(0, len(vectors), CHUNK_ROWS):
            part = vectors[start : start + CHUNK_ROWS].astype(np.float64)
            out[start : start + CHUNK_ROWS] = (part - self.mean) @ self.components.T
        return out

    def apply(self, vectors: NDArray[Any], *, space: str | None = None, scheme: Scheme = "rgb") -> NDArray[np.uint8]:
        """Colours (n, 3) uint8 of `vectors` (n, d), see `channels_to_colours`; a channel without variance is at 0.5.

        Raises SpaceMismatch if the vectors' `space` is given and is another than the basis's.
        """
        if space is not None and space != self.space:
            raise SpaceMismatch(
                f"a colour basis of Space {self.space!r} cannot colour vectors of {space!r}; fit one basis each"
            )
        span = self.high - self.low
        flat = span <= 0
        share = (self.scores(vectors) - self.low) / np.where(flat, 1, span)
        share[:, flat] = 0.5
        return channels_to_colours(np.clip(share, 0, 1), scheme)

    def to_json(self) -> str:
        """The basis as one JSON object; `from_json` gives back exactly the same numbers."""
        fields = {
            name: value.tolist() if isinstance(value, np.ndarray) else value
            for name, value in asdict(replace(self, anchors=None)).items()
            if value is not None
        }
        anchors = {} if self.anchors is None else {"anchors": self.anchors.to_json()}
        return json.dumps({"colour_basis": 1} | fields | anchors)

    @classmethod
    def from_json(cls, text: str) -> ColourBasis:
        """The basis that `to_json` wrote. Raises FormatError for anything else."""
        try:
            fields = json.loads(text)
            if fields.pop("colour_basis") != 1:
                raise FormatError("colour basis of an unknown version; write it again with this placevec")
            arrays = {name: np.array(fields.pop(name), dtype=np.float64) for name in _ARRAYS}
            low, high = fields.pop("clip")
            if "anchors" in fields:
                fields["anchors"] = Anchors.from_json(fields["anchors"])
            if "agreement" in fields:
                fields["agreement"] = Agreement(**fields["agreement"])
            basis = cls(**(fields | arrays), clip=(float(low), float(high)))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise FormatError(f"not a colour basis ({error}); fit and save it again") from None
        if basis.components.shape != (CHANNELS, len(basis.mean)):
            raise FormatError(f"colour basis with components of shape {basis.components.shape}; fit and save it again")
        return basis


def channels_to_colours(share: NDArray[np.float64], scheme: Scheme = "rgb") -> NDArray[np.uint8]:
    """Colours (n, 3) uint8 of three channels (n, 3) in 0..1.

    "rgb" takes them as red, green and blue, which is what readers expect but what red-green deficiency halves.
    "opponent" takes them as lightness, blue to yellow, and green to red in CIELAB: the two components with the most
    variance stay readable for everybody, the first even in greyscale.
    """
    if scheme == "rgb":
        colours: NDArray[np.uint8] = np.rint(share * 255).astype(np.uint8)
        return colours
    if scheme != "opponent":
        raise UsageError(f"colour scheme {scheme!r} is not known; use rgb or opponent")
    # A sixth of this box lies outside sRGB and is clipped; narrower ranges clip less but make the map dull.
    return from_lab(np.stack([30 + 60 * share[:, 0], 70 * (share[:, 2] - 0.5), 90 * (share[:, 1] - 0.5)], axis=1))


_ARRAYS = ("mean", "components", "explained", "low", "high", "spectrum")


def fit_basis(
    parts: Iterable[NDArray[Any]],
    spaces: Sequence[str],
    *,
    clip: tuple[float, float] = (2.0, 98.0),
    sample: int = 50_000,
    seed: int = 0,
) -> ColourBasis:
    """Fit one basis to all vectors of several tables, in one pass and bounded memory.

    The mean and covariance are those of all rows (merged chunk by chunk: Chan, Golub & LeVeque 1983, eq. 2.1); the
    stretch comes from a sample of `sample` rows drawn without regard to how the rows are cut into parts. Every
    component's entry of largest magnitude is positive.

    Args:
        parts: arrays (n_i, d) of any float type, or batches from a generator; read once.
        spaces: the Space ids of all the parts (one id is enough for many parts).
        clip: lower and upper percentile of the scores that become 0 and 255.
        sample: rows kept for the percentiles.
        seed: chooses the sample.

    Raises:
        SpaceMismatch: the parts are of more than one Space.
        SchemaError: no rows, ragged dimensions, or a vector that is not finite.
        UsageError: `clip` is not two rising percentiles.
    """
    if not 0 <= clip[0] < clip[1] <= 100:
        raise UsageError(f"clip {clip} is not two rising percentiles between 0 and 100; use (2, 98)")
    space = _one_space(spaces)
    moments, kept = _Moments(), _Sample(sample, seed)
    for part in parts:
        array = np.asarray(part)
        if array.ndim != 2:
            raise SchemaError(f"vectors of shape {array.shape}: expected (rows, dimensions)")
        for start in range(0, len(array), CHUNK_ROWS):
            chunk = array[start : start + CHUNK_ROWS].astype(np.float64)
            if not np.isfinite(chunk).all():
                bad = start + int(np.flatnonzero(~np.isfinite(chunk).all(axis=1))[0])
                raise SchemaError(f"vector of row {bad} is not finite; remove the row before fitting colours")
            kept.add(chunk, moments.rows)
            moments.add(chunk)
    if moments.rows == 0:
        raise SchemaError("no vectors to fit colours on; the tables are empty")
    values, vectors = np.linalg.eigh(moments.scatter / moments.rows)
    values = np.maximum(values[::-1], 0)
    total = values.sum()
    # Below the rounding of the sum a direction is noise of arithmetic, not of the data.
    real = values > max(total, float(moments.mean @ moments.mean)) * 1e-12
    components = np.zeros((CHANNELS, len(values)))
    explained = np.zeros(CHANNELS)
    for channel in range(min(CHANNELS, len(values))):
        if real[channel]:
            axis = vectors[:, -1 - channel]
            components[channel] = axis * np.sign(axis[np.abs(axis).argmax()])
            explained[channel] = values[channel] / total
    basis = ColourBasis(
        space=space,
        mean=moments.mean,
        components=components,
        explained=explained,
        low=np.zeros(CHANNELS),
        high=np.zeros(CHANNELS),
        spectrum=(values / total)[real][:SPECTRUM] if total > 0 else np.zeros(0),
        rows=moments.rows,
        clip=(float(clip[0]), float(clip[1])),
    )
    return stretched(basis, basis.scores(kept.rows))


def _one_space(spaces: Sequence[str]) -> str:
    distinct = sorted(set([spaces] if isinstance(spaces, str) else spaces))
    if not distinct:
        raise UsageError("a colour basis needs the Space of its vectors; pass the tables' space ids")
    if len(distinct) > 1:
        raise SpaceMismatch(
            f"vectors of {len(distinct)} Spaces cannot share colours: {', '.join(distinct)}; fit one basis each"
        )
    return distinct[0]


def stretched(basis: ColourBasis, scores: NDArray[np.float64]) -> ColourBasis:
    """The basis with the ends of its channels at its percentiles of these scores (n, 3)."""
    low, high = np.percentile(scores, basis.clip, axis=0)
    return replace(basis, low=low, high=high)


class _Moments:
    """Mean and scatter matrix of rows that arrive in chunks."""

    def __init__(self) -> None:
        self.rows = 0
        self.mean: NDArray[np.float64] = np.zeros(0)
        self.scatter: NDArray[np.float64] = np.zeros((0, 0))

    def add(self, chunk: NDArray[np.float64]) -> None:
        dims = chunk.shape[1]
        if self.rows == 0:
            self.mean, self.scatter = np.zeros(dims), np.zeros((dims, dims))
        elif dims != len(self.mean):
            raise SchemaError(f"vectors of {dims} and of {len(self.mean)} dimensions cannot share colours")
        mean = chunk.mean(axis=0)
        centred = chunk - mean
        shift = mean - self.mean
        rows = self.rows + len(chunk)
        self.scatter += centred.T @ centred + np.outer(shift, shift) * (self.rows * len(chunk) / rows)
        self.mean = self.mean + shift * (len(chunk) / rows)
        self.rows = rows


class _Sample:
    """The rows with the smallest hash of their number: the same whatever the chunks, never more than `size`."""

    def __init__(self, size: int, seed: int) -> None:
        self.size, self.seed = size, seed
        self.keys: NDArray[np.uint64] = np.zeros(0, dtype=np.uint64)
        self.rows: NDArray[np.float32] = np.zeros((0, 0), dtype=np.float32)

    def add(self, chunk: NDArray[np.float64], first: int) -> None:
        keys = _hash(np.arange(first, first + len(chunk), dtype=np.uint64), self.seed)
        if len(self.keys) == self.size:
            wanted = keys < self.keys.max(initial=0)
            keys, chunk = keys[wanted], chunk[wanted]
        if not len(keys):
            return
        rows = chunk.astype(np.float32)
        if len(self.rows) and rows.shape[1] == self.rows.shape[1]:
            keys, rows = np.concatenate([self.keys, keys]), np.concatenate([self.rows, rows])
        order = np.argsort(keys)[: self.size]
        self.keys, self.rows = keys[order], rows[order]


def _hash(numbers: NDArray[np.uint64], seed: int) -> NDArray[np.uint64]:
    # splitmix64 (Steele, Lea & Flood 2014): a bijection, so no two rows tie.
    z = numbers + np.uint64((seed * 0x9E3779B97F4A7C15 + 0x9E3779B97F4A7C15) % 2**64)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
