"""QdrantStore: one collection of a Qdrant server. Qdrant 1.16 or later, which keeps metadata of collections."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace as changed
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from placevec.errors import DataError, FormatError, UsageError
from placevec.index.base import Index
from placevec.index.stores.base import Loaded, Progress, Store, StoreCard, Table, admit, belongs
from placevec.index.stores.keys import keys_of_ids, point_ids
from placevec.index.stores.qdrant.api import models
from placevec.index.stores.qdrant.ask import count, vectors_of
from placevec.index.stores.qdrant.index import QdrantIndex
from placevec.index.stores.qdrant.layout import LOCATION, attribute_schema, path_of, schema_of_text, schema_text
from placevec.index.stores.qdrant.link import Link
from placevec.index.stores.qdrant.load import WORKERS, changes, defers, read_known, remove, send, settle
from placevec.index.stores.qdrant.search import search
from placevec.index.stores.url import StoreUrl
from placevec.results import Hits
from placevec.table import EmbeddingTable, Filter

# The key of the card in the metadata of the collection. It is one text, so that no server merges two cards.
_CARD = "placevec"
_SCHEMA = "schema"
# Kilobytes of vectors of a segment from which on a server builds a graph for it, where the collection has none set.
_THRESHOLD = 20_000
_FORBIDDEN = '<>:"/\\|?*\0'
_LONGEST = 255
QUANTIZE = ("int8", "none")


class QdrantStore(Store):
    """A collection of a Qdrant server.

    Args:
        address: qdrant://host:port/collection, qdrants:// for TLS, qdrant://:memory:/name for the memory of this
            process. Parameters: `index=NAME,NAME` makes payload indexes of attributes at the next load.
        quantize: of a collection that is made: "int8" (ranked by 8 bits a component, scored by the vectors) or "none".
        workers: threads that send.
        client: a client of `qdrant_client` to use instead of one of the address.

    Raises:
        UsageError: a name that Qdrant does not allow, a password in the address, an unknown quantization.
        MissingExtra: qdrant-client is not installed.
    """

    def __init__(
        self, address: StoreUrl, *, quantize: str = "int8", workers: int = WORKERS, client: Any = None
    ) -> None:
        super().__init__(address)
        name = address.name
        if any(char in _FORBIDDEN for char in name) or len(name) > _LONGEST or name in (".", ".."):
            raise UsageError(f"{name!r} cannot be the name of a collection: leave out {_FORBIDDEN[:-1]}")
        if quantize not in QUANTIZE:
            raise UsageError(f"vectors cannot be quantized by {quantize!r}: choose {' or '.join(QUANTIZE)}")
        self.quantize = quantize
        self.workers = workers
        self.link = Link(address, client)
        self._wanted = [part.strip() for part in address.query.get("index", "").split(",") if part.strip()]

    def card(self) -> StoreCard | None:
        """See `Store.card`."""
        if not self._exists():
            return None
        card = self._read_card()
        if card is None:
            raise UsageError(
                f"{self.url} is a collection that placevec did not write: give another name, or --replace to drop it"
            )
        return card

    def load(self, table: Table, *, replace: bool = False, progress: Progress | None = None) -> Loaded:
        """See `Store.load`."""
        began = time.monotonic()
        schema = attribute_schema(table.data.schema if isinstance(table, EmbeddingTable) else table.schema)
        for name in self._wanted:
            if name not in schema.names:
                names = ", ".join(schema.names) or "none"
                raise UsageError(f"no payload index can be made of {name!r}; the attributes of the table: {names}")
        card = None if replace else self.card()
        admit(card, table, self.url)
        keys = point_ids(table)
        new = StoreCard.of(table, complete=False, **{_SCHEMA: schema_text(schema)})
        if card is not None and self._is_there(card, new):
            self._payload_indexes(schema)
            return Loaded(self.url, table.num_rows, 0, 0, table.num_rows, _since(began))
        if replace:
            self.drop()
        if card is None:
            self._create(new)
        known = read_known(self.link, progress)
        todo = changes(table, known, keys, self.url, guard=card is not None)
        self._write_card(new)
        threshold = self._threshold()
        if defers(todo):
            self._set_threshold(0)
        self._payload_indexes(schema)
        sent, unchanged = send(self.link, table, known, progress, workers=self.workers)
        remove(self.link, todo.gone, progress)
        self._set_threshold(threshold)
        if not self.link.local:
            settle(self.link, progress)
        there = count(self.link)
        if there != table.num_rows:
            raise DataError(f"{self.url} holds {there:,} rows after a load of {table.num_rows:,}: run it again")
        self._write_card(changed(new, complete=True))
        return Loaded(self.url, table.num_rows, sent, len(todo.gone), unchanged, _since(began))

    def index(self, table: Table) -> Index:
        """See `Store.index`."""
        card = belongs(self.card(), table, self.url)
        return QdrantIndex(self.link, card, table, exact_rows=self.exact_rows)

    def search(self, query: NDArray[Any], k: int, filter: Filter | None = None) -> Hits:
        """See `Store.search`."""
        card = self._here()
        return search(self.link, card, _attributes(card), query, k, filter, exact_rows=self.exact_rows)

    def vectors(self, ids: Sequence[str]) -> NDArray[np.float32]:
        """See `Store.vectors`."""
        card = self._here()
        keys = keys_of_ids(list(ids))
        found = vectors_of(self.link, keys, card.space.dims)
        for key, name in zip(keys, ids, strict=True):
            if key not in found:
                raise UsageError(f"{self.url} has no row with the id {name!r}")
        return np.array([found[key] for key in keys], dtype=np.float32).reshape(len(keys), card.space.dims)

    def drop(self) -> None:
        """See `Store.drop`."""
        if self._exists():
            self.link.call("dropping", "delete_collection", collection_name=self.address.name)

    def close(self) -> None:
        """See `Store.close`."""
        self.link.close()

    def _exists(self) -> bool:
        return bool(self.link.call("opening", "collection_exists", collection_name=self.address.name))

    def _here(self) -> StoreCard:
        card = self.card()
        if card is None:
            raise UsageError(f"there is nothing at {self.url}: load it with `placevec index TABLE --to URL`")
        return card

    def _info(self) -> Any:
        return self.link.call("opening", "get_collection", collection_name=self.address.name)

    def _read_card(self) -> StoreCard | None:
        text = (getattr(self._info().config, "metadata", None) or {}).get(_CARD)
        if text is None:
            return None
        try:
            value = json.loads(text)
        except (TypeError, ValueError):
            raise FormatError(f"the card of {self.url} is damaged: load it again with --replace") from None
        return StoreCard.from_json(value)

    def _write_card(self, card: StoreCard) -> None:
        self.link.call(
            "loading",
            "update_collection",
            collection_name=self.address.name,
            metadata={_CARD: json.dumps(card.to_json(), ensure_ascii=False)},
        )

    def _is_there(self, card: StoreCard, new: StoreCard) -> bool:
        """Whether nothing has to be loaded."""
        same = (card.fingerprint, card.rows, card.details) == (new.fingerprint, new.rows, new.details)
        return card.complete and same and count(self.link) == card.rows

    def _create(self, card: StoreCard) -> None:
        distance = {
            "cosine": models.Distance.COSINE,
            "dot": models.Distance.DOT,
            "l2": models.Distance.EUCLID,
        }[card.space.metric]
        self.link.call(
            "loading",
            "create_collection",
            collection_name=self.address.name,
            vectors_config=models.VectorParams(size=card.space.dims, distance=distance, on_disk=True),
            quantization_config=_int8() if self.quantize == "int8" else None,
            optimizers_config=models.OptimizersConfigDiff(indexing_threshold=0),
            on_disk_payload=True,
            metadata={_CARD: json.dumps(card.to_json(), ensure_ascii=False)},
        )
        if self._read_card() is None:
            self.link.call("loading", "delete_collection", collection_name=self.address.name)
            raise DataError(
                f"the Qdrant server at {self.address.server} keeps no metadata of collections: version 1.16 or later "
                "is needed"
            )
        if not self.link.local:
            self._payload_index(LOCATION, models.PayloadSchemaType.GEO)

    def _payload_indexes(self, schema: pa.Schema) -> None:
        """Make those that the address asks for."""
        if self.link.local:
            return
        for name in self._wanted:
            self._payload_index(path_of(name), _payload_type(schema.field(name).type))

    def _payload_index(self, path: str, kind: Any) -> None:
        self.link.call(
            "loading",
            "create_payload_index",
            collection_name=self.address.name,
            field_name=path,
            field_schema=kind,
            wait=True,
        )

    def _threshold(self) -> int:
        """What the collection's indexing threshold is, or is to be where a load that was cut short left it at 0."""
        config = getattr(self._info().config, "optimizer_config", None)
        return int(getattr(config, "indexing_threshold", None) or _THRESHOLD)

    def _set_threshold(self, kilobytes: int) -> None:
        if not self.link.local:
            self.link.call(
                "loading",
                "update_collection",
                collection_name=self.address.name,
                optimizers_config=models.OptimizersConfigDiff(indexing_threshold=kilobytes),
            )


def _attributes(card: StoreCard) -> pa.Schema:
    return schema_of_text(str(card.details.get(_SCHEMA, "")))


def _int8() -> Any:
    return models.ScalarQuantization(
        scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8, quantile=0.99, always_ram=True)
    )


def _payload_type(kind: pa.DataType) -> Any:
    types = models.PayloadSchemaType
    if pa.types.is_boolean(kind):
        return types.BOOL
    if pa.types.is_integer(kind):
        return types.INTEGER
    if pa.types.is_floating(kind):
        return types.FLOAT
    if pa.types.is_timestamp(kind):
        return types.DATETIME
    return types.KEYWORD


def _since(began: float) -> float:
    return round(time.monotonic() - began, 3)
