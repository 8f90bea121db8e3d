"""The contract of an encoder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from placevec.errors import PlacevecError
from placevec.testing.raises import raises

if TYPE_CHECKING:
    from placevec.encoders.base import Encoder


def check_encoder(encoder: Encoder, batch: Mapping[str, NDArray[Any]], *, tolerance: float = 1e-6) -> None:
    """Hold an encoder against the contract of `placevec.encoders.base`.

    Args:
        encoder: the encoder.
        batch: what it reads, of n > 2 places, different ones.
        tolerance: how far a component may move with the batch it is encoded in, as a share of the largest one; 0
            means bit by bit.

    Raises:
        AssertionError: a promise is broken; the message says which.
    """
    from placevec.encoders.base import Encoder as Contract

    assert isinstance(encoder, Contract), "an encoder has card, space, tower, dims, inputs and encode"
    _card(encoder)
    assert encoder.inputs, "`inputs` names what it reads"
    absent = [name for name in encoder.inputs if name not in batch]
    assert not absent, f"the batch for this test lacks {absent}, which the encoder reads"
    n = len(batch[encoder.inputs[0]])
    assert n > 2, "give a batch of at least 3 places"
    before = {name: values.copy() for name, values in batch.items()}
    vectors = encoder.encode(batch)
    _vectors(vectors, n, encoder)
    for name, values in before.items():
        assert _same(values, batch[name]), f"encode has changed its input {name!r}"
    again = encoder.encode(batch)
    assert np.array_equal(vectors, again), "two encodings of one batch differ"
    for size in (1, 2, n - 1):
        parts = [encoder.encode(_part(batch, np.arange(at, min(at + size, n)))) for at in range(0, n, size)]
        _close(np.concatenate(parts), vectors, tolerance, f"in batches of {size}")
    order = np.random.default_rng(5).permutation(n)
    _close(encoder.encode(_part(batch, order)), vectors[order], tolerance, "in another order")
    _close(encoder.encode({**batch, "_other": np.zeros(n)}), vectors, tolerance, "with another key in the batch")
    none = encoder.encode(_part(batch, np.arange(0)))
    _vectors(none, 0, encoder)
    missing = {name: values for name, values in batch.items() if name != encoder.inputs[0]}
    raises(PlacevecError, lambda: encoder.encode(missing), f"a batch without {encoder.inputs[0]!r}")


def _card(encoder: Encoder) -> None:
    card = encoder.card
    assert encoder.dims == encoder.space.dims, f"dims is {encoder.dims}, that of its Space {encoder.space.dims}"
    assert card.space == encoder.space, "the card tells another Space than the encoder"
    assert card.tower == encoder.tower, "the card tells another tower than the encoder"
    assert tuple(card.inputs) == tuple(encoder.inputs), "the card tells other inputs than the encoder"
    text = json.dumps(card.to_json(), sort_keys=True)
    back = type(card).from_json(json.loads(text))
    assert json.dumps(back.to_json(), sort_keys=True) == text, "the card does not come back whole from JSON"
    assert back.space == card.space, "the card's Space does not come back from JSON"


def _vectors(vectors: NDArray[Any], n: int, encoder: Encoder) -> None:
    assert isinstance(vectors, np.ndarray), f"vectors are a numpy array, not {type(vectors).__name__}"
    assert vectors.shape == (n, encoder.dims), f"vectors of the shape {vectors.shape}, not {n, encoder.dims}"
    assert vectors.dtype == np.float32, f"vectors are float32, not {vectors.dtype}"
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    assert not len(bad), f"the vectors of {len(bad)} rows are not finite (the first: row {bad[0] if len(bad) else ''})"
    if encoder.card.normalized and n:
        lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
        worst = float(np.abs(lengths - 1).max())
        assert worst < 1e-4, f"the card says that vectors have length 1; one is off by {worst:.2g}"


def _close(found: NDArray[Any], wanted: NDArray[Any], tolerance: float, how: str) -> None:
    assert found.shape == wanted.shape, f"{how} the vectors have the shape {found.shape}, not {wanted.shape}"
    scale = float(np.abs(wanted).max(initial=0.0)) or 1.0
    off = float(np.abs(found - wanted).max(initial=0.0)) / scale
    assert off <= tolerance, f"{how} a component moves by {off:.2g} of the largest one; {tolerance:g} is allowed"


def _part(batch: Mapping[str, NDArray[Any]], rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    return {name: values[rows] for name, values in batch.items()}


def _same(one: NDArray[Any], other: NDArray[Any]) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return bool(np.array_equal(one, other, equal_nan=one.dtype.kind == "f"))
