"""Leakage is an error, not a footnote: no row is tested whose label the vectors were fitted on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec.errors import LeakError
from placevec.geo.sphere import LonLat
from placevec.measure.splits import seen
from placevec.provenance import Saw

# "services:log1p(jobs) (W^1)": the modality, the column in a logarithm, what a fusion did with it.
_COLUMN = re.compile(r"^(?:[^:()]+:)?(?:log1p\((?P<inner>[^()]+)\)|(?P<plain>[^()]+?))(?: \([^()]*\))?$")


def column_of(name: str) -> str:
    """What a column is made of: "jobs" of "log1p(jobs)", of "services:jobs" and of "services:log1p(jobs) (W^1)"."""
    found = _COLUMN.match(name)
    return name if found is None else str(found["inner"] or found["plain"]).strip()


def labels_of(saw: Sequence[Saw], dims: Sequence[str]) -> tuple[Saw, ...]:
    """The labels that a table knows: those that its maker saw, and those that are columns of it, on all rows."""
    return (*saw, *(Saw("", name) for name in dict.fromkeys(column_of(name) for name in dims)))


def seen_rows(
    saw: Sequence[Saw], column: str, lonlat: LonLat | None, keys: NDArray[Any] | None, count: int
) -> NDArray[np.bool_]:
    """Which of `count` rows had their label `column` seen by whatever made the vectors.

    A column counts by its name, in whatever table it stands: a label that was copied is still the label.
    """
    mask = np.zeros(count, dtype=bool)
    for one in saw:
        if one.column != column:
            continue
        if not one.split:
            mask[:] = True
        else:
            mask |= seen(one.split, one.folds, lonlat, keys)
    return mask


def refuse_leaks(
    name: str,
    saw: Sequence[Saw],
    column: str,
    lonlat: LonLat | None,
    keys: NDArray[Any] | None,
    rows: NDArray[np.int64] | None = None,
    count: int | None = None,
) -> None:
    """LeakError if a label `column` of one of the test `rows` (all by default) was seen by the vectors `name`."""
    total = len(keys) if keys is not None else (count or 0)
    mask = seen_rows(saw, column, lonlat, keys, total)
    test = mask if rows is None else mask[rows]
    if test.any():
        raise LeakError(
            f"the vectors {name!r} were fitted on the labels {column!r} of {int(test.sum())} of {len(test)} test rows: "
            "probe only rows that were not seen (--unseen), or embed with an encoder that saw none of them"
        )
