"""Which photos `evaluate geolocation` tests: none that the model has seen, none near one, and each with its place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from placevec.errors import DataError, LeakError
from placevec.geo.cells import parse_cells
from placevec.geo.sphere import LonLat, chord_of
from placevec.measure.splits import seen
from placevec.provenance import Saw
from placevec.table import Filter, Places, filter_of

Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Parts:
    """Which rows of a source are tested, and which were learned from.

    Attributes:
        test: rows that are tested.
        train: rows that the model learned from: they make the baselines.
        buffer_m: no tested row lies nearer than this to one that was learned from.
        cells: the blocks of the split, such as "h3:3"; "" where it went by keys or is unknown.
        notes: what a reader should know.
    """

    test: Rows
    train: Rows
    buffer_m: float
    cells: str = ""
    notes: tuple[str, ...] = ()


def part_rows(
    places: Places,
    saw: Sequence[Saw],
    *,
    name: str = "the model",
    gallery: NDArray[Any] | None = None,
    where: str | None = None,
    unseen: bool = False,
    buffer_m: float | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> Parts:
    """Find the rows to test and those that were learned from, and refuse a leak.

    Any label that was seen of a row counts: whoever was fitted on a photo knows it, whatever the label.

    Args:
        places: of the source; rows without a geometry are left out and counted.
        saw: of the model.
        name: of the model, for messages.
        gallery: ids of the training photos that the model keeps; None where it keeps none.
        where: which rows are tested, such as "split == 'test'"; by default all that were not seen.
        unseen: of those, only rows that were not seen and lie far enough, instead of a LeakError.
        buffer_m: by default that of the split.
        limit: at most so many tested rows, at random.
        seed: of that choice.

    Raises:
        LeakError: a row that is asked for was seen, or lies within the buffer of a training row.
        DataError: no row is left to test.
    """
    notes: list[str] = []
    located = places.located
    if not located.all():
        notes.append(f"{int((~located).sum()):,} of {len(places):,} rows have no coordinates: left out")
    was_seen = seen_at_all(places, saw)
    learned = was_seen.copy()
    if gallery is not None and len(gallery):
        kept = np.isin(places.ids.astype(str), gallery.astype(str))
        was_seen |= kept
        if kept.any():
            learned = kept
    # A place may range over blocks: another photo of it may have been learned from.
    stray = ~was_seen & np.isin(places.keys.astype(str), np.unique(places.keys[was_seen].astype(str)))
    if stray.any():
        notes.append(f"{int(stray.sum()):,} rows of places of which another row was seen are not tested")
        was_seen |= stray
    if not saw:
        notes.append(f"the card of {name} does not say which rows it saw: nothing but its own gallery could be checked")
    asked = located.copy()
    if where is not None:
        asked &= (filter_of(where=where) or Filter()).mask(places)
        if not asked.any():
            raise DataError(f"no row with coordinates fulfils {where!r}: nothing is left to test")
        leaked = int((asked & was_seen).sum())
        if leaked and not unseen:
            raise LeakError(
                f"{name} has seen {leaked:,} of the {int(asked.sum()):,} rows to be tested: leave out the condition, "
                "or test those alone that it has not seen (--unseen)"
            )
    test = np.flatnonzero(asked & ~was_seen)
    if not len(test):
        raise DataError(
            f"{name} has seen all {int(asked.sum()):,} rows: train it with folds that are kept for a test, or give "
            "other photos (--on)"
        )
    width = _buffer(saw) if buffer_m is None else buffer_m
    train = np.flatnonzero(learned & located)
    near = _near(places, test, train, width)
    if near.any():
        if not unseen and gallery is not None and len(gallery):
            raise LeakError(
                f"{int(near.sum()):,} of {len(test):,} rows to be tested lie within {width:g} m of a training row of "
                f"{name}: leave them out (--unseen), or say another distance (--buffer)"
            )
        if unseen:
            notes.append(f"{int(near.sum()):,} rows within {width:g} m of a training row were left out")
            test = test[~near]
        else:
            # Without a list of the training rows, the model may well have left out those near the border.
            close = _near(places, train, test, width)
            notes.append(f"{int(close.sum()):,} seen rows within {width:g} m of a tested one make no baseline")
            train = train[~close]
    if not len(test):
        raise DataError(f"no row lies farther than {width:g} m from what {name} has seen: give a smaller --buffer")
    if limit is not None and len(test) > limit:
        notes.append(f"{limit:,} of {len(test):,} rows are tested, chosen at random")
        test = np.sort(np.random.default_rng(seed).choice(test, limit, replace=False))
    return Parts(test, train, width, _cells(saw), tuple(notes))


def seen_at_all(places: Places, saw: Sequence[Saw]) -> Mask:
    """Which rows (n,) were seen by whatever has fitted on some of them; rows without coordinates count as seen."""
    mask = np.zeros(len(places), dtype=bool)
    rows = np.flatnonzero(places.located)
    lonlat = LonLat(places.lon[rows], places.lat[rows])
    for one in saw:
        if not one.split:
            mask[:] = True
        else:
            mask[rows] |= seen(one.split, one.folds, lonlat, places.keys[rows])
    return mask


def block_names(lonlat: LonLat, keys: NDArray[Any], cells: str) -> NDArray[Any]:
    """The block (n,) of each row, or its place where there are no blocks: what the bootstrap draws together."""
    return np.asarray(parse_cells(cells).assign(lonlat) if cells else keys)


def _near(places: Places, some: Rows, others: Rows, metres: float) -> Mask:
    """Which of `some` rows lie nearer than `metres` to one of the `others`."""
    if metres <= 0 or not len(some) or not len(others):
        return np.zeros(len(some), dtype=bool)
    xyz = LonLat(places.lon[others], places.lat[others]).unit()
    gap, _ = cKDTree(xyz).query(LonLat(places.lon[some], places.lat[some]).unit(), k=1)
    return np.asarray(gap < float(chord_of(metres)) * (1.0 - 1e-9), dtype=bool)


def _buffer(saw: Sequence[Saw]) -> float:
    return max((float(one.split.get("buffer_m", 0.0)) for one in saw), default=0.0)


def _cells(saw: Sequence[Saw]) -> str:
    return next((str(one.split["cells"]) for one in saw if one.split.get("rule") == "block"), "")
