"""Relevance: the probability that an image fits a text, from its cosine and from how that cosine stands among others.

A bare cosine says little: those of one model crowd in a narrow band, each text has a band of its own, some images are
near to everything (hubs), and a text about something that no image shows has a best hit as well. So the cosine t·v of
a text and an image is put where it can be judged:

    among images  (t·v − mean) / deviation of the text's cosines with a bank of reference images
    among texts   (t·v − mean) / deviation of the image's cosines with background captions; this takes hubs back, as
                  the normalisation by a querybank does (Bogolin et al. 2022, "Cross modal retrieval with querybank
                  normalisation")
    best          mean of the text's 5 largest cosines with the bank: does anything fit it at all?
    domain        largest cosine of the text with other background captions, less that with phrases of other domains
    known         the share of the text's words that the text tower has learned, where it can say

and a logistic regression, whose weights are 0 or more, turns these into a probability: of two images the one nearer to
a text never is the less relevant for that. Bank and backgrounds are kept with it, so that the answer for a pair
depends on nothing else that is searched.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec.errors import DataError

Vectors = NDArray[np.float32]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

FEATURES = ("among images", "among texts", "best", "domain", "known")
VERSION = 1
PASSING = 0.95  # share of the queries of the domain whose best hit is to count as a match
EQUAL = 0.9999  # texts whose vectors have at least this cosine are one text
_BEST = 5
_LEAST_SD = 1e-6
_BLOCK = 4_000_000  # numbers of a block of features


@dataclass(frozen=True, eq=False)
class Backgrounds:
    """What a pair is compared with: vectors of length 1 in the pair's Space.

    Attributes:
        bank: (b, d) reference images.
        captions: (c, d) texts of the domain.
        phrases: (p, d) texts of other domains.
    """

    bank: Vectors
    captions: Vectors
    phrases: Vectors

    def __post_init__(self) -> None:
        shapes = [getattr(self, name).shape for name in ("bank", "captions", "phrases")]
        if any(len(shape) != 2 or shape[0] < 2 for shape in shapes) or len({shape[1] for shape in shapes}) != 1:
            raise DataError(f"backgrounds of the shapes {shapes}: give at least 2 vectors of each, of one Space")

    @property
    def dims(self) -> int:
        """Components of a vector."""
        return int(self.bank.shape[1])

    @property
    def texts(self) -> Vectors:
        """All background texts (c + p, d): captions, then phrases."""
        return np.concatenate([self.captions, self.phrases])

    def features(
        self,
        texts: Vectors,
        images: Vectors,
        known: Floats | None = None,
        *,
        bank_out: Flags | None = None,
        captions_out: Flags | None = None,
        own_out: Flags | None = None,
    ) -> Floats:
        """The features (m, n, 5) of every pair, in the order of `FEATURES`.

        Args:
            texts: (m, d) of length 1.
            images: (n, d) of length 1.
            known: (m,) share of known words; 1 if it is not known.
            bank_out: (m, b) images of the bank that are not to count for a text: its own one.
            captions_out: (m, c) captions that are not to count for a text: those of its own image.
            own_out: (n, c) captions that are not to count for an image: its own ones.
        """
        about_text = self._about_texts(texts, known, bank_out, captions_out)
        mean, sd = _moments(images @ self.captions.T, own_out)
        cosine = (texts @ images.T).astype(np.float64)
        out = np.empty((len(texts), len(images), len(FEATURES)))
        out[..., 0] = (cosine - about_text[:, 0, None]) / about_text[:, 1, None]
        out[..., 1] = (cosine - mean) / sd
        out[..., 2:] = about_text[:, None, 2:]
        return out

    def _about_texts(
        self, texts: Vectors, known: Floats | None, bank_out: Flags | None, captions_out: Flags | None
    ) -> Floats:
        """(m, 5): mean and deviation of the cosines with the bank, best, domain, known."""
        cosines = texts @ self.bank.T
        mean, sd = _moments(cosines, bank_out)
        best = _hidden(cosines, bank_out)
        top = -np.sort(-best, axis=1)[:, :_BEST]
        held = np.isfinite(top)
        mean_top = np.where(held, top, 0.0).sum(axis=1) / np.maximum(held.sum(axis=1), 1)
        # An equal caption tells of no other text: who words it anew must not seem further from the domain for that.
        others = _hidden(texts @ self.captions.T, captions_out)
        near = np.where(others >= EQUAL, -np.inf, others).max(axis=1)
        near = np.where(np.isfinite(near), near, 0.0)
        domain = near - (texts @ self.phrases.T).max(axis=1)
        words = np.ones(len(texts)) if known is None else np.asarray(known, dtype=np.float64)
        return np.stack([mean, sd, mean_top, domain, words], axis=1)


@dataclass(frozen=True, eq=False)
class Relevance:
    """The fitted model of relevance; `placevec.measure.relevance_fit` makes one.

    Attributes:
        backgrounds: what a pair is compared with.
        mean: (5,) of the features where it was fitted.
        sd: (5,) their deviation there.
        weights: (5,) of the standardised features.
        bias: of the logistic regression.
        no_match: the relevance under which the best hit of a query is no good match.
        space: id of the Space, "" if it is not known.
        report: how good it was on pairs that were not fitted, by name.
    """

    backgrounds: Backgrounds
    mean: Floats
    sd: Floats
    weights: Floats
    bias: float
    no_match: float
    space: str = ""
    report: Mapping[str, Any] = field(default_factory=dict)

    def probability(self, texts: Vectors, images: Vectors, known: Floats | None = None) -> Vectors:
        """The relevance (m, n) of every pair of a text and an image.

        Args:
            texts: (m, d) vectors of the text tower; scaled to length 1 here.
            images: (n, d) vectors of the image tower.
            known: (m,) share of the words of each text that the tower has learned; 1 if it is not known.

        Raises:
            DataError: vectors of another number of components than the backgrounds.
        """
        for vectors in (texts, images):
            if np.ndim(vectors) != 2 or np.shape(vectors)[1] != self.backgrounds.dims:
                raise DataError(
                    f"relevance of vectors {np.shape(vectors)}: it was fitted for (n, {self.backgrounds.dims})"
                )
        t, v = unit(texts), unit(images)
        out = np.empty((len(t), len(v)), dtype=np.float32)
        step = max(1, _BLOCK // (len(FEATURES) * max(1, len(t))))
        for start in range(0, len(v), step):
            features = self.backgrounds.features(t, v[start : start + step], known)
            out[:, start : start + step] = self.of_features(features)
        return out

    def of_features(self, features: Floats) -> Floats:
        """The probabilities (...) of features (..., 5)."""
        return logistic(((features - self.mean) / self.sd) @ self.weights + self.bias)

    def to_json(self) -> dict[str, Any]:
        """A JSON object, some hundred kB; see `from_json`. Vectors are float16 in base64."""
        grounds = self.backgrounds
        return {
            "version": VERSION,
            "space": self.space,
            "dims": grounds.dims,
            "features": list(FEATURES),
            **{name: _packed(getattr(grounds, name)) for name in ("bank", "captions", "phrases")},
            "mean": self.mean.tolist(),
            "sd": self.sd.tolist(),
            "weights": self.weights.tolist(),
            "bias": self.bias,
            "no_match": self.no_match,
            "report": dict(self.report),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any], where: str = "relevance.json") -> Relevance:
        """Read what `to_json` wrote.

        Raises:
            DataError: it is damaged, or another version of placevec wrote it.
        """
        if value.get("version") != VERSION or tuple(value.get("features", ())) != FEATURES:
            raise DataError(
                f"{where} has version {value.get('version')!r} and the features {value.get('features')!r}; this "
                f"placevec reads version {VERSION}: train the pair again"
            )
        try:
            dims = int(value["dims"])
            grounds = Backgrounds(*(_unpacked(value[name], dims) for name in ("bank", "captions", "phrases")))
            mean, sd, weights = (np.array(value[name], dtype=np.float64) for name in ("mean", "sd", "weights"))
            if any(column.shape != (len(FEATURES),) for column in (mean, sd, weights)) or (sd <= 0).any():
                raise ValueError("mean, sd and weights are five numbers each, sd above 0")
            bias, no_match = float(value["bias"]), float(value["no_match"])
            if not np.isfinite([*mean, *sd, *weights, bias, no_match]).all():
                raise ValueError("a number is not finite")
            return cls(
                grounds, mean, sd, weights, bias, no_match, str(value.get("space", "")), dict(value.get("report", {}))
            )
        except (KeyError, TypeError, ValueError, DataError) as error:
            raise DataError(f"{where} is damaged ({error}): train the pair again") from None


def logistic(x: Floats) -> Floats:
    """1 / (1 + exp(−x)), without overflow."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * x)))


