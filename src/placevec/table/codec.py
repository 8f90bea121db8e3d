r"""How a vector is stored: float32, float16, or int8 by a codec.

=============  =============================================  =========================
dtype, codec   decoded value of a stored component v          used by
=============  =============================================  =========================
float32        v                                              default
float16        v                                              half the size
int8 linear    v · scale + offset                             a quarter of the size
int8 alphaearth  sign(v) · (\|v\| / 127.5)²                       Google AlphaEarth exports
=============  =============================================  =========================
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec.errors import SchemaError

DTYPES = ("float32", "float16", "int8")
CODECS = ("linear", "alphaearth")

# Largest honest departure of a length from 1 by rounding alone, for vectors of up to some thousand components.
NORM_TOLERANCE = {"float32": 1e-4, "float16": 2e-3, "int8": 5e-2}


def decode(raw: NDArray[Any], codec: Mapping[str, Any] | None) -> NDArray[np.float32]:
    """Stored components to float32. Floats are widened; int8 is decoded by its `codec`.

    Raises SchemaError if int8 has no codec, or one that is not known.
    """
    if raw.dtype != np.int8:
        return raw.astype(np.float32, copy=False)
    method = (codec or {}).get("method")
    if method == "alphaearth":
        return _ALPHAEARTH[raw.view(np.uint8)]
    if method == "linear":
        assert codec is not None
        scale, offset = np.float32(codec["scale"]), np.float32(codec["offset"])
        return raw.astype(np.float32) * scale + offset
    raise SchemaError(f"int8 vectors have the codec {method!r}; known codecs: {', '.join(CODECS)}")


def encode(
    vectors: NDArray[Any], dtype: str, codec: Mapping[str, Any] | None = None
) -> tuple[NDArray[Any], Mapping[str, Any] | None]:
    """Vectors (n, d) to their stored form, and the codec that decodes it (None for floats).

    For int8 without a `codec` a linear one is fitted: symmetric, its scale from the largest absolute value.
    Values beyond what a given codec reaches are clipped.
    """
    if dtype == "float32":
        return np.ascontiguousarray(vectors, dtype=np.float32), None
    if dtype == "float16":
        limit = np.abs(vectors).max(initial=0.0)
        if limit > np.finfo(np.float16).max:
            raise SchemaError(f"a component of {limit:.3g} does not fit into float16: store the table as float32")
        return np.ascontiguousarray(vectors, dtype=np.float16), None
    if dtype != "int8":
        raise SchemaError(f"vectors cannot be stored as {dtype!r}; choose one of {', '.join(DTYPES)}")
    if codec is None:
        codec = symmetric(float(np.abs(vectors).max(initial=0.0)))
    values = np.asarray(vectors, dtype=np.float32)
    scaled: NDArray[Any]
    if codec.get("method") == "alphaearth":
        scaled = np.sign(values) * np.sqrt(np.abs(values)) * 127.5
    elif codec.get("method") == "linear":
        scaled = (values - np.float32(codec["offset"])) / np.float32(codec["scale"])
    else:
        raise SchemaError(f"unknown codec {codec.get('method')!r}; known codecs: {', '.join(CODECS)}")
    return np.ascontiguousarray(np.clip(np.rint(scaled), -127, 127).astype(np.int8)), codec


def symmetric(largest: float) -> dict[str, Any]:
    """The linear int8 codec of values from -`largest` to `largest`."""
    # A scale below the least normal float32 would be rounded to zero, and then divided by.
    scale = max((largest or 1.0) / 127.0, float(np.finfo(np.float32).tiny))
    return {"method": "linear", "scale": scale, "offset": 0.0}


def _alphaearth_values() -> NDArray[np.float32]:
    # One entry for each byte, by its unsigned value; -128 is nodata and must not pass for a number.
    stored = np.arange(256, dtype=np.uint8).view(np.int8).astype(np.float32)
    values = np.sign(stored) * np.square(np.abs(stored) / np.float32(127.5))
    values[stored == -128] = np.nan
    return values.astype(np.float32)


_ALPHAEARTH = _alphaearth_values()
