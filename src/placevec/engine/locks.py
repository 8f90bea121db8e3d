"""A lock on a folder: two drivers never work in one place at a time."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from types import TracebackType

from placevec.errors import JobError


class Lock:
    """Holds the file `path` while a driver works; the file says which process that is.

    The lock itself is the kernel's (`flock`), so that it ends with the process however that ends: a lock file
    left by a kill is stale and is taken over.

    Raises:
        JobError: on entry, if another process holds it.
    """

    def __init__(self, path: str | Path, doing: str = "this job") -> None:
        self.path = Path(path)
        self.doing = doing
        self._handle: int | None = None

    def __enter__(self) -> Lock:
        import fcntl

        self.path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = self._holder()
                os.close(handle)
                raise JobError(
                    f"{self.doing} is being worked on by {holder} (lock {self.path}): wait for it, or stop it first"
                ) from None
            if self._stands(handle):
                break
            os.close(handle)  # its last holder removed the file between opening and locking: there is a new one to make
        os.ftruncate(handle, 0)
        os.write(handle, json.dumps({"pid": os.getpid(), "host": platform.node()}).encode())
        self._handle = handle
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def check(self) -> None:
        """Nothing to do: the kernel's lock cannot be lost."""

    def _stands(self, handle: int) -> bool:
        try:
            return os.path.samestat(os.fstat(handle), self.path.stat())
        except FileNotFoundError:
            return False

    def _holder(self) -> str:
        try:
            value = json.loads(self.path.read_text())
            return f"process {int(value['pid'])} on {value['host']}"
        except (OSError, ValueError, KeyError, TypeError):
            return "another process"
