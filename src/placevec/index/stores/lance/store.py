"""LanceStore: a table in a Lance dataset, on a disk or in an object store, as a store."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from placevec.errors import StaleIndex, UsageError
from placevec.geo.boxes import Box, split_box
from placevec.geo.sphere import LonLat
from placevec.index.base import check_k, check_queries
from placevec.index.stored.slots import Slots, keys_of
from placevec.index.stores.base import EXACT_ROWS, Loaded, Progress, Store, StoreCard, Table, belongs
from placevec.index.stores.lance.ann import AnnSettings
from placevec.index.stores.lance.dataset import VECTOR, Addresses, gather, open_dataset, package, speaking, uri_of
from placevec.index.stores.lance.finder import Finder
from placevec.index.stores.lance.index import LanceIndex
from placevec.index.stores.lance.layout import LAT, LON, columns_of, read_card
from placevec.index.stores.lance.load import Load
from placevec.index.stores.url import StoreUrl
from placevec.results import Hits, Plan
from placevec.table import Filter, Places, StoredTable
from placevec.table.embeddings import from_arrow
from placevec.table.geometry import points_to_wkb

# With more rows than this a dataset gets an approximate index; up to it, reading all is as fast.
ANN_ROWS = 20_000
# Ids for which one scan asks.
_NAMED = 20_000


class LanceStore(Store):
    """A Lance dataset that holds one table.

    Keys of object stores come from the environment (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, AWS_ALLOW_HTTP …).

    Args:
        address: lance:///folder/NAME.lance, or lance://s3://bucket/NAME.lance.
        exact_rows: up to so many candidates are all compared.
        ann_rows: with more rows than this `load` builds an approximate index.
        settings: of that index.

    Raises:
        UsageError: the address is not that of a Lance dataset.
        MissingExtra: Lance is not installed.
    """

    def __init__(
        self,
        address: StoreUrl,
        *,
        exact_rows: int = EXACT_ROWS,
        ann_rows: int = ANN_ROWS,
        settings: AnnSettings | None = None,
    ) -> None:
        super().__init__(address)
        package()
        self.uri = uri_of(address)
        self.exact_rows = exact_rows
        self.ann_rows = ann_rows
        self.settings = settings or AnnSettings()
        self._seen: tuple[Any, StoreCard, Finder] | None = None

    def card(self) -> StoreCard | None:
        """See `Store.card`."""
        dataset = open_dataset(self.uri)
        return None if dataset is None else read_card(dataset, self.url)

    def load(self, table: Table, *, replace: bool = False, progress: Progress | None = None) -> Loaded:
        """See `Store.load`."""
        if isinstance(table, StoredTable) and _same_place(str(table.path), self.uri):
            raise UsageError(f"{self.url} is the table itself: give the store another name")
        return Load(self.uri, self.url, table, self.settings, self.ann_rows, progress).run(replace=replace)

    def index(self, table: Table) -> LanceIndex:
        """See `Store.index`."""
        card = belongs(self.card(), table, self.url)
        finder = self._latest()[1]
        with speaking(self.uri, "reading"):
            there = finder.dataset.scanner(columns=["id"], with_row_id=True).to_table()
        kept = Slots(there["id"], keys_of(there["id"]), np.zeros(len(there), np.uint64), np.arange(len(there)))
        try:
            rows = kept.rows_in(table)
        except StaleIndex:
            raise StaleIndex(f"{self.url} was loaded with another table meanwhile: load it again") from None
        addresses = np.empty(len(there), dtype=np.uint64)
        addresses[rows] = there["_rowid"].to_numpy()
        return LanceIndex.over(card, finder, addresses, table, self.exact_rows)

    def search(self, query: NDArray[Any], k: int, filter: Filter | None = None) -> Hits:
        """See `Store.search`; the rows that pass are found first. After a load that was cut short: the state before."""
        began = time.perf_counter()
        k = check_k(k)
        card, finder = self._latest()
        dataset, total = finder.dataset, finder.rows
        asked = check_queries(np.asarray(query)[None, :], card.space)
        with speaking(self.uri, "searching"):
            allowed = None if filter is None or filter.empty else self._passing(dataset, filter)
            count = total if allowed is None else len(allowed)
            addresses, scores, exact = self._find(finder, asked, min(k, count), allowed, count)
            places = self._places(dataset, addresses)
        name = "ann-then-exact"
        if exact:
            name = "scan" if allowed is None else "filter-then-exact"
        unlocated = int(card.details.get("unlocated", 0)) if filter is not None and filter.geographic else 0
        note = f"{k} hits were asked for, only {count} rows may be found" if count < k else ""
        plan = Plan(name, exact, count, total, unlocated, time.perf_counter() - began, note)
        return Hits(np.full(len(addresses), -1, dtype=np.int64), scores, places, plan)

    def vectors(self, ids: Sequence[str]) -> NDArray[np.float32]:
        """See `Store.vectors`."""
        dataset = self._latest()[1].dataset
        wanted = list(dict.fromkeys(ids))
        known: dict[str, NDArray[Any]] = {}
        with speaking(self.uri, "reading"):
            for start in range(0, len(wanted), _NAMED):
                named = pc.field("id").isin(wanted[start : start + _NAMED])
                for batch in dataset.scanner(columns=["id", VECTOR], filter=named).to_batches():
                    known.update(zip(batch["id"].to_pylist(), from_arrow(batch[VECTOR]), strict=True))
        for name in ids:
            if name not in known:
                raise UsageError(f"{self.url} holds no row with the id {name!r}")
        dims = dataset.schema.field(VECTOR).type.list_size
        return np.array([known[name] for name in ids], dtype=np.float32).reshape(len(ids), dims)

    def drop(self) -> None:
        """See `Store.drop`; a folder that is no Lance dataset is left alone."""
        self.close()
        if open_dataset(self.uri) is not None:
            with speaking(self.uri, "dropping"):
                package().LanceDataset.drop(self.uri)

    def close(self) -> None:
        """See `Store.close`."""
        self._seen = None

    def _latest(self) -> tuple[StoreCard, Finder]:
        """The latest complete version, kept open with what Lance has read of its indexes until there is another."""
        with speaking(self.uri, "opening"):
            if self._seen is not None and self._seen[0].latest_version == self._seen[0].version:
                return self._seen[1], self._seen[2]
        newest = dataset = open_dataset(self.uri)
        if newest is None:
            raise UsageError(f"there is nothing at {self.url}: load it with `placevec index TABLE --to URL`")
        card = read_card(newest, self.url)
        previous = card.details.get("previous")
        if not card.complete and previous is not None:
            dataset = open_dataset(self.uri, int(previous)) or newest
            card = read_card(dataset, self.url)
        self._seen = (newest, card, Finder(dataset, card.space))
        return self._seen[1], self._seen[2]

    def _find(
        self, finder: Finder, query: NDArray[np.float32], k: int, allowed: Addresses | None, count: int
    ) -> tuple[Addresses, NDArray[np.float32], bool]:
        if k == 0:
            return np.empty(0, np.uint64), np.empty(0, np.float32), True
        few = count <= (self.exact_rows if allowed is not None else min(self.exact_rows, self.ann_rows))
        if finder.ann is not None and not few:
            found, scores = finder.near(query, k, allowed)[0]
            if len(found) == k:
                return found, scores, False
        return (*finder.compare(query, k, allowed)[0], True)

    def _passing(self, dataset: Any, filter: Filter) -> Addresses:
        """The addresses of the rows that pass: boxes, cells and ids narrow them down by the indexes of Lance."""
        schema = dataset.schema
        known = columns_of(schema)
        for name in filter.columns:
            if name not in known:
                listed = ", ".join(name for name in known if name not in ("id", "geometry")) or "none"
                raise UsageError(f"the filter names {name!r}, which the store lacks; its columns: {listed}")
        if filter.ids is not None and not len(filter.ids):
            return np.empty(0, dtype=np.uint64)
        columns = [name for name in filter.columns if name != "geometry"]
        if filter.geographic:
            columns += [LON, LAT, *(["h3"] if "h3" in known and filter.h3 is not None else [])]
        scanner = dataset.scanner(
            columns=list(dict.fromkeys(columns)) or ["id"], with_row_id=True, filter=_narrow(filter), prefilter=True
        )
        kept: list[Addresses] = [np.empty(0, dtype=np.uint64)]
        for batch in scanner.to_batches():
            if batch.num_rows:
                kept.append(batch["_rowid"].to_numpy()[filter.mask(_located(batch, filter))])
        return np.concatenate(kept)

    def _places(self, dataset: Any, addresses: Addresses) -> Places:
        columns = columns_of(dataset.schema)
        if not len(addresses):
            return Places(pa.schema([dataset.schema.field(name) for name in columns]).empty_table())
        return Places(gather(dataset, addresses, columns).replace_schema_metadata(None).combine_chunks())


def _narrow(filter: Filter) -> pc.Expression | None:
    """What Lance looks up in its indexes: every row that passes the filter meets it, and `Filter.mask` decides."""
    parts = [_in_box(box) for box in filter.boxes]
    if filter.ids is not None:
        parts.append(pc.field("id").isin(list(dict.fromkeys(filter.ids))))
    total: pc.Expression | None = None
    for part in parts:
        total = part if total is None else total & part
    return total


def _in_box(box: Box) -> pc.Expression:
    total: pc.Expression | None = None
    for west, south, east, north in split_box(box):
        inside = (pc.field(LON) >= west) & (pc.field(LON) <= east)
        if east == 180.0:
            inside = inside | (pc.field(LON) == -180.0)
        inside = inside & (pc.field(LAT) >= south) & (pc.field(LAT) <= north)
        total = inside if total is None else total | inside
    return total


def _located(batch: pa.RecordBatch, filter: Filter) -> Places:
    """Rows as a filter looks at them: a point for whatever geometry they have."""
    columns = {name: batch[name] for name in batch.schema.names if name not in (LON, LAT, "_rowid")}
    if filter.geographic:
        lon = batch[LON].to_numpy(zero_copy_only=False)
        there = ~np.isnan(lon)
        points = LonLat(lon[there], batch[LAT].to_numpy(zero_copy_only=False)[there])
        columns["geometry"] = points_to_wkb(points, there)
    return Places(pa.table(columns))


def _same_place(path: str, uri: str) -> bool:
    if "://" in path or "://" in uri:
        return path.rstrip("/") == uri
    return os.path.realpath(Path(path)) == os.path.realpath(Path(uri))
