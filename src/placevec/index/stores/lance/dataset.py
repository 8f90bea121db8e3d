"""Lance datasets as stores use them: opened, their errors told in one line, their rows read by address."""

from __future__ import annotations

import errno
import importlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from placevec.errors import DataError, MissingExtra, UsageError
from placevec.index.stores.url import StoreUrl
from placevec.registry import need

VECTOR = "embedding"
LOADING = "loading into"
_PURPOSE = "a store or an index in Lance"
# Schemes of object stores that Lance reads; in the address of a store they follow on lance://.
_REMOTE = ("s3", "gs", "az", "abfss", "oss", "memory")

# What stands in the folder of a dataset of which no version was ever committed.
_UNCOMMITTED = frozenset({"data", "_transactions", "_indices", "_versions"})

Addresses = NDArray[np.uint64]


def package() -> Any:
    """The package lance; MissingExtra where it is not installed."""
    # Lance warns on stderr that a new dataset is new; it reads this variable once, when it is imported.
    os.environ.setdefault("LANCE_LOG", "error")
    return need("lance", extra="lance", purpose=_PURPOSE)


def uri_of(address: StoreUrl) -> str:
    """Where a store's dataset is: the path of a folder, or s3://bucket/NAME.lance.

    Raises:
        UsageError: the path is not given in full, or does not end in .lance.
    """
    path = address.path
    if address.host in _REMOTE and path.startswith("//"):
        path = f"{address.host}:{path}"
    elif address.host:
        raise UsageError(f"{address.shown}: a path is given in full, as in lance:///data/places.lance")
    if not path.rstrip("/").endswith(".lance"):
        raise UsageError(f"{address.shown}: the name of a Lance dataset ends in .lance")
    return path.rstrip("/")


def open_dataset(uri: str, version: int | None = None) -> Any | None:
    """The dataset at `uri`; None if there is nothing.

    Raises:
        UsageError: there is something else.
        DataError: it cannot be reached.
    """
    if "://" not in uri and not os.path.lexists(uri):
        return None
    try:
        return package().dataset(uri, version=version)
    except (ValueError, OSError) as error:
        if not re.search(r"not found", str(error), re.IGNORECASE):
            raise DataError(_told(f"{uri} cannot be opened", error)) from None
        if "://" in uri:
            return None
        # What a killed first load left has data, but no version.
        if Path(uri).is_dir() and {part.name for part in Path(uri).iterdir()} <= {
            "data",
            "_transactions",
            "_indices",
            "_versions",
        }:
            return None
        raise UsageError(f"{uri} is no Lance dataset: give another name; placevec does not remove it") from None


@contextmanager
def speaking(uri: str, doing: str) -> Iterator[None]:
    """Turn what Lance raises into a DataError of one line that says what to do."""
    try:
        yield
    except MissingExtra:
        raise
    except (OSError, ValueError, RuntimeError, pa.ArrowException) as error:
        text = str(error)
        full = getattr(error, "errno", None) == errno.ENOSPC or "no space left" in text.lower()
        if full:
            raise DataError(
                f"{doing} {uri}: the disk is full; make room and run the same again: what was committed before stands"
            ) from None
        stands = "; what was committed before stands" if doing == LOADING else ""
        raise DataError(_told(f"{doing} {uri}", error) + stands) from None


def _told(what: str, error: BaseException) -> str:
    """What happened, without the places in Lance's own source."""
    line = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return f"{what}: {re.sub(r',? ?/[^ ,]*[.]rs:[0-9:]+', '', line)[:240]}"


def addresses_of(dataset: Any) -> Addresses:
    """Where each row is, in the order of the dataset."""
    found: Addresses = dataset.scanner(columns=[], with_row_id=True, scan_in_order=True).to_table()["_rowid"].to_numpy()
    return found


def allowlist(addresses: Addresses) -> bytes:
    """Rows as the scanner wants them told."""
    package()
    blob: bytes = importlib.import_module("lance.dataset").serialize_row_addrs(addresses.tolist())
    return blob


def gather(dataset: Any, addresses: Addresses, columns: list[str]) -> pa.Table:
    """`columns` of the rows at `addresses` (unique), in that order."""
    order = np.argsort(addresses, kind="stable")
    scanner = dataset.scanner(
        columns=columns, with_row_id=True, row_addr_allowlist=allowlist(addresses[order]), scan_in_order=False
    )
    data = scanner.to_table()
    found = data["_rowid"].to_numpy()
    place = np.argsort(found, kind="stable")
    at = np.empty(len(addresses), dtype=np.int64)
    at[order] = place
    return data.take(at).select(columns)
