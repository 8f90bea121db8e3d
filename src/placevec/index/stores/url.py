"""Addresses of stores, such as ``qdrant://localhost:6333/places``. A password in one is never shown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from placevec.errors import UsageError

TEST = "-test"
"""What the name of a store for trials ends in; no other store has such a name."""

# Parameters that are secrets; they are left out wherever an address is shown.
_SECRET = frozenset({"password", "sslpassword", "api_key", "apikey", "api-key", "token", "key", "secret"})
_EXAMPLES = "qdrant://localhost:6333/places, postgresql://localhost/db?table=places, lance:///data/places.lance"


@dataclass(frozen=True)
class StoreUrl:
    """The parts of an address; `str` and `repr` show it without secrets."""

    scheme: str  # which kind of store, as the registry names it
    host: str = ""  # "" where the scheme has none
    port: int | None = None  # None: the usual one
    path: str = ""  # behind the host, from its slash on, decoded
    user: str = ""
    password: str = field(default="", repr=False)
    query: Mapping[str, str] = field(default_factory=dict, repr=False)  # parameters behind the question mark

    @property
    def name(self) -> str:
        """The name of the collection, table or dataset: the parameter `table`, else the end of the path."""
        return self.query["table"] if "table" in self.query else PurePosixPath(self.path).name

    def with_name(self, name: str) -> StoreUrl:
        """The same place with another name."""
        if "table" in self.query:
            return replace(self, query={**self.query, "table": name})
        return replace(self, path=str(PurePosixPath(self.path).with_name(name)))

    @property
    def is_trial(self) -> bool:
        """Whether the name is one of a store for trials."""
        return PurePosixPath(self.name).stem.endswith(TEST)

    def trial(self) -> StoreUrl:
        """The store for trials that stands beside this one: ``places-test`` beside ``places``."""
        name = PurePosixPath(self.name)
        return self.with_name(f"{name.stem}{TEST}{name.suffix}")

    @property
    def shown(self) -> str:
        """The address without secrets, for messages and results."""
        return self._text({key: value for key, value in self.query.items() if key.lower() not in _SECRET}, "")

    @property
    def full(self) -> str:
        """The address with all that it was given with; never shown."""
        return self._text(self.query, self.password)

    @property
    def server(self) -> str:
        """The host and port for messages."""
        host = f"[{self.host}]" if ":" in self.host and self.host != ":memory:" else self.host
        return host if self.port is None else f"{host}:{self.port}"

    def _text(self, query: Mapping[str, str], password: str) -> str:
        secret = f":{quote(password, safe='')}" if password else ""
        user = f"{quote(self.user, safe='')}{secret}@" if self.user or secret else ""
        asked = f"?{urlencode(query)}" if query else ""
        return f"{self.scheme}://{user}{self.server}{quote(self.path)}{asked}"

    def __str__(self) -> str:
        return self.shown


def parse_store_url(text: str) -> StoreUrl:
    """The parts of the address of a store.

    Raises:
        UsageError: it is no address, or names no collection, table or dataset; the message does not repeat it.
    """
    match = re.match(r"([a-z][a-z0-9+.-]*)://", text.strip())
    if match is None:
        raise UsageError(f"a store is given by its address, such as {_EXAMPLES}")
    scheme = match[1]
    rest = text.strip()[match.end() :]
    if rest.startswith(":memory:"):
        # No host: a store in the memory of this process, for trials and tests.
        return _named(StoreUrl(scheme, ":memory:", None, unquote(rest.removeprefix(":memory:"))))
    try:
        parts = urlsplit(f"{scheme}://{rest}")
        port = parts.port
    except ValueError:
        raise UsageError(
            f"the address of the {scheme} store has no valid host and port; write it like {_EXAMPLES}"
        ) from None
    return _named(
        StoreUrl(
            scheme,
            parts.hostname or "",
            port,
            unquote(parts.path),
            unquote(parts.username or ""),
            unquote(parts.password or ""),
            dict(parse_qsl(parts.query, keep_blank_values=True)),
        )
    )


def is_store_url(text: str) -> bool:
    """Whether `text` is the address of a kind of store that exists."""
    from placevec.registry import names

    scheme, found, _ = text.partition("://")
    return bool(found) and scheme in names("store")


def _named(url: StoreUrl) -> StoreUrl:
    if not url.name.strip():
        raise UsageError(f"{url.shown} names no collection, table or dataset; write it like {_EXAMPLES}")
    return url
