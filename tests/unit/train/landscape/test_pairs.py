"""Pairs: which rows belong together, that their layers stay together, and what tells data from other data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import tiny_landscape as tiny
from placevec.errors import DataError, UsageError
from placevec.geo.sphere import LonLat, distance_m
from placevec.sources.base import ArraySource, Batch
from placevec.table import Places, Skipped
from placevec.train.landscape import Pairs
from placevec.train.landscape.pairs import layer_facts


def rows_of(labels: list[str]) -> ArraySource:
    """A row for each label, whose only layer holds its number."""
    n = len(labels)
    places = Places.create([f"r{i}" for i in range(n)], LonLat(np.arange(n) / 100, np.zeros(n)), place=labels)
    return ArraySource(places, {"cover": np.arange(n, dtype=np.uint8)[:, None, None].repeat(2, 1).repeat(2, 2)})


@given(st.lists(st.integers(0, 12), min_size=1, max_size=60))
def test_two_rows_of_one_place_are_a_pair_and_others_are_left_out(labels: list[int]) -> None:
    expected = []
    for label in dict.fromkeys(labels):
        rows = [i for i, one in enumerate(labels) if one == label]
        if len(rows) == 2:
            expected.append(tuple(rows))
    source = rows_of([f"p{label}" for label in labels])
    if not expected:
        with pytest.raises(UsageError, match="hold no pairs"):
            Pairs.of(source, ("cover",))
        return
    pairs = Pairs.of(source, ("cover",))
    assert list(zip(pairs.anchors.tolist(), pairs.neighbours.tolist(), strict=True)) == sorted(expected)
    anchors, neighbours = pairs.read(np.arange(len(pairs))[::-1])
    np.testing.assert_array_equal(anchors["cover"][:, 0, 0], pairs.anchors[::-1])
    np.testing.assert_array_equal(neighbours["cover"][:, 1, 1], pairs.neighbours[::-1])


def test_all_layers_of_a_pair_are_of_its_own_ground() -> None:
    """The original shuffled the negatives of each layer by themselves."""
    source = tiny.source(50)
    pairs = Pairs.of(source, tiny.NAMES).take(np.random.default_rng(0).permutation(50)[:20])
    anchors, neighbours = pairs.read(np.arange(20))
    for rows, found in ((pairs.anchors, anchors), (pairs.neighbours, neighbours)):
        for at, row in enumerate(rows):
            alone = source.read(np.array([row])).data
            for name in tiny.NAMES:
                np.testing.assert_array_equal(found[name][at], alone[name][0])


def test_only_the_layers_asked_for_are_given() -> None:
    anchors, _ = Pairs.of(tiny.source(5), ("elevation",)).read(np.arange(2))
    assert set(anchors) == {"elevation"}


def test_where_they_lie_and_how_far_neighbours_reach() -> None:
    pairs = Pairs.of(tiny.source(80), tiny.NAMES)
    apart = distance_m(pairs.lonlat, pairs.other)
    assert np.all((apart > 1000) & (apart < 1400))  # 12 pixels of 100 m
    assert pairs.reach_m == np.quantile(apart, 0.99)
    assert pairs.take(np.arange(0)).reach_m == 0.0


class Lossy:
    """A source that cannot read one of its rows."""

    def __init__(self, lost: int) -> None:
        self.inner, self.lost = tiny.source(4), lost

    def places(self) -> Places:
        return self.inner.places()

    def read(self, rows: NDArray[np.int64]) -> Batch:
        kept = self.inner.read(rows[rows != self.lost])
        return Batch(kept.rows, kept.data, [Skipped(f"r{self.lost}", "patch", "no data in cover.tif", None)])


def test_a_row_that_cannot_be_read_moves_no_other_to_its_partner() -> None:
    with pytest.raises(
        DataError, match=r"1 of 8 patches of pairs cannot be read \(no data in cover.tif\).*area patches"
    ):
        Pairs.of(Lossy(3), tiny.NAMES).read(np.arange(4))


class Marked(ArraySource):
    """With a fingerprint that does not know of places, such as that of rasters."""

    def fingerprint(self) -> str:
        return "rasters"


def test_the_key_follows_places_rows_and_what_the_source_says() -> None:
    def key(shift: float = 0.0, kind: type[ArraySource] = Marked, n: int = 8) -> str:
        where = LonLat(np.arange(n) / 100 + shift, np.zeros(n))
        places = Places.create([f"r{i}" for i in range(n)], where, place=[f"p{i // 2}" for i in range(n)])
        data: dict[str, NDArray[Any]] = {"cover": np.zeros((n, 2, 2), np.uint8)}
        return Pairs.of(kind(places, data), ("cover",)).key

    assert key() == key()
    assert len({key(), key(shift=0.001), key(kind=ArraySource), key(n=10)}) == 4
    pairs = Pairs.of(tiny.source(6), tiny.NAMES)
    assert pairs.take(np.arange(3)).key != pairs.key


def test_what_a_card_says_of_layers() -> None:
    assert layer_facts({"cover": tiny.LAYERS[0], "elevation": tiny.LAYERS[1]}) == {"cover": tiny.TABLE.to_json()}
