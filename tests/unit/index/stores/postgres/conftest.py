"""A server, and stores in it that are dropped again."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from placevec.index.stores import open_store
from placevec.index.stores.postgres import PostgresStore
from postgres_server import at, postgres_server, postgres_url

__all__ = ["postgres_server", "postgres_url"]


@pytest.fixture
def make_store(postgres_url: str) -> Iterator[Callable[..., PostgresStore]]:
    """Opens a store of a new name, or of the name given."""
    opened: list[Any] = []

    def make(name: str | None = None, **options: Any) -> Any:
        store = open_store(at(postgres_url, name or f"t_{uuid.uuid4().hex}"), **options)
        opened.append(store)
        return store

    yield make
    for store in opened:
        store.drop()
        store.close()