def unit(vectors: NDArray[Any]) -> Vectors:
    """Rows of length 1 in float32; a row of zeros stays as it is."""
    wide = np.asarray(vectors, dtype=np.float64)
    length = np.linalg.norm(wide, axis=1, keepdims=True)
    return (wide / np.where(length > 0, length, 1.0)).astype(np.float32)


def rounded(vectors: NDArray[Any]) -> Vectors:
    """The vectors as they are after being kept: in the precision of float16."""
    return unit(vectors).astype(np.float16).astype(np.float32)


def _moments(cosines: Vectors, out: Flags | None) -> tuple[Floats, Floats]:
    """Mean and deviation (m,) over the columns of (m, c) that are not left out; at least two have to be left."""
    wide = cosines.astype(np.float64)
    keep = np.ones(wide.shape) if out is None else (~out).astype(np.float64)
    count = np.maximum(keep.sum(axis=1), 1.0)
    mean = (wide * keep).sum(axis=1) / count
    variance = (keep * (wide - mean[:, None]) ** 2).sum(axis=1) / count
    return mean, np.maximum(np.sqrt(variance), _LEAST_SD)


def _hidden(cosines: Vectors, out: Flags | None) -> Floats:
    wide = cosines.astype(np.float64)
    return wide if out is None else np.where(out, -np.inf, wide)


def _packed(vectors: Vectors) -> str:
    return base64.b64encode(np.ascontiguousarray(vectors, dtype="<f2").tobytes()).decode("ascii")


def _unpacked(text: str, dims: int) -> Vectors:
    try:
        flat = np.frombuffer(base64.b64decode(text, validate=True), dtype="<f2")
    except binascii.Error as error:
        raise ValueError(str(error)) from None
    if dims < 1 or len(flat) % dims or not np.isfinite(flat).all():
        raise ValueError(f"{len(flat)} numbers are no vectors of {dims} dims")
    return flat.reshape(-1, dims).astype(np.float32)
