"""From the values of a raster to the 8 bits of a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from placevec.errors import FormatError, UsageError

Named = Literal["auto", "joint", "bands", "none"]
Stretch = Named | tuple[float, float]
STRETCHES: dict[str, Named] = {"auto": "auto", "joint": "joint", "bands": "bands", "none": "none"}

PERCENTILES = (2.0, 98.0)
_SAMPLE = 1 << 20  # values of a band that the percentiles are taken from, evenly spread


def check_stretch(stretch: Any) -> Stretch:
    """The stretch as it is kept; UsageError if it is none.

    Args:
        stretch: "auto" (8 bits stay as they are, anything else as "joint"), "joint" (from the 2nd to the 98th
            percentile of all bands together, so that colours keep their balance), "bands" (of each band alone, for
            bands of different units), "none" (values are 0 to 255 already), or (low, high), the values that become 0
            and 255: what makes several images comparable, where percentiles are taken of each image alone.
    """
    if isinstance(stretch, str):
        if stretch in STRETCHES:
            return STRETCHES[stretch]
        raise UsageError(f"stretch is {stretch!r}; choose one of {', '.join(STRETCHES)}, or two values (low, high)")
    try:
        low, high = (float(value) for value in stretch)
    except (TypeError, ValueError):
        raise UsageError(f"stretch is {stretch!r}; give two values (low, high), or {', '.join(STRETCHES)}") from None
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise UsageError(f"stretch is ({low}, {high}); the first value has to be below the second")
    return low, high


def stretched(values: NDArray[Any], stretch: Stretch, valid: NDArray[np.bool_] | None = None) -> NDArray[np.uint8]:
    """Values (bands, h, w) of any number type as uint8.

    Args:
        values: (bands, h, w).
        stretch: see `check_stretch`.
        valid: (h, w), which pixels hold a value; the others, and those that are not finite, become 0 and do not
            count for percentiles.

    Raises:
        FormatError: with "none", a value lies beyond 0 to 255.
    """
    if valid is not None and valid.all():
        valid = None
    if stretch in ("auto", "none") and values.dtype == np.uint8:
        return values if valid is None else np.where(valid, values, np.uint8(0))
    floats = values.astype(np.float32)
    good = np.isfinite(floats)
    if valid is not None:
        good &= valid
    if stretch == "none":
        return _as_they_are(values, floats, good)
    if isinstance(stretch, tuple):
        ends: Sequence[tuple[float, float]] = [stretch] * len(values)
    elif stretch == "bands":
        ends = [_ends(floats[k : k + 1], good[k : k + 1]) for k in range(len(values))]
    else:
        ends = [_ends(floats, good)] * len(values)
    low = np.array([pair[0] for pair in ends], dtype=np.float32)[:, None, None]
    span = np.array([pair[1] - pair[0] for pair in ends], dtype=np.float32)[:, None, None]
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        # A band of one value alone has nothing to stretch: it is black.
        scaled = np.where(span > 0, (floats - low) / span, 0.0)
    return np.rint(np.clip(np.where(good, scaled, 0.0), 0.0, 1.0) * 255.0).astype(np.uint8)


def _ends(values: NDArray[np.float32], good: NDArray[np.bool_]) -> tuple[float, float]:
    step = max(1, math.ceil(math.sqrt(values[0].size / _SAMPLE)))
    sample = values[:, ::step, ::step][good[:, ::step, ::step]]
    if not len(sample):
        return 0.0, 0.0
    low, high = np.percentile(sample.astype(np.float64), PERCENTILES)
    return float(low), float(high)


def _as_they_are(values: NDArray[Any], floats: NDArray[np.float32], good: NDArray[np.bool_]) -> NDArray[np.uint8]:
    held = values[good]
    if len(held) and (held.min() < 0 or held.max() > 255):
        raise FormatError(
            f"its values reach from {held.min():g} to {held.max():g}, without a stretch they have to be 0 to 255; "
            "use stretch='auto' or (low, high)"
        )
    return np.rint(np.where(good, floats, 0.0)).astype(np.uint8)
