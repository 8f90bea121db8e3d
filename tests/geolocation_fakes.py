"""A country in three regions, photos of it whose colours say where they are, and a locator that reads them by rule."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from placevec.encoders.base import ModelCard
from placevec.geo.mixture import Mixture, hypotheses, points, within_mass
from placevec.geo.regions import Regions
from placevec.geo.sphere import LonLat
from placevec.measure.splits import block_split
from placevec.provenance import Saw, Space
from placevec.sources.base import ArraySource
from placevec.table import Places

WEST, SOUTH, EAST, NORTH = 60.0, 24.0, 72.0, 30.0
NAMES = ("west", "middle", "east")
TEST_FOLDS = (1, 2)
FOLDS = 5
BLOCK = "grid:2"


def country() -> Regions:
    """Three regions side by side."""
    width = (EAST - WEST) / 3
    boxes = [shapely.box(WEST + i * width, SOUTH, WEST + (i + 1) * width, NORTH) for i in range(3)]
    return Regions(NAMES, np.array(boxes, dtype=object))


class GridCells:
    """Cells of one degree, sorted by region, with the interface of `geo.geocells.GeoCells` as far as it is used."""

    def __init__(self, train: LonLat) -> None:
        self.regions = country()
        lon, lat = np.meshgrid(np.arange(WEST + 0.5, EAST), np.arange(SOUTH + 0.5, NORTH))
        centres = LonLat(lon.ravel(), lat.ravel())
        region = self.regions.assign(centres)
        order = np.argsort(region, kind="stable")
        self.centres, self.region = centres[order], region[order]
        self.starts = np.searchsorted(self.region, np.arange(len(NAMES) + 1))
        rows = self.rows(train)
        self.count = np.bincount(rows[rows >= 0], minlength=len(self.region))

    def rows(self, p: LonLat) -> NDArray[np.int64]:
        """The cell of each point, -1 outside."""
        found = np.full(len(p), -1, dtype=np.int64)
        inside = self.regions.assign(p) >= 0
        gap = np.linalg.norm(p.unit()[inside, None] - self.centres.unit()[None], axis=2)
        same = self.regions.assign(p)[inside, None] == self.region[None]
        found[inside] = np.argmin(np.where(same, gap, 9.0), axis=1)
        return found


class RuleLocator:
    """Reads the place out of the colours of a photo, with a spread: sharp or nearly blind.

    Args:
        train: places of the training photos.
        saw: what it has seen.
        sharp: the less, the less it knows.
        blind: whether it never looks at the photo, as an untrained network.
        gallery: ids of the training photos, or None.
    """

    def __init__(
        self,
        train: LonLat,
        saw: tuple[Saw, ...],
        *,
        sharp: float = 1.0,
        blind: bool = False,
        gallery: NDArray[Any] | None = None,
        name: str = "rule",
    ) -> None:
        self.geocells: Any = GridCells(train)
        self.sharp, self.blind = sharp, blind
        self.gallery = None if gallery is None else SimpleNamespace(ids=gallery)
        self.calibration: Any = SimpleNamespace(nominal=lambda level: level)
        self.decoding = SimpleNamespace(reach_m=50_000.0)
        self.card = ModelCard(kind="locator", space=Space.mint(3), name=name, inputs=("image",), saw=saw)
        self.asked: list[tuple[str, ...]] = []

    def encode(self, data: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """The mean colour, of length 1."""
        colour = np.asarray(data["image"]).reshape(len(data["image"]), 3, -1).mean(axis=2) + 1.0
        return (colour / np.linalg.norm(colour, axis=1, keepdims=True)).astype(np.float32)

    def open(self, what: Any) -> Any:
        """Nothing is opened by rule."""
        raise AssertionError(what)

    def predict(self, data: Mapping[str, NDArray[Any]], true_cells: NDArray[np.int64] | None = None) -> Any:
        """Cells by their distance from the place that the colours say."""
        self.asked.append(tuple(sorted(data)))
        colour = np.asarray(data["image"], dtype=np.float64).reshape(len(data["image"]), 3, -1).mean(axis=2)
        if self.blind:
            colour = np.random.default_rng(len(colour)).uniform(0, 255, colour.shape)
        lon = WEST + (EAST - WEST) * colour[:, 0] / 255
        lat = SOUTH + (NORTH - SOUTH) * colour[:, 1] / 255
        said = LonLat(np.clip(lon, WEST, EAST - 1e-6), np.clip(lat, SOUTH, NORTH - 1e-6))
        cells = self.geocells
        gap = np.linalg.norm(said.unit()[:, None] - cells.centres.unit()[None], axis=2) * 6371.0
        logs = -self.sharp * (gap / 100.0) ** 2
        joint = logs - np.log(np.exp(logs - logs.max(axis=1, keepdims=True)).sum(axis=1, keepdims=True))
        joint -= logs.max(axis=1, keepdims=True)
        parts = [joint[:, cells.starts[r] : cells.starts[r + 1]] for r in range(len(NAMES))]
        region_logs = np.stack([_logsum(part) for part in parts], axis=1)
        cell_logs = np.concatenate([part - _logsum(part)[:, None] for part in parts], axis=1)
        rows, weights = hypotheses(region_logs, cell_logs, cells.starts, regions=2, cells=4)
        unit = cells.centres.unit()[rows]
        mixture = Mixture.of(unit, weights, 60_000.0 / self.sharp**0.5, area_m2=1e12, floor=0.02)
        answer = points(mixture)
        return SimpleNamespace(
            region_logs=region_logs,
            cell_logs=cell_logs,
            mixture=mixture,
            points=answer,
            confidence=within_mass(mixture, answer, 25_000.0),
            confidence_m=25_000.0,
            oracle=None if true_cells is None else cells.centres[true_cells],
        )


def _logsum(values: NDArray[np.float64]) -> NDArray[np.float64]:
    top = values.max(axis=1, keepdims=True)
    return np.asarray(top[:, 0] + np.log(np.exp(values - top).sum(axis=1)))


def photos(n: int = 240, seed: int = 0, noise: float = 8.0) -> ArraySource:
    """n photos of 8 by 8 pixels: red says the longitude, green the latitude, with noise; blue says nothing."""
    rng = np.random.default_rng(seed)
    lon, lat = rng.uniform(WEST, EAST, n), rng.uniform(SOUTH, NORTH, n)
    colour = np.stack(
        [255 * (lon - WEST) / (EAST - WEST), 255 * (lat - SOUTH) / (NORTH - SOUTH), rng.uniform(0, 255, n)], axis=1
    )
    image = colour[:, :, None, None] + rng.normal(0, noise, (n, 3, 1, 1)) + rng.normal(0, 4, (n, 3, 8, 8))
    places = Places.create([f"photo{i:04d}" for i in range(n)], LonLat(lon, lat))
    data = {"image": np.clip(image, 0, 255).astype(np.uint8), "lonlat": np.column_stack([lon, lat])}
    return ArraySource(places, data)


def trained(
    source: ArraySource,
    *,
    sharp: float = 4.0,
    blind: bool = False,
    gallery: bool = True,
    buffer_m: float = 20_000.0,
) -> RuleLocator:
    """A locator that has seen all folds but those of the test, and kept the buffer from them."""
    places = source.places()
    where = LonLat(places.lon, places.lat)
    split = block_split(where, BLOCK, FOLDS, 0, buffer_m)
    seen = tuple(fold for fold in range(FOLDS) if fold not in TEST_FOLDS)
    test = np.isin(split.fold, TEST_FOLDS)
    far = np.ones(len(test), dtype=bool)
    for fold in TEST_FOLDS:
        kept, _ = split.pair(fold)
        near = np.setdiff1d(np.flatnonzero(split.fold != fold), kept)
        far[near] = False
    train = np.flatnonzero(~test & far)
    return RuleLocator(
        where[train],
        (Saw("", "geometry", split.spec, seen),),
        sharp=sharp,
        blind=blind,
        gallery=places.ids[train] if gallery else None,
    )
