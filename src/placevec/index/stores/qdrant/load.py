"""Bringing a collection to what a table holds: what is there is compared by hash, the rest sent by several threads.

Order matters for who is cut short: the card says `complete` false before the first row is sent, new rows come before
old ones go, and the card is completed when the server has counted all rows and built its graph.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from placevec.errors import DataError
from placevec.index.stores.base import Progress, Table, admit_removal
from placevec.index.stores.keys import PointId, key_numbers, keys_of_ids
from placevec.index.stores.qdrant.api import models
from placevec.index.stores.qdrant.ask import count
from placevec.index.stores.qdrant.layout import HASH, payloads, states
from placevec.index.stores.qdrant.link import Link, parallel
from placevec.table import EmbeddingTable
from placevec.table.codec import decode

WORKERS = 4
# Bytes of vectors and payload in one request, before JSON makes about four times as many of them.
BATCH_BYTES = 1 << 20
_BATCH_ROWS = 1000
_PAYLOAD_BYTES = 300
_PAGE = 10_000
# From this share of new rows on the graph is built after the load, not while it runs.
_DEFER = 1 / 10
_POLL_S = 0.5


@dataclass
class Known:
    """The points that are there: 16 bytes each, and their keys."""

    keys: list[PointId]
    numbers: NDArray[np.uint64]  # of the keys, sorted
    states: NDArray[np.int64]  # hash of the content of each, in that order
    order: NDArray[np.int64] = field(repr=False)  # which key stands at each place

    def __len__(self) -> int:
        return len(self.keys)

    def find(self, numbers: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Where (m,) each number stands, -1 where it does not."""
        if not len(self.numbers):
            return np.full(len(numbers), -1, dtype=np.int64)
        at = np.minimum(np.searchsorted(self.numbers, numbers), len(self.numbers) - 1)
        return np.where(self.numbers[at] == numbers, at, -1)


@dataclass(frozen=True)
class Changes:
    """What a table and a collection do not share."""

    known: Known
    fresh: int  # rows whose key is not there
    gone: list[PointId]  # keys that the table has no more


def read_known(link: Link, progress: Progress | None = None) -> Known:
    """The keys and hashes of all points of a collection."""
    total = count(link)
    keys: list[PointId] = []
    hashes: list[int] = []
    offset = None
    while total:
        points, offset = link.call(
            "reading",
            "scroll",
            collection_name=link.address.name,
            limit=_PAGE,
            offset=offset,
            with_payload=[HASH],
            with_vectors=False,
        )
        keys += [point.id for point in points]
        hashes += [int((point.payload or {}).get(HASH, 0)) for point in points]
        if progress is not None:
            progress(min(len(keys), total), total, {"step": "comparing"})
        if offset is None:
            break
    numbers = key_numbers(keys)
    order = np.argsort(numbers, kind="stable")
    return Known(keys, numbers[order], np.array(hashes, dtype=np.int64)[order], order)


def changes(table: Table, known: Known, keys: list[PointId], url: str, *, guard: bool) -> Changes:
    """What loading `table` would change; UsageError if it would remove most of what is there and `guard` is set."""
    at = known.find(key_numbers(keys))
    stays = np.zeros(len(known), dtype=bool)
    stays[at[at >= 0]] = True
    gone = known.order[~stays]
    if guard:
        admit_removal(len(known), len(gone), url)
    return Changes(known, int((at < 0).sum()), [known.keys[i] for i in gone.tolist()])


def send(
    link: Link, table: Table, known: Known, progress: Progress | None = None, *, workers: int = WORKERS
) -> tuple[int, int]:
    """Send the rows that are new or changed; the numbers of those sent and of those that were there already.

    Raises:
        DataError: a request failed for good. Requests that were under way are waited for, so that what was committed
            is known to be.
    """
    total, done = table.num_rows, 0
    sent = unchanged = 0
    waiting: set[Future[int]] = set()
    with ThreadPoolExecutor(parallel(link, workers)) as pool:
        try:
            for piece in table.batches():
                hashes = states(piece.data)
                at = known.find(key_numbers(keys_of_ids(piece.data["id"].to_pylist())))
                fresh = np.flatnonzero((at < 0) | (known.states[at] != hashes if len(known) else True))
                unchanged += len(hashes) - len(fresh)
                done += len(hashes) - len(fresh)
                for rows in _parts(fresh, table.dims):
                    waiting.add(pool.submit(_upsert, link, piece, rows, hashes[rows]))
                    if len(waiting) >= 2 * workers:
                        finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                        now = sum(future.result() for future in finished)
                        sent, done = sent + now, done + now
                        _say(progress, done, total)
                _say(progress, done, total)
            sent += sum(future.result() for future in waiting)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    _say(progress, sent + unchanged, total)
    return sent, unchanged


def remove(link: Link, keys: list[PointId], progress: Progress | None = None) -> None:
    """Remove points."""
    for start in range(0, len(keys), _PAGE):
        part = keys[start : start + _PAGE]
        link.call(
            "loading",
            "delete",
            collection_name=link.address.name,
            points_selector=models.PointIdsList(points=part),
            wait=True,
        )
        if progress is not None:
            progress(start + len(part), len(keys), {"step": "removing"})


def defers(changed: Changes) -> bool:
    """Whether so many rows are new that the graph is better built once, after the load."""
    return changed.fresh > _DEFER * len(changed.known)


def settle(link: Link, progress: Progress | None = None) -> None:
    """Wait until the server has built its graph; DataError if it cannot."""
    calm = 0
    while calm < 2:
        info = link.call("indexing", "get_collection", collection_name=link.address.name)
        status = getattr(info.status, "value", info.status)
        if status == "red":
            said = getattr(info.optimizer_status, "error", "unknown")
            raise DataError(
                f"the Qdrant server at {link.address.server} could not build its index ({said}): what was loaded "
                "stays; mend that and run it again"
            )
        # Green once may be the moment before the work begins. Grey waits for a change of settings, which has been.
        calm = calm + 1 if status in ("green", "grey") else 0
        if progress is not None:
            points = int(info.points_count or 0)
            progress(
                points if calm else min(int(info.indexed_vectors_count or 0), points), points, {"step": "indexing"}
            )
        if calm < 2:
            time.sleep(_POLL_S)


def _upsert(link: Link, piece: EmbeddingTable, rows: NDArray[np.int64], hashes: NDArray[np.int64]) -> int:
    part = piece.take(rows)
    batch = models.Batch(
        ids=keys_of_ids(part.data["id"].to_pylist()),
        vectors=decode(part.raw, part.meta.codec).tolist(),
        payloads=payloads(part, hashes),
    )
    link.call("loading", "upsert", collection_name=link.address.name, points=batch, wait=True)
    return len(rows)


def _parts(rows: NDArray[np.int64], dims: int) -> Iterator[NDArray[np.int64]]:
    step = int(np.clip(BATCH_BYTES // (4 * dims + _PAYLOAD_BYTES), 1, _BATCH_ROWS))
    for start in range(0, len(rows), step):
        yield rows[start : start + step]


def _say(progress: Progress | None, done: int, total: int) -> None:
    if progress is not None:
        progress(done, total, {"step": "sending"})
