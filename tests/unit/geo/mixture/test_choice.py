import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from placevec.errors import DataError
from placevec.geo.mixture import hypotheses, joint_at, temper


def slow(region_logs, cell_logs, starts, regions, cells):
    """Rows and weights of one image, by loops."""
    sizes = np.diff(starts)
    p = np.where(sizes > 0, np.exp(region_logs - region_logs[sizes > 0].max()), 0.0)
    p /= p.sum()
    found = []
    for r in sorted(range(len(sizes)), key=lambda at: (-p[at], at)):
        if sizes[r] == 0 or regions == 0:
            continue
        regions -= 1
        own = np.exp(cell_logs[starts[r] : starts[r + 1]] - cell_logs[starts[r] : starts[r + 1]].max())
        own /= own.sum()
        best = sorted(range(sizes[r]), key=lambda at: (-own[at], at))[:cells]
        found += [(starts[r] + at, p[r] * own[at]) for at in best]
    return sorted(found, key=lambda pair: -pair[1])


@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=5).filter(any),
    st.integers(1, 4),
    st.integers(1, 6),
    st.integers(0, 10_000),
)
def test_against_loops(sizes, regions, cells, seed) -> None:
    rng = np.random.default_rng(seed)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    region_logs = rng.normal(size=(4, len(sizes)))
    cell_logs = 3 * rng.normal(size=(4, starts[-1]))
    rows, weights = hypotheses(region_logs, cell_logs, starts, regions=regions, cells=cells)
    assert (weights.sum(axis=1) <= 1 + 1e-9).all()
    for at in range(4):
        wanted = slow(region_logs[at], cell_logs[at], starts, regions, cells)
        live = weights[at] > 0
        assert rows[at][live].tolist() == [row for row, _ in wanted]
        assert weights[at][live] == pytest.approx([weight for _, weight in wanted])
        assert (rows[at][~live] == 0).all()
    tempered = temper(region_logs, cell_logs, starts)
    again = joint_at(*tempered, starts, rows)
    assert again[weights > 0] == pytest.approx(weights[weights > 0])


def test_ties_go_to_the_lower_number() -> None:
    rows, _ = hypotheses(np.zeros((1, 3)), np.zeros((1, 120)), [0, 40, 80, 120], regions=2, cells=3)
    assert rows.tolist() == [[0, 1, 2, 40, 41, 42]]


def test_a_cell_that_only_fills_the_row_has_no_weight() -> None:
    rows, weights = hypotheses([[2.0, 1.0]], [[0.0, 1.0, 2.0, 0.0]], [0, 3, 4], regions=2, cells=3)
    assert rows.tolist() == [[2, 3, 1, 0, 0, 0]]
    assert (weights[0, 4:] == 0).all()
    assert joint_at(*temper([[2.0, 1.0]], [[0.0, 1.0, 2.0, 0.0]], [0, 3, 4]), [0, 3, 4], rows)[0] == pytest.approx(
        weights[0]
    )


def test_temperature() -> None:
    region, cell = temper([[0.0, 2.0, 9.0]], [[1.0, 3.0, 5.0]], [0, 2, 3, 3], region_temperature=2, cell_temperature=4)
    assert np.exp(region[0]) == pytest.approx([1 / (1 + np.e), np.e / (1 + np.e), 0.0])
    assert np.exp(cell[0]) == pytest.approx([1 / (1 + np.exp(0.5)), np.exp(0.5) / (1 + np.exp(0.5)), 1.0])


def test_no_temperature_changes_which_are_chosen() -> None:
    rng = np.random.default_rng(1)
    region, cell, starts = rng.normal(size=(20, 3)), rng.normal(size=(20, 60)), [0, 20, 40, 60]
    plain = np.sort(hypotheses(region, cell, starts)[0])
    hot = np.sort(hypotheses(*temper(region, cell, starts, region_temperature=5, cell_temperature=3), starts)[0])
    assert (plain == hot).all()


def test_none_at_all_and_impossible_cells() -> None:
    rows, weights = hypotheses(np.zeros((0, 2)), np.zeros((0, 3)), [0, 2, 3])
    assert rows.shape == weights.shape == (0, 4)
    rows, weights = hypotheses([[0.0, -np.inf]], [[0.0, -np.inf, 0.0]], [0, 2, 3])
    assert weights[0].tolist() == [1.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[0.0]], [[0.0, np.nan]], [0, 2]), "cell 1 in row 0 is nan"),
        (([[np.inf]], [[0.0, 0.0]], [0, 2]), "region 0"),
        (([[0.0]], [[0.0, 0.0]], [0, 1]), "starts"),
        (([[0.0]], [[0.0, 0.0]], [0, 1, 2]), "wanted"),
        (([[0.0]], np.zeros((1, 0)), [0, 0]), "no region has a cell"),
    ],
)
def test_broken_logits(arguments, message) -> None:
    with pytest.raises(DataError, match=message):
        hypotheses(*arguments)


def test_broken_settings() -> None:
    with pytest.raises(DataError, match="at least one of each"):
        hypotheses([[0.0]], [[0.0]], [0, 1], regions=0)
    with pytest.raises(DataError, match="temperatures"):
        temper([[0.0]], [[0.0]], [0, 1], cell_temperature=0)
