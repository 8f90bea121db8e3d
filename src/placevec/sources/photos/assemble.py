"""The columns of a photo list: what the list said, what the files add, and what was measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from placevec.sources.photos.exif import FIELDS, Exif
from placevec.sources.photos.found import Found
from placevec.sources.photos.look import Look
from placevec.sources.photos.times import times

LISTED = "region_listed"
"""The column `region` of a list, where regions are given: they say in which of them a photo lies."""

_TEXTS = ("taken", "author", "tags", "licence", "place", "region")
_FLOATS = ("hour", "focal_mm", "lens_mm", "heading", "altitude_m")


def assembled(
    found: Found,
    rows: NDArray[np.int64],
    exif: Mapping[int, Exif],
    looks: Mapping[int, Look],
    regions: Sequence[str] | None,
) -> dict[str, pa.Array]:
    """The columns of the photos that are kept.

    Of what both say, the list is believed, and the file fills in where the list says nothing. A column without any
    value is left out.

    Args:
        found: all photos.
        rows: (m,) those that are kept.
        exif: by row.
        looks: by row.
        regions: the region of each that is kept.
    """
    columns: dict[str, list[Any]] = {}
    for name, values in found.attributes.items():
        columns[LISTED if name == "region" and regions is not None else name] = _plain(values, rows)
    if "taken" in columns:
        said = {name: list(values) for name, values in times(columns.pop("taken")).items()}
        columns = {**said, **columns}
    for name in FIELDS:
        own = columns.get(name, [None] * len(rows))
        columns[name] = [
            getattr(exif.get(row), name, None) if _nothing(value) else value
            for row, value in zip(rows.tolist(), own, strict=True)
        ]
    if regions is not None:
        columns["region"] = list(regions)
    for name in ("width", "height", "sharpness"):
        columns[name] = [getattr(looks[row], name) for row in rows.tolist()]
    typed = {name: _typed(name, values) for name, values in columns.items()}
    return {name: column for name, column in typed.items() if name == "region" or column.null_count < len(column)}


def _plain(values: NDArray[Any], rows: NDArray[np.int64]) -> list[Any]:
    found: list[Any] = values[rows].tolist()
    return found


def _nothing(value: Any) -> bool:
    return value is None or value != value or value == ""


def _typed(name: str, values: list[Any]) -> pa.Array:
    if name in _TEXTS:
        return pa.array([None if _nothing(value) else str(value) for value in values], pa.string())
    if name in _FLOATS:
        return pa.array([_or_none(float, value) for value in values], pa.float64())
    if name == "month":
        return pa.array([_or_none(int, value) for value in values], pa.int64())
    try:
        return pa.array([None if value != value else value for value in values])
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([None if value is None else str(value) for value in values], pa.string())


def _or_none(kind: Callable[[Any], Any], value: Any) -> Any:
    try:
        found = kind(value)
    except (TypeError, ValueError):
        return None
    return found if found == found else None
