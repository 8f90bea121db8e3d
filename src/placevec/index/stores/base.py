"""The Store contract: a table kept in a server or a dataset, loaded again at no risk, searched with filters.

A store holds one table. Loading is idempotent: rows that are there already are not sent again, rows that changed
are, rows that the table has lost are removed. What placevec did not write, and what holds another Space or tower, is
refused unless it is to be replaced. A load that was cut short leaves its card with `complete` false, and what was
committed readable; loading again goes on from there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from inspect import signature
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from placevec.errors import FormatError, StaleIndex, UsageError
from placevec.index.base import Index
from placevec.index.stores.url import StoreUrl, parse_store_url
from placevec.provenance import Space
from placevec.registry import get
from placevec.results import Hits
from placevec.table import EmbeddingTable, Filter, StoredTable

Table: TypeAlias = EmbeddingTable | StoredTable
Progress: TypeAlias = Callable[[int, int, Mapping[str, Any]], None]
"""Called with what is done, all there is, and ``{"step": name}``."""

EXACT_ROWS = 100_000
"""Up to so many candidates `Store.search` compares all of them."""

VERSION = 1
# Loading a table that keeps fewer of the rows that are there is taken for a mistake of the name.
_KEPT = 1 / 2


@dataclass(frozen=True)
class StoreCard:
    """What a store says of itself."""

    fingerprint: str  # of the table that it holds
    space: Space  # of the vectors
    tower: str  # that made them
    normalized: bool  # whether they have length 1
    rows: int  # of the table
    complete: bool  # whether all of them are there
    version: int = VERSION  # of the layout that placevec writes
    made: str = ""  # when the last load began, ISO 8601
    details: Mapping[str, Any] = field(default_factory=dict)  # what one kind of store needs besides; JSON

    @classmethod
    def of(cls, table: Table, *, complete: bool, **details: Any) -> StoreCard:
        """The card of a table that is loaded now."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        meta = table.meta
        return cls(
            table.fingerprint(),
            meta.space,
            meta.tower,
            meta.normalized,
            table.num_rows,
            complete,
            VERSION,
            now,
            details,
        )

    def to_json(self) -> dict[str, Any]:
        """A JSON object; see `from_json`."""
        return {**vars(self), "space": self.space.to_json(), "details": dict(self.details)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> StoreCard:
        """Read what `to_json` wrote; FormatError if it is not that, or of a later version."""
        try:
            if int(value["version"]) > VERSION:
                raise FormatError(
                    f"the store was written by a later placevec (layout {value['version']}, this one reads {VERSION})"
                )
            return cls(
                str(value["fingerprint"]),
                Space.from_json(value["space"]),
                str(value["tower"]),
                bool(value["normalized"]),
                int(value["rows"]),
                bool(value["complete"]),
                int(value["version"]),
                str(value["made"]),
                dict(value.get("details", {})),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise FormatError(
                f"the card of the store is damaged ({error!r:.120}): load it again with --replace"
            ) from None


@dataclass(frozen=True)
class Loaded:
    """What became of a load."""

    url: str  # of the store, without secrets
    rows: int  # of the table
    added: int  # rows sent: new ones and changed ones
    removed: int  # rows that the table has no more
    unchanged: int  # rows that were there already
    seconds: float  # that it took

    def to_record(self) -> dict[str, Any]:
        """A JSON object."""
        return dict(vars(self))


class Store(ABC):
    """One collection or table of a server, or one dataset. Nothing is opened or asked before it is needed.

    Args:
        address: which one.

    Attributes:
        url: the address without secrets.
        exact_rows: up to so many candidates `search` compares all of them.
    """

    exact_rows: int = EXACT_ROWS

    def __init__(self, address: StoreUrl) -> None:
        self.address = address
        self.url = address.shown

    @abstractmethod
    def card(self) -> StoreCard | None:
        """What is kept there; None if nothing has that name.

        Raises:
            UsageError: something that placevec did not write has that name.
            FormatError: the card is damaged or of a later version.
            DataError: the store cannot be reached.
        """

    @abstractmethod
    def load(self, table: Table, *, replace: bool = False, progress: Progress | None = None) -> Loaded:
        """Bring the store to what `table` holds.

        Args:
            table: in memory, or in a file of any size.
            replace: drop whatever has that name first.
            progress: called while it works.

        Raises:
            SpaceMismatch: the name holds vectors of another Space, and `replace` is not set.
            UsageError: the name holds something that placevec did not write, vectors of another tower, or a table
                with which this one shares less than half of the rows there, and `replace` is not set.
            DataError: the store cannot be reached, went away, or is full; what was committed stays.
        """

    @abstractmethod
    def index(self, table: Table) -> Index:
        """An Index over the store, for `table` as it is now.

        Raises:
            UsageError: there is no such store.
            SpaceMismatch, StaleIndex: it holds another table or another state of it, or its load was cut short.
        """

    @abstractmethod
    def search(self, query: NDArray[Any], k: int, filter: Filter | None = None) -> Hits:
        """The k best rows for one query (d,), without the table.

        The filter is applied by the store as far as it can, and by placevec for the rest. All k are found if so many
        rows pass. `rows` of the hits are -1, for a store knows ids, not row numbers.

        Raises:
            SpaceMismatch, UsageError: see `Index.search`; a filter that names a column that is not there.
        """

    @abstractmethod
    def vectors(self, ids: Sequence[str]) -> NDArray[np.float32]:
        """The vectors (n, d) kept for the ids, decoded; UsageError for an id that is not there.

        Where the metric is cosine they may have been brought to length 1.
        """

    @abstractmethod
    def drop(self) -> None:
        """Remove it; nothing happens if there is none. What placevec did not write is removed too."""

    def close(self) -> None:
        """Give back connections; the store can be used again after that."""
        return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url})"


