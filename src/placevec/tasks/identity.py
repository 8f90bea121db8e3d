"""What tells a source or an encoder from another, so that an unfinished job is not gone on with by another one."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec.engine.embedding import name_of
from placevec.engine.work import Spec
from placevec.errors import DataError
from placevec.provenance import digest_json
from placevec.sources.base import Batch, Partitioned

PROBED = 8


def source_identity(source: Any, spec: Any = None) -> dict[str, Any]:
    """What tells a source from another, as JSON: its class, Spec, own `fingerprint()`, and a sample of its content.

    The sample is of a few places only. It finds another raster or another size of chips, not one changed pixel:
    a source that can say more has a method `fingerprint`.
    """
    digest = hashlib.sha256()
    try:
        batch = _sample(source)
        digest.update(batch.rows.tobytes())
        for name in sorted(batch.data):
            digest.update(f"{name} {batch.data[name].dtype} {batch.data[name].shape}".encode())
            digest.update(_bytes(batch.data[name]))
        sample = digest.hexdigest()
    except (DataError, OSError) as error:
        sample = type(error).__name__
    return {"class": _class(source), "spec": _json(spec), "fingerprint": _own(source), "sample": sample}


def _sample(source: Any) -> Batch:
    """The content of some rows of a source, spread over all of it."""
    n = source.num_rows if isinstance(source, Partitioned) else len(source.places())
    rows = np.unique(np.linspace(0, max(0, n - 1), min(PROBED, n)).astype(np.int64))
    if not isinstance(source, Partitioned):
        found: Batch = source.read(rows)
        return found
    batches = [source.part(row, row + 1).read(np.zeros(1, dtype=np.int64)) for row in rows.tolist()]
    data = {name: np.concatenate([b.data[name] for b in batches]) for name in (batches[0].data if batches else ())}
    read = [rows[i : i + 1][: len(b)] for i, b in enumerate(batches)]
    return Batch(np.concatenate([rows[:0], *read]), data)


def encoder_identity(encoder: Any, spec: Any = None) -> dict[str, Any]:
    """What tells an encoder from another, as JSON: Space, tower, weights, class, Spec and own `fingerprint()`."""
    card = getattr(encoder, "card", None)
    return {
        "class": _class(encoder),
        "name": name_of(encoder),
        "space": encoder.space.to_json(),
        "tower": encoder.tower,
        "weights": str(getattr(card, "weights_sha256", "")),
        "card": digest_json(card.to_json()) if card is not None and hasattr(card, "to_json") else "",
        "spec": _json(spec),
        "fingerprint": _own(encoder),
    }


def _class(value: Any) -> str:
    return f"{type(value).__module__}:{type(value).__qualname__}"


def _own(value: Any) -> str:
    own = getattr(value, "fingerprint", None)
    return str(own()) if callable(own) else ""


def _json(spec: Any) -> Any:
    if not isinstance(spec, Spec):
        return None
    try:
        return json.loads(json.dumps(spec.to_json()))
    except TypeError:
        return spec.call


def _bytes(values: NDArray[Any]) -> bytes:
    if values.dtype.hasobject:
        return json.dumps([str(value) for value in values.tolist()]).encode()
    return np.ascontiguousarray(values).tobytes()
