"""Counts and measures of points of interest in cells, against slow forms."""

from __future__ import annotations

from collections import Counter
from math import log, log1p

import h3
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from placevec.errors import DataError, UsageError
from placevec.features.poi import (
    FORMS,
    Form,
    count_points,
    entropy,
    grouped,
    kinds,
    per_km2,
    poi_columns,
    rarity,
    tf_idf,
)
from placevec.features.poi import columns as columns_module
from placevec.geo.cells import H3Cells

CELLS = H3Cells(9).rings(H3Cells(9).assign(H3Cells(5).centre([0x85754E67FFFFFFF])), 2)[0]
COUNTS = arrays(np.float32, st.tuples(st.integers(0, 6), st.integers(1, 5)), elements=st.integers(0, 20).map(float))


@given(st.lists(st.tuples(st.integers(0, 24), st.integers(0, 2), st.floats(0, 9)), max_size=40))
def test_counts_against_a_loop(points: list[tuple[int, int, float]]) -> None:
    around = H3Cells(9).rings(CELLS[:1], 3)[0]  # some of them outside of the cells
    centre = H3Cells(9).centre(around)
    at = np.array([p[0] for p in points], dtype=int)
    kind = np.array([p[1] for p in points], dtype=int)
    weight = np.array([p[2] for p in points])
    found = count_points(CELLS, centre.lon[at], centre.lat[at], kind, 3)
    weighed = count_points(CELLS, centre.lon[at], centre.lat[at], kind, 3, weight)
    slow: Counter[tuple[int, int]] = Counter()
    heavy: Counter[tuple[int, int]] = Counter()
    for place, category, mass in points:
        slow[int(around[place]), category] += 1
        heavy[int(around[place]), category] += mass
    for row, cell in enumerate(CELLS.tolist()):
        assert found[row].tolist() == [slow[cell, k] for k in range(3)]
        assert weighed[row].tolist() == pytest.approx([heavy[cell, k] for k in range(3)], rel=1e-5)


def test_groups_and_cells_that_are_none() -> None:
    assert grouped(np.array([[1, 2, 4]], dtype=np.float32), [1, 0, 1], 2).tolist() == [[2, 5]]
    with pytest.raises(DataError, match="twice"):
        count_points([*CELLS, CELLS[0]], [], [], [], 1)
    assert count_points(CELLS, [], [], [], 2).shape == (len(CELLS), 2)


@given(COUNTS)
def test_measures_against_loops(counts: np.ndarray) -> None:
    found, rare, told = entropy(counts), rarity(counts), tf_idf(counts)
    for row, own in enumerate(counts.tolist()):
        shares = [x / sum(own) for x in own if x]
        assert found[row] == pytest.approx(-sum(p * log(p) for p in shares), abs=1e-12)
        assert kinds(counts)[row] == len(shares)
        assert 0 <= found[row] <= log(len(own)) + 1e-9
        for k, count in enumerate(own):
            assert told[row, k] == pytest.approx(count / sum(own) * rare[k] if sum(own) else 0)
    for k in range(counts.shape[1]):
        df = sum(1 for own in counts.tolist() if own[k])
        assert rare[k] == pytest.approx(log((1 + len(counts)) / (1 + df)) + 1)


@given(COUNTS, st.integers(2, 50))
def test_measures_of_shares_do_not_see_the_size(counts: np.ndarray, times: int) -> None:
    np.testing.assert_allclose(entropy(counts * times), entropy(counts), atol=1e-9)
    np.testing.assert_allclose(tf_idf(counts * times), tf_idf(counts), atol=1e-6)


def test_density_is_by_each_cells_own_area() -> None:
    area = h3.cell_area(h3.int_to_str(int(CELLS[3])), "km^2")
    assert per_km2([[2.0]], CELLS[3:4])[0, 0] == pytest.approx(2 / area, rel=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_columns(form: Form, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = np.zeros((len(CELLS), 2), dtype=np.float32)
    counts[0] = [3, 1]
    names, values = poi_columns(counts, ["cafe", "bank"], CELLS, form)
    expected = {
        "counts": ("log1p(cafe)", "log1p(bank)", "log1p(points)"),
        "density": ("log1p(cafe_per_km2)", "log1p(bank_per_km2)", "log1p(points_per_km2)"),
        "tfidf": ("tfidf_cafe", "tfidf_bank", "log1p(points)"),
    }[form]
    assert names == (*expected, "entropy_nats", "log1p(kinds)")
    assert values.dtype == np.float32
    assert not values[1:].any()
    if form == "counts":
        np.testing.assert_allclose(
            values[0], [log1p(3), log1p(1), log1p(4), entropy(counts[:1])[0], log1p(2)], rtol=1e-6
        )
    monkeypatch.setattr(columns_module, "_ROWS", 4)
    np.testing.assert_array_equal(poi_columns(counts, ["cafe", "bank"], CELLS, form)[1], values)
    assert poi_columns(counts[:0], ["cafe", "bank"], CELLS[:0], form)[0] == names


def test_rarity_is_of_the_cells_that_are_known() -> None:
    counts = np.array([[1, 0], [1, 1], [0, 0]], dtype=np.float32)
    _, some = poi_columns(counts, ["a", "b"], CELLS[:3], "tfidf", np.array([True, True, False]))
    assert some[0, 0] == pytest.approx(1.0)  # all known cells have it
    _, all_ = poi_columns(counts, ["a", "b"], CELLS[:3], "tfidf")
    assert all_[0, 0] > 1.0


def test_no_such_form() -> None:
    with pytest.raises(UsageError, match="counts, density, tfidf"):
        poi_columns(np.zeros((1, 1), dtype=np.float32), ["a"], CELLS[:1], "share")