def open_store(url: str | StoreUrl, **options: Any) -> Store:
    """The store with an address; nothing is asked of it yet.

    Args:
        url: such as qdrant://localhost:6333/places, qdrants:// (TLS), postgresql://user@host/db?table=places,
            lance:///data/places.lance, lance://s3://bucket/places.lance.
        options: of that kind of store.

    Raises:
        UsageError: no such kind of store, or a malformed address.
        MissingExtra: its client is not installed.
    """
    address = url if isinstance(url, StoreUrl) else parse_store_url(url)
    kind = get("store", address.scheme)
    for name in options:
        if name not in signature(kind).parameters:
            raise UsageError(f"a store of the kind {address.scheme} has no option {name!r}")
    store = kind(address, **options)
    assert isinstance(store, Store)
    return store


def admit(card: StoreCard | None, table: Table, url: str) -> None:
    """Raise unless a table may be loaded over what has the card, without `--replace`.

    Raises:
        SpaceMismatch: it holds another Space.
        UsageError: it holds vectors of another tower.
    """
    if card is None:
        return
    remedy = "give another name, or --replace"
    card.space.require(table.space, f"loading into {url} ({remedy})")
    if card.tower != table.meta.tower:
        raise UsageError(
            f"{url} holds vectors of the tower {card.tower!r}, the table those of {table.meta.tower!r}: {remedy}"
        )


def admit_removal(known: int, gone: int, url: str) -> None:
    """UsageError if of `known` rows in a store so many are `gone` that another table must be meant."""
    if gone > _KEPT * known:
        raise UsageError(
            f"of the {known:,} rows in {url} only {known - gone:,} are in the table: it looks like another table; give "
            "another name, or --replace to drop what is there"
        )


def belongs(card: StoreCard | None, table: Table, url: str) -> StoreCard:
    """The card, or the error that says why the store does not serve `table`.

    Raises:
        UsageError: there is no such store.
        SpaceMismatch, StaleIndex: see `Store.index`.
    """
    load = "load it with `placevec index TABLE --to URL`"
    if card is None:
        raise UsageError(f"there is nothing at {url}: {load}")
    card.space.require(table.space, f"searching {url}")
    if not card.complete:
        raise StaleIndex(f"the last load of {url} was cut short: run it again")
    if card.rows != table.num_rows:
        raise StaleIndex(f"{url} holds {card.rows:,} rows, the table has {table.num_rows:,}: {load}")
    now = table.fingerprint()
    if card.fingerprint != now:
        raise StaleIndex(f"{url} holds another state of the table ({card.fingerprint}, now {now}): {load}")
    return card
