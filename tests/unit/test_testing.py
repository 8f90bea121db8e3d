"""The contract suites pass what is sound and catch what is not. (That of the index: tests/contract/test_index.py.)"""

from dataclasses import replace

import numpy as np
import pytest

from placevec.encoders.base import ModelCard
from placevec.errors import UsageError
from placevec.geo.cells import H3Cells
from placevec.geo.grids import GridCells
from placevec.geo.sphere import LonLat
from placevec.provenance import Space
from placevec.sources.base import ArraySource, Batch
from placevec.table import Places, Skipped
from placevec.testing import check_cells, check_encoder, check_source


@pytest.mark.parametrize(
    ("cells", "more"),
    [
        (H3Cells(0), {}),
        (H3Cells(5), {"level": 5, "coarse": (H3Cells(3), 3), "fine": (H3Cells(7), 7)}),
        (GridCells(2.5), {"level": 2.5, "coarse": (GridCells(10), 10), "fine": (GridCells(0.5), 0.5)}),
    ],
)
def test_cells(cells, more) -> None:
    check_cells(cells, **more)


class _Shifted(H3Cells):
    def centre(self, cells):
        centre = super().centre(cells)
        return LonLat(centre.lon, np.clip(centre.lat + 5, -90, 90))


class _OneSided(H3Cells):
    def neighbours(self, cells, k):
        found = super().neighbours(cells, k)
        keep = np.concatenate([[True], np.arange(1, len(found.cells)) % 7 > 0])
        counts = [keep[a:b].sum() for a, b in zip(found.offsets[:-1], found.offsets[1:], strict=True)]
        return type(found)(np.concatenate([[0], np.cumsum(counts)]), found.cells[keep])


@pytest.mark.parametrize(("cells", "word"), [(_Shifted(4), "centre"), (_OneSided(4), "neighbour|come first")])
def test_faulty_cells(cells, word) -> None:
    with pytest.raises(AssertionError, match=word):
        check_cells(cells)


class _Encoder:
    def __init__(self, fault: str = "") -> None:
        self.space = Space.mint(3)
        self.tower = "location"
        self.dims = 3
        self.inputs = ("lonlat",)
        self.card = ModelCard(kind="fake", space=self.space, tower="location", inputs=("lonlat",), normalized=True)
        self.fault = fault
        self.calls = 0

    def encode(self, data):
        if "lonlat" not in data and self.fault != "key":
            raise UsageError("a fake encoder reads 'lonlat'")
        self.calls += 1
        rows = data["lonlat"]
        vectors = LonLat(rows[:, 0], rows[:, 1]).unit()
        if self.fault == "batch":
            vectors = vectors - 0.01 * vectors.mean(axis=0)
        if self.fault == "moody":
            vectors = vectors + 1e-3 * self.calls
        if self.fault == "length":
            return (2 * vectors).astype(np.float32)
        if self.fault == "float64":
            return vectors
        if self.fault == "nan" and len(vectors):
            vectors[0] = np.nan
        if self.fault == "input":
            rows += 0
            rows[:1] = 1.0
        return vectors.astype(np.float32)


BATCH = {"lonlat": np.random.default_rng(0).uniform(-80, 80, (7, 2))}


def test_a_sound_encoder() -> None:
    check_encoder(_Encoder(), BATCH, tolerance=0)


@pytest.mark.parametrize(
    ("fault", "word"),
    [
        ("batch", "length|in batches"),
        ("moody", "length|two encodings"),
        ("length", "length 1"),
        ("float64", "float32"),
        ("nan", "not finite"),
        ("input", "changed its input"),
        ("key", "KeyError"),
    ],
)
def test_a_faulty_encoder(fault: str, word: str) -> None:
    with pytest.raises(AssertionError, match=word):
        check_encoder(_Encoder(fault), {"lonlat": BATCH["lonlat"].copy()})


def test_a_card_that_tells_another_tower() -> None:
    encoder = _Encoder()
    encoder.card = replace(encoder.card, tower="image")
    with pytest.raises(AssertionError, match="another tower"):
        check_encoder(encoder, BATCH)


class _Source(ArraySource):
    """A source of which every third row cannot be read, with one fault."""

    def __init__(self, fault: str = "") -> None:
        rng = np.random.default_rng(1)
        lonlat = LonLat(rng.uniform(-9, 9, 20), rng.uniform(-9, 9, 20))
        super().__init__(Places.create([f"s{i}" for i in range(20)], lonlat), {"image": rng.random((20, 2))})
        self.fault = fault

    def read(self, rows):
        batch = super().read(rows)
        good = batch.rows % 3 > 0
        ids = self.places().ids[batch.rows[~good]]
        skipped = [Skipped(name, "read", "" if self.fault == "reason" else "every third") for name in ids]
        images = batch.data["image"][good]
        if self.fault == "order":
            images = images[np.argsort(batch.rows[good])]
        if self.fault == "lost":
            skipped = skipped[1:]
        return Batch(batch.rows[good], {"image": images}, skipped)


def test_sound_sources() -> None:
    check_source(_Source())
    check_source(ArraySource(_Source().places(), {"image": np.arange(20)}))


@pytest.mark.parametrize(("fault", "word"), [("reason", "reason"), ("order", "another"), ("lost", "came back")])
def test_a_faulty_source(fault: str, word: str) -> None:
    with pytest.raises(AssertionError, match=word):
        check_source(_Source(fault))
