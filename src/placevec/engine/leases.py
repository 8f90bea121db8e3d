"""A lock in object storage: two drivers never work in one place at a time, on whatever machines they are.

The lock is an object that is made only where there is none. Its holder renews it; one that is not renewed for the time
of a lease is stale, since its holder was killed or cut off, and is taken over by a write that succeeds only over the
very object that was looked at. The time is that of the one who watches: clocks of machines are not compared.
"""

from __future__ import annotations

import json
import os
import platform
import threading
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Any

from placevec.errors import JobError, PlacevecError
from placevec.objects import Remote

LEASE_S = 30.0  # without being renewed
RENEW_S = 8.0
_HELD: set[str] = set()  # tokens of this process: a lease that could not be given back is not held any more


class Lease:
    """Holds the object `place` while a driver works; it says which process that is.

    Raises:
        JobError: on entry, if another process holds it; from `check`, if it was lost to another one.
    """

    def __init__(self, place: Remote, doing: str = "this job") -> None:
        self.place = place
        self.doing = doing
        self._mine = {**_this_process(), "token": uuid.uuid4().hex}
        self._tag = ""
        self._renewed = 0.0
        self._lost = False
        self._writing = threading.Lock()
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Lease:
        self._take()
        _HELD.add(self._mine["token"])
        self._thread = threading.Thread(target=self._keep, name="placevec-lease", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _HELD.discard(self._mine["token"])
        self._end.set()
        if self._thread is not None:
            self._thread.join()
        try:
            if not self._lost and self.place.tag() == self._tag:
                self.place.remove()
        except PlacevecError:
            if kind is None:
                raise

    def check(self) -> None:
        """Renew it now; JobError if it was lost: then nothing may be committed any more."""
        with self._writing:
            self._renew()
        if self._lost:
            holder = self._look()[1]
            raise JobError(
                f"{self.doing} was taken over by {holder} while this process was held up: leave it to that one"
            )

    def _take(self) -> None:
        seen, since = "", time.monotonic()
        while True:
            try:
                self._tag = self.place.write_bytes(self._content(), "create")
            except FileExistsError:
                pass
            else:
                break
            tag, holder, value = self._look()
            if value.get("token") == self._mine["token"]:  # the answer to our write was lost, and it was sent again
                self._tag = tag
                break
            if not tag:
                continue  # it was given back meanwhile
            alive = _alive(value)
            if alive or (seen and seen != tag):
                raise JobError(
                    f"{self.doing} is being worked on by {holder} (lock {self.place}): wait for it, or stop it first"
                )
            if alive is False or time.monotonic() - since > LEASE_S:
                try:
                    self._tag = self.place.write_bytes(self._content(), {"e_tag": _bare(tag)})
                except (PermissionError, FileNotFoundError):
                    continue  # another one was faster, or its holder is back
                break
            seen = tag
            time.sleep(min(1.0, LEASE_S / 10))
        self._renewed = time.monotonic()

    def _keep(self) -> None:
        while not self._end.wait(RENEW_S):
            with self._writing:
                try:
                    self._renew()
                except PlacevecError:
                    # The server may come back; when the lease has run out, another may have taken it.
                    if time.monotonic() - self._renewed > LEASE_S:
                        self._lost = True
            if self._lost:
                return

    def _renew(self) -> None:
        if self._lost:
            return
        try:
            self._tag = self.place.write_bytes(self._content(), {"e_tag": _bare(self._tag)})
        except (PermissionError, FileNotFoundError):
            tag, _, value = self._look()
            if value.get("token") != self._mine["token"]:
                self._lost = True
                return
            self._tag = tag
        self._renewed = time.monotonic()

    def _content(self) -> bytes:
        # Each writing differs from the last one: a server may make the tag of the content.
        return json.dumps({**self._mine, "written": uuid.uuid4().hex}).encode()

    def _look(self) -> tuple[str, str, dict[str, Any]]:
        """Tag, holder in words and content of what stands there; "" where nothing does."""
        tag = self.place.tag() or ""
        try:
            value = json.loads(self.place.read_text())
            return tag, f"process {int(value['pid'])} on {value['host']}", dict(value)
        except FileNotFoundError:
            return "", "another process", {}
        except (ValueError, KeyError, TypeError):
            return tag, "another process", {}


def _this_process() -> dict[str, Any]:
    return {"pid": os.getpid(), "host": platform.node(), "machine": _machine(), "started": _started(os.getpid())}


def _alive(holder: dict[str, Any]) -> bool | None:
    """Whether a process of this machine lives; None where that cannot be told from here."""
    if not holder.get("machine") or holder["machine"] != _machine():
        return None
    try:
        if int(holder["pid"]) == os.getpid():
            return holder["token"] in _HELD
        return bool(holder["started"]) and _started(int(holder["pid"])) == holder["started"]
    except (KeyError, ValueError, TypeError):
        return None


def _machine() -> str:
    """What tells this machine, since it was started, and this container from others; "" where it is not known."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _started(pid: int) -> str:
    """When a process began, in ticks since the machine was started; "" where there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def _bare(tag: str) -> str:
    return f'"{tag.partition("-")[2]}"'
