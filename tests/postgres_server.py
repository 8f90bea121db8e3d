"""A PostgreSQL server for tests: that of the package pgserver, or one given by PLACEVEC_TEST_POSTGRES.

`pgserver` brings the programs of PostgreSQL with pgvector. They refuse to run as root, so root starts them as nobody.
"""

from __future__ import annotations

import atexit
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

PASSWORD = "only-for-tests"


class PostgresServer:
    """A server of its own folder, port and password, that a test may kill and start again."""

    def __init__(self) -> None:
        spec = importlib.util.find_spec("pgserver")
        if spec is None or not spec.submodule_search_locations:
            pytest.skip("needs a PostgreSQL server: pip install pgserver, or set PLACEVEC_TEST_POSTGRES")
        self.bin = Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"
        self.folder = Path(tempfile.mkdtemp(prefix="placevec-postgres-"))
        self.user = "nobody" if os.geteuid() == 0 else None
        self.process: subprocess.Popen[bytes] | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        if self.user:
            for path in (self.folder, secret):
                shutil.chown(path, self.user)
        self._run(
            "initdb", "-U", "tester", "--auth=scram-sha-256", f"--pwfile={secret}", "--encoding=utf8", "--no-sync"
        )
        self.start()

    @property
    def url(self) -> str:
        """The address of its database, without the parameter `table`."""
        return f"postgresql://tester:{PASSWORD}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start it, and wait until it lets in."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "fsync": "off",
            "shared_buffers": "64MB",
        }
        given = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        command = [str(self.bin / "postgres"), "-D", str(self.folder / "data"), *given]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, user=self.user, stdout=log, stderr=log, cwd="/")
        ready = [str(self.bin / "pg_isready"), "-h", "127.0.0.1", "-p", str(self.port), "-q"]
        for _ in range(200):
            if subprocess.run(ready, check=False).returncode == 0:
                return
            time.sleep(0.05)
        raise RuntimeError((self.folder / "log").read_text())

    def crash(self) -> None:
        """Let it die as if its machine lost power: what was not committed is lost."""
        self._end(signal.SIGQUIT)

    def close(self) -> None:
        """Stop it and remove its folder."""
        self._end(signal.SIGINT)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _end(self, how: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(30)
            self.process = None

    def _run(self, program: str, *words: str) -> None:
        command = [str(self.bin / program), "-D", str(self.folder / "data"), *words]
        done = subprocess.run(command, user=self.user, capture_output=True, text=True, check=False, cwd="/")
        if done.returncode:
            raise RuntimeError(f"{program}: {done.stdout}{done.stderr}")


@cache
def shared_url() -> str:
    """The address of a database for tests, started when it is first asked for, gone with the process."""
    given = os.environ.get("PLACEVEC_TEST_POSTGRES", "")
    if given:
        return given
    server = PostgresServer()
    atexit.register(server.close)
    return server.url


@pytest.fixture(scope="session")
def postgres_url() -> str:
    """The address of a database for tests, to which ``?table=NAME`` is added."""
    return shared_url()


@pytest.fixture
def postgres_server() -> Iterator[PostgresServer]:
    """A server that the test may kill."""
    server = PostgresServer()
    yield server
    server.close()


def at(url: str, table: str) -> str:
    """The address of a table of the database at `url`."""
    joint = "&" if urlsplit(url).query else "?"
    return f"{url}{joint}table={quote(table, safe='')}"
