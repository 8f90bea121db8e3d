"""What a recipe remembers of a store that it loaded: by that it sees whether the store still holds the table.

A store is no file, so that its content cannot be among the outputs of a step. The step writes a receipt instead, and
before it is skipped the store is asked for its card.
"""

from __future__ import annotations

import json
import re
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from placevec.files import write_text
from placevec.index.stores import Loaded, StoreCard, StoreUrl, open_store, parse_store_url

_LOCAL = "lance://"
_SAFE = re.compile(r"[^\w.-]+")


def store_address(url: str, test: int | None = None) -> StoreUrl:
    """The address of the store that a load goes to: with `test` that of the trial beside the one named."""
    address = parse_store_url(url)
    return address if test is None else address.trial()


def receipt_path(url: str, test: int | None = None) -> str:
    """Where the receipt of a store lies by default, from the folder of the recipe."""
    address = store_address(url, test)
    return f"results/{address.scheme}-{_SAFE.sub('-', PurePosixPath(address.name).stem)}.json"


def within(folder: Path, url: str) -> str:
    """The address with the path of a Lance dataset in `folder`, unless it is given in full or lies in a bucket."""
    rest = url.removeprefix(_LOCAL)
    if rest == url or rest.startswith("/") or "://" in rest or not rest:
        return url
    return f"{_LOCAL}{quote(str((folder / rest).absolute()))}"


def write_receipt(path: Path, loaded: Loaded, url: str, test: int | None = None) -> None:
    """Note what a store holds after a load."""
    card = _card(url, test)
    held = None if card is None else _held(card)
    write_text(path, json.dumps({"store": loaded.url, "rows": loaded.rows, "card": held}, indent=1) + "\n")


def missing(path: Path, url: str, test: int | None = None) -> str:
    """What tells a store from what its receipt says, "" if nothing does.

    Raises:
        DataError: the store cannot be asked.
        UsageError: what has its name now was not written by placevec.
    """
    try:
        noted = json.loads(path.read_text(encoding="utf-8"))["card"]
    except (OSError, ValueError, KeyError, TypeError):
        return f"{path.name} cannot be read"
    card = _card(url, test)
    shown = store_address(url, test).shown
    if card is None:
        return f"there is nothing at {shown}"
    if not card.complete:
        return f"the last load of {shown} was cut short"
    return "" if noted == _held(card) else f"{shown} holds another table"


def _card(url: str, test: int | None) -> StoreCard | None:
    with open_store(store_address(url, test)) as store:
        return store.card()


def _held(card: StoreCard) -> dict[str, Any]:
    """What a card says of the table; not when it was loaded, which another load of the same changes."""
    return {
        "fingerprint": card.fingerprint,
        "space": card.space.id,
        "tower": card.tower,
        "rows": card.rows,
        "complete": card.complete,
    }
