"""Regions of heat maps and their selection."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from placevec.errors import UsageError
from placevec.features.evidence import HeatMap, Region, Selection, regions, select


def hills(*peaks: tuple[int, int, float], shape: tuple[int, int] = (32, 48), sd: float = 2.0) -> HeatMap:
    y, x = np.mgrid[: shape[0], : shape[1]]
    values = np.zeros(shape)
    for row, column, height in peaks:
        values = np.maximum(values, height * np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * sd * sd)))
    return HeatMap(values, (shape[0] * 10, shape[1] * 10), float(values.mean()))


def test_each_hill_is_one_region_around_its_peak() -> None:
    heat = hills((8, 8, 4.0), (20, 40, 3.0), (25, 12, 1.0))
    found = [one for one in regions(heat) if one.score > 0.5]
    assert [round(one.score) for one in found] == [4, 3, 1]
    assert [(round(one.peak[0]), round(one.peak[1])) for one in found] == [(85, 85), (405, 205), (125, 255)]
    for one in found:
        # Half the height of a Gaussian lies 1.18 deviations out: 2.35 positions of 10 pixels to each side.
        assert (one.width, one.height) == (pytest.approx(47, abs=4), pytest.approx(47, abs=4))
        assert one.x <= one.peak[0] <= one.x + one.width
        assert one.share == pytest.approx(one.width * one.height / (320 * 480))
        assert one.score > one.mean > one.score / 2


def test_a_second_maximum_beside_a_peak_is_none_of_its_own() -> None:
    heat = hills((10, 10, 4.0), (10, 11, 3.9))
    assert len([one for one in regions(heat) if one.score > 0.5]) == 1


def test_where_all_of_an_image_fits_a_region_is_what_stands_out_of_it() -> None:
    heat = hills((8, 8, 2.0))
    raised = HeatMap(heat.values + 5.0, heat.size, heat.whole + 5.0)
    (alone,), (first, *_) = regions(heat, most=1), regions(raised)
    assert (first.x, first.y, first.width, first.height) == (alone.x, alone.y, alone.width, alone.height)
    assert first.score == pytest.approx(7.0)


def test_boxes_of_a_coarse_map_are_drawn_between_its_positions() -> None:
    values = np.zeros((4, 4))
    values[1, 2] = 4.0
    (one, *_) = regions(HeatMap(values, (400, 400), 0.25))
    # Half the height lies half way to the neighbours, 50 pixels from the centre at (250, 150).
    assert one.score == pytest.approx(4.0)
    assert (one.x, one.y) == (pytest.approx(200, abs=10), pytest.approx(100, abs=10))
    assert (one.width, one.height) == (pytest.approx(100, abs=20), pytest.approx(100, abs=20))


def test_what_is_left_around_a_peak_is_no_region_of_its_own() -> None:
    # Two heights of one hill: below half of it, a ring is left whose box would be the hill's again.
    heat = hills((16, 24, 4.0), sd=6.0)
    found = regions(heat)
    assert found[0].score == pytest.approx(4.0)
    assert not any(one.x <= found[0].peak[0] <= one.x + one.width and one.share > 0.5 for one in found[1:])


def test_a_map_of_cells_gives_its_cells_in_order() -> None:
    values = np.arange(16.0).reshape(4, 4)
    found = regions(HeatMap(values, (40, 40), 0.0, cells=True))
    assert [one.score for one in found] == list(np.arange(16.0)[::-1])
    assert (found[0].x, found[0].y, found[0].width, found[0].height) == (30, 30, 10, 10)


def test_a_plain_map_is_one_region_of_the_whole_image() -> None:
    (one,) = regions(HeatMap(np.full((5, 5), 2.0), (50, 50), 2.0))
    assert (one.x, one.y, one.width, one.height, one.share) == (0, 0, 50, 50, 1.0)


maps = nps.arrays(
    np.float64,
    nps.array_shapes(min_dims=2, max_dims=2, max_side=12),
    elements=st.floats(-5, 5, allow_nan=False, width=32),
)


@given(maps, st.integers(1, 400), st.integers(1, 400))
def test_boxes_lie_in_the_image_and_hold_their_peaks(values: np.ndarray, height: int, width: int) -> None:
    height, width = max(height, values.shape[0]), max(width, values.shape[1])
    found = regions(HeatMap(values, (height, width), 0.0))
    assert found[0].score == pytest.approx(values.max(), abs=1e-9)
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    assert len({one.peak for one in found}) == len(found)
    for one in found:
        assert 0 <= one.x < one.x + one.width <= width
        assert 0 <= one.y < one.y + one.height <= height
        assert one.x - 1 <= one.peak[0] <= one.x + one.width + 1
        assert 0 < one.share <= 1
        assert one.mean <= one.score + 1e-9
    for at, one in enumerate(found):
        for other in found[:at]:
            wide = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
            tall = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
            smaller = min(one.width * one.height, other.width * other.height)
            assert wide <= 0 or tall <= 0 or wide * tall <= smaller / 2


@given(maps, st.floats(0.1, 10), st.integers(1, 5))
def test_regions_do_not_depend_on_the_unit_of_the_scores(values: np.ndarray, factor: float, most: int) -> None:
    a = regions(HeatMap(values, (100, 100), 0.0), most=most)
    b = regions(HeatMap(values * 2.0 ** np.round(np.log2(factor)), (100, 100), 0.0), most=most)
    assert [(one.x, one.y, one.width, one.height) for one in a] == [(o.x, o.y, o.width, o.height) for o in b]
    assert len(a) <= most


def some(*scores: float) -> list[Region]:
    return [Region(0, 0, 1, 1, score, score, 0.1, (0.5, 0.5)) for score in scores]


def chosen(*scores: float, rule: Selection | None = None) -> list[float]:
    return [one.score for one in select(some(*scores), rule)]


def test_the_top_four_are_always_shown_and_more_where_more_stand_out_alike() -> None:
    assert chosen(5, 1, 0.5, -1, -2) == [5, 1, 0.5, -1]
    assert chosen(5, 4.9, 4.8, 4.7, 4.6, 4.4) == [5, 4.9, 4.8, 4.7, 4.6]
    assert chosen(*[5] * 20) == [5] * 8
    assert chosen(2, 3) == [3, 2]
    assert chosen() == []


def test_nothing_above_the_background_brings_no_further_regions() -> None:
    # -0.90 is "within 90 %" of -1 only by the sign.
    assert chosen(-1, -1, -1, -1, -1, -1) == [-1] * 4
    assert chosen(0, 0, 0, 0, 0) == [0] * 4


@given(st.lists(st.floats(-5, 5), max_size=30), st.integers(1, 5), st.floats(0.01, 1))
def test_selection_is_a_prefix_of_the_ranking(scores: list[float], top: int, share: float) -> None:
    found = chosen(*scores, rule=Selection(top=top, share=share, most=8))
    ranked = sorted(scores, reverse=True)
    assert found == ranked[: len(found)]
    assert min(top, len(scores)) <= len(found) <= 8


def test_what_is_refused() -> None:
    for wrong in ({"top": 0}, {"top": 9}, {"share": 0.0}, {"share": 1.5}):
        with pytest.raises(UsageError, match="top is 1"):
            Selection(**wrong)
