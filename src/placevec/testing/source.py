"""The contract of a source."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from placevec.errors import PlacevecError
from placevec.table import Places
from placevec.testing.raises import raises

if TYPE_CHECKING:
    from placevec.sources.base import Batch, Source


def check_source(source: Source, *, most: int = 200) -> None:
    """Hold a source against the contract of `placevec.sources.base`.

    Args:
        source: the source, of at least one place.
        most: read at most so many of its rows.

    Raises:
        AssertionError: a promise is broken; the message says which.
    """
    from placevec.sources.base import Source as Contract

    assert isinstance(source, Contract), "a source has places() and read(rows)"
    places = source.places()
    assert isinstance(places, Places), f"places() gives {type(places).__name__}, not Places"
    assert len(places), "check_source needs a source of at least one place"
    assert len(set(places.ids.tolist())) == len(places), "ids repeat"
    assert np.array_equal(source.places().ids, places.ids), "places() gives other places the second time"
    rows = np.arange(min(len(places), most), dtype=np.int64)
    whole = _read(source, rows, places)
    again = _read(source, rows, places)
    assert np.array_equal(whole.rows, again.rows), "a second reading reads other rows"
    for name, values in whole.data.items():
        assert _equal(values, again.data[name]), f"a second reading gives another {name!r}"
    order = np.random.default_rng(9).permutation(rows)
    _agrees(whole, _read(source, order, places), "in another order")
    for part in (order[:1], order[: max(1, len(order) // 3)]):
        _agrees(whole, _read(source, part, places), f"{len(part)} at a time")
    nothing = source.read(np.empty(0, dtype=np.int64))
    assert len(nothing.rows) == 0, "no row asked for, none read"
    assert not nothing.skipped, "no row asked for, none skipped"
    for bad in (np.array([-1]), np.array([len(places)])):
        raises(PlacevecError, partial(source.read, bad), f"the row {bad[0]}, which does not exist,")


def _read(source: Source, rows: NDArray[np.int64], places: Places) -> Batch:
    batch = source.read(rows)
    assert batch.rows.dtype == np.int64, f"the rows of a batch are int64, not {batch.rows.dtype}"
    count = len(batch.rows) + len(batch.skipped)
    assert count == len(rows), f"{len(rows)} rows were asked for, {count} came back or were skipped"
    assert np.array_equal(batch.rows, rows[np.isin(rows, batch.rows)]), (
        "rows come in the order in which they were asked"
    )
    left = set(places.ids[rows[~np.isin(rows, batch.rows)]].tolist())
    named = {skipped.id for skipped in batch.skipped}
    assert named == left, f"the skipped ids are {sorted(named)[:3]}, what was left out is {sorted(left)[:3]}"
    for skipped in batch.skipped:
        assert skipped.reason, f"{skipped.id!r} was skipped without a reason"
        assert skipped.stage, f"{skipped.id!r} was skipped without a stage"
    assert batch.data or not len(batch.rows), "rows were read, but no data came with them"
    for name, values in batch.data.items():
        assert len(values) == len(batch.rows), f"{name!r} has {len(values)} entries for {len(batch.rows)} rows"
    return batch


def _agrees(whole: Batch, part: Batch, how: str) -> None:
    at = {row: place for place, row in enumerate(whole.rows.tolist())}
    assert set(part.rows.tolist()) <= set(at), f"{how}, a row was read that was skipped before"
    places = [at[row] for row in part.rows.tolist()]
    for name, values in part.data.items():
        assert _equal(values, whole.data[name][places]), f"{how}, {name!r} of a row is another"


def _equal(one: NDArray[Any], other: NDArray[Any]) -> bool:
    if one.dtype.kind == "f":
        return bool(np.array_equal(one, other, equal_nan=True))
    return bool(np.array_equal(one, other))
