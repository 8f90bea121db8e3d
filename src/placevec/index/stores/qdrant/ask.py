"""Questions to a collection: scores as placevec defines them, and the parameters of exact and approximate search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from placevec.index.stores.keys import PointId
from placevec.index.stores.qdrant.api import models
from placevec.index.stores.qdrant.link import Link
from placevec.provenance import Space

# Nodes of the graph that a query keeps in sight, at least.
_EF = 256
# So many candidates for each hit are ranked by 8 bits a component, then by the vectors.
_OVERSAMPLE = 4.0
# Finds of the graph that one query asks for at most, in order to be left with those that pass.
REACH = 10_000
# Queries of one request.
_QUERIES = 32
# Vectors of one answer.
_VECTOR_BYTES = 4 << 20


@dataclass(frozen=True)
class Answer:
    """What was found for one query, the best first."""

    keys: list[PointId]
    scores: NDArray[np.float32]
    payloads: list[dict[str, Any]]


def exactly() -> Any:
    """Every point that passes is compared, by its vector."""
    return models.SearchParams(exact=True, quantization=models.QuantizationSearchParams(ignore=True))


def nearly(limit: int) -> Any:
    """The graph is asked, with enough in sight for `limit` hits, and what it finds is scored by the vectors.

    It is never asked with a filter: of the points that pass, a filtered walk finds what the rest of the graph still
    connects. Measured with qdrant-edge 0.9 on 6,000 clustered vectors, where it was made to walk: recall at 10 was .81
    where an attribute let 11 % pass and .01 in a circle with 6 %, with and without looking beyond nodes that do not
    pass (ACORN).
    """
    return models.SearchParams(
        hnsw_ef=max(_EF, 2 * limit),
        quantization=models.QuantizationSearchParams(rescore=True, oversampling=_OVERSAMPLE),
    )


def ask(
    link: Link,
    space: Space,
    queries: NDArray[np.float32],
    limit: int,
    *,
    filter: Any = None,
    params: Any,
    offset: int = 0,
    payload: bool = False,
) -> list[Answer]:
    """The best points of the collection for each query (q, d); `params` are nothing to the memory of this process."""
    found: list[Answer] = []
    for start in range(0, len(queries), _QUERIES):
        requests = [
            models.QueryRequest(
                query=query,
                filter=filter,
                params=None if link.local else params,
                limit=limit,
                offset=offset or None,
                with_payload=payload,
                with_vector=False,
            )
            for query in queries[start : start + _QUERIES].tolist()
        ]
        answers = link.call("searching", "query_batch_points", collection_name=link.address.name, requests=requests)
        found += [_answer(answer.points, space) for answer in answers]
    return found


def depth(k: int, passing: int, total: int) -> int:
    """How many finds of the graph are asked for first, to be left with k where `passing` of `total` points pass."""
    return int(2 * k * total / max(1, passing)) + 64


def count(link: Link, filter: Any = None) -> int:
    """How many points pass."""
    answer = link.call("counting", "count", collection_name=link.address.name, count_filter=filter, exact=True)
    return int(answer.count)


def vectors_of(link: Link, keys: Sequence[PointId], dims: int) -> dict[PointId, NDArray[np.float32]]:
    """The vectors (d,) kept for those of the keys that are there."""
    wanted = list(dict.fromkeys(keys))
    step = max(1, _VECTOR_BYTES // (4 * dims))
    found: dict[PointId, NDArray[np.float32]] = {}
    for start in range(0, len(wanted), step):
        records = link.call(
            "reading",
            "retrieve",
            collection_name=link.address.name,
            ids=wanted[start : start + step],
            with_payload=False,
            with_vectors=True,
        )
        found |= {record.id: np.asarray(record.vector, dtype=np.float32) for record in records}
    return found


def _answer(points: Sequence[Any], space: Space) -> Answer:
    scores = np.array([point.score for point in points], dtype=np.float32)
    if space.metric == "l2":
        scores = np.float32(0.0) - scores
    elif space.metric == "cosine":
        scores = np.clip(scores, np.float32(-1.0), np.float32(1.0))
    return Answer([point.id for point in points], scores, [dict(point.payload or {}) for point in points])
