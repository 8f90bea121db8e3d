"""`index --to`: a table into a store, where programs that know nothing of placevec can search it too."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from placevec.errors import UsageError
from placevec.index.stores import Loaded, open_store, parse_store_url
from placevec.index.stores.url import TEST
from placevec.table import EmbeddingTable, StoredTable, open_table

if TYPE_CHECKING:
    from placevec.index.stores import Progress


def index_to(
    table: str | Path | EmbeddingTable | StoredTable,
    url: str,
    *,
    replace: bool = False,
    quantize: str | None = None,
    test: int | None = None,
    progress: Progress | None = None,
) -> Loaded:
    """Bring a store to what a table holds. Running it again sends what has changed and removes what is gone.

    A trial (`test`) goes into a store beside the one named, ``NAME-test``; nothing else may have a name that ends so,
    and what is written in a trial can therefore not be what others search.

    Args:
        table: a table (.parquet or .lance), or one that is open.
        url: qdrant://host:port/collection, qdrants:// (TLS), postgresql://user@host/db?table=NAME,
            lance:///folder/NAME.lance. Keys and passwords come from the environment.
        replace: drop whatever has that name first.
        quantize: of Qdrant: "int8" (the default) or "none".
        test: load this many rows from the start of the table into the trial store instead.
        progress: called while it works.

    Raises:
        UsageError: an unknown kind of store, a name that holds what placevec did not write or another table, a name
            that is kept for trials.
        SpaceMismatch: the name holds another Space.
        DataError: the store cannot be reached, went away or is full.
        MissingExtra: the store's client is not installed.
    """
    address = parse_store_url(url)
    if test is None and address.is_trial:
        raise UsageError(f"names that end in {TEST} are kept for trials: give another one, or --test N")
    if test is not None and test < 1:
        raise UsageError(f"a trial with {test} rows loads nothing: give at least 1")
    options: dict[str, Any] = {} if quantize is None else {"quantize": quantize}
    with open_store(address if test is None else address.trial(), **options) as store:
        opened = open_table(table) if isinstance(table, str | Path) else table
        rows = opened if test is None else opened.take(np.arange(min(test, opened.num_rows)))
        return store.load(rows, replace=replace, progress=progress)
