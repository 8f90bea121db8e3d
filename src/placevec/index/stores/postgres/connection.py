"""A connection to PostgreSQL, and its errors as one clear line each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeAlias

from placevec.errors import DataError, UsageError
from placevec.index.stores.postgres.driver import psycopg
from placevec.index.stores.url import StoreUrl

Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]

_CONNECT_SECONDS = "10"
# Parameters of the address that are placevec's own; all others are handed to libpq.
_OWN = frozenset({"table"})


def connect(address: StoreUrl) -> Connection:
    """A connection in autocommit mode, with what the address leaves open taken from the environment (PGPASSWORD …).

    Raises:
        DataError: the server cannot be reached, or does not let in.
        UsageError: a parameter of the address means nothing to PostgreSQL.
    """
    given: dict[str, str | int | None] = {
        "host": address.host or None,
        "port": address.port,
        "user": address.user or None,
        "password": address.password or None,
        "dbname": address.path.strip("/") or None,
    }
    given.update({name: value for name, value in address.query.items() if name not in _OWN})
    if "PGCONNECT_TIMEOUT" not in os.environ:
        given.setdefault("connect_timeout", _CONNECT_SECONDS)
    given.setdefault("application_name", "placevec")
    settings = {name: value for name, value in given.items() if value is not None}
    try:
        opened = psycopg.connect(psycopg.conninfo.make_conninfo("", **settings), autocommit=True)
        # Times come as UTC; compiling a query to machine code takes longer than most queries here.
        opened.execute("select set_config('timezone', 'UTC', false), set_config('jit', 'off', false)")
    except psycopg.ProgrammingError as error:
        raise UsageError(f"the address {address.shown} is not understood: {_line(error)}") from None
    except psycopg.OperationalError as error:
        raise DataError(_refusal(address, str(error))) from None
    return opened


def _refusal(address: StoreUrl, message: str) -> str:
    where = address.server or "the local PostgreSQL"
    low = message.lower()
    if "password" in low or "authentication failed" in low:
        who = f" as {address.user!r}" if address.user else ""
        return f"PostgreSQL at {where} does not let in{who}: set PGPASSWORD (or ~/.pgpass) to the right password"
    if "does not exist" in low:
        return f"PostgreSQL at {where}: {_told(message)}; create it, or correct the address"
    return f"PostgreSQL at {where} cannot be reached ({_told(message)}): start it, or correct the address"


def _told(message: str) -> str:
    """What libpq says at last, without its preface."""
    lines = [line.strip() for line in message.strip().splitlines() if line.strip()]
    found = next((line for line in reversed(lines) if "failed" in line or "error" in line.lower()), "no reason given")
    return found.rsplit("failed: ", 1)[-1].removeprefix("FATAL:").strip()[:200]


def _line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


@contextmanager
def speaking(address: StoreUrl, doing: str) -> Iterator[None]:
    """Turn what PostgreSQL and its driver raise into a DataError of one line that says what to do."""
    errors, url = psycopg.errors, address.shown
    try:
        yield
    except errors.DiskFull as error:
        raise DataError(
            f"{doing} {url}: the disk of the server is full ({_line(error)}); make room and run the same again: what "
            "was committed before stands"
        ) from None
    except errors.InsufficientPrivilege as error:
        raise DataError(f"{doing} {url}: {_line(error)}; grant it, or name another user") from None
    except (errors.FeatureNotSupported, errors.UndefinedFile) as error:
        if "vector" in str(error):
            raise DataError(
                f"{doing} {url}: the server has no extension `vector`: install pgvector on its machine"
            ) from None
        raise DataError(f"{doing} {url}: {_line(error)}") from None
    except errors.ReadOnlySqlTransaction:
        raise DataError(f"{doing} {url}: the server is read only; name its primary") from None
    except (errors.LockNotAvailable, errors.QueryCanceled) as error:
        raise DataError(f"{doing} {url}: {_line(error)}; run the same again") from None
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise DataError(
            f"{doing} {url}: the server went away ({_line(error)}); what was committed before stands: run the same "
            "again when it is back"
        ) from None
    except psycopg.Error as error:
        raise DataError(f"{doing} {url}: {_line(error)}") from None


class Link:
    """One connection that is opened when it is first needed, and again when it was lost."""

    def __init__(self, address: StoreUrl) -> None:
        self.address = address
        self._open: Connection | None = None

    def get(self) -> Connection:
        """The connection; see `connect`."""
        if self._open is None or self._open.closed:
            self._open = connect(self.address)
        return self._open

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Give it back."""
        if self._open is not None:
            with suppress(psycopg.Error):
                self._open.close()
            self._open = None
