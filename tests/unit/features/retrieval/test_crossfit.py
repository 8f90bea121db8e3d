import numpy as np
import pytest

from conftest import make_table
from placevec.errors import DataError, UsageError
from placevec.features.retrieval import Augmenter, Bank, CrossFit, Folded, Masks, mode_of
from placevec.features.retrieval.crossfit import fold_of
from placevec.provenance import Space

GEO = mode_of("geo", {"widths_m": [3e6], "degrees": 0})


def cross(n=600, values=None, mode=GEO, masks=None, **more) -> CrossFit:
    table = make_table(n, 6)
    made = np.random.default_rng(4).standard_normal((n, 2)) if values is None else values
    return CrossFit(table.places(), table.vectors(), made.astype(np.float32), mode, masks or Masks(), **more)


def test_values_of_test_rows_change_nothing() -> None:
    n = 300
    values = np.random.default_rng(0).standard_normal((n, 2))
    train = np.flatnonzero(np.arange(n) % 4 > 0)
    other = values.copy()
    other[np.arange(n) % 4 == 0] = 1e6
    mode = mode_of("multiscale", {"k": 20})
    one, two = cross(n, values, mode)(train), cross(n, other, mode)(train)
    assert one.shape == two.shape
    assert len(one) == n
    assert np.array_equal(one, two)


def test_the_value_of_a_training_row_does_not_change_its_own_features() -> None:
    n, row = 200, 17
    values = np.random.default_rng(0).standard_normal((n, 2))
    other = values.copy()
    other[row] += 0.5
    mode = mode_of("soft", {"k": n})
    train = np.arange(n)
    one, two = cross(n, values, mode)(train), cross(n, other, mode)(train)
    # The scale of the block follows the values; up to that its own features are the same, and those of others not.
    scale = one[row, 6] / two[row, 6]
    assert np.allclose(one[row, 6:], two[row, 6:] * scale, rtol=1e-5)
    away = np.abs(one[:, 6:] - two[:, 6:] * scale).max(axis=1)
    assert (away > 1e-4).sum() > 10


def test_a_wide_kernel_does_not_tell_the_own_value() -> None:
    """The fault of leaving each row out alone: (total - own) / (n - 1) is the own value, upside down."""
    n = 1000
    table = make_table(n, 6)
    y = np.random.default_rng(1).standard_normal((n, 1)).astype(np.float32)
    bank = Bank(table.places(), y, Space.unknown(1))
    alone = Augmenter(bank, GEO, sample=table.vectors())
    ids = table.ids
    kept = alone.rows(table.lonlat(), table.vectors(), ids=ids).vectors[:, -1]
    folded = cross(n, y)(np.arange(n))[:, -1]
    assert abs(np.corrcoef(kept, y[:, 0])[0, 1]) > 0.5
    assert abs(np.corrcoef(folded, y[:, 0])[0, 1]) < 0.1


def test_rows_of_one_place_share_a_fold() -> None:
    keys = np.array(["a", "b", "a", "c"], dtype=object)
    fold = fold_of(keys, 5)
    assert fold[0] == fold[2]
    assert np.array_equal(fold, fold_of(keys, 5))
    assert set(fold_of(np.array([str(i) for i in range(200)], dtype=object), 3).tolist()) == {0, 1, 2}


def test_rows_without_a_training_row_say_nothing() -> None:
    n = 100
    train = np.arange(20)
    made = cross(n, mode=mode_of("soft", {"k": 5}), masks=Masks(max_m=60e3))(train)
    assert np.isfinite(made).all()
    # Those without one all have the same columns, the mean of the others.
    rows, counts = np.unique(made[:, 6:], axis=0, return_counts=True)
    lost = (made[:, 6:] == rows[np.argmax(counts)]).all(axis=1)
    assert 1 < lost.sum() < n
    assert np.allclose(made[~lost, 6:].mean(axis=0), rows[np.argmax(counts)], atol=1e-5)
    assert len(np.unique(made[lost, :6], axis=0)) == lost.sum()


def test_without_vectors_the_place_alone_is_asked() -> None:
    table = make_table(100)
    made = CrossFit(table.places(), np.zeros((100, 0), np.float32), np.ones((100, 1), np.float32), mode_of("geo"))
    assert made(np.arange(80)).shape[0] == 100


def test_nonsense_is_refused() -> None:
    with pytest.raises(DataError, match="no training rows"):
        cross()(np.empty(0, dtype=np.int64))
    with pytest.raises(DataError, match="empty bank after masking"):
        cross(50, masks=Masks(buffer_m=1e7))(np.arange(40))
    with pytest.raises(DataError, match="as many of each"):
        cross(50, values=np.zeros((3, 2)))
    bank = Bank.of(make_table(30))
    with pytest.raises(UsageError, match="2 or more"):
        Folded(Augmenter(bank, GEO, query_dims=4), 1)
    with pytest.raises(UsageError, match="no folds"):
        Folded(Augmenter(bank, mode_of("concat"), query_dims=4))
    with pytest.raises(DataError, match="one of 2 folds"):
        Folded(Augmenter(Bank.of(make_table(1)), GEO, query_dims=4), 2)
