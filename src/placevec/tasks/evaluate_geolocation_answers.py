"""What a locator answers to photos, read once: its law for each, and what each photo looks like by every encoder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from placevec.errors import DataError
from placevec.features.pixels import PixelFeatures
from placevec.geo.mixture import Mixture
from placevec.geo.sphere import LonLat
from placevec.sources.base import Source

if TYPE_CHECKING:
    from placevec.encoders.locator.prediction import Prediction
    from placevec.geo.geocells import GeoCells
    from placevec.measure.geo_calibration import Calibration

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
Vectors = NDArray[np.float32]
Progress = Callable[[str, int, int], None]

FUSED, PIXELS, COLOURS = "fused vectors", "pixels", "colour statistics"
_AT_ONCE = 256
_THUMBNAIL = 16


class Answering(Protocol):
    """A locator, as far as it is measured."""

    @property
    def card(self) -> Any:
        """What it is and what it saw."""

    @property
    def geocells(self) -> GeoCells:
        """Its cells."""

    @property
    def calibration(self) -> Calibration:
        """What makes its probabilities honest."""

    def open(self, what: str | Path) -> Source:
        """A list of photos as a source, each as the model reads it."""

    def encode(self, data: Mapping[str, NDArray[Any]]) -> Vectors:
        """Fused vectors (n, d)."""

    def predict(self, data: Mapping[str, NDArray[Any]], true_cells: Rows | None = None) -> Prediction:
        """What it says of n photos."""


@dataclass(frozen=True, eq=False)
class Answers:
    """What was said about n photos, and what was true."""

    rows: Rows  # (n,) of the source: those that could be read
    truth: LonLat  # where they were taken
    region_logs: Floats  # (n, P) of the regions
    cell_logs: Floats  # (n, N) of the cells within their regions
    mixture: Mixture  # n laws
    points: LonLat  # n answers
    confidence: Floats  # (n,) the probability that an answer is at most `confidence_m` off
    confidence_m: float
    oracle: LonLat | None  # n points within the true cells, which it was told: a diagnostic
    skipped: Mapping[str, int] = field(default_factory=dict)  # photos that could not be read, by reason


def answers_of(
    locator: Answering, source: Source, rows: Rows, progress: Progress | None = None, name: str = "photos"
) -> Answers:
    """Ask a locator about rows of a source.

    The answer to a photo never depends on its truth, but for `oracle`, which is given the true cell and says so.

    Args:
        locator: the model.
        source: photos with coordinates.
        rows: to be asked about.
        progress: told of the photos done, and of all.
        name: what they are, for the progress.

    Raises:
        DataError: none could be read.
    """
    places = source.places()
    kept: list[Rows] = []
    parts: list[Prediction] = []
    skipped: Counter[str] = Counter()
    for start in range(0, len(rows), _AT_ONCE):
        batch = source.read(rows[start : start + _AT_ONCE])
        skipped.update(one.reason for one in batch.skipped)
        if len(batch):
            where = LonLat(places.lon[batch.rows], places.lat[batch.rows])
            kept.append(batch.rows)
            # A photo in no cell is given any: its row of the diagnostic does not count.
            cells = np.maximum(locator.geocells.rows(where), 0)
            parts.append(locator.predict(unplaced(batch.data), true_cells=cells))
        if progress is not None:
            progress(name, min(start + _AT_ONCE, len(rows)), len(rows))
    if not parts:
        raise DataError(f"none of {len(rows):,} photos could be read: {counted(skipped)}")
    found = np.concatenate(kept)
    oracles = [one.oracle for one in parts if one.oracle is not None]
    return Answers(
        found,
        LonLat(places.lon[found], places.lat[found]),
        np.concatenate([np.asarray(one.region_logs, dtype=np.float64) for one in parts]),
        np.concatenate([np.asarray(one.cell_logs, dtype=np.float64) for one in parts]),
        Mixture.joined([one.mixture for one in parts]),
        _points([one.points for one in parts]),
        np.concatenate([np.asarray(one.confidence, dtype=np.float64) for one in parts]),
        float(parts[0].confidence_m),
        _points(oracles) if len(oracles) == len(parts) else None,
        dict(skipped),
    )


def unplaced(data: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """A batch without the coordinates, which whoever is to find them must not see."""
    return {key: values for key, values in data.items() if key != "lonlat"}


@dataclass(frozen=True, eq=False)
class Looks:
    """What photos look like.

    Attributes:
        rows: (m,) rows of the source.
        vectors: by name, (m, d) each.
        metric: by name, by which vectors compare: "cosine" or "euclidean".
    """

    rows: Rows
    vectors: Mapping[str, NDArray[np.float32]]
    metric: Mapping[str, str]

    def of(self, rows: Rows) -> Rows:
        """The positions of rows of the source among `rows`; -1 where one could not be read."""
        order = np.argsort(self.rows, kind="stable")
        at = np.searchsorted(self.rows[order], rows)
        at = order[np.minimum(at, len(order) - 1)] if len(order) else np.zeros(len(rows), dtype=np.int64)
        return np.where(self.rows[at] == rows, at, -1) if len(order) else np.full(len(rows), -1)


def looks_of(
    source: Source,
    rows: Rows,
    locator: Answering | None,
    *,
    backbones: bool = True,
    pixels: bool = True,
    progress: Progress | None = None,
) -> Looks:
    """Read photos once, and see them by the fused vectors, by each backbone, by colours and by pixels.

    Args:
        source: photos.
        rows: to be read; those that cannot be are left out.
        locator: whose encoders see them; None: colours and pixels alone.
        backbones: whether its backbones see them one by one, too.
        pixels: whether colours and pixels are compared as well.
        progress: told of the photos done, and of all.
    """
    kept: list[Rows] = []
    parts: dict[str, list[NDArray[np.float32]]] = {}
    metric: dict[str, str] = {}
    eyes = _eyes(locator, backbones)
    for start in range(0, len(rows), _AT_ONCE):
        batch = source.read(rows[start : start + _AT_ONCE])
        data = unplaced(batch.data)
        if len(batch):
            kept.append(batch.rows)
            for name, look in eyes.items():
                parts.setdefault(name, []).append(look(data))
                metric[name] = "cosine"
            image = data.get("image")
            if pixels and image is not None and image.ndim == 4:
                bands = image.shape[1]
                for name, side in ((COLOURS, 1), (PIXELS, min(_THUMBNAIL, *image.shape[2:]))):
                    found = PixelFeatures(bands, side).encode(data)
                    parts.setdefault(name, []).append(found if side == 1 else found[:, 5 * bands :])
                    metric[name] = "euclidean"
        if progress is not None:
            progress("what photos look like", min(start + _AT_ONCE, len(rows)), len(rows))
    found_rows = np.concatenate(kept) if kept else rows[:0]
    return Looks(found_rows, {name: np.concatenate(some) for name, some in parts.items()}, metric)


def counted(reasons: Mapping[str, int]) -> str:
    """Reasons with their counts, for people."""
    return "; ".join(f"{count:,} photos: {reason}" for reason, count in reasons.items()) or "no reason was given"


def _points(parts: Sequence[LonLat]) -> LonLat:
    return LonLat(np.concatenate([one.lon for one in parts]), np.concatenate([one.lat for one in parts]))


def _eyes(locator: Any, backbones: bool) -> dict[str, Callable[[Mapping[str, NDArray[Any]]], NDArray[np.float32]]]:
    if locator is None:
        return {}
    eyes: dict[str, Callable[[Mapping[str, NDArray[Any]]], NDArray[np.float32]]] = {FUSED: locator.encode}
    own = list(getattr(locator, "backbones", ())) if backbones else []
    for number, backbone in enumerate(own):
        name = f"features of {getattr(backbone, 'kind', 'backbone')}"
        label = name if name not in eyes else f"{name} ({number + 1})"
        eyes[label] = _through(backbone, getattr(locator, "device", "cpu"))
    return eyes


def _through(backbone: Any, device: Any) -> Callable[[Mapping[str, NDArray[Any]]], NDArray[np.float32]]:
    def look(data: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        import torch

        from placevec.encoders.network import in_fixed_batches

        images = torch.from_numpy(np.ascontiguousarray(data["image"]))
        return in_fixed_batches(backbone, images, 32, torch.device(device), int(backbone.width))

    return look
