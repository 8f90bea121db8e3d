"""Loading a table into a dataset: one commit of all rows, or one of those that changed, between two of the card.

While rows are exchanged the card says that it is not complete, and which version was: a load that is cut short leaves
that version to be read, and the same load again finishes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace as changed
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from placevec.errors import UsageError
from placevec.index.stored.slots import keys_of
from placevec.index.stores.base import Loaded, Progress, StoreCard, Table, admit, admit_removal
from placevec.index.stores.lance.ann import AnnSettings, ann_of, build_ann, can_have_ann
from placevec.index.stores.lance.dataset import LOADING, open_dataset, package, speaking
from placevec.index.stores.lance.layout import (
    CARD,
    HASH,
    LAT,
    LON,
    hashes_of,
    read_card,
    same_columns,
    store_schema,
    stored_rows,
)
from placevec.table import EmbeddingTable

# If more than this share of rows changes, the approximate index is built anew.
_REBUILD = 0.2
_BATCH_ROWS = 16_384
# Ids that one deletion names.
_NAMED = 10_000
# So long the versions before stay, for readers that have them open.
_KEEP = timedelta(days=1)
_ORDERED = ("id", LON, LAT)


class Load:
    """One load of a table into the dataset at `uri`; see `Store.load`.

    Args:
        uri: of the dataset.
        url: of the store, for messages.
        table: to be loaded.
        settings: of an approximate index that is built.
        ann_rows: with more rows than this one is built.
        progress: called while it works.
    """

    def __init__(
        self, uri: str, url: str, table: Table, settings: AnnSettings, ann_rows: int, progress: Progress | None
    ) -> None:
        self.uri = uri
        self.url = url
        self.table = table
        self.settings = settings
        self.ann_rows = ann_rows
        self.progress = progress

    def run(self, *, replace: bool) -> Loaded:
        """Do it."""
        began = time.monotonic()
        dataset = open_dataset(self.uri)
        card = None if replace or dataset is None else read_card(dataset, self.url)
        admit(card, self.table, self.url)
        with speaking(self.uri, LOADING):
            if card is None:
                done = self._create()
            else:
                assert dataset is not None
                done = self._merge(dataset, card)
            self._index()
        seconds = round(time.monotonic() - began, 3)
        return Loaded(self.url, self.table.num_rows, *done, seconds)

    def _create(self) -> tuple[int, int, int]:
        schema = store_schema(self.table, self._card(complete=True))
        rows = pa.RecordBatchReader.from_batches(schema, self._batches(schema, None))
        # One commit; an older dataset of this name stays as a version until then, and a little longer.
        package().write_dataset(rows, self.uri, schema=schema, mode="overwrite")
        return self.table.num_rows, 0, 0

    def _merge(self, dataset: Any, card: StoreCard) -> tuple[int, int, int]:
        schema = store_schema(self.table, card)
        if not same_columns(dataset.schema, schema):
            raise UsageError(
                f"{self.url} has the columns {', '.join(dataset.schema.names)}, the table would have "
                f"{', '.join(schema.names)} (or other types): give another name, or --replace"
            )
        rows, gone = self._changes(dataset)
        admit_removal(dataset.count_rows(), len(gone), self.url)
        unchanged = self.table.num_rows - len(rows)
        if card.complete and not len(rows) and not len(gone):
            return 0, 0, unchanged
        previous = card.details.get("previous") if not card.complete else dataset.version
        self._tell(dataset, changed(card, complete=False, details={**card.details, "previous": previous}))
        for start in range(0, len(gone), _NAMED):
            dataset.delete(pc.field("id").isin(gone[start : start + _NAMED]))
        if len(rows):
            plain = schema.remove_metadata()
            reader = pa.RecordBatchReader.from_batches(plain, self._batches(plain, rows))
            dataset.merge_insert("id").when_matched_update_all().when_not_matched_insert_all().execute(reader)
        known = max(1, card.rows)
        if len(rows) + len(gone) > _REBUILD * known and (found := ann_of(dataset)) is not None:
            dataset.drop_index(found[0])
        self._tell(dataset, self._card(complete=True))
        return len(rows), len(gone), unchanged

    def _changes(self, dataset: Any) -> tuple[NDArray[np.int64], list[str]]:
        """The rows of the table that are new or changed (sorted), and the ids that it has no more."""
        there = dataset.to_table(columns=["id", HASH])
        keys = keys_of(there["id"])
        order = np.argsort(keys, kind="stable")
        known, hashes = keys[order], there[HASH].to_numpy()[order]
        kept = np.zeros(len(known), dtype=bool)
        rows: list[NDArray[np.int64]] = [np.empty(0, dtype=np.int64)]
        first = 0
        for piece in self.table.batches(batch_rows=_BATCH_ROWS):
            own = keys_of(piece.data["id"])
            at = np.searchsorted(known, own)
            near = np.minimum(at, max(len(known) - 1, 0))
            hit = known[near] == own if len(known) else np.zeros(len(own), dtype=bool)
            kept[near[hit]] = True
            same = hit & (hashes[near] == hashes_of(piece)) if len(known) else hit
            rows.append(first + np.flatnonzero(~same))
            first += len(piece)
        return np.concatenate(rows), there["id"].take(order[~kept]).to_pylist()

    def _index(self) -> None:
        """Make or complete the indexes: each is a commit of its own, and no search needs them."""
        dataset = package().dataset(self.uri)
        ordered = [name for name in (*_ORDERED, "h3") if name in dataset.schema.names]
        made = {index.field_names[0] for index in dataset.describe_indices()}
        rows = dataset.count_rows()
        if not rows:
            return
        for name in ordered:
            if name not in made:
                dataset.create_scalar_index(name, "BTREE")
        dataset = package().dataset(self.uri)
        if rows > self.ann_rows and can_have_ann(rows) and ann_of(dataset) is None:
            self._report(rows, "index")
            build_ann(dataset, self.table.space.metric, self.settings)
        dataset = package().dataset(self.uri)
        # Rows that came in are added to the indexes, which pass over those that went.
        dataset.optimize.optimize_indices()
        dataset.cleanup_old_versions(older_than=_KEEP)

    def _card(self, *, complete: bool) -> StoreCard:
        table = self.table
        unlocated = sum(piece.data["geometry"].null_count for piece in table.batches(["geometry"]))
        return StoreCard.of(table, complete=complete, dtype=table.meta.dtype, unlocated=unlocated)

    def _tell(self, dataset: Any, card: StoreCard) -> None:
        dataset.update_schema_metadata({CARD.decode(): json.dumps(card.to_json())})

    def _batches(self, schema: pa.Schema, rows: NDArray[np.int64] | None) -> Iterator[pa.RecordBatch]:
        first, sent = 0, 0
        for piece in self.table.batches(batch_rows=_BATCH_ROWS):
            part: EmbeddingTable | None = piece
            if rows is not None:
                low, high = np.searchsorted(rows, (first, first + len(piece)))
                part = piece.take(rows[low:high] - first) if low < high else None
            first += len(piece)
            if part is None:
                continue
            yield from stored_rows(part, schema).to_batches()
            sent += len(part)
            self._report(sent, "copy", None if rows is None else len(rows))

    def _report(self, done: int, step: str, total: int | None = None) -> None:
        if self.progress is not None:
            self.progress(done, self.table.num_rows if total is None else total, {"step": step})
