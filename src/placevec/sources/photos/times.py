"""When photos were taken, as lists write it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from placevec.sources.photos.found import Column, objects


def times(values: Iterable[Any]) -> dict[str, Column]:
    """The columns `taken` (ISO 8601), `hour` (of the day, 0 to 24) and `month` of n times; None where there is none.

    A time is ISO 8601, or seconds or milliseconds since 1970. The latter, and times that end in Z, are UTC: of them no
    hour is told, since that of the camera's clock would have to come from the longitude, which a locator is asked for.
    """
    taken, hour, month = [], [], []
    for value in values:
        when, clock = _time(value)
        taken.append(None if when is None else when.isoformat())
        hour.append(None if when is None or not clock else hour_of(when))
        month.append(None if when is None else when.month)
    return {"taken": objects(taken), "hour": objects(hour), "month": objects(month)}


def hour_of(when: datetime) -> float:
    """The hour of the day, 0 to 24."""
    return when.hour + when.minute / 60.0 + when.second / 3600.0


def _time(value: Any) -> tuple[datetime | None, bool]:
    """A time, and whether it is that of a clock where the photo was taken."""
    if value is None or value != value:
        return None, False
    text = str(value).strip()
    try:
        number = float(value)
        if number < 1e6:  # a year, or nothing
            return None, False
        return datetime.fromtimestamp(number / 1000.0 if number > 1e11 else number, UTC), False
    except (TypeError, ValueError, OverflowError, OSError):
        pass
    try:
        return datetime.fromisoformat(text), not text.endswith(("Z", "z"))
    except ValueError:
        return None, False
